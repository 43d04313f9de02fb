//! Content at a path: the common core of `copy`, `template` and every module that owns a whole file.
//!
//! Leaves out where the content comes from and which path it is for.

use std::path::PathBuf;

use sha1::Digest;

use crate::plan::{
    Destination, Diff, Expect, Failure, FileKind, FileStat, Freight, Operation, Output, Query, Return, Script, Upload,
    Write,
};

use super::attributes::{Attributes, parent};

/// Above this a file of the controller is streamed, below it travels inside a `Write`.
pub const STREAM_FROM: u64 = 1024 * 1024;

/// How much of an old file is fetched to show what changes in it.
const DIFF_LIMIT: u64 = 64 * 1024;

/// What a file is to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Content {
    pub source: Source,
    /// SHA-256 in lowercase hex.
    pub checksum: String,
    pub size: u64,
}

#[derive(Clone, PartialEq)]
pub enum Source {
    Bytes(Vec<u8>),
    Disk(PathBuf),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            // may be a secret
            Source::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Source::Disk(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Content {
    pub fn of(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Content { checksum: super::sha256(&bytes), size: bytes.len() as u64, source: Source::Bytes(bytes) }
    }
}

/// How a file is put in place.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    pub attributes: Attributes,
    pub backup: bool,
    pub validate: Option<String>,
}

/// The operations and diff that are still due, none if the file is as wanted.
#[derive(Debug, Default, PartialEq)]
pub struct Due {
    pub operations: Vec<Operation>,
    pub diff: Vec<Diff>,
}

/// The question whose answer [`due`] takes as `before`, if it should be asked: what an existing text says now.
pub fn before_query(path: &str, content: &Content, stat: Option<&FileStat>) -> Option<Query> {
    let stat = stat.filter(|stat| stat.kind == FileKind::File && !same(content, stat) && stat.size <= DIFF_LIMIT)?;
    let small = stat.size > 0 && matches!(content.source, Source::Bytes(_)) && content.size <= DIFF_LIMIT;
    small.then(|| Query::Read { path: path.to_owned(), limit: DIFF_LIMIT })
}

/// What has to be done so that `path` holds the content with the attributes. `stat` is of the path itself, with
/// checksum; a symbolic link there is replaced.
pub fn due(
    path: &str,
    content: &Content,
    manner: &Manner,
    stat: Option<&FileStat>,
    before: Option<&[u8]>,
) -> Result<Due, Failure> {
    if stat.is_some_and(|stat| stat.kind == FileKind::Directory) {
        return Err(Failure::new(format!("{path} is a directory; a file will not replace it")));
    }
    let file = stat.filter(|stat| stat.kind == FileKind::File);
    if let Some(stat) = file.filter(|stat| same(content, stat)) {
        let pending = manner.attributes.pending(stat);
        if pending.is_empty() {
            return Ok(Due::default());
        }
        let (before, after) = pending.describe(stat);
        let diff = Diff { before_header: path.to_owned(), after_header: path.to_owned(), before, after };
        return Ok(Due {
            operations: vec![Operation::run(pending.append(Script::new().raw(":"), path))],
            diff: vec![diff],
        });
    }
    let mode = manner.attributes.mode.as_ref().map(|mode| match file {
        Some(stat) => mode.bits(stat.mode, false),
        None => mode.bits_of_new(false),
    });
    let to = Destination {
        path: path.to_owned(),
        mode,
        owner: manner.attributes.owner.clone(),
        group: manner.attributes.group.clone(),
        expect: match (stat, file.and_then(|stat| stat.checksum.clone())) {
            (None, _) | (Some(FileStat { kind: FileKind::Link, .. }), _) => Expect::Absent,
            (Some(_), Some(checksum)) => Expect::Checksum(checksum),
            (Some(_), None) => Expect::Anything,
        },
        validate: manner.validate.clone(),
        backup: manner.backup,
    };
    let diff = Diff {
        before_header: stat.map_or_else(|| "(absent)".to_owned(), |_| path.to_owned()),
        after_header: path.to_owned(),
        before: before.map(shown).unwrap_or_default(),
        after: match &content.source {
            Source::Bytes(bytes) if bytes.len() as u64 <= DIFF_LIMIT => shown(bytes),
            Source::Bytes(_) | Source::Disk(_) => format!("({} bytes)\n", content.size),
        },
    };
    let operation = match &content.source {
        Source::Bytes(bytes) => Operation::Write(Write { to, content: bytes.clone() }),
        Source::Disk(from) => {
            Operation::Upload(Upload { to, from: Freight::File(from.clone()), checksum: content.checksum.clone() })
        }
    };
    // a write goes through a link, so a link that is to be replaced goes first
    let link = stat.filter(|stat| stat.kind == FileKind::Link);
    let unlink = link.map(|_| Operation::run(Script::new().raw("rm -f --").arg(path)));
    Ok(Due { operations: unlink.into_iter().chain([operation]).collect(), diff: vec![diff] })
}

/// Ansible's return values of a file that is put in place.
pub fn returned(path: &str, content: &Content, attributes: &Attributes, stat: Option<&FileStat>) -> Return {
    let values = attributes.returned(stat.filter(|stat| stat.kind == FileKind::File), false);
    let mut returned = Return { values, ..Return::default() };
    returned = returned.with("dest", path).with("size", content.size).with("state", "file");
    match &content.source {
        Source::Bytes(bytes) => returned.with("checksum", sha1(bytes)),
        Source::Disk(_) => returned,
    }
}

/// `backup_file`, if the write kept one: it says so on its standard output.
pub fn finished(outputs: &[Output]) -> Return {
    let kept = outputs.iter().map(|output| output.stdout_text()).find(|text| text.trim_end().ends_with('~'));
    match kept {
        Some(path) => Return::default().with("backup_file", path.trim_end()),
        None => Return::default(),
    }
}

/// Refuses a path whose directory is not there.
pub fn need_directory(path: &str, directory: Option<&FileStat>) -> Result<(), Failure> {
    match directory.map(|stat| stat.kind) {
        Some(FileKind::Directory) => Ok(()),
        Some(_) => Err(Failure::new(format!("{} is not a directory", parent(path)))),
        None => Err(Failure::new(format!("the directory {} does not exist", parent(path)))
            .hint("make it first with `file: {state: directory}`")),
    }
}

/// SHA-1 in lowercase hex: what Ansible returns as `checksum`.
pub fn sha1(bytes: &[u8]) -> String {
    sha1::Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn same(content: &Content, stat: &FileStat) -> bool {
    stat.checksum.as_deref() == Some(content.checksum.as_str())
}

fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes that are not text)\n", bytes.len()),
    }
}
