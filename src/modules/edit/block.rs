//! `blockinfile`: a block of lines between two markers.

use serde::Deserialize;

use super::{Common, Edited, Where, bare, insert, line_end, split, task};
use crate::modules::args::{self, State};
use crate::modules::{Build, typed};
use crate::plan::{Failure, Module, Object};

pub(super) const ARGS: &[&str] = &[
    "path",
    "dest",
    "destfile",
    "name",
    "block",
    "content",
    "marker",
    "marker_begin",
    "marker_end",
    "state",
    "insertafter",
    "insertbefore",
    "prepend_newline",
    "append_newline",
    "create",
    "backup",
    "validate",
    "mode",
    "owner",
    "group",
];

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "content", deserialize_with = "args::text")]
    block: String,
    #[serde(default = "marker", deserialize_with = "args::text")]
    marker: String,
    #[serde(default = "begin", deserialize_with = "args::text")]
    marker_begin: String,
    #[serde(default = "end", deserialize_with = "args::text")]
    marker_end: String,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::opt_text")]
    insertafter: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    insertbefore: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    prepend_newline: bool,
    #[serde(default, deserialize_with = "args::flag")]
    append_newline: bool,
    #[serde(flatten)]
    common: Common,
}

fn marker() -> String {
    "# {mark} ANSIBLE MANAGED BLOCK".to_owned()
}

fn begin() -> String {
    "BEGIN".to_owned()
}

fn end() -> String {
    "END".to_owned()
}

pub(super) fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = typed(ARGS, args)?;
    let place = Where::parse(args.insertafter.as_deref(), args.insertbefore.as_deref())?;
    let rule = Rule {
        first: args.marker.replace("{mark}", &args.marker_begin),
        last: args.marker.replace("{mark}", &args.marker_end),
        // an empty block is one that is to go
        block: if args.state == State::Present { args.block } else { String::new() },
        place,
        blank_before: args.prepend_newline,
        blank_after: args.append_newline,
    };
    if rule.first == rule.last {
        return Err(Failure::new("the markers of begin and end are the same line")
            .hint("`marker` needs {mark}, which becomes BEGIN and END"));
    }
    task(args.common, build, Box::new(move |old| rule.apply(old)))
}

struct Rule {
    first: String,
    last: String,
    block: String,
    place: Where,
    blank_before: bool,
    blank_after: bool,
}

impl Rule {
    fn apply(&self, old: Option<&str>) -> Result<Edited, Failure> {
        let mut lines = split(old);
        let end = line_end(&lines);
        let at = |lines: &[String], marker: &str| lines.iter().rposition(|line| bare(line) == marker);
        let (first, last) = (at(&lines, &self.first), at(&lines, &self.last));
        let there = first.is_some() && last.is_some();
        let place = match (first, last) {
            (Some(first), Some(last)) => {
                let (from, to) = (first.min(last), first.max(last));
                lines.drain(from..=to);
                from
            }
            _ => self.place.index(&lines, false)?.unwrap_or(lines.len()),
        };
        let msg = match (there, self.block.is_empty()) {
            (true, true) => "block removed",
            (false, true) => "",
            (true, false) => "block updated",
            (false, false) => "block inserted",
        };
        if !self.block.is_empty() {
            let inside = self.block.lines();
            let mut new: Vec<String> = [self.first.as_str()]
                .into_iter()
                .chain(inside)
                .chain([self.last.as_str()])
                .map(|line| format!("{line}{end}"))
                .collect();
            let blank = |line: Option<&String>| line.is_none_or(|line| bare(line).is_empty());
            if self.blank_before && place > 0 && !blank(lines.get(place - 1)) {
                new.insert(0, end.to_owned());
            }
            if self.blank_after && !blank(lines.get(place)) {
                new.push(end.to_owned());
            }
            insert(&mut lines, place, new);
        }
        let text = lines.concat();
        let msg = if old.unwrap_or_default() == text { "" } else { msg };
        Ok(Edited { text, msg: msg.to_owned(), found: None })
    }
}
