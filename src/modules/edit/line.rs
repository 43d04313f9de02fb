//! `lineinfile`: one line is there, once, or is not there.

use fancy_regex::Regex;
use serde::Deserialize;

use super::{Common, Edited, Where, bare, insert, line_end, split, task};
use crate::modules::args::{self, State};
use crate::modules::pattern::{self, Replacement};
use crate::modules::{Build, typed};
use crate::plan::{Failure, Module, Object};

pub(super) const ARGS: &[&str] = &[
    "path",
    "dest",
    "destfile",
    "name",
    "regexp",
    "regex",
    "search_string",
    "line",
    "value",
    "state",
    "backrefs",
    "insertafter",
    "insertbefore",
    "firstmatch",
    "create",
    "backup",
    "validate",
    "mode",
    "owner",
    "group",
];

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "regex", deserialize_with = "args::opt_text")]
    regexp: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    search_string: Option<String>,
    #[serde(default, alias = "value", deserialize_with = "args::opt_text")]
    line: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::flag")]
    backrefs: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    insertafter: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    insertbefore: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    firstmatch: bool,
    #[serde(flatten)]
    common: Common,
}

/// How `lineinfile` knows its line.
enum Needle {
    Regex(Regex),
    Text(String),
    /// The line itself, nothing else.
    Line,
}

pub(super) fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = typed(ARGS, args)?;
    let needle = match (args.regexp, args.search_string) {
        (Some(_), Some(_)) => return Err(Failure::new("`regexp` and `search_string` exclude each other")),
        (Some(regexp), None) => Needle::Regex(pattern::compile(&regexp, "")?),
        (None, Some(text)) => Needle::Text(text),
        (None, None) => Needle::Line,
    };
    if args.state == State::Absent {
        if matches!(needle, Needle::Line) && args.line.is_none() {
            return Err(Failure::new("`state: absent` needs one of `regexp`, `search_string` and `line`"));
        }
        let line = args.line;
        return task(args.common, build, Box::new(move |old| remove_line(old, &needle, line.as_deref())));
    }
    let Some(line) = args.line else { return Err(Failure::new("argument `line` is missing")) };
    let backrefs = match (args.backrefs, &needle) {
        (true, Needle::Regex(_)) => Some(Replacement::parse(&line)?),
        (true, _) => return Err(Failure::new("`backrefs` needs `regexp`")),
        (false, _) => None,
    };
    let place = Where::parse(args.insertafter.as_deref(), args.insertbefore.as_deref())?;
    let rule = Rule { needle, line, backrefs, place, first: args.firstmatch };
    task(args.common, build, Box::new(move |old| rule.apply(old)))
}

struct Rule {
    needle: Needle,
    line: String,
    backrefs: Option<Replacement>,
    place: Where,
    first: bool,
}

impl Rule {
    fn apply(&self, old: Option<&str>) -> Result<Edited, Failure> {
        let mut lines = split(old);
        let mut msg = "";
        let matched = self.matched(&lines)?;
        let exact = || lines.iter().rposition(|line| bare(line) == self.line);
        if let Some(at) = matched.or_else(|| if self.backrefs.is_none() { exact() } else { None }) {
            let new = match &self.backrefs {
                Some(replacement) => self.expanded(replacement, bare(&lines[at]))?,
                None => self.line.clone(),
            };
            let old = bare(&lines[at]);
            // a line given with its own newline, or several lines at once
            if old != new.trim_end_matches('\n') {
                let end = lines[at][old.len()..].to_owned();
                lines[at] = format!("{}{end}", new.strip_suffix('\n').unwrap_or(&new));
                msg = "line replaced";
            }
        } else if self.backrefs.is_none() {
            let at = self.place.index(&lines, self.first)?.unwrap_or(lines.len());
            // nothing to do if the neighbour is this line already
            let neighbour = match self.place {
                Where::Before(_) => at.checked_sub(1),
                Where::Begin | Where::End | Where::After(_) => Some(at),
            };
            if neighbour.and_then(|at| lines.get(at)).is_none_or(|line| bare(line) != self.line) {
                let end = line_end(&lines);
                let new = format!("{}{end}", self.line.strip_suffix('\n').unwrap_or(&self.line));
                insert(&mut lines, at, vec![new]);
                msg = "line added";
            }
        }
        Ok(Edited { text: lines.concat(), msg: msg.to_owned(), found: None })
    }

    /// The line that the needle finds: the last, or the first if that is wanted.
    fn matched(&self, lines: &[String]) -> Result<Option<usize>, Failure> {
        let mut found = None;
        for (at, line) in lines.iter().enumerate() {
            let hit = match &self.needle {
                Needle::Regex(regex) => pattern::search(regex, bare(line))?,
                Needle::Text(text) => line.contains(text.as_str()),
                Needle::Line => false,
            };
            if hit {
                found = Some(at);
                if self.first {
                    break;
                }
            }
        }
        Ok(found)
    }

    fn expanded(&self, replacement: &Replacement, line: &str) -> Result<String, Failure> {
        let Needle::Regex(regex) = &self.needle else { return Ok(self.line.clone()) };
        match pattern::captures(regex, line)? {
            Some(found) => replacement.expand(&found),
            None => Ok(self.line.clone()),
        }
    }
}

fn remove_line(old: Option<&str>, needle: &Needle, line: Option<&str>) -> Result<Edited, Failure> {
    let mut found = 0;
    let mut kept = String::new();
    for current in split(old) {
        let hit = match needle {
            Needle::Regex(regex) => pattern::search(regex, bare(&current))?,
            Needle::Text(text) => current.contains(text.as_str()),
            Needle::Line => Some(bare(&current)) == line,
        };
        match hit {
            true => found += 1,
            false => kept.push_str(&current),
        }
    }
    let msg = if found > 0 { format!("{found} line(s) removed") } else { String::new() };
    Ok(Edited { text: kept, msg, found: Some(found) })
}
