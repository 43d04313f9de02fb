//! `provision odd`: what only one or two of many clients have. Asks with `playbooks/survey.yml`; changes nothing.
//!
//! Something is odd where more than half of the clients agree, and a few have something else, or nothing. Where each
//! client has its own, as with domains and passwords, nobody is odd.

use clap::Args;
use indexmap::{IndexMap, IndexSet};

use super::aspects::{self, Aspect, Aspects, COMMON, shown};
use super::common::FleetFlags;
use super::survey::survey;
use crate::error::{Error, Result};
use crate::report::style::{bold, green, table};

#[derive(Args)]
#[command(after_help = "Examples:
  provision odd                       among all clients
  provision odd --host prod --most 1  what only a single one has
  provision odd --json                for programs

Looked at are the same things as by compare: OS, kernel, Docker, packages, open ports, containers of no service; of each
service, among the clients that have it: version, images, digests, settings. A secret is told as odd only where most
clients share one. At least three clients are needed.

Exit codes: 0 nothing is odd, 1 something is or a client could not be reached, 2 wrong usage.")]
pub struct Flags {
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all", visible_alias = "hosts")]
    host: String,
    /// How many clients at most may have it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    most: u32,
    /// One JSON object per oddity
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
    let hosts = fleet.select(&flags.host)?;
    if hosts.len() < 3 {
        return Err(Error::new(format!("`{}`: {} of the at least 3 clients that odd needs", flags.host, hosts.len()))
            .hint("`provision compare A B` lays two side by side"));
    }
    let found = survey(&fleet, &hosts, flags.ask_become_pass).await?;
    let lost = aspects::tell_trouble(&fleet, &found);
    let all = aspects::all(&fleet, &found);
    let odd = odd(&all, flags.most as usize);
    if flags.json {
        for one in &odd {
            let (section, name) = &one.aspect;
            println!(
                "{}",
                serde_json::json!({"section": section, "name": name, "hosts": one.hosts, "has": one.has,
                    "others": one.others, "agree": one.agree, "of": one.of})
            );
        }
    } else if !odd.is_empty() {
        let mut rows = vec![["WHAT", "NAME", "CLIENTS", "HAVE", "MOST HAVE"].map(str::to_owned).to_vec()];
        rows.extend(odd.iter().map(|one| {
            let (section, name) = one.aspect.clone();
            let most = format!("{} ({} of {})", one.others, one.agree, one.of);
            vec![section, name, one.hosts.join(", "), one.has.clone(), most]
        }));
        for (index, line) in table(&rows).iter().enumerate() {
            println!("{}", if index == 0 { bold(line) } else { line.clone() });
        }
    }
    match odd.len() {
        0 => eprintln!("{}", green(&format!("nothing is odd among {} clients", all.len()))),
        count => eprintln!("{count} odd among {} clients", all.len()),
    }
    Ok(u8::from(odd.len() + lost > 0))
}

/// What few have.
#[derive(Debug, PartialEq)]
struct Odd {
    aspect: Aspect,
    hosts: Vec<String>,
    has: String,
    /// What more than half have.
    others: String,
    agree: usize,
    of: usize,
}

fn odd(all: &IndexMap<String, Aspects>, most: usize) -> Vec<Odd> {
    let aspects: IndexSet<&Aspect> = all.values().flat_map(IndexMap::keys).collect();
    let mut found = Vec::new();
    for aspect in aspects {
        let section = aspect.0.as_str();
        // a service is compared among those that have it
        let has =
            |of: &Aspects| COMMON.contains(&section) || of.contains_key(&(section.to_owned(), "version".to_owned()));
        let hosts: Vec<(&String, &Aspects)> = all.iter().filter(|(_, of)| has(of)).collect();
        let mut groups: IndexMap<Option<&str>, Vec<&str>> = IndexMap::new();
        for (host, of) in &hosts {
            groups.entry(of.get(aspect).map(|cell| cell.print.as_str())).or_default().push(host);
        }
        let Some((usual, agree)) =
            groups.iter().map(|(print, group)| (*print, group.len())).find(|(_, count)| 2 * count > hosts.len())
        else {
            continue;
        };
        let cell_of = |host: &str| all.get(host).and_then(|of| of.get(aspect));
        let others = groups.get(&usual).and_then(|group| group.first()).map(|host| shown(cell_of(host)));
        let others = others.unwrap_or_default();
        for (_, group) in groups.iter().filter(|(print, group)| **print != usual && group.len() <= most) {
            let has = group.first().map(|host| shown(cell_of(host))).unwrap_or_default();
            found.push(Odd {
                aspect: aspect.clone(),
                hosts: group.iter().map(|host| (*host).to_owned()).collect(),
                // what may not be shown looks the same
                has: if has == others { format!("{has}, another one") } else { has },
                others: others.clone(),
                agree,
                of: hosts.len(),
            });
        }
    }
    // each section together, in the order of the first client
    let order: IndexSet<String> = found.iter().map(|one| one.aspect.0.clone()).collect();
    found.sort_by_key(|one| order.get_index_of(&one.aspect.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::aspects::Cell;

    /// Hosts with `section name value`, separated by commas.
    fn fleet(hosts: &[(&str, &str)]) -> IndexMap<String, Aspects> {
        let aspects = |text: &str| {
            let rows = text.split(", ").filter(|row| !row.is_empty()).map(|row| {
                let mut words = row.splitn(3, ' ').map(str::to_owned);
                let mut next = || words.next().unwrap_or_default();
                let (section, name, value) = (next(), next(), next());
                let shown = if value.starts_with('f') { "(secret)".to_owned() } else { value.clone() };
                ((section, name), Cell { print: value, shown })
            });
            rows.collect()
        };
        hosts.iter().map(|(host, text)| ((*host).to_owned(), aspects(text))).collect()
    }

    fn told(hosts: &[(&str, &str)], most: usize) -> Vec<String> {
        let tell = |one: Odd| {
            let (section, name) = &one.aspect;
            format!("{section} {name}: {} {}; {} {}/{}", one.hosts.join("+"), one.has, one.others, one.agree, one.of)
        };
        odd(&fleet(hosts), most).into_iter().map(tell).collect()
    }

    #[test]
    fn few_against_many_are_odd() {
        let hosts =
            [("a", "server OS 13"), ("b", "server OS 13"), ("c", "server OS 12"), ("d", "server OS 13, port 99 nc")];
        assert_eq!(told(&hosts, 2), ["server OS: c 12; 13 3/4", "port 99: d nc; - 3/4"]);
        let pair = [&hosts[..], &[("e", "server OS 12"), ("f", "server OS 13"), ("g", "server OS 13")]].concat();
        assert_eq!(told(&pair, 2), ["server OS: c+e 12; 13 5/7", "port 99: d nc; - 6/7"]);
        assert_eq!(told(&pair, 1), ["port 99: d nc; - 6/7"]);
    }

    #[test]
    fn where_each_has_its_own_nobody_is_odd_and_a_service_counts_where_it_is() {
        let own = [
            ("a", "hub version 1, hub DOMAIN a"),
            ("b", "hub version 1, hub DOMAIN b"),
            ("c", "hub version 1, hub DOMAIN c"),
            ("d", ""),
            ("e", ""),
        ];
        assert_eq!(told(&own, 2), Vec::<String>::new());
        let secret = [
            ("a", "hub version 1, hub KEY f1"),
            ("b", "hub version 1, hub KEY f1"),
            ("c", "hub version 2, hub KEY f2"),
        ];
        assert_eq!(told(&secret, 2), ["hub version: c 2; 1 2/3", "hub KEY: c (secret), another one; (secret) 2/3"]);
        let halves = [("a", "server OS 1"), ("b", "server OS 1"), ("c", "server OS 2"), ("d", "server OS 2")];
        assert_eq!(told(&halves, 2), Vec::<String>::new());
    }
}
