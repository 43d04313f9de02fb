//! Actions of the engine itself: they need no module, most of them not even a connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::done::Done;
use super::outside;
use super::outside_check;
use super::policy::{Decision, Policy};
use super::scope::object;
use super::walk::{End, Flow, Walk};
use crate::event::{Cause, Kind, Level, TaskRef};
use crate::modules::args::as_flag;
use crate::plan::{Failure, Object, Query, Script};
use crate::playbook::{Control, Task, find_file, load_vars};
use crate::shipped;
use crate::vars::Scope;

impl Walk {
    pub async fn control(
        &mut self,
        control: Control,
        task: &Arc<Task>,
        args: Object,
        scope: &Scope,
        reference: &TaskRef,
    ) -> Done {
        match control {
            Control::Assert => assert(&args, scope),
            Control::Debug => debug(&args, scope),
            Control::SetFact => set_fact(args),
            Control::Fail => {
                Done::failed(Failure::new(text(&args, "msg").unwrap_or_else(|| "failed as requested".to_owned())))
            }
            Control::IncludeVars => self.include_vars(task, &args),
            Control::Pause => self.pause(task, &args, scope, reference).await,
            Control::WaitForConnection => self.wait_for_connection(task, &args, scope, reference).await,
            Control::UrlCheck => self.url_check(task, args, scope, reference).await,
            Control::OutsideCheck => self.outside_check(args).await,
            Control::RolloutGate => self.rollout_gate(&args),
            Control::Meta | Control::IncludeTasks | Control::IncludeRole | Control::IncludeServices => Done::ok(),
        }
    }

    fn include_vars(&self, task: &Task, args: &Object) -> Done {
        let mut vars = Object::new();
        let mut files = Vec::new();
        let found = match (text(args, "file"), text(args, "dir")) {
            (Some(file), _) => find_file(&task.around, "vars", &file).map(|path| files.push(path)),
            (None, Some(dir)) => find_file(&task.around, "vars", &dir).map(|path| {
                let yaml = |file: &std::path::PathBuf| {
                    file.extension().is_some_and(|ending| ["yml", "yaml", "json"].iter().any(|known| ending == *known))
                };
                files.extend(shipped::walk(&path).into_iter().filter(yaml).map(|file| path.join(file)));
            }),
            (None, None) => Err(crate::error::Error::new("`file` or `dir` is missing")),
        };
        if let Err(error) = found {
            return Done::failed(failure(error));
        }
        for file in &files {
            match load_vars(file) {
                Ok(more) => vars.extend(more),
                Err(error) => return Done::failed(failure(error)),
            }
        }
        let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        if let Some(name) = text(args, "name") {
            vars = Object::from_iter([(name, Value::Object(vars))]);
        }
        self.host.include(vars);
        Done { result: object(json!({ "ansible_included_var_files": shown })), ..Done::ok() }
    }

    async fn pause(&self, task: &Task, args: &Object, scope: &Scope, reference: &TaskRef) -> Done {
        let number = |key: &str| args.get(key).and_then(|value| super::task::number(value, scope)).unwrap_or(0.0);
        let time = (number("minutes") * 60.0 + number("seconds")).clamp(0.0, 31_536_000.0);
        let time = Duration::from_secs_f64(time);
        if self.imagines(task, scope) {
            return Done::said("not waited for in check mode");
        }
        if time.is_zero() && text(args, "prompt").is_some() {
            let text = format!("`{}` goes on: nobody is asked", reference.name);
            self.run.emit.emit(Kind::Note { host: Some(self.host.name.clone()), level: Level::Warning, text });
        }
        let begin = Instant::now();
        if !time.is_zero() {
            self.progress(reference, format!("pausing for {} s", time.as_secs()));
        }
        if !self.sleep(time).await {
            return Done::ok().interrupted();
        }
        // what was asked ahead of time is old now
        self.host.wire.forget().await;
        let mut done = Done::ok();
        done.result.insert("delta".to_owned(), Value::from(begin.elapsed().as_secs()));
        done
    }

    async fn wait_for_connection(&self, task: &Task, args: &Object, scope: &Scope, reference: &TaskRef) -> Done {
        if self.imagines(task, scope) {
            return Done::said("not waited for in check mode");
        }
        let number = |key: &str, default: f64| {
            let given = args.get(key).and_then(|value| super::task::number(value, scope)).unwrap_or(default);
            Duration::from_secs_f64(given.clamp(0.0, 31_536_000.0))
        };
        let (timeout, pause) = (number("timeout", 600.0), number("sleep", 1.0));
        let begin = Instant::now();
        if !self.sleep(number("delay", 0.0)).await {
            return Done::ok().interrupted();
        }
        let mut route = match self.route(task, scope) {
            Ok(route) => route,
            Err(failure) => return Done::failed(failure),
        };
        route.target.connect_timeout = number("connect_timeout", 5.0);
        loop {
            route.host.wire.reset().await;
            let still = Query::Run(Script::new().raw(":").timeout(Duration::from_secs(10)));
            let answer = match self.way(&route).await {
                Ok(way) => way.ask_anew(std::slice::from_ref(&still)).await.map(|_| ()),
                Err(trouble) => Err(trouble),
            };
            let trouble = match answer {
                Ok(()) => {
                    let mut done = Done::ok();
                    done.result.insert("elapsed".to_owned(), Value::from(begin.elapsed().as_secs()));
                    return done;
                }
                Err(trouble) => trouble,
            };
            if begin.elapsed() >= timeout || trouble.cause == Cause::Auth {
                let msg = format!("no connection after {} s: {}", begin.elapsed().as_secs(), trouble.msg);
                return Done::failed(Failure { msg, hint: trouble.hint, ..Failure::default() });
            }
            self.progress(reference, trouble.msg);
            if !self.sleep(pause).await {
                return Done::ok().interrupted();
            }
        }
    }

    async fn url_check(&mut self, task: &Task, args: Object, scope: &Scope, reference: &TaskRef) -> Done {
        if self.imagines(task, scope) && self.host.imagined() {
            return Done::skipped_because("not looked at: what comes before it is only imagined");
        }
        let cancel: CancellationToken = self.run.cancel.clone();
        let looked = outside::check(args, &cancel, |status| self.progress(reference, status.to_owned())).await;
        match looked {
            Ok(returned) => {
                if let Some(service) = &mut self.service {
                    service.url_result = returned.msg.clone();
                }
                let settled = super::settle::Settled { returned, ..Default::default() };
                Done::settled(Ok(settled))
            }
            Err(failure) => {
                if let Some(service) = &mut self.service {
                    service.url_result = Some(failure.msg.clone());
                }
                let done = Done::failed(failure);
                if cancel.is_cancelled() { done.interrupted() } else { done }
            }
        }
    }

    async fn outside_check(&self, args: Object) -> Done {
        match outside_check::check(args, &self.run.cancel).await {
            Ok(returned) => Done::settled(Ok(super::settle::Settled { returned, ..Default::default() })),
            Err(failure) => {
                let done = Done::failed(failure);
                if self.run.cancel.is_cancelled() { done.interrupted() } else { done }
            }
        }
    }

    /// Asks the policy about the batches of a play that have ended: this one, or an earlier one that is named.
    fn rollout_gate(&self, args: &Object) -> Done {
        let policy = match Policy::read(args) {
            Ok(policy) => policy,
            Err(failure) => return Done::failed(failure),
        };
        let judged = text(args, "play").unwrap_or_else(|| self.batch.play.name.clone());
        let own = judged == self.batch.play.name;
        let mark = text(args, "failed").unwrap_or_default();
        let Some(mut so_far) = self.run.so_far(&judged, &mark) else {
            let failure = Failure::new(format!("no play `{judged}` has begun"));
            return Done::failed(failure.hint("`play` names the play whose hosts are judged"));
        };
        if own {
            // whatever fails here is the policy's affair from now on
            self.batch.govern();
            so_far.batches.pop();
        }
        let (undo, why) = match policy.decide(&so_far) {
            Decision::Go => return Done { result: object(json!({ "go": true, "undo": [] })), ..Done::ok() },
            Decision::Stop { why } => (Vec::new(), why),
            Decision::Undo { hosts, why } => (hosts, why),
        };
        if own {
            self.batch.close(&why);
        }
        Done { result: object(json!({ "go": false, "undo": undo, "msg": why })), ..Done::ok() }
    }

    pub async fn meta(&mut self, task: &Arc<Task>, scope: &Scope) -> Flow {
        match self.unmet(task, scope) {
            Ok(None) => {}
            Ok(Some(_)) => return Flow::Next,
            Err(fault) => {
                let reference = self.reference(task, scope);
                return self.fail_now(reference, Failure::from(fault));
            }
        }
        let word = task.action.args.get("_raw_params").and_then(Value::as_str).unwrap_or_default();
        match word {
            "flush_handlers" => self.flush().await,
            "end_host" => Flow::End(End::Host),
            "end_play" | "end_batch" => {
                self.batch.stop();
                Flow::End(End::Play)
            }
            "clear_facts" => {
                self.host.clear_facts();
                Flow::Next
            }
            "reset_connection" => {
                self.host.wire.reset().await;
                Flow::Next
            }
            // noop, clear_host_errors, refresh_inventory: the inventory is fixed when a run starts
            _ => Flow::Next,
        }
    }
}

fn assert(args: &Object, scope: &Scope) -> Done {
    let quiet = args.get("quiet").and_then(as_flag).unwrap_or(false);
    let said = |keys: &[&str]| {
        let written = keys.iter().find_map(|key| args.get(*key))?;
        // a message that cannot be templated is shown as it was written
        Some(scope.value(written).unwrap_or_else(|_| written.clone()))
    };
    let that = match args.get("that") {
        Some(Value::Array(conditions)) => conditions.clone(),
        Some(condition) => vec![condition.clone()],
        None => Vec::new(),
    };
    for condition in &that {
        let holds = match scope.condition(condition) {
            Ok(holds) => holds,
            Err(fault) => {
                let mut failure = Failure::from(fault);
                failure.msg = format!("`that`: {}", failure.msg);
                return Done::failed(failure.with("assertion", condition.clone()));
            }
        };
        if !holds {
            let msg = said(&["fail_msg", "msg"]).unwrap_or_else(|| Value::from("Assertion failed"));
            let mut done = Done::failed(Failure::new(String::new()));
            done.result.insert("msg".to_owned(), msg);
            done.result.insert("assertion".to_owned(), condition.clone());
            done.result.insert("evaluated_to".to_owned(), Value::Bool(false));
            let shown = condition.as_str().map_or_else(|| condition.to_string(), str::to_owned);
            done.hint = Some(format!("this does not hold: {shown}"));
            return done;
        }
    }
    let msg = said(&["success_msg"]).unwrap_or_else(|| Value::from("All assertions passed"));
    if quiet { Done::ok() } else { Done::said(msg) }
}

fn debug(args: &Object, scope: &Scope) -> Done {
    let verbosity = args.get("verbosity").and_then(|value| super::task::number(value, scope)).unwrap_or(0.0);
    if verbosity > 0.0 {
        return Done::skipped_because("Verbosity threshold not met.");
    }
    if let Some(var) = args.get("var") {
        let name = var.as_str().map_or_else(|| var.to_string(), str::to_owned);
        let value = match name.contains("{{") {
            true => scope.value(var),
            false => scope.expression(&name),
        };
        let value = match value {
            Ok(value) => value,
            Err(fault) if fault.undefined.is_some() => Value::from("VARIABLE IS NOT DEFINED!"),
            Err(fault) => return Done::failed(fault),
        };
        return Done { result: Object::from_iter([(name, value)]), ..Done::ok() };
    }
    match args.get("msg").map(|msg| scope.value(msg)) {
        None => Done::said("Hello world!"),
        Some(Ok(msg)) => Done::said(msg),
        Some(Err(fault)) => Done::failed(fault),
    }
}

fn set_fact(mut args: Object) -> Done {
    args.shift_remove("cacheable");
    if args.is_empty() {
        return Done::failed(Failure::new("no variable is set"));
    }
    Done { result: object(json!({ "ansible_facts": args })), set: args, ..Done::ok() }
}

fn text(args: &Object, key: &str) -> Option<String> {
    match args.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A mistake in a file that is read while the run goes on concerns this host only.
pub(super) fn failure(error: crate::error::Error) -> Failure {
    let place = error.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    let mut msg = format!("{place}{}", error.text);
    for other in &error.also {
        msg.push_str(&format!("\n{other}"));
    }
    Failure { msg, hint: error.hint, ..Failure::default() }
}
