//! `group`: a group of the host.

use serde::Deserialize;

use super::{Steps, option, plain_name};
use crate::modules::args::{self, State};
use crate::modules::{Build, observed, typed};
use crate::plan::{Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script};

pub(super) const ARGS: &[&str] = &["name", "state", "gid", "system", "force", "non_unique"];

#[derive(Deserialize)]
struct Group {
    #[serde(deserialize_with = "args::text")]
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::opt_count")]
    gid: Option<u64>,
    #[serde(default, deserialize_with = "args::flag")]
    system: bool,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::flag")]
    non_unique: bool,
}

pub(super) fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let group: Group = typed(ARGS, args)?;
    plain_name("group", &group.name)?;
    Ok(Box::new(group))
}

impl Module for Group {
    fn probe(&self) -> Vec<Query> {
        let name = self.name.as_str();
        let script = Script::new().raw("getent group").arg(name).raw("|| grep").arg(format!("^{name}:"));
        vec![Query::Run(script.raw("/etc/group || :"))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let text = observed::output(observed.answers, 0, &self.name)?.stdout_text();
        let current: Option<u64> = text.trim().split(':').nth(2).and_then(|gid| gid.parse().ok());
        let mut steps = Steps::new(&self.name);
        match (current, self.state) {
            (None, State::Absent) => {}
            (Some(_), State::Absent) => {
                let script = if self.force { Script::new().raw("groupdel -f") } else { Script::new().raw("groupdel") };
                steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                steps.note("state", "present", "absent");
            }
            (None, State::Present) => {
                let mut script = option(Script::new().raw("groupadd"), "-g", self.gid.map(|gid| gid.to_string()));
                for (wanted, flag) in [(self.system, "-r"), (self.non_unique, "-o")] {
                    if wanted {
                        script = script.raw(flag);
                    }
                }
                steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                steps.note("state", "absent", "present");
            }
            (Some(gid), State::Present) => {
                if let Some(wanted) = self.gid.filter(|wanted| *wanted != gid) {
                    let mut script = option(Script::new().raw("groupmod"), "-g", Some(wanted.to_string()));
                    if self.non_unique {
                        script = script.raw("-o");
                    }
                    steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                    steps.note("gid", gid, wanted);
                }
            }
        }
        let state = if self.state == State::Present { "present" } else { "absent" };
        let mut returned = Return::default().with("name", self.name.as_str()).with("state", state);
        if let Some(gid) = self.gid.or(current).filter(|_| self.state == State::Present) {
            returned = returned.with("gid", gid);
        }
        Ok(steps.plan(returned.with("system", self.system)))
    }
}
