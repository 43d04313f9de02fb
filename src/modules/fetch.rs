//! `fetch`: a file of the host comes to the controller.
//!
//! ```yaml
//! - name: The backup comes home
//!   fetch: {src: /var/lib/app/backup.age, dest: "backups/app/backup.age", flat: true}
//! ```
//!
//! The copy is for this user alone (0600) and appears whole or not at all. A copy that is the same already stays.
//! Leaves out Ansible's default of a folder for each host: with `flat: true` the name says it.

use std::path::PathBuf;

use serde::Deserialize;

use super::args;
use super::attributes::base_name;
use super::observed;
use super::{Build, Found, Spec};
use crate::plan::{Change, Failure, FileKind, Module, Object, Observed, Operation, Plan, Query, Return, Then};

pub const FAMILY: &[Spec] = &[Spec { name: "fetch", aliases: &[], args: FETCH, free_form: None, build }];

const FETCH: &[&str] = &["src", "dest", "flat", "fail_on_missing", "validate_checksum"];

#[derive(Deserialize)]
struct Args {
    #[serde(deserialize_with = "args::text")]
    src: String,
    #[serde(deserialize_with = "args::text")]
    dest: String,
    #[serde(default, deserialize_with = "args::flag")]
    flat: bool,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    fail_on_missing: bool,
    /// Accepted as it is meant: what arrives is always complete.
    #[serde(default = "yes", deserialize_with = "args::flag")]
    validate_checksum: bool,
}

fn yes() -> bool {
    true
}

struct Fetch {
    src: String,
    to: PathBuf,
    must: bool,
    /// SHA-256 of the copy that is here already.
    here: Option<String>,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(FETCH, args)?;
    if !args.flat {
        return Err(Failure::new("`fetch` without `flat: true` is not supported")
            .hint("name the copy yourself: dest: \"copies/{{ inventory_hostname }}/name\", flat: true"));
    }
    if !args.validate_checksum {
        return Err(Failure::new("`validate_checksum: false` is not supported: what arrives is always complete"));
    }
    let src = args::host_path(&args.src, build)?;
    let to = match args.dest.ends_with('/') {
        true => PathBuf::from(&args.dest).join(base_name(&src)),
        false => PathBuf::from(&args.dest),
    };
    let here = match build.local.look(&to) {
        Ok(Found::File { checksum, .. }) => Some(checksum),
        Ok(Found::Directory) | Err(_) => None,
    };
    Ok(Box::new(Fetch { src, to, must: args.fail_on_missing, here }))
}

impl Module for Fetch {
    fn probe(&self) -> Vec<Query> {
        vec![Query::Stat { path: self.src.clone(), follow: true, checksum: true }]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let dest = self.to.display().to_string();
        let stat = match observed::stat(observed.answers, 0, &self.src)? {
            None if self.must => return Err(Failure::new(format!("{} is not there", self.src))),
            None => return Ok(Plan::NoChange(Return::msg(format!("{} is not there", self.src)))),
            Some(stat) if stat.kind != FileKind::File => {
                return Err(
                    Failure::new(format!("{} is no file", self.src)).hint("pack a folder into an archive first")
                );
            }
            Some(stat) => stat,
        };
        let checksum = stat.checksum.clone().unwrap_or_default();
        let returned = Return::default().with("dest", dest).with("remote_checksum", checksum.as_str());
        if self.here.is_some() && self.here == stat.checksum {
            return Ok(Plan::NoChange(Return { msg: Some("the copy is the same already".to_owned()), ..returned }));
        }
        Ok(Plan::Change(Change {
            diff: Vec::new(),
            operations: vec![Operation::Fetch { path: self.src.clone(), to: self.to.clone() }],
            then: Then::Finish,
            forecast: returned,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{calls, file_stat};
    use crate::plan::Answer;
    use serde_json::json;

    #[test]
    fn a_file_comes_and_what_is_none_does_not() {
        let task = json!({"src": "/a/b.age", "dest": "/nonexistent/copies/", "flat": true});
        let answer = |kind| vec![Answer::Stat(Some(file_stat(kind)))];
        let plan = calls("fetch", task.clone(), &answer(FileKind::File), &[]).unwrap();
        assert_eq!(plan, [r#"Fetch { path: "/a/b.age", to: "/nonexistent/copies/b.age" }"#]);
        assert_eq!(calls("fetch", task.clone(), &answer(FileKind::Directory), &[]).unwrap_err(), "/a/b.age is no file");
        assert_eq!(calls("fetch", task, &[Answer::Stat(None)], &[]).unwrap_err(), "/a/b.age is not there");
        let missing = json!({"src": "/a/b", "dest": "/c", "flat": true, "fail_on_missing": false});
        assert_eq!(calls("fetch", missing, &[Answer::Stat(None)], &[]).unwrap(), Vec::<String>::new());
        assert!(calls("fetch", json!({"src": "/a", "dest": "/b"}), &[], &[]).unwrap_err().contains("flat"));
    }
}
