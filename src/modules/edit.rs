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
    Change, Destination, Diff, Expect, Failure, FileKind, FileStat, Module, Observed, Operation, Output, Plan, Query,
    Return, Script, Then, Write,
};

use super::args::{self, Mode};
use super::attributes::{Attributes, make_directories, parent};
use super::observed;
use super::pattern;
use super::{Build, Spec};

mod block;
mod line;
mod replace;

pub const FAMILY: &[Spec] = &[
    Spec { name: "lineinfile", aliases: &[], args: line::ARGS, free_form: None, build: line::build },
    Spec { name: "blockinfile", aliases: &[], args: block::ARGS, free_form: None, build: block::build },
    Spec { name: "replace", aliases: &[], args: replace::ARGS, free_form: None, build: replace::build },
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

#[cfg(test)]
mod tests;
