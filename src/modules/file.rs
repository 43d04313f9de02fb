//! `file`: files, directories and links as such.
//!
//! ```yaml
//! - name: The directory of the hub's data
//!   file: {path: /srv/hub/data, state: directory, mode: "0750", owner: app}
//! ```
//!
//! Leaves out content (see `copy`), file system attributes and SELinux labels.

use serde::Deserialize;

use crate::plan::{
    Change, Diff, Failure, FileKind, FileStat, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then,
};

use super::args::{self, Mode};
use super::attributes::{Attributes, Pending, join, make_directories, octal, parent};
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[Spec { name: "file", aliases: &[], args: ARGS, free_form: None, build }];

const ARGS: &[&str] = &[
    "path",
    "dest",
    "name",
    "state",
    "mode",
    "owner",
    "group",
    "src",
    "force",
    "follow",
    "recurse",
    "access_time",
    "modification_time",
];

#[derive(Deserialize)]
struct Args {
    #[serde(alias = "dest", alias = "name", deserialize_with = "args::text")]
    path: String,
    #[serde(default)]
    state: Option<State>,
    #[serde(default, deserialize_with = "args::opt_text")]
    src: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    follow: bool,
    #[serde(default, deserialize_with = "args::flag")]
    recurse: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    access_time: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    modification_time: Option<String>,
    #[serde(flatten)]
    attributes: Attributes,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    File,
    Directory,
    Link,
    Hard,
    Touch,
    Absent,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(ARGS, args)?;
    args.path = args::host_path(&args.path, build)?;
    if args.attributes.mode == Some(Mode::Preserve) {
        return Err(Failure::new("mode `preserve` is for `copy` and `template`, which have a source file"));
    }
    if args.recurse && !matches!(args.state, None | Some(State::Directory)) {
        return Err(Failure::new("`recurse` goes with `state: directory` only"));
    }
    if args.src.is_some() && !matches!(args.state, Some(State::Link | State::Hard)) {
        return Err(
            Failure::new("`src` goes with `state: link` or `state: hard` only").hint("`copy` puts content into a file")
        );
    }
    if args.state == Some(State::Hard) && args.src.is_none() {
        return Err(Failure::new("`state: hard` needs `src`"));
    }
    Ok(Box::new(args))
}

impl Module for Args {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: &str, follow| Query::Stat { path: path.to_owned(), follow, checksum: false };
        let mut queries = vec![stat(&self.path, false), stat(&self.path, true)];
        if let Some(src) = &self.src {
            queries.push(stat(&self.source(src), true));
        }
        if self.recurse {
            queries.push(Query::Run(self.mismatches()));
        }
        queries
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let itself = observed::stat(observed.answers, 0, &self.path)?;
        let behind = observed::stat(observed.answers, 1, &self.path)?;
        // what the attributes are about, and what counts as being there
        let there = if self.follow && itself.is_some_and(|stat| stat.kind == FileKind::Link) { behind } else { itself };
        let state = self.state.unwrap_or(match there.map(|stat| stat.kind) {
            _ if self.recurse => State::Directory,
            Some(FileKind::Directory) => State::Directory,
            Some(FileKind::Link) => State::Link,
            Some(FileKind::File | FileKind::Other) | None => State::File,
        });
        match state {
            State::Absent => Ok(self.absent(itself)),
            State::File => match there {
                Some(stat) if stat.kind != FileKind::Directory => Ok(self.attributes_only(stat, Vec::new())),
                Some(_) => Err(Failure::new(format!("{} is a directory, not a file", self.path))),
                None => Err(Failure::new(format!("{} is absent", self.path))
                    .hint("`state: touch` makes an empty file, `copy` one with content")),
            },
            State::Touch => self.touch(there),
            State::Directory => self.directory(there, observed),
            State::Link => self.link(itself, behind, observed),
            State::Hard => self.hard(itself, observed),
        }
    }
}

impl Args {
    /// Where `src` is, seen from the link: a relative one counts from the link's directory.
    fn source(&self, src: &str) -> String {
        match self.state {
            Some(State::Link) if !src.starts_with('/') => join(&parent(&self.path), src),
            _ => src.to_owned(),
        }
    }

    fn absent(&self, itself: Option<&FileStat>) -> Plan {
        let returned = Return::default().with("path", self.path.as_str()).with("state", "absent");
        let Some(stat) = itself else {
            return Plan::NoChange(Return { msg: Some("already absent".into()), ..returned });
        };
        let remove = if stat.kind == FileKind::Directory { "rm -rf --" } else { "rm -f --" };
        change(
            vec![Operation::run(Script::new().raw(remove).arg(self.path.as_str()))],
            state_diff(&self.path, state_name(stat.kind), "absent"),
            returned,
        )
    }

    fn attributes_only(&self, stat: &FileStat, mut operations: Vec<Operation>) -> Plan {
        let pending = self.attributes.pending(stat);
        let mut returned = self.returned(Some(stat), stat.kind == FileKind::Directory, state_name(stat.kind));
        let mut diff = Vec::new();
        if !pending.is_empty() {
            operations.push(Operation::run(pending.append(Script::new().raw(":"), &self.path)));
            diff.push(attribute_diff(&self.path, &pending, stat));
        }
        if operations.is_empty() {
            returned.msg = Some("already as wanted".into());
            return Plan::NoChange(returned);
        }
        Plan::Change(Change { diff, operations, then: Then::Finish, forecast: returned })
    }

    fn touch(&self, there: Option<&FileStat>) -> Result<Plan, Failure> {
        let (access, modification) = (stamp(&self.access_time)?, stamp(&self.modification_time)?);
        let mut script = Script::new().raw("umask 022");
        if there.is_none() {
            script = script.raw("&& touch").arg(self.path.as_str());
        }
        for (option, stamp) in [("&& touch -a", &access), ("&& touch -m", &modification)] {
            script = match stamp {
                Stamp::Preserve => script,
                Stamp::Now => script.raw(option).arg(self.path.as_str()),
                Stamp::At(time) => script.raw(option).raw("-t").arg(time.as_str()).arg(self.path.as_str()),
            };
        }
        let touches = there.is_none() || access != Stamp::Preserve || modification != Stamp::Preserve;
        let Some(stat) = there else {
            let script = self.attributes.of_new(false).append(script, &self.path);
            let returned = self.returned(None, false, "file");
            return Ok(change(vec![Operation::run(script)], state_diff(&self.path, "absent", "touch"), returned));
        };
        Ok(self.attributes_only(stat, if touches { vec![Operation::run(script)] } else { Vec::new() }))
    }

    fn directory(&self, there: Option<&FileStat>, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let Some(stat) = there else {
            let script = make_directories(&self.path, &self.attributes);
            let returned = self.returned(None, true, "directory");
            return Ok(change(vec![Operation::run(script)], state_diff(&self.path, "absent", "directory"), returned));
        };
        if stat.kind != FileKind::Directory {
            return Err(Failure::new(format!("{} already exists as a {}", self.path, state_name(stat.kind))));
        }
        let below = if self.recurse { self.differs_below(observed)? } else { false };
        Ok(self.attributes_only(stat, if below { vec![Operation::run(self.set_below())] } else { Vec::new() }))
    }

    /// Prints something exactly if a file below the directory is not as wanted; for a symbolic mode prints the
    /// modes there are.
    fn mismatches(&self) -> Script {
        let mut script = Script::new().raw("{ find").arg(self.path.as_str()).raw("! -type l");
        let wanted = &self.attributes;
        let mut glue = "\\(";
        for (test, value) in [("! -user", &wanted.owner), ("! -group", &wanted.group)] {
            if let Some(value) = value {
                script = script.raw(glue).raw(test).arg(value.as_str());
                glue = "-o";
            }
        }
        if let Some(Mode::Octal(bits)) = wanted.mode {
            script = script.raw(glue).raw("! -perm").arg(octal(bits));
            glue = "-o";
        }
        script = match glue {
            "-o" => script.raw("\\) -print; } 2>&1 | head -n 1;"),
            _ => script.raw("-prune; } >/dev/null 2>&1;"),
        };
        if let Some(Mode::Symbolic { .. }) = wanted.mode {
            let path = self.path.as_str();
            script = script.raw("echo; find").arg(path).raw("! -type l -exec stat -c '%a %F' {} + | sort -u");
        }
        script
    }

    fn differs_below(&self, observed: &Observed<'_>) -> Result<bool, Failure> {
        let text = observed::output(observed.answers, observed.answers.len() - 1, &self.path)?.stdout_text();
        let Some(mode @ Mode::Symbolic { .. }) = &self.attributes.mode else { return Ok(!text.trim().is_empty()) };
        let (owners, modes) = text.split_once('\n').unwrap_or((text.as_str(), ""));
        let mode_differs = modes.lines().filter_map(|line| line.split_once(' ')).any(|(bits, kind)| {
            let bits = u32::from_str_radix(bits, 8).unwrap_or_default();
            mode.bits(bits, kind == "directory") != bits
        });
        Ok(!owners.is_empty() || mode_differs)
    }

    fn set_below(&self) -> Script {
        let (path, wanted) = (self.path.as_str(), &self.attributes);
        let pending = Pending { mode: None, owner: wanted.owner.clone(), group: wanted.group.clone() };
        let mut script = Script::new().raw(":");
        if let Some(ownership) = pending.ownership() {
            script = script.raw("&& find").arg(path).raw("! -type l -exec chown").arg(ownership).raw("{} +");
        }
        match &wanted.mode {
            Some(Mode::Octal(bits)) => {
                let bits = octal(*bits);
                let script = script.raw("&& find").arg(path).raw("! -type l ! -perm").arg(bits.clone());
                script.raw("-exec chmod").arg(bits).raw("{} +")
            }
            Some(Mode::Symbolic { text, .. }) => {
                script.raw("&& find").arg(path).raw("! -type l -exec chmod").arg(text.as_str()).raw("{} +")
            }
            Some(Mode::Preserve) | None => script,
        }
    }

    fn link(
        &self,
        itself: Option<&FileStat>,
        behind: Option<&FileStat>,
        observed: &Observed<'_>,
    ) -> Result<Plan, Failure> {
        let current = itself.filter(|stat| stat.kind == FileKind::Link).and_then(|stat| stat.target.as_deref());
        let Some(src) = self.src.as_deref().or(current) else {
            return Err(Failure::new("`state: link` needs `src`"));
        };
        let source = match &self.src {
            Some(src) => observed::stat(observed.answers, 2, src)?,
            None => behind,
        };
        if source.is_none() && !self.force {
            return Err(Failure::new(format!("the link's target {src} does not exist"))
                .hint("`force: true` makes the link anyway"));
        }
        let mut operations = Vec::new();
        let mut diff = Vec::new();
        if current != Some(src) {
            let make = match itself.map(|stat| stat.kind) {
                None | Some(FileKind::Link) => Script::new().raw("ln -sfn --").arg(src).arg(self.path.as_str()),
                Some(kind) if !self.force => {
                    let text = format!("{} is a {}, which a link will not replace", self.path, state_name(kind));
                    return Err(Failure::new(text).hint("`force: true` replaces it"));
                }
                Some(FileKind::Directory) => {
                    // rmdir refuses a directory that is not empty, and so does this
                    let script = Script::new().raw("rmdir --").arg(self.path.as_str());
                    script.raw("&& ln -s --").arg(src).arg(self.path.as_str())
                }
                Some(FileKind::File | FileKind::Other) => {
                    let script = Script::new().raw("rm -f --").arg(self.path.as_str());
                    script.raw("&& ln -s --").arg(src).arg(self.path.as_str())
                }
            };
            operations.push(Operation::run(make));
            let before = current.map_or(itself.map_or("absent", |stat| state_name(stat.kind)), |target| target);
            diff.push(Diff {
                before_header: self.path.clone(),
                after_header: self.path.clone(),
                before: format!("{before}\n"),
                after: format!("link to {src}\n"),
            });
        }
        let mut returned = Return { values: self.attributes.returned(source, false), ..Return::default() };
        returned = returned.with("dest", self.path.as_str()).with("src", src).with("state", "link");
        // a link has no mode of its own; attributes are its target's unless `follow` is off
        if self.follow {
            if let Some(stat) = source {
                let pending = self.attributes.pending(stat);
                if !pending.is_empty() {
                    operations.push(Operation::run(pending.append(Script::new().raw(":"), &self.path)));
                    diff.push(attribute_diff(&self.path, &pending, stat));
                }
            }
        } else {
            let pending = match itself.filter(|stat| stat.kind == FileKind::Link) {
                Some(stat) => self.attributes.pending(stat),
                None => self.attributes.of_new(false),
            };
            if let Some(ownership) = pending.ownership() {
                let script = Script::new().raw("chown -h").arg(ownership).arg(self.path.as_str());
                operations.push(Operation::run(script));
            }
        }
        if operations.is_empty() {
            returned.msg = Some(format!("already a link to {src}"));
            return Ok(Plan::NoChange(returned));
        }
        Ok(Plan::Change(Change { diff, operations, then: Then::Finish, forecast: returned }))
    }

    fn hard(&self, itself: Option<&FileStat>, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let src = self.src.as_deref().unwrap_or_default();
        let Some(source) = observed::stat(observed.answers, 2, src)? else {
            return Err(Failure::new(format!("the source of the hard link, {src}, does not exist")));
        };
        let returned = self.returned(Some(source), false, "hard").with("src", src).with("dest", self.path.as_str());
        match itself {
            Some(stat) if (stat.device, stat.inode) == (source.device, source.inode) => {
                Ok(self.attributes_only(source, Vec::new()))
            }
            Some(stat) if !self.force => {
                let text =
                    format!("{} is another {}, which a hard link will not replace", self.path, state_name(stat.kind));
                Err(Failure::new(text).hint("`force: true` replaces it"))
            }
            Some(FileStat { kind: FileKind::Directory, .. }) => {
                Err(Failure::new(format!("{} is a directory, which a hard link cannot replace", self.path)))
            }
            Some(_) | None => {
                let script = Script::new().raw("ln -f --").arg(src).arg(self.path.as_str());
                let script = self.attributes.pending(source).append(script, &self.path);
                Ok(change(vec![Operation::run(script)], state_diff(&self.path, "absent", "hard"), returned))
            }
        }
    }

    fn returned(&self, stat: Option<&FileStat>, directory: bool, state: &str) -> Return {
        let values = self.attributes.returned(stat, directory);
        let mut returned = Return { values, ..Return::default() }.with("path", self.path.as_str()).with("state", state);
        if let Some(stat) = stat {
            returned = returned.with("size", stat.size);
        }
        returned
    }
}

#[derive(Clone, PartialEq)]
enum Stamp {
    Now,
    Preserve,
    /// As `touch -t` reads it: `[[CC]YY]MMDDhhmm[.ss]`, which is also Ansible's default format.
    At(String),
}

fn stamp(text: &Option<String>) -> Result<Stamp, Failure> {
    match text.as_deref() {
        None | Some("now" | "") => Ok(Stamp::Now),
        Some("preserve") => Ok(Stamp::Preserve),
        Some(time) if time.len() >= 8 && time.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            Ok(Stamp::At(time.to_owned()))
        }
        Some(other) => {
            Err(Failure::new(format!("`{other}` is not a time: write `now`, `preserve` or YYYYMMDDhhmm.ss")))
        }
    }
}

fn state_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File | FileKind::Other => "file",
        FileKind::Directory => "directory",
        FileKind::Link => "link",
    }
}

fn change(operations: Vec<Operation>, diff: Diff, forecast: Return) -> Plan {
    Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast })
}

fn state_diff(path: &str, before: &str, after: &str) -> Diff {
    Diff {
        before_header: path.to_owned(),
        after_header: path.to_owned(),
        before: format!("state: {before}\n"),
        after: format!("state: {after}\n"),
    }
}

fn attribute_diff(path: &str, pending: &Pending, stat: &FileStat) -> Diff {
    let (before, after) = pending.describe(stat);
    Diff { before_header: path.to_owned(), after_header: path.to_owned(), before, after }
}
