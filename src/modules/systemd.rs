//! `systemd` and `service`: services, timers, sockets.
//!
//! ```yaml
//! - name: The web server runs, now and after a reboot
//!   service: {name: nginx, state: started, enabled: true}
//!
//! - name: The new unit file counts
//!   systemd: {daemon_reload: true}
//! ```
//!
//! Leaves out init systems other than systemd (refused by name) and global user units.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{Change, Diff, Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then};

use super::args;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec {
        name: "systemd",
        aliases: &["systemd_service", "ansible.builtin.systemd_service"],
        args: SYSTEMD,
        free_form: None,
        build,
    },
    Spec {
        name: "service",
        aliases: &["sysvinit", "ansible.builtin.sysvinit"],
        args: SERVICE,
        free_form: None,
        build: build_service,
    },
];

const SYSTEMD: &[&str] = &[
    "name",
    "service",
    "unit",
    "state",
    "enabled",
    "masked",
    "force",
    "daemon_reload",
    "daemon-reload",
    "daemon_reexec",
    "daemon-reexec",
    "scope",
    "no_block",
];
const SERVICE: &[&str] = &["name", "state", "enabled", "daemon_reload", "use"];

/// Stopping and starting may take as long as a unit's own time limits allow.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(900);

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "service", alias = "unit", deserialize_with = "args::opt_text")]
    name: Option<String>,
    #[serde(default)]
    state: Option<State>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    enabled: Option<bool>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    masked: Option<bool>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, alias = "daemon-reload", deserialize_with = "args::flag")]
    daemon_reload: bool,
    #[serde(default, alias = "daemon-reexec", deserialize_with = "args::flag")]
    daemon_reexec: bool,
    #[serde(default)]
    scope: Scope,
    #[serde(default, deserialize_with = "args::flag")]
    no_block: bool,
    #[serde(default, rename = "use", deserialize_with = "args::opt_text")]
    with: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[serde(alias = "running")]
    Started,
    Stopped,
    Restarted,
    Reloaded,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    #[default]
    System,
    User,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(SYSTEMD, args)?;
    checked(args)
}

fn build_service(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(SERVICE, args)?;
    if let Some(other) = args.with.as_deref().filter(|name| !matches!(*name, "auto" | "systemd" | "service")) {
        return Err(Failure::new(format!(
            "`use: {other}` is not supported: services are managed through systemd only"
        )));
    }
    checked(args)
}

fn checked(args: Args) -> Result<Box<dyn Module>, Failure> {
    let acts = args.state.is_some() || args.enabled.is_some() || args.masked.is_some();
    if args.name.is_none() && acts {
        return Err(Failure::new("argument `name` is missing"));
    }
    if !acts && !args.daemon_reload && !args.daemon_reexec {
        return Err(Failure::new("one of `state`, `enabled`, `masked` and `daemon_reload` is needed"));
    }
    Ok(Box::new(args))
}

impl Module for Args {
    fn probe(&self) -> Vec<Query> {
        let mut script = Script::new().raw("if [ ! -d /run/systemd/system ]; then echo no systemd; exit 0; fi;");
        if let Some(name) = &self.name {
            script = self.systemctl(script, "is-enabled").arg(name.as_str()).raw("2>/dev/null || :;");
            script = self.systemctl(script, "show --no-pager").raw(PROPERTIES).arg(name.as_str());
        }
        vec![Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let name = self.name.as_deref().unwrap_or_default();
        let output = observed::output(observed.answers, 0, name)?;
        let text = output.stdout_text();
        if text.starts_with("no systemd") {
            return Err(Failure::new("this host does not run systemd, and other init systems are not supported")
                .hint("use `command` with the init system's own tool"));
        }
        if !output.ok() {
            let failure = Failure::new(format!("systemctl cannot say how {name} is: {}", output.stderr_text().trim()));
            return Err(failure.with("rc", output.rc).with("stderr", output.stderr_text()));
        }
        let unit = Unit::parse(&text);
        let mut steps = Steps { args: self, name, operations: Vec::new(), before: String::new(), after: String::new() };
        let reload = self.daemon_reload && (name.is_empty() || unit.needs_reload() || !unit.found());
        if reload {
            steps.run("daemon-reload", &[]);
        }
        if self.daemon_reexec {
            steps.run("daemon-reexec", &[]);
        }
        // a reload is no change: it makes systemd see what another task changed
        let quiet = steps.operations.len();
        if !name.is_empty() {
            if !unit.found() && !unit.masked() && !reload {
                return Err(Failure::new(format!("could not find the service {name}"))
                    .hint("is its package installed, and its unit file in place?"));
            }
            self.steps(&unit, &mut steps);
        }
        let mut returned = Return::default();
        if let Some(name) = &self.name {
            returned = returned.with("name", name.as_str()).with("status", unit.status());
        }
        if let Some(enabled) = self.enabled {
            returned = returned.with("enabled", enabled);
        }
        if let Some(state) = self.state {
            returned = returned.with("state", if state == State::Stopped { "stopped" } else { "started" });
        }
        if steps.operations.is_empty() {
            let msg = format!("already {}", unit.describe());
            return Ok(Plan::NoChange(Return { msg: Some(msg), ..returned }));
        }
        if steps.operations.len() == quiet {
            returned.changed = Some(false);
        }
        let header = if name.is_empty() { "systemd" } else { name };
        let diff = Diff {
            before_header: header.to_owned(),
            after_header: header.to_owned(),
            before: steps.before,
            after: steps.after,
        };
        let diff = if diff.before == diff.after { Vec::new() } else { vec![diff] };
        Ok(Plan::Change(Change { diff, operations: steps.operations, then: Then::Finish, forecast: returned }))
    }

    fn finish(&self, _: &[crate::plan::Output]) -> Result<Return, Failure> {
        let acts = self.state.is_some() || self.enabled.is_some() || self.masked.is_some();
        Ok(Return { changed: (!acts).then_some(false), ..Return::default() })
    }
}

/// The properties that decide, and those that people look at.
const PROPERTIES: &str = "-p Id,LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,FragmentPath,MainPID,\
                          Description,Result,Type,ExecMainStatus";

impl Args {
    fn systemctl(&self, script: Script, verb: &'static str) -> Script {
        match self.scope {
            Scope::System => script.raw("systemctl").raw(verb),
            Scope::User => script.raw("XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user").raw(verb),
        }
    }

    fn steps(&self, unit: &Unit, steps: &mut Steps<'_>) {
        // unmask first: a masked unit can be neither enabled nor started
        if self.masked == Some(false) && unit.masked() {
            steps.run("unmask", &["masked: yes", "masked: no"]);
        }
        if let Some(enabled) = self.enabled
            && enabled != unit.enabled()
        {
            match enabled {
                true if self.force => steps.run("enable --force", &["enabled: no", "enabled: yes"]),
                true => steps.run("enable", &["enabled: no", "enabled: yes"]),
                false => steps.run("disable", &["enabled: yes", "enabled: no"]),
            }
        }
        match (self.state, unit.running()) {
            (Some(State::Started), false) | (Some(State::Reloaded), false) => {
                steps.run("start", &["state: stopped", "state: started"]);
            }
            (Some(State::Stopped), true) => steps.run("stop", &["state: started", "state: stopped"]),
            (Some(State::Restarted), _) => steps.run("restart", &["", "restarted"]),
            (Some(State::Reloaded), true) => steps.run("reload", &["", "reloaded"]),
            (Some(State::Started), true) | (Some(State::Stopped), false) | (None, _) => {}
        }
        if self.masked == Some(true) && !unit.masked() {
            steps.run("mask", &["masked: no", "masked: yes"]);
        }
    }
}

struct Steps<'a> {
    args: &'a Args,
    name: &'a str,
    operations: Vec<Operation>,
    before: String,
    after: String,
}

impl Steps<'_> {
    /// One systemctl call. A unit that does not start shows its last log lines as the failure's stderr.
    fn run(&mut self, verb: &'static str, change: &[&str]) {
        let args = self.args;
        let mut script = args.systemctl(Script::new(), verb);
        if !verb.starts_with("daemon") {
            if args.no_block {
                script = script.raw("--no-block");
            }
            script = script.arg(self.name);
        }
        if matches!(verb, "start" | "restart" | "reload") {
            script = script.raw("|| { rc=$?; ");
            script = args.systemctl(script, "status --no-pager --full -n 20").arg(self.name).raw(">&2; exit $rc; }");
        }
        script.timeout = Some(PATIENCE);
        self.operations.push(Operation::run(script));
        if let [before, after] = change {
            self.before.push_str(&format!("{before}\n"));
            self.after.push_str(&format!("{after}\n"));
        }
    }
}

/// What systemd says of a unit: the word of `is-enabled`, then properties.
#[derive(Default)]
struct Unit {
    enabled: String,
    properties: Object,
}

impl Unit {
    fn parse(text: &str) -> Self {
        let mut unit = Unit::default();
        for line in text.lines() {
            match line.split_once('=') {
                Some((key, value)) => {
                    unit.properties.insert(key.to_owned(), value.into());
                }
                None if unit.enabled.is_empty() => unit.enabled = line.trim().to_owned(),
                None => {}
            }
        }
        unit
    }

    fn property(&self, name: &str) -> &str {
        self.properties.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn found(&self) -> bool {
        !matches!(self.property("LoadState"), "not-found" | "")
    }

    fn masked(&self) -> bool {
        self.property("LoadState") == "masked"
            || self.enabled.starts_with("masked")
            || self.property("UnitFileState").starts_with("masked")
    }

    /// As `systemctl is-enabled` decides by its exit code.
    fn enabled(&self) -> bool {
        let word = if self.enabled.is_empty() { self.property("UnitFileState") } else { &self.enabled };
        matches!(word, "enabled" | "enabled-runtime" | "static" | "alias" | "indirect" | "generated")
    }

    fn running(&self) -> bool {
        matches!(self.property("ActiveState"), "active" | "activating" | "reloading" | "refreshing")
    }

    fn needs_reload(&self) -> bool {
        self.property("NeedDaemonReload") == "yes"
    }

    fn status(&self) -> Value {
        let mut status = self.properties.clone();
        status.insert("Enabled".to_owned(), self.enabled.as_str().into());
        Value::Object(status)
    }

    fn describe(&self) -> String {
        match self.property("ActiveState") {
            "" => "as wanted".to_owned(),
            active if self.enabled.is_empty() => active.to_owned(),
            active => format!("{active} and {}", self.enabled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing;
    use serde_json::json;

    /// The systemctl calls of a plan, without what follows when one fails.
    fn calls(args: Value, seen: &str) -> Result<Vec<String>, String> {
        let short =
            |call: &String| call.split(" ||").next().unwrap_or_default().trim_start_matches("systemctl ").to_owned();
        Ok(testing::calls("systemd", args, &[testing::said(seen)], &[])?.iter().map(short).collect())
    }

    #[test]
    fn what_is_seen_decides_what_is_done() {
        let running = "enabled\nLoadState=loaded\nActiveState=active\nUnitFileState=enabled\nNeedDaemonReload=no\n";
        let stopped = "disabled\nLoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\nNeedDaemonReload=no\n";
        let stale = running.replace("NeedDaemonReload=no", "NeedDaemonReload=yes");
        let masked = "masked\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n";
        let missing = "not-found\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n";
        let table: &[(Value, &str, &[&str])] = &[
            (json!({"name": "x", "state": "started", "enabled": true}), running, &[]),
            (json!({"name": "x", "state": "started", "enabled": "yes"}), stopped, &["enable x", "start x"]),
            (json!({"name": "x", "state": "stopped", "enabled": false}), running, &["disable x", "stop x"]),
            (json!({"name": "x", "state": "restarted"}), running, &["restart x"]),
            (json!({"name": "x", "state": "reloaded"}), running, &["reload x"]),
            (json!({"name": "x", "state": "reloaded"}), stopped, &["start x"]),
            (json!({"name": "x", "state": "started", "daemon_reload": true}), running, &[]),
            (json!({"name": "x", "state": "started", "daemon_reload": true}), &stale, &["daemon-reload"]),
            (json!({"name": "x", "state": "started", "daemon_reload": true}), missing, &["daemon-reload", "start x"]),
            (json!({"daemon_reload": true}), "", &["daemon-reload"]),
            (json!({"name": "x", "masked": true}), stopped, &["mask x"]),
            (json!({"name": "x", "masked": true}), masked, &[]),
            (json!({"name": "x", "masked": false, "state": "started"}), masked, &["unmask x", "start x"]),
            (
                json!({"name": "x", "enabled": true, "scope": "user"}),
                stopped,
                &["XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user enable x"],
            ),
        ];
        for (args, seen, expected) in table {
            assert_eq!(calls(args.clone(), seen).unwrap(), *expected, "{args}");
        }
        assert!(calls(json!({"name": "x", "state": "started"}), missing).unwrap_err().contains("could not find"));
        assert!(
            calls(json!({"name": "x", "state": "started"}), "no systemd\n")
                .unwrap_err()
                .contains("does not run systemd")
        );
        for wrong in [json!({"state": "started"}), json!({"name": "x"}), json!({"name": "x", "state": "up"})] {
            assert!(calls(wrong.clone(), "").is_err(), "{wrong}");
        }
    }
}
