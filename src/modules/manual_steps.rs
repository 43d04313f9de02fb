//! `manual_steps`: which of a service's steps that only people can do are done, and by whom.
//!
//! ```yaml
//! - name: Steps by hand
//!   manual_steps:
//!     service: nexus-orchestrator
//!     steps:
//!       - {id: share-calendars, text: Share every calendar with the service account, critical: true}
//!
//! - name: Mark one as done
//!   manual_steps:
//!     service: nexus-orchestrator
//!     steps: [{id: share-calendars, text: Share every calendar with the service account, critical: true}]
//!     done: [share-calendars]
//!     by: ana@desk
//!     at: "2026-11-26T03:00:00Z"
//!     note: two calendars
//! ```
//!
//! The host remembers it in `/var/lib/provision/steps/<service>.json`. What is done already stays as it was told first;
//! `reopen` forgets it. Leaves out whether it is true: nobody but the person knows.

use serde::Deserialize;
use serde_json::{Value, json};

use super::attributes::{Attributes, parent};
use super::place::{Content, Manner, due};
use super::{Build, Spec, args, observed, typed};
use crate::plan::{Change, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then};

pub const FAMILY: &[Spec] = &[Spec {
    name: "manual_steps",
    aliases: &[],
    args: &["service", "steps", "done", "reopen", "by", "at", "note"],
    free_form: None,
    build,
}];

/// More than any list of steps has.
const LIMIT: u64 = 1024 * 1024;

#[derive(Deserialize)]
struct Arguments {
    service: String,
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(default, deserialize_with = "args::list")]
    done: Vec<String>,
    #[serde(default, deserialize_with = "args::list")]
    reopen: Vec<String>,
    #[serde(default)]
    by: String,
    /// RFC 3339.
    #[serde(default)]
    at: String,
    #[serde(default)]
    note: String,
}

#[derive(Clone, Deserialize)]
struct Step {
    id: String,
    text: String,
    #[serde(default)]
    critical: bool,
}

struct ManualSteps {
    args: Arguments,
    path: String,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    if args.service.is_empty() || args.service.starts_with('.') || args.service.contains('/') {
        return Err(Failure::new(format!("`{}` is not a service", args.service)));
    }
    let known = |id: &&String| !args.steps.iter().any(|step| step.id == **id);
    if let Some(id) = args.done.iter().chain(&args.reopen).find(known) {
        return Err(Failure::new(format!("`{}` has no step `{id}`", args.service)));
    }
    let path = format!("/var/lib/provision/steps/{}.json", args.service);
    Ok(Box::new(ManualSteps { args, path }))
}

impl Module for ManualSteps {
    fn probe(&self) -> Vec<Query> {
        vec![
            Query::Stat { path: self.path.clone(), follow: false, checksum: true },
            Query::Read { path: self.path.clone(), limit: LIMIT },
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let stat = observed::stat(observed.answers, 0, &self.path)?;
        let text = observed::bytes(observed.answers, 1, &self.path)?;
        let before: Object = match text {
            None => Object::new(),
            Some(text) => serde_json::from_slice(text).map_err(|error| {
                Failure::new(format!("{}: {error}", self.path)).hint("mend the file on the host, or delete it")
            })?,
        };
        let mut after = before.clone();
        for id in self.args.done.iter().filter(|id| !before.contains_key(*id)) {
            after.insert(id.clone(), json!({"by": self.args.by, "at": self.args.at, "note": self.args.note}));
        }
        self.args.reopen.iter().for_each(|id| drop(after.shift_remove(id)));
        let returned = self.returned(&after);
        if after == before {
            return Ok(Plan::NoChange(returned));
        }
        let text = format!("{:#}\n", Value::Object(after));
        let attributes = Attributes { mode: Some(args::Mode::Octal(0o600)), ..Attributes::default() };
        let manner = Manner { attributes, ..Manner::default() };
        let due = due(
            &self.path,
            &Content::of(text.into_bytes()),
            &manner,
            stat,
            observed::bytes(observed.answers, 1, &self.path)?,
        )?;
        let folder = Operation::run(Script::new().raw("umask 077; mkdir -p --").arg(parent(&self.path)));
        let operations = std::iter::once(folder).chain(due.operations).collect();
        Ok(Plan::Change(Change { diff: due.diff, operations, then: Then::Finish, forecast: returned }))
    }

    fn finish(&self, _: &[Output]) -> Result<Return, Failure> {
        Ok(Return::default())
    }
}

impl ManualSteps {
    /// `steps` with who did each (null: nobody yet), and how many are pending.
    fn returned(&self, done: &Object) -> Return {
        let steps = self.args.steps.iter().map(|step| {
            let done = done.get(&step.id).cloned().unwrap_or(Value::Null);
            json!({"id": step.id, "text": step.text, "critical": step.critical, "done": done})
        });
        let steps: Vec<Value> = steps.collect();
        let pending = steps.iter().filter(|step| step["done"].is_null()).count();
        let msg = match pending {
            0 => "nothing is left to do by hand".to_owned(),
            1 => "1 step by hand is pending".to_owned(),
            more => format!("{more} steps by hand are pending"),
        };
        Return::msg(msg).with("steps", steps).with("pending", pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::build;
    use crate::plan::{Answer, FileKind, FileStat};
    use std::time::Duration;

    fn plan(more: Value, file: Option<&str>) -> Result<Plan, String> {
        let mut args = json!({"service": "shop", "by": "ana@desk", "at": "now",
            "steps": [{"id": "a", "text": "A", "critical": true}, {"id": "b", "text": "B"}]});
        args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let stat = file.map(|text| FileStat {
            kind: FileKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            size: text.len() as u64,
            mtime: 0,
            inode: 1,
            device: 1,
            nlink: 1,
            target: None,
            checksum: Some(crate::modules::sha256(text.as_bytes())),
        });
        let answers = [Answer::Stat(stat), Answer::Bytes(file.map(|text| text.as_bytes().to_vec()))];
        let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
        build("manual_steps", args).and_then(|module| module.plan(&observed)).map_err(|failure| failure.msg)
    }

    fn written(plan: &Plan) -> Value {
        let Plan::Change(change) = plan else { panic!("{plan:?}") };
        let Operation::Write(write) = &change.operations[1] else { panic!("{change:?}") };
        assert_eq!(write.to.mode, Some(0o600));
        serde_json::from_slice(&write.content).unwrap()
    }

    #[test]
    fn a_step_is_done_once_and_by_somebody() {
        let Plan::NoChange(fresh) = plan(json!({}), None).unwrap() else { panic!() };
        assert_eq!((&fresh.values["pending"], &fresh.values["steps"][0]["done"]), (&json!(2), &Value::Null));
        let done = plan(json!({"done": ["a"], "note": "two"}), None).unwrap();
        let file = written(&done);
        assert_eq!(file, json!({"a": {"by": "ana@desk", "at": "now", "note": "two"}}));
        // who comes second finds it done
        let again = plan(json!({"done": ["a"], "by": "eva@home"}), Some(&file.to_string())).unwrap();
        let Plan::NoChange(again) = again else { panic!("{again:?}") };
        assert_eq!(
            (&again.values["pending"], &again.values["steps"][0]["done"]["by"]),
            (&json!(1), &json!("ana@desk"))
        );
        assert_eq!(written(&plan(json!({"reopen": ["a"]}), Some(&file.to_string())).unwrap()), json!({}));
    }

    #[test]
    fn what_is_not_a_step_or_not_a_record_is_refused() {
        assert!(plan(json!({"done": ["c"]}), None).unwrap_err().contains("`shop` has no step `c`"));
        assert!(plan(json!({"service": "../x"}), None).unwrap_err().contains("is not a service"));
        assert!(plan(json!({}), Some("{")).unwrap_err().contains("/var/lib/provision/steps/shop.json"));
    }
}
