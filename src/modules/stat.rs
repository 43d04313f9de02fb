//! `stat` and `slurp`: what is known about a path, and what is in it.
//!
//! ```yaml
//! - name: Is there a settings file?
//!   stat: {path: /etc/app.conf}
//!   register: settings
//!
//! - name: The host's own key
//!   slurp: {src: /etc/ssh/ssh_host_ed25519_key.pub}
//!   register: key
//! ```
//!
//! Leaves out MIME types and file system attributes.

use base64::Engine;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::plan::{Failure, FileKind, FileStat, Module, Object, Observed, Plan, Query, Return, Script};

use super::args;
use super::attributes::octal;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "stat", aliases: &[], args: STAT, free_form: None, build: build_stat },
    Spec { name: "slurp", aliases: &[], args: SLURP, free_form: None, build: build_slurp },
];

const STAT: &[&str] =
    &["path", "dest", "name", "follow", "get_checksum", "checksum_algorithm", "checksum", "get_mime", "get_attributes"];
const SLURP: &[&str] = &["src", "path"];

/// More than this is no settings file, and would have to be kept in memory several times.
const SLURP_LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Stat {
    #[serde(alias = "dest", alias = "name", deserialize_with = "args::text")]
    path: String,
    #[serde(default, deserialize_with = "args::flag")]
    follow: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    get_checksum: bool,
    #[serde(default, alias = "checksum")]
    checksum_algorithm: Algorithm,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Algorithm {
    Md5,
    #[default]
    Sha1,
    #[serde(alias = "sha224")]
    Sha256,
    Sha512,
}

fn build_stat(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut stat: Stat = super::typed(STAT, args)?;
    stat.path = args::host_path(&stat.path, build)?;
    Ok(Box::new(stat))
}

impl Module for Stat {
    fn probe(&self) -> Vec<Query> {
        let path = self.path.as_str();
        // what the vocabulary's own question does not tell: times, rights of this user, the digest by its name
        let mut script = match self.follow {
            true => Script::new().raw("stat -L -c '%X %Z %F'").arg(path),
            false => Script::new().raw("stat -c '%X %Z %F'").arg(path),
        };
        script = script.raw("2>/dev/null || echo; for t in r w x; do test \"-$t\"").arg(path);
        script = script.raw("&& printf %s \"$t\"; done; echo;");
        if self.get_checksum {
            let sum = match self.checksum_algorithm {
                Algorithm::Md5 => "md5sum",
                Algorithm::Sha1 => "sha1sum",
                Algorithm::Sha256 => "sha256sum",
                Algorithm::Sha512 => "sha512sum",
            };
            script = script.raw("test -f").arg(path).raw("&& ");
            script = script.raw(sum).raw("<").arg(path).raw("2>/dev/null; :");
        }
        vec![Query::Stat { path: path.to_owned(), follow: self.follow, checksum: false }, Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let returned = match observed::stat(observed.answers, 0, &self.path)? {
            None => json!({"exists": false}),
            Some(stat) => {
                let more = observed::output(observed.answers, 1, &self.path)?.stdout_text();
                Value::Object(self.dictionary(stat, &more))
            }
        };
        Ok(Plan::NoChange(Return::default().with("stat", returned)))
    }
}

impl Stat {
    fn dictionary(&self, stat: &FileStat, more: &str) -> Object {
        let mut lines = more.lines();
        let mut times = lines.next().unwrap_or_default().splitn(3, ' ');
        let (accessed, changed) = (times.next().and_then(number), times.next().and_then(number));
        let kind = times.next().unwrap_or_default().to_owned();
        let rights = lines.next().unwrap_or_default();
        let checksum = lines.next().and_then(|line| line.split_whitespace().next());
        let bit = |mask: u32| stat.mode & mask != 0;
        let value = json!({
            "exists": true,
            "path": self.path,
            "mode": octal(stat.mode),
            "isdir": stat.kind == FileKind::Directory,
            "isreg": stat.kind == FileKind::File,
            "islnk": stat.kind == FileKind::Link,
            "ischr": kind == "character special file" || kind == "character device",
            "isblk": kind == "block special file" || kind == "block device",
            "isfifo": kind == "fifo",
            "issock": kind == "socket",
            "uid": stat.uid,
            "gid": stat.gid,
            "pw_name": stat.owner,
            "gr_name": stat.group,
            "size": stat.size,
            "inode": stat.inode,
            "dev": stat.device,
            "nlink": stat.nlink,
            "mtime": stat.mtime,
            "atime": accessed.unwrap_or(stat.mtime),
            "ctime": changed.unwrap_or(stat.mtime),
            "rusr": bit(0o400), "wusr": bit(0o200), "xusr": bit(0o100),
            "rgrp": bit(0o040), "wgrp": bit(0o020), "xgrp": bit(0o010),
            "roth": bit(0o004), "woth": bit(0o002), "xoth": bit(0o001),
            "isuid": bit(0o4000), "isgid": bit(0o2000),
            "readable": rights.contains('r'),
            "writeable": rights.contains('w'),
            "executable": rights.contains('x'),
        });
        let Value::Object(mut values) = value else { return Object::new() };
        if let Some(checksum) = checksum.filter(|_| self.get_checksum && stat.kind == FileKind::File) {
            values.insert("checksum".to_owned(), checksum.into());
        }
        if let Some(target) = &stat.target {
            let directory = super::attributes::parent(&self.path);
            let source =
                if target.starts_with('/') { target.clone() } else { super::attributes::join(&directory, target) };
            values.insert("lnk_target".to_owned(), target.as_str().into());
            values.insert("lnk_source".to_owned(), source.into());
        }
        values
    }
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[derive(Deserialize)]
struct Slurp {
    #[serde(alias = "path", deserialize_with = "args::text")]
    src: String,
}

fn build_slurp(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut slurp: Slurp = super::typed(SLURP, args)?;
    slurp.src = args::host_path(&slurp.src, build)?;
    Ok(Box::new(slurp))
}

impl Module for Slurp {
    fn probe(&self) -> Vec<Query> {
        vec![Query::Read { path: self.src.clone(), limit: SLURP_LIMIT }]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let Some(bytes) = observed::bytes(observed.answers, 0, &self.src)? else {
            return Err(Failure::new(format!("file not found: {}", self.src)));
        };
        let content = base64::engine::general_purpose::STANDARD.encode(bytes);
        let returned = Return::default().with("content", content).with("encoding", "base64");
        Ok(Plan::NoChange(returned.with("source", self.src.as_str())))
    }
}
