//! `lineinfile`, `blockinfile` and `replace`: edits of text files in place.
//!
//! ```yaml
//! - name: No password logins
//!   lineinfile: {path: /etc/ssh/sshd_config, regexp: '^#?PasswordAuthentication', line: PasswordAuthentication no}
//!
//! - name: The names of this fleet
//!   blockinfile: {path: /etc/hosts, block: "10.0.0.2 db\n10.0.0.3 cache"}
//!
//! - name: The old domain is gone
//!   replace: {path: /etc/app.conf, regexp: 'old\.example\.com', replace: new.example.com}
//! ```
//!
//! All three are one function from text to text. The file is read, edited here, and written whole if it is still what
//! was read. CRLF line ends and a missing final newline stay as they are. Leaves out files that are not UTF-8 and
//! files above 8 MiB.

use fancy_regex::Regex;
use serde::Deserialize;

use crate::plan::{
    Change, Destination, Diff, Expect, Failure, FileKind, FileStat, Module, Object, Observed, Operation, Output, Plan,
    Query, Return, Script, Then, Write,
};

use super::args::{self, Mode, State};
use super::attributes::{Attributes, make_directories, parent};
use super::observed;
use super::pattern::{self, Replacement};
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "lineinfile", aliases: &[], args: LINE, free_form: None, build: build_line },
    Spec { name: "blockinfile", aliases: &[], args: BLOCK, free_form: None, build: build_block },
    Spec { name: "replace", aliases: &[], args: REPLACE, free_form: None, build: build_replace },
];

const LINE: &[&str] = &[
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
const BLOCK: &[&str] = &[
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
const REPLACE: &[&str] = &[
    "path", "dest", "destfile", "name", "regexp", "replace", "after", "before", "backup", "validate", "encoding",
    "mode", "owner", "group",
];

/// Larger text files are no settings.
const LIMIT: u64 = 8 * 1024 * 1024;

/// What the three have in common.
#[derive(Deserialize)]
struct Common {
    #[serde(alias = "dest", alias = "destfile", alias = "name", deserialize_with = "args::text")]
    path: String,
    #[serde(default, deserialize_with = "args::flag")]
    create: bool,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    validate: Option<String>,
    #[serde(flatten)]
    attributes: Attributes,
}

/// A text after an edit, and what to say about it.
struct Edited {
    text: String,
    msg: String,
    /// How many lines or places were concerned, where the module returns that.
    found: Option<usize>,
}

/// An edit of one file. `None` is a file that is not there.
struct Task<E> {
    common: Common,
    edit: E,
}

type Edit = Box<dyn Fn(Option<&str>) -> Result<Edited, Failure> + Send + Sync>;

fn task(mut common: Common, build: &Build<'_>, edit: Edit) -> Result<Box<dyn Module>, Failure> {
    common.path = args::host_path(&common.path, build)?;
    if common.attributes.mode == Some(Mode::Preserve) {
        return Err(Failure::new("mode `preserve` is for `copy` and `template`, which have a source file"));
    }
    if common.validate.as_ref().is_some_and(|command| !command.contains("%s")) {
        return Err(Failure::new("`validate` must contain %s, where the new file's path goes"));
    }
    Ok(Box::new(Task { common, edit }))
}

impl Module for Task<Edit> {
    fn probe(&self) -> Vec<Query> {
        let path = || self.common.path.clone();
        let mut queries = vec![
            Query::Stat { path: path(), follow: false, checksum: false },
            Query::Read { path: path(), limit: LIMIT },
        ];
        if self.common.create {
            queries.push(Query::Stat { path: parent(&self.common.path), follow: true, checksum: false });
        }
        queries
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let common = &self.common;
        let itself = observed::stat(observed.answers, 0, &common.path)?;
        // an edit goes to what a link points to
        let (path, stat) = match itself.map(|stat| stat.kind) {
            Some(FileKind::Directory) => return Err(Failure::new(format!("{} is a directory", common.path))),
            Some(FileKind::Link) if observed.more.is_empty() => {
                let target = Script::new().raw("readlink -f").arg(common.path.as_str());
                let stat = Query::Stat { path: common.path.clone(), follow: true, checksum: false };
                return Ok(Plan::Ask(vec![Query::Run(target), stat]));
            }
            Some(FileKind::Link) => {
                let target = observed::output(observed.more, 0, &common.path)?.stdout_text();
                (target.trim_end_matches('\n').to_owned(), observed::stat(observed.more, 1, &common.path)?)
            }
            Some(FileKind::File | FileKind::Other) | None => (common.path.clone(), itself),
        };
        let bytes = observed::bytes(observed.answers, 1, &path)?;
        let old = bytes.map(std::str::from_utf8).transpose();
        let old = old.map_err(|_| Failure::new(format!("{path} is not UTF-8 text")))?;
        if old.is_none() && !common.create {
            return self.missing(&path);
        }
        let edited = (self.edit)(old)?;
        let mut returned = Return { values: common.attributes.returned(stat, false), ..Return::default() };
        returned = returned.with("path", path.as_str());
        if let Some(found) = edited.found {
            returned = returned.with("found", found);
        }
        returned.msg = Some(edited.msg);
        if old.unwrap_or_default() == edited.text {
            return Ok(self.attributes_only(&path, stat, returned));
        }
        let mut operations = Vec::new();
        if common.create && observed::stat(observed.answers, 2, &path)?.is_none() {
            operations.push(Operation::run(make_directories(&parent(&path), &Attributes::default())));
        }
        let mode = common.attributes.mode.as_ref().map(|mode| match stat {
            Some(stat) => mode.bits(stat.mode, false),
            None => mode.bits_of_new(false),
        });
        let diff = Diff {
            before_header: if old.is_some() { path.clone() } else { "(absent)".to_owned() },
            after_header: path.clone(),
            before: old.unwrap_or_default().to_owned(),
            after: edited.text.clone(),
        };
        let to = Destination {
            path,
            mode,
            owner: common.attributes.owner.clone(),
            group: common.attributes.group.clone(),
            expect: bytes.map_or(Expect::Absent, |bytes| Expect::Checksum(super::sha256(bytes))),
            validate: common.validate.clone(),
            backup: common.backup && old.is_some(),
        };
        operations.push(Operation::Write(Write { to, content: edited.text.into_bytes() }));
        Ok(Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: returned }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        Ok(super::place::finished(outputs))
    }
}

impl Task<Edit> {
    /// The file is not there and must not be made: right if the edit takes something away, a failure otherwise.
    fn missing(&self, path: &str) -> Result<Plan, Failure> {
        match (self.edit)(None) {
            Ok(edited) if edited.text.is_empty() => {
                Ok(Plan::NoChange(Return::msg("file not present").with("found", 0)))
            }
            Ok(_) | Err(_) => Err(Failure::new(format!("{path} does not exist"))
                .hint("`create: true` makes a new file, where the module has it")
                .with("rc", 257)),
        }
    }

    fn attributes_only(&self, path: &str, stat: Option<&FileStat>, returned: Return) -> Plan {
        let Some(stat) = stat else { return Plan::NoChange(returned) };
        let pending = self.common.attributes.pending(stat);
        if pending.is_empty() {
            let msg =
                returned.msg.clone().filter(|msg| !msg.is_empty()).unwrap_or_else(|| "already as wanted".to_owned());
            return Plan::NoChange(Return { msg: Some(msg), ..returned });
        }
        let (before, after) = pending.describe(stat);
        let diff = Diff { before_header: path.to_owned(), after_header: path.to_owned(), before, after };
        let operations = vec![Operation::run(pending.append(Script::new().raw(":"), path))];
        Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: returned })
    }
}

/// A text as lines, each with its own end.
fn split(text: Option<&str>) -> Vec<String> {
    text.unwrap_or_default().split_inclusive('\n').map(str::to_owned).collect()
}

fn bare(line: &str) -> &str {
    line.strip_suffix('\n').map_or(line, |line| line.strip_suffix('\r').unwrap_or(line))
}

/// How the lines of a text end.
fn line_end(lines: &[String]) -> &'static str {
    if lines.first().is_some_and(|line| line.ends_with("\r\n")) { "\r\n" } else { "\n" }
}

/// Puts lines in, and ends the line before them if it had no end.
fn insert(lines: &mut Vec<String>, at: usize, new: Vec<String>) {
    let end = line_end(lines);
    if at > 0
        && let Some(last) = lines.get_mut(at - 1)
        && !last.ends_with('\n')
    {
        last.push_str(end);
    }
    lines.splice(at..at, new);
}

/// Where a line or block goes that is not there yet.
enum Where {
    Begin,
    End,
    After(Regex),
    Before(Regex),
}

impl Where {
    fn parse(after: Option<&str>, before: Option<&str>) -> Result<Where, Failure> {
        match (after, before) {
            (Some(_), Some(_)) => Err(Failure::new("`insertafter` and `insertbefore` exclude each other")),
            (Some("BOF"), _) | (_, Some("BOF")) => Ok(Where::Begin),
            (Some("EOF") | None, None) | (None, Some("EOF")) => Ok(Where::End),
            (Some(regexp), None) => pattern::compile(regexp, "").map(Where::After),
            (None, Some(regexp)) => pattern::compile(regexp, "").map(Where::Before),
        }
    }

    /// The index of the first line that comes after the place. `first` takes the first match instead of the last.
    fn index(&self, lines: &[String], first: bool) -> Result<Option<usize>, Failure> {
        let (regex, offset) = match self {
            Where::Begin => return Ok(Some(0)),
            Where::End => return Ok(Some(lines.len())),
            Where::After(regex) => (regex, 1),
            Where::Before(regex) => (regex, 0),
        };
        let mut found = None;
        for (at, line) in lines.iter().enumerate() {
            if pattern::search(regex, bare(line))? {
                found = Some(at + offset);
                if first {
                    break;
                }
            }
        }
        Ok(found)
    }
}

#[derive(Deserialize)]
struct LineArgs {
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

fn build_line(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: LineArgs = super::typed(LINE, args)?;
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
    let rule = LineRule { needle, line, backrefs, place, first: args.firstmatch };
    task(args.common, build, Box::new(move |old| rule.apply(old)))
}

struct LineRule {
    needle: Needle,
    line: String,
    backrefs: Option<Replacement>,
    place: Where,
    first: bool,
}

impl LineRule {
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

#[derive(Deserialize)]
struct BlockArgs {
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

fn build_block(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: BlockArgs = super::typed(BLOCK, args)?;
    let place = Where::parse(args.insertafter.as_deref(), args.insertbefore.as_deref())?;
    let rule = BlockRule {
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

struct BlockRule {
    first: String,
    last: String,
    block: String,
    place: Where,
    blank_before: bool,
    blank_after: bool,
}

impl BlockRule {
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

#[derive(Deserialize)]
struct ReplaceArgs {
    #[serde(deserialize_with = "args::text")]
    regexp: String,
    #[serde(default, deserialize_with = "args::text")]
    replace: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    after: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    before: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    encoding: Option<String>,
    #[serde(flatten)]
    common: Common,
}

fn build_replace(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: ReplaceArgs = super::typed(REPLACE, args)?;
    if let Some(encoding) = args.encoding.filter(|name| !name.eq_ignore_ascii_case("utf-8")) {
        return Err(Failure::new(format!("encoding {encoding}: only UTF-8 files are edited")));
    }
    let regex = pattern::compile(&args.regexp, "m")?;
    let replacement = Replacement::parse(&args.replace)?;
    let section = match (args.after, args.before) {
        (None, None) => None,
        (Some(after), None) => Some(format!("{after}(?P<subsection>.*)")),
        (None, Some(before)) => Some(format!("(?P<subsection>.*){before}")),
        (Some(after), Some(before)) => Some(format!("{after}(?P<subsection>.*?){before}")),
    };
    let section = section.map(|pattern| pattern::compile(&pattern, "s")).transpose()?;
    task(args.common, build, Box::new(move |old| replace(old, &regex, &replacement, section.as_ref())))
}

fn replace(
    old: Option<&str>,
    regex: &Regex,
    replacement: &Replacement,
    section: Option<&Regex>,
) -> Result<Edited, Failure> {
    let Some(text) = old else { return Err(Failure::new("there is no file")) };
    let range = match section {
        None => 0..text.len(),
        Some(section) => match pattern::captures(section, text)?.and_then(|found| found.name("subsection")) {
            Some(inside) => inside.range(),
            None => {
                let msg = "the text of `after` and `before` is not in the file".to_owned();
                return Ok(Edited { text: text.to_owned(), msg, found: None });
            }
        },
    };
    let (new, count) = pattern::replace_all(regex, &text[range.clone()], replacement)?;
    let new = format!("{}{new}{}", &text[..range.start], &text[range.end..]);
    let msg = if new == text { String::new() } else { format!("{count} replacements made") };
    Ok(Edited { text: new, msg, found: None })
}

#[cfg(test)]
mod tests;
