//! A module task's way to its host: which host, as whom, in which environment; then `settle`.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::ahead::Behind;
use super::done::Done;
use super::host::Host;
use super::local::TaskFiles;
use super::lock::{self, Claim, LockVars};
use super::settle::{Reach, settle};
use super::task::number;
use super::walk::Walk;
use super::wire::{Ahead, Patience, Turn, Way};
use crate::event::{Cause, Kind, Level, TaskRef};
use crate::inventory::connection::{BecomeMethod as SettingsBecome, Method as SettingsMethod, Settings};
use crate::lane::{ActError, Become, BecomeMethod, Method, Target, Trouble};
use crate::modules::args::as_flag;
use crate::modules::{Build, Spec};
use crate::plan::{Answer, Change, Failure, Module, Object, Operation, Output, Part, Query, Script};
use crate::playbook::{ActionKind, Task};
use crate::vars::Scope;

/// How a task reaches its host, out of variables and keywords.
pub(super) struct Route {
    pub host: Arc<Host>,
    pub target: Target,
    pub who: Option<Become>,
    pub lock: LockVars,
}

impl Route {
    pub fn same_target(&self, other: &Route) -> bool {
        let key = |target: &Target| (target.method, target.address.clone(), target.port, target.user.clone());
        key(&self.target) == key(&other.target)
    }
}

/// Added to every script of the task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Surroundings {
    env: Vec<(String, String)>,
    timeout: Option<Duration>,
}

impl Walk {
    pub async fn module(
        &mut self,
        spec: &'static Spec,
        task: &Arc<Task>,
        args: Object,
        scope: &Scope,
        reference: &TaskRef,
        later: &[Scope],
    ) -> Done {
        let route = match self.route(task, scope) {
            Ok(route) => route,
            Err(failure) => return Done::failed(failure),
        };
        let way = match self.way(&route).await {
            Ok(way) => way,
            Err(trouble) => return Done::trouble(trouble),
        };
        let check = self.imagines(task, scope);
        let around = match self.around(task, scope) {
            Ok(around) => around,
            Err(failure) => return Done::failed(failure),
        };
        let module = match self.build(spec, task, args, scope, &route.host, check) {
            Ok(module) => module,
            Err(failure) => return Done::failed(failure),
        };
        if check && let Some(reason) = module.skipped_in_check_mode() {
            if self.run.check {
                // what it would have done is not known, so later refusals may be its absence
                route.host.imagine(None);
            }
            return Done::skipped_because(reason);
        }
        let lane = TaskLane { walk: self, way: &way, route: &route, task, later, reference, around: &around, check };
        let outcome = settle(&*module, &lane).await;
        Done::settled(outcome)
    }

    pub fn build(
        &self,
        spec: &'static Spec,
        task: &Task,
        args: Object,
        scope: &Scope,
        host: &Host,
        check: bool,
    ) -> Result<Box<dyn Module>, Failure> {
        let local = TaskFiles { around: &task.around, scope };
        (spec.build)(args, &Build { local: &local, facts: &host.facts(), check })
    }

    pub async fn way<'w>(&'w self, route: &'w Route) -> Result<Way<'w>, Trouble> {
        let run = &self.run;
        let wire = &route.host.wire;
        let patience = Patience { cancel: &run.cancel, grace: run.grace };
        let way = wire.way(&route.target, route.who.clone(), &run.connections, patience, &run.emit).await?;
        if route.host.facts().is_empty() {
            route.host.add_facts(way.hello.facts(), false);
        }
        Ok(way)
    }

    /// Changes of this task are imagined, not made.
    pub fn imagines(&self, task: &Task, scope: &Scope) -> bool {
        match &task.keywords.check_mode {
            None => self.run.check,
            Some(value) => self.flag(Some(value), scope),
        }
    }

    /// The host that a task works on: its own, or the one it is delegated to.
    pub fn fact_host(&self, task: &Task) -> Arc<Host> {
        let scope = self.scope(task);
        let delegated = self.flag(task.keywords.delegate_facts.as_ref(), &scope);
        let name = task.keywords.delegate_to.as_ref().filter(|_| delegated).and_then(|to| scope.value(to).ok());
        name.as_ref().and_then(Value::as_str).and_then(|name| self.run.host(name)).unwrap_or_else(|| self.host.clone())
    }

    pub fn route(&self, task: &Task, scope: &Scope) -> Result<Route, Failure> {
        let delegate = match &task.keywords.delegate_to {
            None => None,
            Some(to) => match scope.value(to)? {
                Value::String(name) if !name.is_empty() => Some(name),
                _ => None,
            },
        };
        let host = match delegate.as_deref() {
            None => self.host.clone(),
            Some("127.0.0.1") if self.run.host("127.0.0.1").is_none() => self.known("localhost")?,
            Some(name) => self.known(name)?,
        };
        let elsewhere;
        let vars = if host.name == self.host.name {
            scope
        } else {
            elsewhere = super::scope::host_scope(&self.run, &host, &task.around);
            &elsewhere
        };
        let settings = self.settings(&host, vars, task)?;
        self.route_by(settings, host, task, scope, vars)
    }

    fn known(&self, name: &str) -> Result<Arc<Host>, Failure> {
        self.run.host(name).ok_or_else(|| {
            let failure = Failure::new(format!("`delegate_to`: no host `{name}` in the inventory"));
            match crate::error::nearest(name, self.run.hosts.keys().map(String::as_str)) {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure,
            }
        })
    }

    /// The connection variables, templated.
    fn settings(&self, host: &Host, scope: &Scope, task: &Task) -> Result<Settings, Failure> {
        let mut names: Vec<&str> = Vec::new();
        let written = host.inventory.iter().map(|layer| &layer.vars);
        let of_play = self.play_vars.iter().map(|layer| &layer.vars);
        for vars in written.chain(of_play).chain(&task.vars).chain(&task.around.params).chain([&self.run.extra_vars]) {
            names.extend(vars.keys().filter(|name| name.starts_with("ansible_")).map(String::as_str));
        }
        let mut vars = Object::new();
        for name in names {
            if !vars.contains_key(name)
                && let Some(value) = scope.get(name)?
            {
                vars.insert(name.to_owned(), value);
            }
        }
        for name in ["ansible_connection", "ansible_user", "ansible_host", "ansible_port"] {
            // set while the run went on
            if !vars.contains_key(name)
                && let Ok(Some(value)) = scope.get(name)
            {
                vars.insert(name.to_owned(), value);
            }
        }
        Settings::of(&vars).map_err(|error| Failure { msg: error.text, hint: error.hint, ..Failure::default() })
    }

    fn route_by(
        &self,
        settings: Settings,
        host: Arc<Host>,
        task: &Task,
        scope: &Scope,
        vars: &Scope,
    ) -> Result<Route, Failure> {
        let keywords = &task.keywords;
        let text = |value: &Option<Value>| -> Result<Option<String>, Failure> {
            match value {
                None => Ok(None),
                Some(value) => Ok(scope.value(value)?.as_str().map(str::to_owned)),
            }
        };
        let own = host.name == self.host.name;
        let connection = if own { text(&keywords.connection)? } else { None };
        let said = |name: &str| vars.has(name);
        let local = match connection.as_deref() {
            Some(method) if !said("ansible_connection") => method.rsplit('.').next() == Some("local"),
            _ => settings.method == SettingsMethod::Local || (host.implicit && !said("ansible_connection")),
        };
        let remote_user = if own { text(&keywords.remote_user)? } else { None };
        for secret in [&settings.password, &settings.become_password].into_iter().flatten() {
            self.run.redactor.add(secret.reveal());
        }
        let defaults = Target::default();
        let target = Target {
            name: host.name.clone(),
            method: if local { Method::Local } else { Method::Ssh },
            address: settings.address.unwrap_or_else(|| host.name.clone()),
            port: settings.port,
            user: settings.user.or(remote_user),
            key_file: settings.key_file,
            password: settings.password,
            shell: vars
                .get("ansible_shell_executable")?
                .and_then(|shell| shell.as_str().map(str::to_owned))
                .unwrap_or_else(|| defaults.shell.clone()),
            ssh_args: settings.ssh_args,
            config_file: vars.get("ansible_ssh_config")?.and_then(|file| file.as_str().map(Into::into)),
            known_hosts: settings.known_hosts,
            host_key_checking: settings.host_key_checking.unwrap_or(true),
            connect_timeout: settings.timeout.map_or(defaults.connect_timeout, Duration::from_secs),
        };
        let wanted = match (settings.escalate, &keywords.r#become) {
            (Some(wanted), _) => wanted,
            (None, Some(value)) => as_flag(&scope.value(value)?).unwrap_or(false),
            (None, None) => false,
        };
        let who = match wanted {
            false => None,
            true => {
                let user = settings.become_user.or(text(&keywords.become_user)?).unwrap_or_else(|| "root".to_owned());
                let by_keyword = if said("ansible_become_method") { None } else { text(&keywords.become_method)? };
                let method = match by_keyword.as_deref().map(|name| name.rsplit('.').next().unwrap_or(name)) {
                    None => match settings.become_method {
                        SettingsBecome::Sudo => BecomeMethod::Sudo,
                        SettingsBecome::Doas => BecomeMethod::Doas,
                        SettingsBecome::Su => BecomeMethod::Su,
                    },
                    Some("sudo") => BecomeMethod::Sudo,
                    Some("doas") => BecomeMethod::Doas,
                    Some("su") => BecomeMethod::Su,
                    Some(other) => {
                        let failure = Failure::new(format!("`become_method`: `{other}` is not known"));
                        return Err(failure.hint("sudo, doas or su"));
                    }
                };
                let password = settings.become_password.or_else(|| self.run.become_password.clone());
                Some(Become { method, user, password })
            }
        };
        let path = |name: &str| Ok::<_, Failure>(vars.get(name)?.and_then(|dir| dir.as_str().map(str::to_owned)));
        let expiry = vars.get("provision_lock_expiry")?.and_then(|value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        });
        let lock = LockVars { dir: path("provision_lock_dir")?, holds: path("provision_hold_dir")?, expiry };
        Ok(Route { host, target, who, lock })
    }

    pub fn around(&self, task: &Task, scope: &Scope) -> Result<Surroundings, Failure> {
        let mut env: Vec<(String, String)> = Vec::new();
        for layer in &task.keywords.environment {
            match scope.value(layer)? {
                Value::Object(vars) => {
                    for (name, value) in vars {
                        env.retain(|(known, _)| *known != name);
                        let text = match value {
                            Value::String(text) => text,
                            Value::Null => String::new(),
                            other => other.to_string(),
                        };
                        env.push((name, text));
                    }
                }
                Value::Null => {}
                Value::String(text) if text.is_empty() => {}
                other => {
                    let text = format!("`environment` must be a mapping, not {}", super::task::kind(&other));
                    return Err(Failure::new(text));
                }
            }
        }
        let limit = task.keywords.timeout.as_ref().and_then(|limit| number(limit, scope)).filter(|limit| *limit > 0.0);
        Ok(Surroundings { env, timeout: limit.map(|limit| Duration::from_secs_f64(limit.min(31_536_000.0))) })
    }

    /// Connects before the first template that speaks of facts, if nothing has connected yet. `true`: it did.
    pub async fn know_host(&mut self, task: &Task, scope: &Scope) -> Result<bool, Done> {
        if !self.host.facts().is_empty() || !self.speaks_of_facts(task, scope) {
            return Ok(false);
        }
        let route = self.route(task, scope).map_err(Done::failed)?;
        if route.host.name != self.host.name {
            return Ok(false);
        }
        self.way(&route).await.map(|_| true).map_err(Done::trouble)
    }

    fn speaks_of_facts(&self, task: &Task, scope: &Scope) -> bool {
        let mut texts: Vec<Value> = task.when.clone();
        texts.push(Value::Object(Object::clone(&task.action.args)));
        texts.extend(task.repeat.as_ref().map(|repeat| repeat.over.clone()));
        let names = texts.iter().flat_map(|text| match text {
            // conditions are expressions without braces
            Value::String(text) if !text.contains("{{") => scope.names(&Value::String(format!("{{{{ {text} }}}}"))),
            other => scope.names(other),
        });
        let is_fact = |name: String| name.starts_with("ansible_") && !scope.has(&name);
        let template = matches!(task.action.kind, ActionKind::Module(spec) if spec.name == "template");
        names.into_iter().any(is_fact) && !template
    }
}

impl TaskLane<'_> {
    /// Until the lock is ours, if whoever has it is the last command of a run that was killed.
    async fn outwait(&self, claim: &Claim, note: String) -> Result<(), ActError> {
        let mut held = Some(note);
        let mut waited = Duration::ZERO;
        while let Some(note) = held {
            if waited >= lock::PATIENCE || !lock::left_by_a_dead_run(&note, claim) {
                let (text, hint) = lock::refusal(&self.route.host.name, &note, &claim.owner);
                return Err(Trouble::new(Cause::Locked, text).hint(hint).into());
            }
            let text = "an earlier run was ended here in the middle and left something running; waiting for its end";
            if waited.is_zero() {
                let host = Some(self.route.host.name.clone());
                self.walk.run.emit.emit(Kind::Note { host, level: Level::Info, text: text.to_owned() });
            }
            self.wait(lock::PAUSE, text).await?;
            waited += lock::PAUSE;
            held = self.way.claim(claim).await?;
        }
        self.way.wire.forget().await;
        Ok(())
    }

    /// A task with a time limit does not spend it on the questions of others.
    fn window(&self) -> usize {
        if self.around.timeout.is_some() { 0 } else { self.walk.run.window }
    }
}

/// The lane of one task on one host.
struct TaskLane<'t> {
    walk: &'t Walk,
    way: &'t Way<'t>,
    route: &'t Route,
    task: &'t Arc<Task>,
    later: &'t [Scope],
    reference: &'t TaskRef,
    around: &'t Surroundings,
    check: bool,
}

impl Reach for TaskLane<'_> {
    async fn ask(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        let queries = self.around.queries(queries.to_vec());
        let foresee = |window| self.walk.foresee(self.task, self.route, self.later, Behind::Question(window));
        let answers = self.way.ask(&queries, self.window(), foresee).await?;
        Ok(if self.check { self.route.host.as_imagined(&queries, answers) } else { answers })
    }

    async fn ask_anew(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble> {
        let queries = self.around.queries(queries.to_vec());
        let answers = self.way.ask_anew(&queries).await?;
        Ok(if self.check { self.route.host.as_imagined(&queries, answers) } else { answers })
    }

    async fn act(&self, operations: &[Operation], again: &[Query]) -> Result<Option<Vec<Output>>, ActError> {
        if operations.is_empty() {
            return Ok(Some(Vec::new()));
        }
        // what check mode may run changes nothing, and looks also where somebody else is at work
        let claim = (!self.walk.run.check).then(|| self.walk.run.claim(&self.route.host.name, &self.route.lock));
        let operations = self.around.operations(operations.to_vec());
        let again = self.around.queries(again.to_vec());
        // what is said to change nothing probably leaves the next answers as they are, too
        let calm = self.task.changed_when == Some(Value::Bool(false));
        let behind = if calm { Behind::Calm } else { Behind::Change };
        let foresee = |window| self.walk.foresee(self.task, self.route, self.later, behind(window));
        let ahead = Ahead { limit: self.window(), calm };
        match self.way.act(claim.as_ref(), &operations, &again, ahead, foresee).await? {
            Turn::Done(outputs) => Ok(Some(outputs)),
            Turn::Held(note) => match claim {
                Some(claim) => self.outwait(&claim, note).await.map(|()| None),
                None => Ok(None),
            },
        }
    }

    async fn wait(&self, after: Duration, status: &str) -> Result<bool, Trouble> {
        if self.check {
            return Ok(false);
        }
        let status = status.to_owned();
        self.walk.run.emit.emit(Kind::TaskProgress {
            host: self.walk.host.name.clone(),
            task: self.reference.clone(),
            status: status.clone(),
        });
        match self.walk.sleep(after).await {
            true => Ok(true),
            false => Err(Trouble::new(Cause::Interrupted, format!("interrupted while waiting: {status}"))),
        }
    }

    fn check(&self) -> bool {
        self.check
    }

    fn imagine(&self, change: &Change) {
        // a single task with `check_mode: true` leaves no trace for those after it
        if self.walk.run.check {
            self.route.host.imagine(Some(change));
        }
    }
}

impl Surroundings {
    pub fn queries(&self, queries: Vec<Query>) -> Vec<Query> {
        if *self == Surroundings::default() {
            return queries;
        }
        let add = |query| match query {
            Query::Run(script) => Query::Run(self.script(script)),
            other => other,
        };
        queries.into_iter().map(add).collect()
    }

    fn operations(&self, operations: Vec<Operation>) -> Vec<Operation> {
        let add = |operation| match operation {
            Operation::Run { script, accept } => Operation::Run { script: self.script(script), accept },
            other => other,
        };
        operations.into_iter().map(add).collect()
    }

    /// What the module says about a variable wins over the task's environment.
    fn script(&self, mut script: Script) -> Script {
        let mut env: Vec<(String, Part)> = Vec::new();
        for (name, value) in &self.env {
            if !script.env.iter().any(|(known, _)| known == name) {
                env.push((name.clone(), Part::Quoted(value.clone())));
            }
        }
        env.append(&mut script.env);
        script.env = env;
        if let Some(limit) = self.timeout {
            script.timeout = Some(script.timeout.map_or(limit, |own| own.min(limit)));
        }
        script
    }
}
