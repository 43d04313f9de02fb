//! What the verbs share that look at services and change nothing: which clients, and a playbook whose events they fold.

use clap::Args;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, FleetFlags};
use super::execute::drive;
use super::live::{self, Asked};
use super::slice::load_book;
use crate::engine::{Job, Summary};
use crate::error::{Error, Result};
use crate::event::{Event, Outcome, Status, TaskRef};
use crate::plan::Object;
use crate::report::tally::cause_word;
use crate::services::{Rollout, Selection, Services, declared};

#[derive(Args, Clone)]
pub struct LookFlags {
    /// Clients: names, groups, globs
    #[arg(long, value_name = "PATTERN", default_value = "all", visible_alias = "hosts")]
    pub host: String,
    /// Services; without it each client's declared ones
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    pub services: Option<Vec<String>>,
    /// Look at the services in this mode: debug, produccion [default: the client's variable `mode`]
    #[arg(long, value_name = "MODE", visible_alias = "modo")]
    pub mode: Option<String>,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
    #[command(flatten)]
    pub fleet: FleetFlags,
}

/// A slice of the fleet that is looked at.
pub struct Looked {
    pub fleet: Fleet,
    pub hosts: Vec<String>,
    pub rollout: Rollout,
}

/// May a look change something? Checks with side effects do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effects {
    None,
    Wanted,
}

impl LookFlags {
    /// The clients of the slice with their services. Of all clients, those without services are left out.
    pub fn load(&self) -> Result<Looked> {
        let mut fleet = self.fleet.load()?;
        if let Some(mode) = &self.mode {
            fleet.extra_vars.insert("mode".to_owned(), Value::from(mode.as_str()));
        }
        let mut hosts = fleet.select(&self.host)?;
        if self.services.is_none() && hosts.len() > 1 {
            let mut with = Vec::new();
            for host in &hosts {
                if declared::services(&fleet.catalogue, &fleet.inventory, host)?.is_some() {
                    with.push(host.clone());
                }
            }
            hosts = with;
        }
        if hosts.is_empty() {
            return Err(Error::new("none of these clients declares services")
                .hint("add `services: […]` to their host_vars, or name some with --services"));
        }
        let selection = Selection {
            services: self.services.clone(),
            with_dependencies: self.services.is_none(),
            ..Selection::default()
        };
        let rollout = Rollout::prepare(&fleet.sources(), &hosts, &selection)?;
        Ok(Looked { fleet, hosts, rollout })
    }
}

impl Looked {
    /// Runs a playbook on the slice; every event of it is handed on, with the token that ends the run.
    pub async fn play(
        self,
        flags: &LookFlags,
        playbook: &str,
        vars: Object,
        effects: Effects,
        mut hear: impl FnMut(Event, &CancellationToken),
    ) -> Result<Summary> {
        let become_password = self.fleet.sudo_password(flags.ask_become_pass)?;
        let mut extra_vars = self.fleet.extra_vars.clone();
        extra_vars.extend(vars);
        extra_vars.extend(self.rollout.vars());
        let job = Job {
            run: playbook.trim_start_matches("playbooks/").trim_end_matches(".yml").to_owned(),
            plays: load_book(playbook)?,
            inventory: self.fleet.inventory.clone(),
            redactor: self.fleet.redactor.clone(),
            services: Some(std::sync::Arc::new(self.rollout)),
            extra_vars,
            limit: self.hosts.clone(),
            check: effects == Effects::None,
            diff: false,
            forks: 100,
            connects_at_once: 4 * std::thread::available_parallelism().map_or(2, usize::from),
            tags: Vec::new(),
            skip_tags: Vec::new(),
            command: Vec::new(),
            become_password,
            window: 0,
            grace: crate::engine::GRACE,
            locks: crate::engine::Locks::default(),
        };
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        drive(job, cancel, |event| hear(event, &token)).await
    }

    /// What those say who gave the clients' API keys out.
    pub async fn keys(&self) -> Vec<Asked> {
        live::ask(&self.rollout).await
    }

    /// What the manifest says of a check: its entry in `service.checks`.
    pub fn severities(&self) -> std::collections::HashMap<(String, String, String), String> {
        let mut all = std::collections::HashMap::new();
        for host in self.rollout.hosts.values() {
            for service in &host.services {
                for check in checks(&service.vars) {
                    let text = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    all.insert((host.host.clone(), service.id.clone(), text("name")), text("severity"));
                }
            }
        }
        all
    }
}

/// `service.checks` of a service's variables.
pub fn checks(vars: &Object) -> Vec<Value> {
    let checks = vars.get("service").and_then(|service| service.get("checks")).and_then(Value::as_array);
    checks.cloned().unwrap_or_default()
}

/// Is this task a check of a service?
pub fn is_check(task: &TaskRef) -> bool {
    ["service_check", "outside_check"].contains(&task.action.as_str())
}

/// Why a host could not be looked at any further, if that is what this outcome says.
pub fn trouble(outcome: &Outcome) -> Option<String> {
    match outcome.status {
        Status::Unreachable => {}
        Status::Failed if !outcome.ignored => {}
        _ => return None,
    }
    Some(why(outcome))
}

/// The cause and the first line of what was said; of a command its own last words, for that it failed says little.
pub fn why(outcome: &Outcome) -> String {
    let message = outcome.text("msg").lines().next().unwrap_or_default();
    let words = outcome.text("stderr").lines().rev().find(|line| !line.trim().is_empty());
    let message = words.filter(|_| message == "non-zero return code").unwrap_or(message);
    format!("{}: {message}", cause_word(outcome.cause))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_failed_is_told_by_its_last_words() {
        let of = |result: Value| {
            serde_json::from_value::<Outcome>(serde_json::json!({"status": "failed", "result": result, "took_ms": 1}))
                .unwrap()
        };
        let stderr = "warning: x\nCannot connect to the Docker daemon\n\n";
        let failed = of(serde_json::json!({"msg": "non-zero return code", "stderr": stderr}));
        assert_eq!(trouble(&failed).unwrap(), "task failed: Cannot connect to the Docker daemon");
        let silent = of(serde_json::json!({"msg": "non-zero return code", "stderr": ""}));
        assert_eq!(why(&silent), "task failed: non-zero return code");
        let told = of(serde_json::json!({"msg": "no such file\nmore", "stderr": "x"}));
        assert_eq!(why(&told), "task failed: no such file");
    }
}
