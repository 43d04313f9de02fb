//! What the services of a stack have come to, judged from `docker service inspect` and the tasks behind them.
//!
//! `docker service ls` shows `1/1` for a service that was rolled back to its old version, or that crashes every ten
//! seconds and is between two crashes. Here an update that was rolled back or paused is a failure, a job that ended is
//! done, and repeated failures of tasks are a loop.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::docker_wait::{Verdict, milliseconds};

/// The label that carries the digest of everything a service was deployed from.
pub(super) const DIGEST: &str = "io.provision.digest";

/// A task must have run for this long, in milliseconds.
const SETTLED: i64 = 5_000;
/// Failures are counted within this window, in milliseconds.
const WINDOW: i64 = 120_000;
/// So many failures are a loop.
const LOOP: usize = 3;

/// The part of `docker service inspect` that counts.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Service {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "Spec")]
    spec: Spec,
    #[serde(default, rename = "UpdateStatus")]
    update: Option<Update>,
    #[serde(default, rename = "JobStatus")]
    job: Option<JobStatus>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    name: String,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    task_template: Template,
    #[serde(default)]
    mode: Mode,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Template {
    container_spec: Map<String, Value>,
    force_update: u64,
    restart_policy: Option<RestartPolicy>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    condition: String,
    max_attempts: usize,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mode {
    replicated: Option<Replicated>,
    global: Option<Value>,
    replicated_job: Option<Job>,
    global_job: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Replicated {
    #[serde(default)]
    replicas: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Job {
    #[serde(default)]
    total_completions: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    #[serde(default)]
    state: String,
    #[serde(default)]
    message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct JobStatus {
    job_iteration: Iteration,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Iteration {
    index: u64,
}

/// The part of `docker inspect --type task` that counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Task {
    #[serde(rename = "ID")]
    pub id: String,
    #[serde(rename = "ServiceID")]
    service_id: String,
    created_at: String,
    #[serde(default)]
    spec: Template,
    status: Status,
    #[serde(default)]
    desired_state: String,
    #[serde(default)]
    job_iteration: Iteration,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    timestamp: String,
    state: String,
    #[serde(default)]
    err: String,
    #[serde(default)]
    container_status: Option<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerStatus {
    exit_code: i64,
}

impl Service {
    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(super) fn digest(&self) -> &str {
        self.spec.labels.as_ref().and_then(|labels| labels.get(DIGEST)).map_or("", String::as_str)
    }

    pub(super) fn image(&self) -> &str {
        self.spec.task_template.container_spec.get("Image").and_then(Value::as_str).unwrap_or_default()
    }

    /// An update that the swarm gave up: what it said.
    pub(super) fn rolled_back(&self) -> Option<&str> {
        self.update.as_ref().filter(|update| update.state.starts_with("rollback")).map(|update| update.message.as_str())
    }

    pub(super) fn paused(&self) -> Option<&str> {
        let paused = |update: &&Update| matches!(update.state.as_str(), "paused" | "rollback_paused");
        self.update.as_ref().filter(paused).map(|update| update.message.as_str())
    }

    pub(super) fn is_job(&self) -> bool {
        self.spec.mode.replicated_job.is_some() || self.spec.mode.global_job.is_some()
    }

    /// `2/2`, or `1/1 completed` for a job.
    pub(super) fn count(&self, tasks: &[Task]) -> String {
        let mine = self.current(tasks);
        let wanted = self.wanted(&mine);
        let state = if self.is_job() { "complete" } else { "running" };
        let there = mine.iter().filter(|task| task.status.state == state && task.wanted(self.is_job())).count();
        format!("{there}/{wanted}{}", if self.is_job() { " completed" } else { "" })
    }

    /// Tasks made from the service as it is now.
    fn current<'a>(&self, tasks: &'a [Task]) -> Vec<&'a Task> {
        let iteration = self.job.as_ref().map(|job| job.job_iteration).unwrap_or_default();
        let mine = tasks.iter().filter(|task| task.service_id == self.id);
        mine.filter(|task| match self.is_job() {
            true => task.job_iteration == iteration,
            false => same(&task.spec, &self.spec.task_template),
        })
        .collect()
    }

    fn wanted(&self, current: &[&Task]) -> usize {
        match &self.spec.mode {
            Mode { replicated: Some(replicated), .. } => replicated.replicas,
            Mode { replicated_job: Some(job), .. } => job.total_completions,
            // one per node; the swarm makes the tasks
            _ => current.iter().filter(|task| task.wanted(self.is_job())).count().max(1),
        }
    }

    /// `patient`: other services are still starting, which this one may be waiting for.
    pub(super) fn verdict(&self, tasks: &[Task], now: i64, patient: bool) -> Verdict {
        if let Some(message) = self.paused() {
            return Verdict::Failed(format!("its update was paused: {message}"));
        }
        let current = self.current(tasks);
        let wanted = self.wanted(&current);
        let failures: Vec<&&Task> = current.iter().filter(|task| task.failed(self.is_job(), now)).collect();
        let active: Vec<&&Task> = current.iter().filter(|task| task.wanted(self.is_job()) && !task.ended()).collect();
        let last = failures.iter().max_by_key(|task| milliseconds(&task.created_at));
        let why = last.map_or(String::new(), |task| task.reason());
        if self.is_job() {
            let complete = current.iter().filter(|task| task.status.state == "complete").count();
            if complete >= wanted {
                return Verdict::Done;
            }
        } else {
            let running: Vec<&&&Task> = active.iter().filter(|task| task.status.state == "running").collect();
            let settled = running.iter().all(|task| now - milliseconds(&task.status.timestamp) >= SETTLED);
            let updating = self.update.as_ref().is_some_and(|update| update.state == "updating");
            if running.len() >= wanted && settled && !updating {
                return Verdict::Ready;
            }
        }
        let most = self.spec.task_template.restart_policy.as_ref().map_or(LOOP, |policy| match policy {
            RestartPolicy { condition, .. } if condition == "none" => 1,
            RestartPolicy { max_attempts: 0, .. } => LOOP,
            RestartPolicy { max_attempts, .. } => max_attempts + 1,
        });
        let final_failure = failures.iter().filter(|task| task.status.state == "rejected").count() >= 2;
        let count = failures.len();
        if count > 0 && (final_failure || (count >= most && !patient) || (active.is_empty() && count >= most)) {
            return Verdict::Failed(format!("{count} of its tasks failed, the last one: {why}"));
        }
        let waits = active.iter().find(|task| !task.status.err.is_empty()).map(|task| task.status.err.as_str());
        let state = match (waits, active.iter().find(|task| task.status.state != "running")) {
            (Some(err), _) => err.to_owned(),
            (None, Some(task)) => format!("a task is {}", task.status.state),
            (None, None) => "has just started".to_owned(),
        };
        let failed = if count == 0 { String::new() } else { format!(", {count} failed: {why}") };
        Verdict::Waiting(format!("has {} ({state}{failed})", self.count(tasks)))
    }

    /// The task whose last lines explain a failure.
    pub(super) fn witness<'a>(&self, tasks: &'a [Task]) -> Option<&'a Task> {
        let mine = tasks.iter().filter(|task| task.service_id == self.id);
        let ran = mine.filter(|task| task.status.container_status.as_ref().is_some());
        ran.max_by_key(|task| (task.status.state == "failed", milliseconds(&task.created_at)))
    }
}

impl Task {
    /// Part of what should be there now, not of the past.
    fn wanted(&self, job: bool) -> bool {
        match self.desired_state.as_str() {
            "running" | "ready" | "accepted" => true,
            "complete" => job,
            _ => false,
        }
    }

    fn ended(&self) -> bool {
        matches!(self.status.state.as_str(), "complete" | "failed" | "rejected" | "shutdown" | "orphaned" | "remove")
    }

    fn failed(&self, job: bool, now: i64) -> bool {
        let bad = match self.status.state.as_str() {
            "failed" | "rejected" | "orphaned" => true,
            // a service is not meant to end, unless it is told to
            "complete" => !job,
            _ => false,
        };
        bad && (job || now - milliseconds(&self.created_at) < WINDOW)
    }

    fn reason(&self) -> String {
        let code = self.exit_code();
        match (self.status.err.as_str(), code) {
            ("", code) => format!("exit code {code}"),
            (err, _) => err.to_owned(),
        }
    }

    pub(super) fn exit_code(&self) -> i64 {
        self.status.container_status.as_ref().map_or(0, |status| status.exit_code)
    }
}

/// A task remembers its template, but leaves out defaults; these keys are always there.
fn same(task: &Template, service: &Template) -> bool {
    const KEYS: [&str; 10] =
        ["Image", "Command", "Args", "Env", "User", "Dir", "Mounts", "Configs", "Secrets", "Labels"];
    let get = |template: &Template, key: &str| template.container_spec.get(key).cloned().unwrap_or_default();
    task.force_update == service.force_update && KEYS.iter().all(|key| get(task, key) == get(service, key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker_wait::tests::NOW;
    use serde_json::json;

    fn stamp(ago: i64) -> String {
        jiff::Timestamp::from_millisecond(NOW - ago * 1000).unwrap().to_string()
    }

    fn service(mode: Value, update: Value, policy: Value) -> Service {
        serde_json::from_value(json!({
            "ID": "s", "Spec": {"Name": "st_web", "Labels": {DIGEST: "d"}, "Mode": mode,
                "TaskTemplate": {"ContainerSpec": {"Image": "x:2", "StopGracePeriod": 0, "DNSConfig": {}}, "ForceUpdate": 0, "RestartPolicy": policy}},
            "UpdateStatus": update, "JobStatus": {"JobIteration": {"Index": 1}},
        }))
        .unwrap()
    }

    fn task(image: &str, state: &str, desired: &str, ago: i64, err: &str) -> Task {
        serde_json::from_value(json!({
            "ID": format!("t{ago}"), "ServiceID": "s", "CreatedAt": stamp(ago + 1),
            "Spec": {"ContainerSpec": {"Image": image}, "ForceUpdate": 0},
            "Status": {"Timestamp": stamp(ago), "State": state, "Err": err, "ContainerStatus": {"ExitCode": 3}},
            "DesiredState": desired, "JobIteration": {"Index": 1},
        }))
        .unwrap()
    }

    #[test]
    fn verdicts() {
        let two = || json!({"Replicated": {"Replicas": 2}});
        let job = || json!({"ReplicatedJob": {"TotalCompletions": 1}});
        let any = || json!({"Condition": "any", "MaxAttempts": 0});
        let up = |ago| task("x:2", "running", "running", ago, "");
        let old = || task("x:1", "running", "shutdown", 900, "");
        let crash = |ago| task("x:2", "failed", "shutdown", ago, "task: non-zero exit (3)");
        let next = || task("x:2", "ready", "ready", 0, "");
        let none = Value::Null;
        let paused = json!({"State": "paused", "Message": "update paused due to failure"});
        let updating = json!({"State": "updating", "Message": "update in progress"});
        let rejected = |ago| task("x:2", "rejected", "shutdown", ago, "No such image: x:2");
        let pending = task("x:2", "pending", "running", 9, "no suitable node");
        let ended = task("x:2", "complete", "complete", 9, "");
        let before = {
            let mut task = task("x:2", "complete", "complete", 900, "");
            task.job_iteration.index = 0;
            task
        };
        let table = [
            (two(), &none, any(), vec![up(60), up(50)], false, "ready"),
            (two(), &none, any(), vec![up(60), up(1)], false, "waiting: has 2/2 (has just started)"),
            (two(), &none, any(), vec![up(60), old()], false, "waiting: has 1/2"),
            (two(), &updating, any(), vec![up(60), up(50)], false, "waiting: has 2/2"),
            (
                two(),
                &paused,
                any(),
                vec![up(60), up(50)],
                false,
                "failed: its update was paused: update paused due to failure",
            ),
            (two(), &none, any(), vec![up(60), pending], false, "waiting: has 1/2 (no suitable node)"),
            (
                two(),
                &none,
                any(),
                vec![up(60), crash(9), next()],
                false,
                "waiting: has 1/2 (a task is ready, 1 failed: task: non-zero exit (3))",
            ),
            (
                two(),
                &none,
                any(),
                vec![crash(19), crash(14), crash(9), next()],
                false,
                "failed: 3 of its tasks failed, the last one: task: non-zero exit (3)",
            ),
            (two(), &none, any(), vec![crash(19), crash(14), crash(9), next()], true, "waiting: has 0/2"),
            (two(), &none, any(), vec![crash(919), crash(914), crash(909), up(800), up(800)], false, "ready"),
            (
                two(),
                &none,
                any(),
                vec![rejected(9), rejected(4), next()],
                true,
                "failed: 2 of its tasks failed, the last one: No such image: x:2",
            ),
            (two(), &none, json!({"Condition": "none"}), vec![crash(9)], true, "failed: 1 of its tasks"),
            (job(), &none, any(), vec![ended], false, "done"),
            (job(), &none, any(), vec![before], false, "waiting: has 0/1 completed"),
            (
                job(),
                &none,
                json!({"Condition": "on-failure", "MaxAttempts": 3}),
                vec![crash(19), crash(14), crash(9), next()],
                false,
                "waiting",
            ),
            (
                job(),
                &none,
                json!({"Condition": "on-failure", "MaxAttempts": 2}),
                vec![crash(19), crash(14), crash(9)],
                true,
                "failed: 3 of its tasks",
            ),
        ];
        for (mode, update, policy, tasks, patient, wanted) in table {
            let service = service(mode, update.clone(), policy);
            let said = match service.verdict(&tasks, NOW, patient) {
                Verdict::Done => "done".to_owned(),
                Verdict::Ready => "ready".to_owned(),
                Verdict::Waiting(why) => format!("waiting: {why}"),
                Verdict::Failed(why) => format!("failed: {why}"),
            };
            assert!(said.starts_with(wanted), "wanted {wanted}, got {said}: {tasks:#?}");
        }
    }
}
