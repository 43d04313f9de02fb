//! `copy` and `template`: files out of the controller's files, templates and variables.
//!
//! ```yaml
//! - name: The greeting
//!   copy: {content: "welcome to {{ inventory_hostname }}\n", dest: /etc/motd, mode: "0644"}
//!
//! - name: The proxy's settings
//!   template: {src: proxy.conf.j2, dest: /etc/proxy/proxy.conf, mode: "0640", validate: "proxy -t %s"}
//! ```
//!
//! Leaves out vault decryption (the engine reads only plain files), empty directories of a copied tree, and copying
//! whole directories on the host (`remote_src` is for files).

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Answer, Change, Diff, Failure, FileKind, FileStat, Module, Object, Observed, Operation, Output, Part, Plan, Query,
    Return, Script, Then,
};

use super::args::{self, Mode, as_text};
use super::attributes::{Attributes, base_name, join, make_directories, octal, parent};
use super::observed;
use super::place::{self, Content, Manner, Source};
use super::{Build, Found, Local, LocalKind, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "copy", aliases: &[], args: COPY, free_form: None, build: build_copy },
    Spec { name: "template", aliases: &[], args: TEMPLATE, free_form: None, build: build_template },
];

const COPY: &[&str] = &[
    "src",
    "content",
    "dest",
    "mode",
    "owner",
    "group",
    "directory_mode",
    "backup",
    "force",
    "validate",
    "remote_src",
    "follow",
    "checksum",
    "local_follow",
    "decrypt",
];

const TEMPLATE: &[&str] = &[
    "src",
    "dest",
    "mode",
    "owner",
    "group",
    "backup",
    "force",
    "validate",
    "follow",
    "newline_sequence",
    "trim_blocks",
    "lstrip_blocks",
];

#[derive(Deserialize)]
struct Args {
    #[serde(deserialize_with = "args::text")]
    dest: String,
    #[serde(default, deserialize_with = "args::opt_text")]
    src: Option<String>,
    content: Option<Value>,
    #[serde(default, deserialize_with = "args::opt_mode")]
    directory_mode: Option<Mode>,
    #[serde(default, deserialize_with = "args::flag")]
    backup: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    validate: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    remote_src: bool,
    #[serde(default, deserialize_with = "args::flag")]
    follow: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    checksum: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    newline_sequence: Option<String>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    trim_blocks: Option<bool>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    lstrip_blocks: Option<bool>,
    #[serde(flatten)]
    attributes: Attributes,
}

fn yes() -> bool {
    true
}

fn build_copy(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(COPY, args)?;
    let preserve = args.attributes.mode == Some(Mode::Preserve);
    match (args.src.take(), args.content.take()) {
        (Some(_), Some(_)) => Err(Failure::new("`src` and `content` exclude each other")),
        (None, None) => Err(Failure::new("either `src` or `content` is needed")),
        (None, Some(_)) if args.remote_src => Err(Failure::new("`remote_src` goes with `src`, not with `content`")),
        (None, Some(_)) if preserve => Err(Failure::new("`mode: preserve` needs a `src`")),
        (None, Some(content)) => Ok(Box::new(One::new(args, build, Content::of(as_text(&content)), None)?)),
        (Some(src), None) if args.remote_src => remote(args, &src, build),
        (Some(src), None) => {
            let path = build.local.find(LocalKind::Files, &src)?;
            match build.local.look(&path)? {
                Found::Directory => Ok(Box::new(Tree::new(args, build, &src, &path)?)),
                found => {
                    let (content, bits) = load(build.local, &path, found, place::STREAM_FROM)?;
                    if preserve {
                        args.attributes.mode = Some(Mode::Octal(bits));
                    }
                    if let (Some(wanted), Source::Bytes(bytes)) = (&args.checksum, &content.source)
                        && *wanted != place::sha1(bytes)
                    {
                        return Err(Failure::new(format!("{src}: its SHA-1 is not `checksum`")));
                    }
                    Ok(Box::new(One::new(args, build, content, Some(base_name(&src).to_owned()))?))
                }
            }
        }
    }
}

fn build_template(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Args = super::typed(TEMPLATE, args)?;
    let Some(src) = args.src.take() else { return Err(Failure::new("argument `src` is missing")) };
    let path = build.local.find(LocalKind::Templates, &src)?;
    let bytes = build.local.read(&path)?;
    let mut text = String::from_utf8(bytes).map_err(|_| Failure::new(format!("{}: is not UTF-8", path.display())))?;
    if !text.starts_with("#jinja2:") {
        // the header is how a template itself says these two
        let said = [("trim_blocks", args.trim_blocks), ("lstrip_blocks", args.lstrip_blocks)];
        let said: Vec<String> = said.into_iter().filter_map(|(name, on)| Some(format!("{name}:{}", py(on?)))).collect();
        if !said.is_empty() {
            text = format!("#jinja2: {}\n{text}", said.join(", "));
        }
    }
    let mut rendered = build.local.render(&text, &path)?;
    match args.newline_sequence.as_deref() {
        None | Some("\n" | "\\n") => {}
        Some("\r\n" | "\\r\\n") => rendered = rendered.replace("\r\n", "\n").replace('\n', "\r\n"),
        Some("\r" | "\\r") => rendered = rendered.replace('\n', "\r"),
        Some(other) => return Err(Failure::new(format!("`newline_sequence` is \\n, \\r or \\r\\n, not {other:?}"))),
    }
    if args.attributes.mode == Some(Mode::Preserve) {
        let Found::File { mode, .. } = build.local.look(&path)? else {
            return Err(Failure::new(format!("{src} is a directory")));
        };
        args.attributes.mode = Some(Mode::Octal(mode));
    }
    Ok(Box::new(One::new(args, build, Content::of(rendered), Some(base_name(&src).to_owned()))?))
}

fn py(on: bool) -> &'static str {
    if on { "True" } else { "False" }
}

/// A file of the controller as content, with its permission bits.
fn load(local: &dyn Local, path: &Path, found: Found, stream_from: u64) -> Result<(Content, u32), Failure> {
    match found {
        Found::Directory => Err(Failure::new(format!("{} is a directory", path.display()))),
        Found::File { size, checksum, mode, on_disk: true } if size > stream_from => {
            Ok((Content { source: Source::Disk(path.to_owned()), checksum, size }, mode))
        }
        Found::File { mode, .. } => Ok((Content::of(local.read(path)?), mode)),
    }
}

/// One file to one path.
struct One {
    content: Content,
    /// What the file is called below a destination that is a directory.
    name: Option<String>,
    dest: String,
    into_directory: bool,
    directories: Attributes,
    force: bool,
    follow: bool,
    manner: Manner,
}

impl One {
    fn new(args: Args, build: &Build<'_>, content: Content, name: Option<String>) -> Result<Self, Failure> {
        if args.validate.as_ref().is_some_and(|command| !command.contains("%s")) {
            return Err(Failure::new("`validate` must contain %s, where the new file's path goes"));
        }
        let into_directory = args.dest.ends_with('/');
        if into_directory && name.is_none() {
            return Err(Failure::new("`content` needs a `dest` that is a file, not a directory"));
        }
        let directories = Attributes {
            mode: args.directory_mode,
            owner: args.attributes.owner.clone(),
            group: args.attributes.group.clone(),
        };
        Ok(One {
            content,
            name,
            dest: args::host_path(&args.dest, build)?,
            into_directory,
            directories,
            force: args.force,
            follow: args.follow,
            manner: Manner { attributes: args.attributes, backup: args.backup, validate: args.validate },
        })
    }

    fn inside(&self) -> Option<String> {
        self.name.as_ref().map(|name| join(&self.dest, name))
    }
}

impl Module for One {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: &str, follow| Query::Stat { path: path.to_owned(), follow, checksum: true };
        let directory = Query::Stat { path: parent(&self.dest), follow: true, checksum: false };
        let mut queries = vec![stat(&self.dest, false), stat(&self.dest, true), directory];
        queries.extend(self.inside().map(|path| stat(&path, false)));
        queries
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let seen = |at| observed::stat(observed.answers, at, &self.dest);
        let (itself, behind) = (seen(0)?, seen(1)?);
        let mut first = Vec::new();
        let directory_there = behind.is_some_and(|stat| stat.kind == FileKind::Directory);
        let (path, stat) = match self.inside().filter(|_| self.into_directory || directory_there) {
            Some(inside) => {
                match behind {
                    None => first.push(Operation::run(make_directories(&self.dest, &self.directories))),
                    behind => place::need_directory(&inside, behind)?,
                }
                (inside, seen(3)?)
            }
            None => {
                place::need_directory(&self.dest, seen(2)?)?;
                (self.dest.clone(), itself)
            }
        };
        if stat.is_some() && !self.force {
            let returned = place::returned(&path, &self.content, &self.manner.attributes, stat);
            return Ok(Plan::NoChange(Return { msg: Some("exists, and `force` is off".to_owned()), ..returned }));
        }
        // with `follow` a link's target is what is replaced
        let (path, stat, more) = match stat.filter(|stat| self.follow && stat.kind == FileKind::Link) {
            None => (path, stat, observed.more),
            Some(_) => match observed.more {
                [] => {
                    let target = Script::new().raw("readlink -f").arg(path.as_str());
                    return Ok(Plan::Ask(vec![
                        Query::Run(target),
                        Query::Stat { path: path.clone(), follow: true, checksum: true },
                    ]));
                }
                [_, _, rest @ ..] => {
                    let target = observed::output(observed.more, 0, &path)?.stdout_text();
                    (target.trim_end_matches('\n').to_owned(), observed::stat(observed.more, 1, &path)?, rest)
                }
                [_] => return Err(Failure::new(format!("{path}: the link was not followed"))),
            },
        };
        let before = match (more.first(), place::before_query(&path, &self.content, stat)) {
            (None, Some(query)) => return Ok(Plan::Ask(vec![query])),
            (Some(Answer::Bytes(bytes)), _) => bytes.as_deref(),
            (_, _) => None,
        };
        let mut due = place::due(&path, &self.content, &self.manner, stat, before)?;
        let returned = place::returned(&path, &self.content, &self.manner.attributes, stat);
        if due.operations.is_empty() {
            return Ok(Plan::NoChange(Return { msg: Some("the content is the same".to_owned()), ..returned }));
        }
        first.append(&mut due.operations);
        Ok(Plan::Change(Change { diff: due.diff, operations: first, then: Then::Finish, forecast: returned }))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        Ok(place::finished(outputs))
    }
}

/// A directory of files to a directory.
struct Tree {
    dest: String,
    /// Directories that have to be there, outer ones first.
    directories: Vec<String>,
    files: Vec<(String, Content, Manner)>,
    made: Attributes,
    force: bool,
}

impl Tree {
    fn new(args: Args, build: &Build<'_>, src: &str, path: &Path) -> Result<Self, Failure> {
        if args.validate.is_some() {
            return Err(Failure::new("`validate` is for single files"));
        }
        let dest = args::host_path(&args.dest, build)?;
        let dest = if src.ends_with('/') { dest } else { join(&dest, base_name(src)) };
        let mut directories = vec![dest.clone()];
        let mut files = Vec::new();
        for (relative, bits) in build.local.walk(path)? {
            let local = path.join(&relative);
            let relative = relative.to_string_lossy();
            for (at, _) in relative.match_indices('/') {
                let directory = join(&dest, &relative[..at]);
                if !directories.contains(&directory) {
                    directories.push(directory);
                }
            }
            let (content, _) = load(build.local, &local, build.local.look(&local)?, place::STREAM_FROM / 4)?;
            let mut attributes = args.attributes.clone();
            if attributes.mode == Some(Mode::Preserve) {
                attributes.mode = Some(Mode::Octal(bits & 0o7777));
            }
            files.push((join(&dest, &relative), content, Manner { attributes, backup: args.backup, validate: None }));
        }
        let made = Attributes { mode: args.directory_mode, owner: args.attributes.owner, group: args.attributes.group };
        Ok(Tree { dest, directories, files, made, force: args.force })
    }
}

impl Module for Tree {
    fn probe(&self) -> Vec<Query> {
        let directories =
            self.directories.iter().map(|path| Query::Stat { path: path.clone(), follow: true, checksum: false });
        let files =
            self.files.iter().map(|(path, ..)| Query::Stat { path: path.clone(), follow: false, checksum: true });
        directories.chain(files).collect()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let mut operations = Vec::new();
        let mut lines = String::new();
        for (at, path) in self.directories.iter().enumerate() {
            match observed::stat(observed.answers, at, path)? {
                None => {
                    operations.push(Operation::run(make_directories(path, &self.made)));
                    lines.push_str(&format!("{path}/\n"));
                }
                Some(stat) if stat.kind != FileKind::Directory => {
                    return Err(Failure::new(format!("{path} is not a directory")));
                }
                Some(_) => {}
            }
        }
        for (at, (path, content, manner)) in self.files.iter().enumerate() {
            let stat = observed::stat(observed.answers, self.directories.len() + at, path)?;
            if stat.is_some() && !self.force {
                continue;
            }
            let mut due = place::due(path, content, manner, stat, None)?;
            if !due.operations.is_empty() {
                operations.append(&mut due.operations);
                lines.push_str(&format!("{path}\n"));
            }
        }
        let returned = Return::default().with("dest", self.dest.as_str()).with("state", "directory");
        if operations.is_empty() {
            let msg = format!("{} files are the same", self.files.len());
            return Ok(Plan::NoChange(Return { msg: Some(msg), ..returned }));
        }
        let diff = Diff {
            before_header: self.dest.clone(),
            after_header: format!("{} (new or changed)", self.dest),
            before: String::new(),
            after: lines,
        };
        Ok(Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: returned }))
    }
}

/// A file of the host to another path of the host.
struct Remote {
    src: String,
    dest: String,
    into_directory: bool,
    args: Args,
}

fn remote(args: Args, src: &str, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    if args.validate.is_some() || args.backup {
        return Err(Failure::new("`validate` and `backup` do not go with `remote_src`"));
    }
    Ok(Box::new(Remote {
        src: args::host_path(src, build)?,
        dest: args::host_path(&args.dest, build)?,
        into_directory: args.dest.ends_with('/'),
        args,
    }))
}

impl Module for Remote {
    fn probe(&self) -> Vec<Query> {
        let inside = join(&self.dest, base_name(&self.src));
        let paths = [&self.src, &self.dest, &inside];
        paths.map(|path| Query::Stat { path: path.clone(), follow: true, checksum: true }).into()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let Some(source) = observed::stat(observed.answers, 0, &self.src)? else {
            return Err(Failure::new(format!("{} does not exist on the host", self.src)));
        };
        if source.kind == FileKind::Directory {
            return Err(Failure::new(format!("{} is a directory; `remote_src` copies single files", self.src))
                .hint("use `command: cp -a …` with `creates`"));
        }
        let there = observed::stat(observed.answers, 1, &self.dest)?;
        let directory = self.into_directory || there.is_some_and(|stat| stat.kind == FileKind::Directory);
        let (path, stat) = match directory {
            true => (join(&self.dest, base_name(&self.src)), observed::stat(observed.answers, 2, &self.dest)?),
            false => (self.dest.clone(), there),
        };
        let mut attributes = self.args.attributes.clone();
        if attributes.mode == Some(Mode::Preserve) {
            attributes.mode = Some(Mode::Octal(source.mode));
        }
        let returned = Return { values: attributes.returned(stat.or(Some(source)), false), ..Return::default() }
            .with("src", self.src.as_str())
            .with("dest", path.as_str())
            .with("state", "file")
            .with("size", source.size);
        let change = |operation, before: String, after: String| {
            let diff = Diff { before_header: path.clone(), after_header: path.clone(), before, after };
            Plan::Change(Change {
                diff: vec![diff],
                operations: vec![operation],
                then: Then::Finish,
                forecast: returned.clone(),
            })
        };
        let same = |stat: &&FileStat| stat.checksum.is_some() && stat.checksum == source.checksum;
        if let Some(stat) = stat.filter(|stat| !self.args.force || same(stat)) {
            let pending = attributes.pending(stat);
            if !self.args.force || pending.is_empty() {
                return Ok(Plan::NoChange(Return { msg: Some("the content is the same".to_owned()), ..returned }));
            }
            let (before, after) = pending.describe(stat);
            return Ok(change(Operation::run(pending.append(Script::new().raw(":"), &path)), before, after));
        }
        // a new file takes the source's mode, a replaced one keeps its own
        let mut wanted = attributes.of_new(false);
        wanted.mode = match (&attributes.mode, stat) {
            (Some(mode), stat) => Some(mode.bits(stat.map_or(source.mode, |stat| stat.mode), false)),
            (None, stat) => Some(stat.unwrap_or(source).mode),
        };
        if let (None, Some(FileStat { owner, group, .. })) = (wanted.ownership(), stat) {
            (wanted.owner, wanted.group) = (Some(owner.clone()), Some(group.clone()));
        }
        let script = Script::new().raw("t=$(mktemp").arg(join(&parent(&path), ".provision.XXXXXX"));
        let script = script.raw(") && trap 'rm -f \"$t\"' EXIT && cat").arg(self.src.as_str()).raw("> \"$t\"");
        let script = wanted.append_part(script, &Part::Raw("\"$t\"")).raw("&& mv -f \"$t\"").arg(path.as_str());
        let before = stat.and_then(|stat| stat.checksum.clone()).unwrap_or_else(|| "(absent)".to_owned());
        let after = format!("{} (mode {})", source.checksum.as_deref().unwrap_or(&self.src), octal(source.mode));
        Ok(change(Operation::run(script), format!("{before}\n"), format!("{after}\n")))
    }
}
