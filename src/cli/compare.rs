//! `provision compare A B`: two clients side by side. Asks with `playbooks/survey.yml`; changes nothing.

use std::collections::HashSet;

use clap::Args;
use indexmap::IndexSet;

use super::aspects::{self, Aspect, Aspects, COMMON, shown};
use super::common::FleetFlags;
use super::survey::survey;
use crate::error::{Error, Result};
use crate::report::style::{bold, green, table};

#[derive(Args)]
#[command(after_help = "Examples:
  provision compare clienteA clienteB             what differs
  provision compare clienteA clienteB --all-rows  what is the same, too
  provision compare clienteA clienteB --services hub --json

Compared are the server (OS, kernel, Docker), packages that matter, open ports, services with versions, images, digests
and settings, and containers of no service. Of secrets it is only told whether they are the same.

Exit codes: 0 nothing differs, 1 something does or a client could not be reached, 2 wrong usage.")]
pub struct Flags {
    /// A client
    #[arg(value_name = "A")]
    left: String,
    /// The other one
    #[arg(value_name = "B")]
    right: String,
    /// Only these services, and nothing of the servers
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<String>>,
    /// Show what is the same, too
    #[arg(long)]
    all_rows: bool,
    /// One JSON object per row
    #[arg(long)]
    json: bool,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let one = |pattern: &str| match fleet.select(pattern)?.as_slice() {
        [host] => Ok(host.clone()),
        several => Err(Error::new(format!("`{pattern}` is {} clients", several.len()))
            .hint("compare takes two; `provision odd` looks for what stands out among many")),
    };
    let (left, right) = (one(&flags.left)?, one(&flags.right)?);
    if left == right {
        return Err(Error::new(format!("`{left}` is the same client twice")).hint("name two"));
    }
    let found = survey(&fleet, &[left.clone(), right.clone()], flags.ask_become_pass).await?;
    let only = flags.services.as_ref().map(|names| found.services(&fleet, names)).transpose()?;
    let lost = aspects::tell_trouble(&fleet, &found);
    let all = aspects::all(&fleet, &found);
    let (Some(a), Some(b)) = (all.get(&left), all.get(&right)) else { return Ok(1) };
    let mut rows = rows(a, b);
    rows.retain(|row| only.as_ref().is_none_or(|only| only.contains(&row.aspect.0)));
    let differ = rows.iter().filter(|row| row.differs).count();
    rows.retain(|row| row.differs || flags.all_rows);
    if flags.json {
        for Row { aspect: (section, name), a, b, differs } in &rows {
            let line = serde_json::json!({"section": section, "name": name, "differs": differs, "values": {&left: a, &right: b}});
            println!("{line}");
        }
    } else if !rows.is_empty() {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let mut lines = vec![vec!["WHAT".to_owned(), "NAME".to_owned(), left.clone(), right.clone()]];
        lines.extend(rows.iter().map(|row| {
            let (section, name) = row.aspect.clone();
            vec![section, name, dash(&row.a), dash(&row.b)]
        }));
        for (index, line) in table(&lines).iter().enumerate() {
            println!("{}", if index == 0 { bold(line) } else { line.clone() });
        }
    }
    match differ {
        0 => eprintln!("{}", green(&format!("{left} and {right} are the same"))),
        count => eprintln!("{count} differences"),
    }
    Ok(u8::from(differ + lost > 0))
}

#[derive(Debug)]
struct Row {
    aspect: Aspect,
    a: Option<String>,
    b: Option<String>,
    differs: bool,
}

/// Both clients' rows, in the order of the first. A service that only one has is one row.
fn rows(a: &Aspects, b: &Aspects) -> Vec<Row> {
    let aspects: IndexSet<&Aspect> = a.keys().chain(b.keys()).collect();
    let sections = |of: &Aspects| of.keys().map(|(section, _)| section.clone()).collect::<HashSet<_>>();
    let (of_a, of_b) = (sections(a), sections(b));
    let alone = |(section, name): &Aspect| {
        let both = of_a.contains(section) && of_b.contains(section);
        !COMMON.contains(&section.as_str()) && !both && name != "version"
    };
    let mut all: Vec<Row> = Vec::new();
    for aspect in aspects.into_iter().filter(|aspect| !alone(aspect)) {
        let (left, right) = (a.get(aspect), b.get(aspect));
        let differs = left.map(|cell| &cell.print) != right.map(|cell| &cell.print);
        let (said, mut other) = (left.map(|cell| shown(Some(cell))), right.map(|cell| shown(Some(cell))));
        // what may not be shown looks the same
        if differs && said == other {
            other = other.map(|text| format!("{text}, another one"));
        }
        all.push(Row { aspect: aspect.clone(), a: said, b: other, differs });
    }
    // sections of the second alone come last; each stays together
    let order: IndexSet<String> = all.iter().map(|row| row.aspect.0.clone()).collect();
    all.sort_by_key(|row| order.get_index_of(&row.aspect.0));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::aspects::Cell;

    fn aspects(rows: &[(&str, &str, &str, &str)]) -> Aspects {
        let cell = |print: &str, shown: &str| Cell { print: print.to_owned(), shown: shown.to_owned() };
        rows.iter()
            .map(|(section, name, print, shown)| ((section.to_string(), name.to_string()), cell(print, shown)))
            .collect()
    }

    #[test]
    fn what_differs_is_told_and_a_secret_never() {
        let a = aspects(&[
            ("server", "OS", "13", "13"),
            ("hub", "version", "1", "1"),
            ("hub", "setting KEY", "f1", "(secret)"),
            ("hub", "setting SAME", "f2", "(secret)"),
            ("chat", "version", "1", "1"),
            ("chat", "mode", "debug", "debug"),
        ]);
        let b = aspects(&[
            ("server", "OS", "12", "12"),
            ("port", "8080", "nc", "nc"),
            ("hub", "version", "1", "1"),
            ("hub", "setting KEY", "f9", "(secret)"),
            ("hub", "setting SAME", "f2", "(secret)"),
        ]);
        let different: Vec<Row> = rows(&a, &b).into_iter().filter(|row| row.differs).collect();
        let told: Vec<String> = different
            .iter()
            .map(|row| format!("{} {} {:?} {:?}", row.aspect.0, row.aspect.1, row.a.as_deref(), row.b.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                "server OS Some(\"13\") Some(\"12\")",
                "hub setting KEY Some(\"(secret)\") Some(\"(secret), another one\")",
                "chat version Some(\"1\") None",
                "port 8080 None Some(\"nc\")",
            ]
        );
        assert_eq!(rows(&a, &a).iter().filter(|row| row.differs).count(), 0);
    }
}
