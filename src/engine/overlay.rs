//! Check mode's imagined file tree: what the changes so far would have left on a host, laid over what is really there.
//!
//! Knows written and uploaded files by their operations, and directories, links and removals by what the module says
//! it would return (`state` with `path` or `dest`). Leaves out what scripts do: after those a refusal is only
//! `Uncertain`.

use std::collections::HashMap;

use serde_json::Value;

use crate::modules::sha256;
use crate::plan::{Answer, Change, Destination, FileKind, FileStat, Freight, Object, Operation, Query};

/// Links are followed this often.
const MOST_LINKS: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Overlay {
    paths: HashMap<String, Thing>,
}

#[derive(Debug)]
enum Thing {
    Absent,
    /// With its content, if it is known.
    File(FileStat, Option<Vec<u8>>),
    Directory(FileStat),
    Link(FileStat),
}

impl Overlay {
    pub fn imagine(&mut self, change: &Change) {
        self.state(&change.forecast.values);
        for operation in &change.operations {
            match operation {
                Operation::Write(write) => {
                    let stat = file(&write.to, write.content.len() as u64, sha256(&write.content));
                    self.put(&write.to.path, Thing::File(stat, Some(write.content.clone())));
                }
                Operation::Upload(upload) => {
                    let size = match &upload.from {
                        Freight::File(from) => std::fs::metadata(from).map_or(0, |meta| meta.len()),
                        Freight::Folder(_) => 0,
                    };
                    self.put(&upload.to.path, Thing::File(file(&upload.to, size, upload.checksum.clone()), None));
                }
                Operation::Run { .. } | Operation::Fetch { .. } | Operation::Reconnect => {}
            }
        }
    }

    /// What the module says there would be.
    fn state(&mut self, values: &Object) {
        let text = |key: &str| values.get(key).and_then(Value::as_str);
        let (Some(state), Some(path)) = (text("state"), text("path").or_else(|| text("dest"))) else { return };
        let mut stat = stat(FileKind::Directory, 0o755);
        if let Some(mode) = text("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok()) {
            stat.mode = mode;
        }
        stat.owner = text("owner").unwrap_or("root").to_owned();
        stat.group = text("group").unwrap_or("root").to_owned();
        match state {
            "directory" => {
                // its parents are made too
                let mut above = path.trim_end_matches('/');
                self.put(above, Thing::Directory(stat.clone()));
                while let Some((parent, _)) = above.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
                    if matches!(self.paths.get(parent), None | Some(Thing::Absent)) && self.covered(parent) {
                        self.put(parent, Thing::Directory(stat.clone()));
                    }
                    above = parent;
                }
            }
            "absent" => {
                let below = format!("{}/", path.trim_end_matches('/'));
                self.paths.retain(|known, _| !known.starts_with(&below));
                self.put(path, Thing::Absent);
            }
            "link" => {
                stat.kind = FileKind::Link;
                stat.mode = 0o777;
                stat.target = text("src").map(str::to_owned);
                self.put(path, Thing::Link(stat));
            }
            "touch" | "file" => {
                stat.kind = FileKind::File;
                stat.checksum = None;
                if !self.paths.contains_key(path) {
                    self.put(path, Thing::File(stat, None));
                }
            }
            _ => {}
        }
    }

    fn put(&mut self, path: &str, thing: Thing) {
        self.paths.insert(normal(path), thing);
    }

    /// Something above it was imagined away.
    fn covered(&self, path: &str) -> bool {
        let mut above = path;
        loop {
            if matches!(self.paths.get(above), Some(Thing::Absent)) {
                return true;
            }
            match above.rsplit_once('/') {
                Some((parent, _)) if !parent.is_empty() => above = parent,
                _ => return false,
            }
        }
    }

    /// The answer as it would be; the real one where nothing is imagined.
    pub fn answer(&self, query: &Query, real: Answer) -> Answer {
        match query {
            Query::Run(_) => real,
            Query::Stat { path, follow, .. } => match self.find(path, *follow) {
                Some(Thing::Absent) => Answer::Stat(None),
                Some(Thing::File(stat, _) | Thing::Directory(stat) | Thing::Link(stat)) => {
                    Answer::Stat(Some(stat.clone()))
                }
                None => real,
            },
            Query::Read { path, limit } => match self.find(path, true) {
                Some(Thing::Absent | Thing::Link(_)) => Answer::Bytes(None),
                Some(Thing::File(_, Some(content))) if content.len() as u64 > *limit => {
                    Answer::TooLarge(content.len() as u64)
                }
                Some(Thing::File(_, Some(content))) => Answer::Bytes(Some(content.clone())),
                Some(Thing::File(_, None)) => real,
                Some(Thing::Directory(_)) => Answer::Refused(format!("{path}: is a directory")),
                None => real,
            },
        }
    }

    fn find(&self, path: &str, follow: bool) -> Option<&Thing> {
        let mut path = normal(path);
        for _ in 0..MOST_LINKS {
            match self.paths.get(&path) {
                Some(Thing::Link(FileStat { target: Some(target), .. })) if follow => {
                    path = match (target.starts_with('/'), path.rsplit_once('/')) {
                        (false, Some((parent, _))) => normal(&format!("{parent}/{target}")),
                        _ => normal(target),
                    };
                }
                Some(thing) => return Some(thing),
                None if self.covered(&path) => return Some(&Thing::Absent),
                None => return None,
            }
        }
        None
    }
}

fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn file(to: &Destination, size: u64, checksum: String) -> FileStat {
    FileStat {
        size,
        checksum: Some(checksum),
        owner: to.owner.clone().unwrap_or_else(|| "root".to_owned()),
        group: to.group.clone().unwrap_or_else(|| "root".to_owned()),
        ..stat(FileKind::File, to.mode.unwrap_or(0o644))
    }
}

fn stat(kind: FileKind, mode: u32) -> FileStat {
    FileStat {
        kind,
        mode,
        uid: 0,
        gid: 0,
        owner: "root".to_owned(),
        group: "root".to_owned(),
        size: 0,
        mtime: 0,
        inode: 0,
        device: 0,
        nlink: 1,
        target: None,
        checksum: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Return, Then, Write};
    use serde_json::json;

    fn change(values: Value, operations: Vec<Operation>) -> Change {
        let values = values.as_object().unwrap().clone();
        Change { diff: Vec::new(), operations, then: Then::Finish, forecast: Return { values, ..Return::default() } }
    }

    fn look(overlay: &Overlay, path: &str) -> Option<FileKind> {
        let query = Query::Stat { path: path.to_owned(), follow: true, checksum: false };
        match overlay.answer(&query, Answer::Stat(None)) {
            Answer::Stat(stat) => stat.map(|stat| stat.kind),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_imagined_is_there_and_what_was_removed_is_not() {
        let mut overlay = Overlay::default();
        overlay.imagine(&change(json!({"path": "/a/b", "state": "directory", "mode": "0750"}), Vec::new()));
        assert_eq!(look(&overlay, "/a/b/"), Some(FileKind::Directory));
        let write =
            Write { to: Destination { path: "/a/b/f".into(), ..Destination::default() }, content: b"text".to_vec() };
        overlay.imagine(&change(json!({}), vec![Operation::Write(write)]));
        let read = Query::Read { path: "/a/b/../b/f".into(), limit: 10 };
        assert_eq!(overlay.answer(&read, Answer::Bytes(None)), Answer::Bytes(Some(b"text".to_vec())));
        overlay.imagine(&change(json!({"dest": "/l", "state": "link", "src": "a/b/f"}), Vec::new()));
        assert_eq!(look(&overlay, "/l"), Some(FileKind::File));
        overlay.imagine(&change(json!({"path": "/a", "state": "absent"}), Vec::new()));
        assert_eq!(look(&overlay, "/a/b/f"), None);
        let real = Answer::Refused("no".into());
        let below = Query::Stat { path: "/a/b/f".into(), follow: true, checksum: false };
        assert_eq!(overlay.answer(&below, real), Answer::Stat(None));
        overlay.imagine(&change(json!({"path": "/a/c/d", "state": "directory"}), Vec::new()));
        assert_eq!((look(&overlay, "/a/c"), look(&overlay, "/a/x")), (Some(FileKind::Directory), None));
    }
}
