//! Host patterns: `web:&prod:!old`, `a,b`, `web[0:2]`, `*.example`, `~^web\d`, `all`, `@file`, `@failed`.
//!
//! As in Ansible the order of a selection is that of the pattern and, within a group, that of the inventory;
//! exclusions come last, wherever they stand. Unlike in Ansible an unknown name is an error, also behind `!`.

use std::path::Path;

use fancy_regex::Regex;
use indexmap::IndexSet;

use super::Inventory;
use crate::error::{Error, Place, Result, nearest};

/// Names in the list that an error gives.
const MAX_NAMES: usize = 12;

pub fn select(inventory: &Inventory, pattern: &str, failed: &[String]) -> Result<Vec<String>> {
    let terms = split(inventory, pattern);
    if terms.is_empty() {
        return Err(Error::new("the host pattern is empty").hint("`all` means every host"));
    }
    let (mut keep, mut only, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for term in &terms {
        match (term.strip_prefix('&'), term.strip_prefix('!')) {
            (Some(rest), _) => only.push(rest),
            (_, Some(rest)) => without.push(rest),
            _ => keep.push(term.as_str()),
        }
    }
    if keep.is_empty() {
        keep.push("all");
    }
    let mut errors = Vec::new();
    let mut found = |term: &str| {
        one(inventory, term, failed).unwrap_or_else(|error| {
            errors.push(error);
            IndexSet::new()
        })
    };
    let mut selected: IndexSet<String> = keep.into_iter().flat_map(&mut found).collect();
    for term in only {
        let allowed = found(term);
        selected.retain(|host| allowed.contains(host));
    }
    for term in without {
        let refused = found(term);
        selected.retain(|host| !refused.contains(host));
    }
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(selected.into_iter().collect()),
    }
}

/// At commas, and at colons outside of brackets unless the whole is a host's name or an IPv6 address.
fn split(inventory: &Inventory, pattern: &str) -> Vec<String> {
    let mut terms = Vec::new();
    for part in pattern.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let bare = part.trim_start_matches(['!', '&']);
        if inventory.hosts.contains_key(bare) || bare.parse::<std::net::Ipv6Addr>().is_ok() || bare.starts_with('@') {
            terms.push(part.to_owned());
            continue;
        }
        let mut depth = 0_usize;
        let mut term = String::new();
        for character in part.chars().chain([':']) {
            match character {
                '[' => depth += 1,
                ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            match character == ':' && depth == 0 {
                true => terms.extend(Some(std::mem::take(&mut term)).filter(|term| !term.trim().is_empty())),
                false => term.push(character),
            }
        }
        // An unclosed bracket has swallowed the colon that was added.
        terms.extend(Some(term.trim_end_matches(':').to_owned()).filter(|term| !term.is_empty()));
    }
    terms.into_iter().map(|term| term.trim().to_owned()).collect()
}

fn one(inventory: &Inventory, term: &str, failed: &[String]) -> Result<IndexSet<String>> {
    match term.strip_prefix('@') {
        // Hosts that failed and have left the inventory since are not failures any more.
        Some("failed") => {
            return Ok(failed.iter().filter(|host| inventory.host(host).is_some()).cloned().collect());
        }
        Some(file) => return listed(inventory, file, failed),
        None => {}
    }
    let (name, index) = subscript(inventory, term)?;
    let mut hosts: IndexSet<String> = IndexSet::new();
    let matcher = Matcher::of(name)?;
    let groups: Vec<&Vec<String>> =
        inventory.groups.iter().filter(|(group, _)| matcher.matches(group)).map(|(_, hosts)| hosts).collect();
    let any_group = !groups.is_empty();
    hosts.extend(groups.into_iter().flatten().cloned());
    if !any_group || matcher.is_wide() || name.contains('.') {
        hosts.extend(inventory.hosts.keys().filter(|host| matcher.matches(host)).cloned());
    }
    if hosts.is_empty() && matches!(name, "localhost" | "127.0.0.1" | "::1") {
        hosts.insert("localhost".to_owned());
    }
    if hosts.is_empty() && !any_group && !matcher.is_wide() {
        return Err(unknown(inventory, name));
    }
    let Some((first, last)) = index else { return Ok(hosts) };
    let count = hosts.len() as i64;
    let at = |index: i64| if index < 0 { index + count } else { index };
    match last {
        None if (0..count).contains(&at(first)) => Ok(hosts.into_iter().skip(at(first) as usize).take(1).collect()),
        None => Err(Error::new(format!("`{term}`: `{name}` has {count} hosts, counted from 0"))),
        Some(last) => {
            let (first, last) = (at(first).max(0), at(last).min(count - 1));
            let hosts = hosts.into_iter().enumerate().map(|(at, host)| (at as i64, host));
            Ok(hosts.filter(|(at, _)| (first..=last).contains(at)).map(|(_, host)| host).collect())
        }
    }
}

/// A file with one pattern per line.
fn listed(inventory: &Inventory, file: &str, failed: &[String]) -> Result<IndexSet<String>> {
    let text = std::fs::read_to_string(Path::new(file))
        .map_err(|error| Error::new(format!("the list of hosts `{file}` cannot be read: {error}")))?;
    let mut hosts = IndexSet::new();
    for (index, line) in text.lines().map(str::trim).enumerate() {
        if line.is_empty() || line.starts_with(['#', '@']) {
            continue;
        }
        let found = select(inventory, line, failed);
        let place = Place::new(Path::new(file), index + 1, 1);
        hosts.extend(found.map_err(|error| Error {
            place: Some(place),
            source_line: Some(line.to_owned()),
            ..error
        })?);
    }
    Ok(hosts)
}

/// First index, and for a range the last one.
type Subscript = Option<(i64, Option<i64>)>;

/// `web[1]`, `web[-1]`, `web[0:2]`, `web[1:]`; not the character sets of a glob.
fn subscript<'t>(inventory: &Inventory, term: &'t str) -> Result<(&'t str, Subscript)> {
    if term.starts_with('~') || inventory.hosts.contains_key(term) {
        return Ok((term, None));
    }
    let Some((name, index)) = term.strip_suffix(']').and_then(|rest| rest.rsplit_once('[')) else {
        return match term.contains('[') && !term.contains(']') {
            true => Err(Error::new(format!("`{term}` opens a bracket and does not close it"))),
            false => Ok((term, None)),
        };
    };
    if let Ok(single) = index.parse::<i64>() {
        return Ok((name, Some((single, None))));
    }
    let Some((first, last)) = index.split_once([':', '-']) else { return Ok((term, None)) };
    match (first.parse::<u32>(), last, last.parse::<u32>()) {
        (Ok(first), "", _) => Ok((name, Some((first.into(), Some(-1))))),
        (Ok(first), _, Ok(last)) => Ok((name, Some((first.into(), Some(last.into()))))),
        _ => Ok((term, None)),
    }
}

enum Matcher<'t> {
    Name(&'t str),
    Wide(Box<Regex>),
}

impl<'t> Matcher<'t> {
    fn of(name: &'t str) -> Result<Self> {
        let (regex, what) = match name.strip_prefix('~') {
            // Python's `match` holds at the start only.
            Some(regex) => (format!("^(?:{regex})"), "regular expression"),
            None if name.contains(['*', '?', '[']) => (glob(name), "glob"),
            None => return Ok(Matcher::Name(name)),
        };
        let regex =
            Regex::new(&regex).map_err(|error| Error::new(format!("`{name}` is not a valid {what}: {error}")))?;
        Ok(Matcher::Wide(Box::new(regex)))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Matcher::Name(wanted) => *wanted == name,
            Matcher::Wide(regex) => regex.is_match(name).unwrap_or(false),
        }
    }

    fn is_wide(&self) -> bool {
        matches!(self, Matcher::Wide(_))
    }
}

/// Python's `fnmatch`: `*`, `?`, `[abc]`, `[!abc]`.
fn glob(pattern: &str) -> String {
    let mut regex = String::from("(?s)^");
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '[' => match rest.split_once(']') {
                Some((set, after)) if !set.is_empty() && set != "!" => {
                    let (not, set) = set.strip_prefix('!').map_or(("", set), |set| ("^", set));
                    let set = set.replace('\\', "\\\\").replace('[', "\\[").replace('^', "\\^").replace("&&", "&\\&");
                    regex.push_str(&format!("[{not}{set}]"));
                    rest = after;
                }
                _ => regex.push_str("\\["),
            },
            other => regex.push_str(&fancy_regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    regex.push('$');
    regex
}

fn unknown(inventory: &Inventory, name: &str) -> Error {
    let names = || inventory.groups.keys().chain(inventory.hosts.keys()).map(String::as_str);
    let error = Error::new(format!("unknown host or group `{name}`"));
    if let Some(near) = nearest(name, names()) {
        return error.hint(format!("did you mean `{near}`?"));
    }
    let listed = |names: Vec<&str>| match names.len() {
        0 => "none".to_owned(),
        count if count > MAX_NAMES => format!("{} and {} more", names[..MAX_NAMES].join(", "), count - MAX_NAMES),
        _ => names.join(", "),
    };
    let groups = inventory.groups.keys().map(String::as_str).filter(|name| *name != "ungrouped").collect();
    let hosts = inventory.hosts.keys().map(String::as_str).collect();
    error.hint(format!("groups: {}; hosts: {}", listed(groups), listed(hosts)))
}
