//! Ansible's conversions of argument values: `"yes"` for a bool, `"a,b"` for a list, `"0644"` or `0644` or
//! `"u=rw,g=r"` for a mode. Used as `#[serde(deserialize_with = "args::flag")]`, together with `#[serde(default)]`.
//!
//! Leaves out what an argument means: only its type is settled here. A null never arrives; `typed` takes it out.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::Failure;

use super::Build;

/// `state` of a thing that is there or is not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Present,
    Absent,
}

/// Yes or no, in any of Ansible's spellings.
pub fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(from)?;
    as_flag(&value).ok_or_else(|| D::Error::custom(format!("{value} is neither yes nor no")))
}

/// As [`flag`], for an `Option<bool>`.
pub fn opt_flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    flag(from).map(Some)
}

/// A string; numbers and booleans become their text, structures become JSON.
pub fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Value::deserialize(from).map(|value| as_text(&value))
}

/// As [`text`], for an `Option<String>`.
pub fn opt_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    text(from).map(Some)
}

/// A list of strings; a single string is split at its commas, any other scalar is a list of one.
pub fn list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(from)? {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => Ok(items.iter().filter(|item| !item.is_null()).map(as_text).collect()),
        Value::String(text) => {
            Ok(text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect())
        }
        other @ (Value::Bool(_) | Value::Number(_)) => Ok(vec![as_text(&other)]),
        Value::Object(_) => Err(D::Error::custom("a list is wanted here, not a mapping")),
    }
}

/// As [`list`], for an `Option<Vec<String>>`.
pub fn opt_list<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
    list(from).map(Some)
}

/// A whole number, also from its text.
pub fn int<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let value = Value::deserialize(from)?;
    let number = match &value {
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as i64))
        }
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.ok_or_else(|| D::Error::custom(format!("{value} is not a whole number")))
}

/// As [`int`], for an `Option<i64>`.
pub fn opt_int<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
    int(from).map(Some)
}

/// A number that counts something: whole and not negative.
pub fn count<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = int(from)?;
    u64::try_from(number).map_err(|_| D::Error::custom(format!("{number} is negative")))
}

/// As [`count`], for an `Option<u64>`.
pub fn opt_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    count(from).map(Some)
}

/// File permissions: `0644` (the integer 420), `"0644"`, `"u=rw,g=r,o="` or `preserve`.
pub fn opt_mode<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Mode>, D::Error> {
    let value = Value::deserialize(from)?;
    Mode::parse(&value).map(Some).map_err(D::Error::custom)
}

/// What counts as a yes or a no.
pub fn as_flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
        Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
        Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Some(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Some(false),
            _ => None,
        },
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The text of a value as an argument: Python's `True`, plain numbers, JSON for structures.
pub fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null => String::new(),
        Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// A path on the host. `~` is the home directory of the user that the task runs as.
pub fn host_path(path: &str, build: &Build<'_>) -> Result<String, Failure> {
    let tidy = |path: &str| match path.trim_end_matches('/') {
        "" if path.starts_with('/') => "/".to_owned(),
        trimmed => trimmed.to_owned(),
    };
    let Some(rest) = path.strip_prefix('~') else { return Ok(tidy(path)) };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(Failure::new(format!("path `{path}`: the home directory of another user is not looked up"))
            .hint("write the path in full"));
    }
    match build.facts.get("user_dir").and_then(Value::as_str) {
        Some(home) => Ok(tidy(&format!("{home}{rest}"))),
        None => Err(Failure::new(format!("path `{path}`: the home directory is not known"))
            .hint("write the path in full, or gather facts first")),
    }
}

/// File permissions as an operator writes them.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    Octal(u32),
    Symbolic {
        text: String,
        clauses: Vec<Clause>,
    },
    /// The mode of the source file (copy and template).
    Preserve,
}

/// One `who op perms` of a symbolic mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Clause {
    /// Letters of `ugo`; empty: all of them, less the umask.
    who: String,
    operator: char,
    perms: String,
}

/// What a process without a umask of its own takes away.
const UMASK: u32 = 0o022;

impl Mode {
    pub fn parse(value: &Value) -> Result<Mode, String> {
        let wrong = || format!("{value} is not a mode: write \"0644\", 0644 or \"u=rw,g=r,o=r\"");
        match value {
            Value::Number(number) => {
                number.as_u64().filter(|bits| *bits <= 0o7777).map(|bits| Mode::Octal(bits as u32)).ok_or_else(wrong)
            }
            Value::String(text) if text.trim() == "preserve" => Ok(Mode::Preserve),
            Value::String(text) => {
                let text = text.trim();
                let digits = text.strip_prefix("0o").unwrap_or(text);
                if !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()) {
                    let bits = u32::from_str_radix(digits, 8).ok().filter(|bits| *bits <= 0o7777);
                    return bits.map(Mode::Octal).ok_or_else(wrong);
                }
                let clauses: Option<Vec<Vec<Clause>>> = text.split(',').map(clauses).collect();
                let clauses = clauses.ok_or_else(wrong)?.concat();
                Ok(Mode::Symbolic { text: text.to_owned(), clauses })
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(wrong()),
        }
    }

    /// The permission bits that this mode gives to something that has `current`.
    pub fn bits(&self, current: u32, directory: bool) -> u32 {
        match self {
            Mode::Octal(bits) => *bits,
            Mode::Preserve => current,
            Mode::Symbolic { clauses, .. } => {
                clauses.iter().fold(current, |bits, clause| clause.apply(bits, directory))
            }
        }
    }

    /// The bits of something new, which would otherwise get what the umask leaves of 0666 or 0777.
    pub fn bits_of_new(&self, directory: bool) -> u32 {
        self.bits(if directory { 0o777 } else { 0o666 } & !UMASK, directory)
    }
}

/// `u=rw+x` is two clauses for the same people.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let start = text.find(['=', '+', '-'])?;
    let (who, mut rest) = text.split_at(start);
    if !who.chars().all(|c| "ugoa".contains(c)) {
        return None;
    }
    let who = if who.contains('a') { "ugo".to_owned() } else { who.to_owned() };
    let mut found = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let body = &rest[1..];
        let end = body.find(['=', '+', '-']).unwrap_or(body.len());
        let perms = &body[..end];
        let copies_one = matches!(perms, "u" | "g" | "o");
        if !copies_one && !perms.chars().all(|c| "rwxXst".contains(c)) {
            return None;
        }
        found.push(Clause { who: who.clone(), operator, perms: perms.to_owned() });
        rest = &body[end..];
    }
    Some(found)
}

impl Clause {
    fn apply(&self, current: u32, directory: bool) -> u32 {
        let who = if self.who.is_empty() { "ugo" } else { &self.who };
        let mut bits = current;
        for person in who.chars() {
            let (shift, special) = match person {
                'u' => (6, 0o4000),
                'g' => (3, 0o2000),
                _ => (0, 0),
            };
            let mut wanted = self.triple(current, directory) << shift;
            if self.who.is_empty() {
                wanted &= !UMASK;
            }
            if self.perms.contains('s') {
                wanted |= special;
            }
            if self.perms.contains('t') {
                wanted |= 0o1000;
            }
            bits = match self.operator {
                '+' => bits | wanted,
                '-' => bits & !wanted,
                // chmod keeps suid and sgid of directories unless they are named
                _ => bits & !((0o7 << shift) | if directory { 0 } else { special }) | wanted,
            };
        }
        bits
    }

    /// The rwx bits that the permissions stand for.
    fn triple(&self, current: u32, directory: bool) -> u32 {
        self.perms.chars().fold(0, |bits, perm| {
            bits | match perm {
                'r' => 0o4,
                'w' => 0o2,
                'x' => 0o1,
                'X' if directory || current & 0o111 != 0 => 0o1,
                'u' => (current >> 6) & 0o7,
                'g' => (current >> 3) & 0o7,
                'o' => current & 0o7,
                _ => 0,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Deserialize, Default, Debug, PartialEq)]
    #[serde(default)]
    struct Sample {
        #[serde(deserialize_with = "flag")]
        flag: bool,
        #[serde(deserialize_with = "opt_list")]
        list: Option<Vec<String>>,
        #[serde(deserialize_with = "opt_text")]
        text: Option<String>,
        #[serde(deserialize_with = "opt_int")]
        int: Option<i64>,
        #[serde(deserialize_with = "opt_mode")]
        mode: Option<Mode>,
    }

    #[test]
    fn strings_of_key_value_arguments_become_what_they_mean() {
        let sample: Sample =
            serde_json::from_value(json!({"flag": "yes", "list": "a, b,", "text": 8080, "int": "12", "mode": "0640"}))
                .unwrap();
        assert_eq!(
            sample,
            Sample {
                flag: true,
                list: Some(vec!["a".into(), "b".into()]),
                text: Some("8080".into()),
                int: Some(12),
                mode: Some(Mode::Octal(0o640))
            }
        );
        for wrong in [json!({"flag": "perhaps"}), json!({"int": "x"}), json!({"mode": "u=q"}), json!({"mode": 70000})] {
            assert!(serde_json::from_value::<Sample>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn modes() {
        // mode, current, directory, bits
        let table = [
            (json!(420), 0, false, 0o644),
            (json!("644"), 0, false, 0o644),
            (json!("01777"), 0, true, 0o1777),
            (json!("u=rw,g=r,o="), 0o777, false, 0o640),
            (json!("a+X"), 0o644, false, 0o644),
            (json!("a+X"), 0o744, false, 0o755),
            (json!("u=rwX,g=rX,o=rX"), 0o600, true, 0o755),
            (json!("g-w,o-rwx"), 0o666, false, 0o640),
            (json!("+x"), 0o644, false, 0o755),
            (json!("u+s,g+s,+t"), 0o755, true, 0o7755),
            (json!("g=u"), 0o740, false, 0o770),
            (json!("u=rw+x"), 0o000, false, 0o700),
            (json!("=r"), 0o777, false, 0o444),
        ];
        for (mode, current, directory, bits) in table {
            let parsed = Mode::parse(&mode).unwrap();
            assert_eq!(parsed.bits(current, directory), bits, "{mode} on {current:o}");
        }
    }
}
