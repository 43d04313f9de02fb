//! One task on one host: conditions, loops, retries, what counts as changed and failed, what is registered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::done::Done;
use super::host::Fate;
use super::pace::{Shared, Turn};
use super::run::together;
use super::walk::{End, Failed, Flow, Walk};
use crate::event::{Cause, Kind, Level, Outcome, Status, TaskRef};
use crate::modules::args::as_flag;
use crate::plan::{Failure, Object};
use crate::playbook::{ActionKind, Control, Task};
use crate::vars::{Fault, Scope};

impl Walk {
    pub async fn task(&mut self, task: &Arc<Task>) -> Flow {
        if !self.selected(task) {
            return Flow::Next;
        }
        if self.run.cancel.is_cancelled() {
            return Flow::End(End::Interrupted);
        }
        self.batch.pace.reach(&self.host.name, &self.position);
        let scope = self.scope(task);
        let once = self.flag(task.keywords.run_once.as_ref(), &scope);
        if together(&self.batch.play) && (once || self.batch.in_step() || self.observes_others(task, &scope)) {
            let (batch, host, position) = (self.batch.clone(), self.host.clone(), self.position.clone());
            if self.aside(batch.pace.together(&host.name, &position)).await.is_none() {
                return Flow::End(End::Interrupted);
            }
        }
        if self.batch.stopped() {
            return Flow::End(End::Play);
        }
        if !once {
            return self.task_here(task, scope).await.0;
        }
        let (batch, host, position) = (self.batch.clone(), self.host.clone(), self.position.clone());
        let Some(turn) = self.aside(batch.pace.turn(&host.name, &position)).await else {
            return Flow::End(End::Interrupted);
        };
        match turn {
            Turn::Mine => {
                let (flow, mut shared) = self.task_here(task, scope).await;
                if !matches!(flow, Flow::Next) {
                    shared.failed = Some(format!("`{}` failed on {}, which did it for all", task.name, self.host.name));
                }
                self.batch.pace.share(&position, shared);
                flow
            }
            Turn::Theirs(Some(shared)) => self.take_over(&shared),
            Turn::Theirs(None) => {
                let msg = format!("the host that was to do `{}` for all left the play", task.name);
                Flow::Failed(Box::new(Failed {
                    task: json!({"name": task.name}),
                    result: json!({"msg": msg, "failed": true}),
                }))
            }
        }
    }

    fn take_over(&mut self, shared: &Shared) -> Flow {
        if let Some((name, value)) = &shared.registered {
            self.host.set(Object::from_iter([(name.clone(), value.clone())]));
        }
        self.host.set(shared.set.clone());
        self.host.add_facts(shared.facts.clone(), false);
        match &shared.failed {
            None => Flow::Next,
            Some(msg) => {
                Flow::Failed(Box::new(Failed { task: Value::Null, result: json!({"msg": msg, "failed": true}) }))
            }
        }
    }

    async fn task_here(&mut self, task: &Arc<Task>, scope: Scope) -> (Flow, Shared) {
        let mut shared = Shared { registered: None, facts: Object::new(), set: Object::new(), failed: None };
        match task.action.kind {
            ActionKind::Control(Control::Meta) => return (self.meta(task, &scope).await, shared),
            ActionKind::Control(Control::IncludeTasks | Control::IncludeRole | Control::IncludeServices) => {
                return (self.include(task, &scope).await, shared);
            }
            _ => {}
        }
        let begin = Instant::now();
        let met = self.know_host(task, &scope).await;
        // with what the handshake brought
        let scope = if matches!(met, Ok(true)) { self.scope(task) } else { scope };
        let reference = self.reference(task, &scope);
        let quiet = self.flag(task.keywords.no_log.as_ref(), &scope);
        self.run.emit.emit(Kind::TaskStarted { host: self.host.name.clone(), task: reference.clone() });
        let items = match met {
            Ok(_) => self.loop_items(task, &scope).map_err(Ok),
            Err(done) => Err(Err(done)),
        };
        let done = match items {
            Err(Err(done)) => done,
            Ok(None) => self.item(task, &scope, &reference, &[]).await,
            Ok(Some(items)) => self.each(task, &scope, items, &reference, quiet).await,
            Err(Ok(fault)) => match self.unmet(task, &scope) {
                // a condition that does not hold comes before a loop over something undefined
                Ok(Some(condition)) => Done::skipped(&condition),
                Ok(None) | Err(_) => self.doubtful(Done::failed(in_loop(fault))),
            },
        };
        drop(scope);
        let flow = self.conclude(task, reference, done, quiet, begin, &mut shared);
        (flow, shared)
    }

    /// Publishes what a task brought, tells everybody, and says how it goes on.
    fn conclude(
        &mut self,
        task: &Task,
        reference: TaskRef,
        done: Done,
        quiet: bool,
        begin: Instant,
        shared: &mut Shared,
    ) -> Flow {
        let result = Value::Object(done.registered());
        if let Some(name) = &task.register {
            self.host.set(Object::from_iter([(name.clone(), result.clone())]));
            shared.registered = Some((name.clone(), result.clone()));
        }
        if !done.facts.is_empty() {
            let bare = !matches!(task.action.kind, ActionKind::Module(spec) if spec.name == "setup");
            self.fact_host(task).add_facts(done.facts.clone(), bare);
            shared.facts = done.facts.clone();
        }
        if !done.set.is_empty() {
            self.fact_host(task).set(done.set.clone());
            shared.set = done.set.clone();
        }
        let scope = self.scope(task);
        let mut done = done;
        if done.changed()
            && let Err(failure) = self.notify(task, &scope)
        {
            done = Done::failed(failure);
        }
        let unreachable = done.status == Status::Unreachable;
        let failed = done.status == Status::Failed;
        let forgiven = match (unreachable, failed) {
            (true, _) => self.flag(task.keywords.ignore_unreachable.as_ref(), &scope),
            (_, true) => self.flag(task.keywords.ignore_errors.as_ref(), &scope),
            _ => false,
        };
        let interrupted = done.cause == Some(Cause::Interrupted);
        let rescued = failed && !interrupted && self.rescuable > 0;
        self.host.count(|counts| match done.status {
            Status::Ok => counts.ok += 1,
            Status::Changed => {
                counts.ok += 1;
                counts.changed += 1;
            }
            Status::Skipped => counts.skipped += 1,
            Status::Uncertain => counts.uncertain += 1,
            Status::Failed | Status::Unreachable if forgiven => {
                counts.ok += 1;
                counts.ignored += 1;
            }
            Status::Failed | Status::Unreachable => {}
        });
        let mut outcome = self.outcome(done, quiet, forgiven || rescued, begin.elapsed());
        if task.keywords.diff.is_some() && !self.flag(task.keywords.diff.as_ref(), &scope) {
            outcome.diff.clear();
        }
        for warning in outcome.result.get("warnings").and_then(Value::as_array).into_iter().flatten() {
            let text = warning.as_str().map_or_else(|| warning.to_string(), str::to_owned);
            if self.host.is_new(&text) {
                let host = Some(self.host.name.clone());
                self.run.emit.emit(Kind::Note { host, level: Level::Warning, text });
            }
        }
        let told = reference.clone();
        self.run.emit.emit(Kind::TaskFinished { host: self.host.name.clone(), task: told, outcome: Box::new(outcome) });
        match (unreachable, failed) {
            _ if forgiven => Flow::Next,
            _ if interrupted => Flow::End(End::Interrupted),
            (true, _) => Flow::End(End::Unreachable),
            (_, true) => {
                let failed = json!({"name": reference.name, "action": reference.action});
                if matches!(&task.keywords.any_errors_fatal, Some(Value::Bool(true))) && self.rescuable == 0 {
                    self.host.end(Fate::Failed);
                    self.batch.note_failures();
                }
                Flow::Failed(Box::new(Failed { task: failed, result }))
            }
            _ => Flow::Next,
        }
    }

    pub fn outcome(&self, done: Done, quiet: bool, ignored: bool, took: Duration) -> Outcome {
        let result = match quiet {
            true => done.censored(),
            false => done.registered(),
        };
        let diff = if self.run.diff && !quiet { done.diff } else { Vec::new() };
        Outcome {
            status: done.status,
            result,
            diff,
            hint: if quiet { None } else { done.hint },
            cause: done.cause,
            ignored,
            took_ms: took.as_millis() as u64,
        }
    }

    /// One item, or a task without a loop: its condition, then as many attempts as it takes.
    pub async fn item(&mut self, task: &Arc<Task>, scope: &Scope, reference: &TaskRef, later: &[Scope]) -> Done {
        match self.unmet(task, scope) {
            Ok(None) => {}
            Ok(Some(condition)) => return Done::skipped(&condition),
            Err(fault) => return self.doubtful(Done::failed(in_condition("when", fault))),
        }
        let retries = task.retries.as_ref().and_then(|retries| number(retries, scope));
        let until = task.until.clone().or_else(|| retries.map(|_| Value::Null));
        let retries = if until.is_some() { retries.unwrap_or(3.0).max(0.0) as u64 } else { 0 };
        let delay = task.delay.as_ref().and_then(|delay| number(delay, scope)).unwrap_or(5.0).max(0.0);
        let mut attempt = 1;
        loop {
            let mut done = self.attempt(task, scope, reference, later).await;
            if until.is_some() {
                done.result.insert("attempts".to_owned(), Value::from(attempt));
            }
            let final_word = matches!(done.status, Status::Unreachable | Status::Skipped | Status::Uncertain);
            if final_word || matches!(done.cause, Some(Cause::Interrupted | Cause::Locked)) {
                return done;
            }
            let done = match self.judge(task, scope, done) {
                Ok(done) => done,
                Err(done) => return self.doubtful(done),
            };
            let enough = match &until {
                None => true,
                Some(Value::Null) => done.status != Status::Failed,
                Some(until) => match self.after(task, scope, &done).condition(until) {
                    Ok(met) => met,
                    Err(fault) => return self.doubtful(done.misjudged(in_condition("until", fault))),
                },
            };
            if enough {
                return self.doubtful(done);
            }
            if attempt > retries || self.imagines(task, scope) {
                return self.doubtful(done.gave_up(retries));
            }
            let left = retries - attempt + 1;
            let plural = if left == 1 { "retry" } else { "retries" };
            self.progress(reference, format!("not yet; {left} {plural} left"));
            if !self.sleep(Duration::from_secs_f64(delay.min(86_400.0))).await {
                return done.interrupted();
            }
            self.host.wire.forget().await;
            attempt += 1;
        }
    }

    async fn attempt(&mut self, task: &Arc<Task>, scope: &Scope, reference: &TaskRef, later: &[Scope]) -> Done {
        let args = match self.arguments(task, scope) {
            Ok(args) => args,
            Err(failure) => return self.doubtful(Done::failed(failure)),
        };
        let place = match task.keywords.throttle.as_ref().and_then(|most| number(most, scope)) {
            Some(most) if most >= 1.0 => Some(self.batch.throttle(&task.place, most as usize)),
            _ => None,
        };
        let work = async {
            let _place = match &place {
                // never closed
                Some(places) => places.acquire().await.ok(),
                None => None,
            };
            match task.action.kind {
                ActionKind::Module(spec) => self.module(spec, task, args, scope, reference, later).await,
                ActionKind::Control(control) => self.control(control, task, args, scope, reference).await,
            }
        };
        let limit = task.keywords.timeout.as_ref().and_then(|limit| number(limit, scope)).filter(|limit| *limit > 0.0);
        let done = match limit {
            None => work.await,
            // the script itself is told the limit; this is for what hangs nevertheless
            Some(limit) => {
                let patience = Duration::from_secs_f64(limit.min(31_536_000.0) + 5.0);
                match tokio::time::timeout(patience, work).await {
                    Ok(done) => done,
                    Err(_) => Done::failed(Failure::new(format!("not done within {limit} s"))),
                }
            }
        };
        self.doubtful(done)
    }

    /// `changed_when` and `failed_when`, which see the result under its name.
    fn judge(&self, task: &Task, scope: &Scope, mut done: Done) -> Result<Done, Done> {
        let ask = |done: &Done, word, condition| {
            let answer = self.after(task, scope, done).condition(condition);
            answer.map_err(|fault| done.misjudged(in_condition(word, fault)))
        };
        if let Some(condition) = &task.changed_when {
            let changed = ask(&done, "changed_when", condition)?;
            done.set_changed(changed);
        }
        if let Some(condition) = &task.failed_when {
            let failed = ask(&done, "failed_when", condition)?;
            done.set_failed(failed);
        }
        Ok(done)
    }

    fn after(&self, task: &Task, scope: &Scope, done: &Done) -> Scope {
        match &task.register {
            Some(name) => scope.with(Object::from_iter([(name.clone(), Value::Object(done.registered()))]), true),
            None => scope.clone(),
        }
    }

    /// The first condition that does not hold.
    pub fn unmet(&self, task: &Task, scope: &Scope) -> Result<Option<String>, Fault> {
        for condition in &task.when {
            if !scope.condition(condition)? {
                return Ok(Some(match condition {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                }));
            }
        }
        Ok(None)
    }

    /// The arguments with every template in them evaluated.
    pub fn arguments(&self, task: &Task, scope: &Scope) -> Result<Object, Failure> {
        let action = &task.action;
        let short = crate::playbook::short_name(&action.name);
        let mut written = Object::new();
        for defaults in &task.keywords.module_defaults {
            for name in [short, action.name.as_str()] {
                if let Some(Value::Object(args)) = defaults.get(name) {
                    written.extend(args.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
            }
        }
        if let Some(template) = &action.template {
            match scope.value(template)? {
                Value::Object(args) => written.extend(args),
                other => {
                    let text = format!("the arguments must be a mapping, not {}", kind(&other));
                    return Err(Failure::new(text));
                }
            }
        }
        written.extend(action.args.iter().map(|(key, value)| (key.clone(), value.clone())));
        // these evaluate their own
        if let ActionKind::Control(Control::Assert | Control::Debug) = action.kind {
            return Ok(written);
        }
        let args = match scope.value(&Value::Object(written))? {
            Value::Object(args) => args,
            _ => Object::new(),
        };
        // only `set_fact` has names that are templates
        if !matches!(action.kind, ActionKind::Control(Control::SetFact)) {
            return Ok(args);
        }
        let named = args.into_iter().map(|(name, value)| match name.contains("{{") {
            true => Ok((scope.value(&Value::from(name))?.as_str().unwrap_or_default().to_owned(), value)),
            false => Ok((name, value)),
        });
        named.collect()
    }

    pub fn flag(&self, value: Option<&Value>, scope: &Scope) -> bool {
        match value {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(value) => scope.value(value).ok().as_ref().and_then(as_flag).unwrap_or(false),
        }
    }

    /// In check mode after an imagined change, a failure may be that change's absence.
    pub fn doubtful(&self, done: Done) -> Done {
        match done.status {
            Status::Failed if self.run.check && self.host.imagined() => done.uncertain(),
            _ => done,
        }
    }

    pub fn progress(&self, reference: &TaskRef, status: String) {
        self.run.emit.emit(Kind::TaskProgress { host: self.host.name.clone(), task: reference.clone(), status });
    }

    /// `false` if the run was interrupted meanwhile.
    pub async fn sleep(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            () = self.run.cancel.cancelled() => false,
        }
    }
}

fn in_condition(keyword: &str, fault: Fault) -> Failure {
    let mut failure = Failure::from(fault);
    failure.msg = format!("`{keyword}`: {}", failure.msg);
    failure
}

fn in_loop(fault: Fault) -> Failure {
    in_condition("loop", fault)
}

/// A number, also from a template or from its text.
pub(super) fn number(value: &Value, scope: &Scope) -> Option<f64> {
    match scope.value(value).ok()? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
    .filter(|number| number.is_finite())
}

pub(super) fn seconds(value: &Value, scope: &Scope) -> Option<Duration> {
    number(value, scope).map(|seconds| Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0)))
}

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}
