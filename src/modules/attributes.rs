//! Mode, owner and group: what every module that makes files has in common.
//!
//! Leaves out SELinux labels and file system attributes.

use serde::Deserialize;

use crate::plan::{FileStat, Object, Part, Script};

use super::args::{self, Mode};

/// `mode`, `owner`, `group` of a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Attributes {
    #[serde(deserialize_with = "args::opt_mode")]
    pub mode: Option<Mode>,
    #[serde(deserialize_with = "args::opt_text")]
    pub owner: Option<String>,
    #[serde(deserialize_with = "args::opt_text")]
    pub group: Option<String>,
}

/// What has to be set on one existing path.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pending {
    pub mode: Option<u32>,
    pub owner: Option<String>,
    pub group: Option<String>,
}

impl Attributes {
    /// What differs from what is there.
    pub fn pending(&self, stat: &FileStat) -> Pending {
        let directory = stat.kind == crate::plan::FileKind::Directory;
        let mode = self.mode.as_ref().map(|mode| mode.bits(stat.mode, directory)).filter(|bits| *bits != stat.mode);
        let owner = self.owner.clone().filter(|owner| *owner != stat.owner && *owner != stat.uid.to_string());
        let group = self.group.clone().filter(|group| *group != stat.group && *group != stat.gid.to_string());
        Pending { mode, owner, group }
    }

    /// Everything that was asked for, for a path that is only being made.
    pub fn of_new(&self, directory: bool) -> Pending {
        Pending {
            mode: self.mode.as_ref().map(|mode| mode.bits_of_new(directory)),
            owner: self.owner.clone(),
            group: self.group.clone(),
        }
    }

    /// `mode`, `owner`, `group` as return values, as far as they will be known.
    pub fn returned(&self, stat: Option<&FileStat>, directory: bool) -> Object {
        let mut values = Object::new();
        let mode = match (&self.mode, stat) {
            (Some(mode), Some(stat)) => Some(mode.bits(stat.mode, directory)),
            (Some(mode), None) => Some(mode.bits_of_new(directory)),
            (None, stat) => stat.map(|stat| stat.mode),
        };
        if let Some(mode) = mode {
            values.insert("mode".to_owned(), octal(mode).into());
        }
        if let Some(owner) = self.owner.clone().or_else(|| stat.map(|stat| stat.owner.clone())) {
            values.insert("owner".to_owned(), owner.into());
        }
        if let Some(group) = self.group.clone().or_else(|| stat.map(|stat| stat.group.clone())) {
            values.insert("group".to_owned(), group.into());
        }
        if let Some(stat) = stat {
            values.insert("uid".to_owned(), stat.uid.into());
            values.insert("gid".to_owned(), stat.gid.into());
        }
        values
    }
}

impl Pending {
    pub fn is_empty(&self) -> bool {
        *self == Pending::default()
    }

    /// `owner:group` as chown reads it.
    pub fn ownership(&self) -> Option<String> {
        match (&self.owner, &self.group) {
            (None, None) => None,
            (owner, None) => owner.clone(),
            (owner, Some(group)) => Some(format!("{}:{group}", owner.as_deref().unwrap_or_default())),
        }
    }

    /// Appends ` && chown … && chmod …`. chown clears suid, so chmod comes last.
    pub fn append(&self, script: Script, path: &str) -> Script {
        self.append_part(script, &Part::Quoted(path.to_owned()))
    }

    /// As `append`, for a path that only the shell knows (`"$t"`).
    pub fn append_part(&self, mut script: Script, path: &Part) -> Script {
        if let Some(ownership) = self.ownership() {
            script = script.raw("&& chown").arg(ownership);
            script.parts.push(path.clone());
        }
        if let Some(mode) = self.mode {
            script = script.raw("&& chmod").arg(octal(mode));
            script.parts.push(path.clone());
        }
        script
    }

    /// Before and after as lines, for diffs.
    pub fn describe(&self, stat: &FileStat) -> (String, String) {
        let (mut before, mut after) = (String::new(), String::new());
        let mut line = |name: &str, old: &str, new: Option<&str>| {
            if let Some(new) = new {
                before.push_str(&format!("{name}: {old}\n"));
                after.push_str(&format!("{name}: {new}\n"));
            }
        };
        line("owner", &stat.owner, self.owner.as_deref());
        line("group", &stat.group, self.group.as_deref());
        line("mode", &octal(stat.mode), self.mode.map(octal).as_deref());
        (before, after)
    }
}

/// Makes a directory and those above it; each that is made gets the attributes, as Ansible's `file` does.
pub fn make_directories(path: &str, attributes: &Attributes) -> Script {
    let pending = attributes.of_new(true);
    let mut script = Script::new().raw("umask 022");
    let ends = path.char_indices().filter(|(at, c)| *c == '/' && *at > 0).map(|(at, _)| at).chain([path.len()]);
    for level in ends.map(|end| &path[..end]) {
        script = script.raw("&& { [ -d").arg(level).raw("] || {");
        script = match pending.mode {
            Some(mode) => script.raw("mkdir -m").arg(octal(mode & 0o777)).arg(level),
            None => script.raw("mkdir").arg(level),
        };
        script = pending.append(script, level).raw("; }; }");
    }
    script
}

/// `0644`.
pub fn octal(mode: u32) -> String {
    format!("{mode:04o}")
}

/// The directory that holds a path.
pub fn parent(path: &str) -> String {
    match path.rfind('/') {
        Some(0) => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
        None => ".".to_owned(),
    }
}

/// The last part of a path.
pub fn base_name(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.rfind('/').map_or(path, |at| &path[at + 1..])
}

/// A directory and a name below it.
pub fn join(directory: &str, name: &str) -> String {
    format!("{}/{name}", directory.trim_end_matches('/'))
}
