//! Programs that a service needs on the host itself, outside of containers, and which versions of them will do:
//! `>=3.12`, `>=20, <23`; a number alone is the lowest version, an empty text is any.

use std::cmp::Ordering;

use indexmap::IndexMap;
use serde::{Deserialize, Deserializer};

use super::super::docker;
use super::Service;
use crate::plan::{Query, Script};
use crate::vars::version::{Scheme, compare, holds};

/// Says of each program that is there what it says of itself. The name comes before it, so that what is printed cannot
/// pass for another's.
const ASK: &str = r#"
for c in "$@"; do
  command -v "$c" >/dev/null 2>&1 || continue
  v=$("$c" --version 2>&1 </dev/null | head -n 3)
  case $v in *[0-9].[0-9]*) ;; *) v=$("$c" -V 2>&1 </dev/null | head -n 3);; esac
  printf 'command %s %s\n' "$c" "$(printf '%s' "$v" | tr '\n' ' ')"
done
true"#;

/// A mapping of names to versions, both looked at.
pub fn checked<'de, D: Deserializer<'de>>(from: D) -> Result<IndexMap<String, String>, D::Error> {
    let all = IndexMap::<String, String>::deserialize(from)?;
    for (name, wanted) in &all {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
        if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
            return Err(serde::de::Error::custom(format!("`{name}` is not the name of a program")));
        }
        conditions(wanted).map_err(serde::de::Error::custom)?;
    }
    Ok(all)
}

/// Operators and versions, all of which must hold.
fn conditions(wanted: &str) -> Result<Vec<(&str, &str)>, String> {
    const OPERATORS: [&str; 6] = [">=", "<=", "==", "!=", ">", "<"];
    let one = |text: &'_ str| -> Result<(&'static str, usize), String> {
        let operator = OPERATORS.into_iter().find(|operator| text.starts_with(*operator));
        let start = operator.map_or(0, str::len);
        let version = text[start..].trim_start();
        match version.starts_with(|c: char| c.is_ascii_digit()) && !version.contains(char::is_whitespace) {
            true => Ok((operator.unwrap_or(">="), text.len() - version.len())),
            false => Err(format!("`{text}` is no version: write `>=3.12`, `>=20, <23` or `3.12`")),
        }
    };
    let parts = wanted.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| one(part).map(|(operator, start)| (operator, &part[start..]))).collect()
}

/// None if no service asks for a program.
pub(super) fn ask(services: &[Service]) -> Option<Query> {
    let mut names: Vec<&String> = services.iter().flat_map(|service| service.commands.keys()).collect();
    names.sort();
    names.dedup();
    let script = names.iter().fold(Script::new().raw("set --"), |script, name| script.arg(name.as_str()));
    (!names.is_empty()).then(|| docker::ask(script.raw(ASK)))
}

/// What is missing, or is another version than will do.
pub(super) fn lacking(services: &[Service], said: &str) -> Vec<String> {
    let there: IndexMap<&str, &str> =
        said.lines().filter_map(|line| line.strip_prefix("command ")?.split_once(' ')).collect();
    let mut lacking = Vec::new();
    for service in services {
        for (name, wanted) in &service.commands {
            let needs = |what: String| match wanted.trim() {
                "" => format!("{what}, {} needs it", service.service),
                wanted => format!("{what}, {} needs {wanted}", service.service),
            };
            match there.get(name.as_str()) {
                None => lacking.push(needs(format!("there is no {name}"))),
                Some(says) => match version(says) {
                    None if wanted.trim().is_empty() => {}
                    None => lacking.push(needs(format!("{name} does not say its version"))),
                    Some(has) if does(has, wanted) => {}
                    Some(has) => lacking.push(needs(format!("{name} is {has}"))),
                },
            }
        }
    }
    lacking
}

fn does(has: &str, wanted: &str) -> bool {
    let one = |(operator, version): &(&str, &str)| {
        let ordering = compare(has, version, Scheme::Loose).unwrap_or(Ordering::Equal);
        holds(operator, ordering).unwrap_or(true)
    };
    conditions(wanted).unwrap_or_default().iter().all(one)
}

/// `Python 3.12.3`, `jq-1.7.1`, `nginx version: nginx/1.26.3`: the first number with a dot in it, else the first at all.
fn version(says: &str) -> Option<&str> {
    let numbers = || {
        let pieces = says.split(|c: char| !c.is_ascii_digit() && c != '.').map(|piece| piece.trim_matches('.'));
        pieces.filter(|piece| !piece.is_empty())
    };
    numbers().find(|piece| piece.contains('.')).or_else(|| numbers().next())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_their_versions_in_many_ways() {
        for (says, expected) in [
            ("Python 3.12.3", Some("3.12.3")),
            ("jq-1.7.1", Some("1.7.1")),
            ("nginx version: nginx/1.26.3 built by gcc 14.2.0", Some("1.26.3")),
            ("v22.1.0", Some("22.1.0")),
            ("go version go1.24.4 linux/amd64", Some("1.24.4")),
            ("Docker version 26.1.5+dfsg1, build a72d7cd", Some("26.1.5")),
            ("GNU bash, version 5.2.37(1)-release (x86_64-pc-linux-gnu)", Some("5.2.37")),
            ("systemd 257 (257.8-1)", Some("257.8")),
            ("less 668", Some("668")),
            ("usage: it", None),
        ] {
            assert_eq!(version(says), expected, "{says}");
        }
    }

    #[test]
    fn versions_are_compared_as_they_are_written() {
        for (has, wanted, expected) in [
            ("3.12.1", ">=3.12", true),
            ("3.9", ">=3.12", false),
            ("3.9", "3.12", false),
            ("22.1", ">=20, <23", true),
            ("23.0", ">=20,<23", false),
            ("1.2", "!=1.2", false),
            ("1", "", true),
        ] {
            assert_eq!(does(has, wanted), expected, "{has} {wanted}");
        }
        for wrong in ["~3", ">=", "python", ">= 3 4", "=>3"] {
            assert!(conditions(wrong).is_err(), "{wrong}");
        }
    }

    /// What the script says of programs of this machine.
    #[test]
    fn this_machine_answers() {
        let arguments = ["-c", ASK, "sh", "sh-of-nobody", "bash", "tar"];
        let output = std::process::Command::new("sh").args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let service = |commands: &[(&str, &str)]| {
            let commands = commands.iter().map(|(name, wanted)| ((*name).to_owned(), (*wanted).to_owned()));
            [Service { service: "a".to_owned(), commands: commands.collect(), ..Service::default() }]
        };
        assert_eq!(lacking(&service(&[("bash", ">=3"), ("tar", "1.0")]), &said), Vec::<String>::new(), "{said}");
        assert_eq!(lacking(&service(&[("sh-of-nobody", "")]), &said), ["there is no sh-of-nobody, a needs it"]);
        let old = lacking(&service(&[("tar", "<1")]), &said);
        assert!(old[0].starts_with("tar is 1.") && old[0].ends_with(", a needs <1"), "{old:?}");
    }
}
