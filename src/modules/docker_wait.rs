//! When is a container done, ready, still on its way, or lost? One answer for everything that starts containers.
//!
//! `docker compose up --wait` counts a one-shot that ended with 0 as a failure and waits for a container that restarts in
//! a loop until its time is up; `up -d` looks at nothing. So containers are judged here, from `docker inspect`.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::docker::ask;
use crate::plan::{Answer, Failure, Query, Script};

/// Without a health check, a container must have been up for this long.
const SETTLED: i64 = 5_000;
/// As [`SETTLED`], for one that has been restarted by its policy.
const SETTLED_AGAIN: i64 = 10_000;
/// So many restarts are a loop; more are allowed while something else is still starting, which it may be waiting for.
const LOOP: u64 = 3;
const LOOP_WHILE_STARTING: u64 = 6;

/// The part of `docker inspect` that counts.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub id: String,
    name: String,
    created: String,
    #[serde(default)]
    pub restart_count: u64,
    pub state: State,
    pub config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct State {
    pub status: String,
    #[serde(default)]
    pub exit_code: i64,
    #[serde(default, rename = "OOMKilled")]
    oom_killed: bool,
    #[serde(default)]
    error: String,
    started_at: String,
    #[serde(default)]
    health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
    #[serde(default)]
    failing_streak: u64,
    #[serde(default)]
    log: Option<Vec<Check>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Check {
    exit_code: i64,
    output: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Config {
    #[serde(default)]
    pub image: String,
    #[serde(default)]
    pub env: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<HashMap<String, String>>,
    #[serde(default)]
    healthcheck: Option<Healthcheck>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Healthcheck {
    #[serde(default)]
    retries: u64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    restart_policy: RestartPolicy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RestartPolicy {
    name: String,
    maximum_retry_count: u64,
}

/// How far a container or service has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// Ended with 0 and was meant to end.
    Done,
    /// Runs, and is healthy if that is checked.
    Ready,
    /// On its way; says what is missing.
    Waiting(String),
    /// Will not come up by itself; says why.
    Failed(String),
}

/// What a verdict depends on besides the container.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Milliseconds since the epoch, by the host's clock.
    pub now: i64,
    /// Others wait for this container's end.
    pub one_shot: bool,
    /// Other containers are still starting.
    pub others_starting: bool,
}

impl Container {
    pub(super) fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    pub(super) fn label(&self, key: &str) -> &str {
        self.config.labels.as_ref().and_then(|labels| labels.get(key)).map_or("", String::as_str)
    }

    /// Milliseconds since the epoch.
    pub(super) fn created(&self) -> i64 {
        milliseconds(&self.created)
    }

    pub(super) fn started(&self) -> i64 {
        milliseconds(&self.state.started_at)
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.state.status.as_str(), "running" | "restarting" | "paused")
    }

    /// `healthy`, `unhealthy` or `starting`, if there is a health check.
    pub(super) fn health(&self) -> Option<&str> {
        self.state.health.as_ref().map(|health| health.status.as_str()).filter(|status| *status != "none")
    }

    /// May end with 0 and stay ended.
    pub(super) fn may_end(&self) -> bool {
        matches!(self.host_config.restart_policy.name.as_str(), "" | "no" | "on-failure")
    }

    pub(super) fn ended_well(&self, one_shot: bool) -> bool {
        self.state.status == "exited" && self.state.exit_code == 0 && (one_shot || self.may_end())
    }

    pub(super) fn verdict(&self, moment: Moment) -> Verdict {
        let up = (moment.now - self.started()).max(0);
        let most = if moment.others_starting { LOOP_WHILE_STARTING } else { LOOP };
        let most = most.max(self.host_config.restart_policy.maximum_retry_count);
        let loops = self.restart_count >= most;
        let code = self.state.exit_code;
        let in_a_loop = || {
            let times = self.restart_count;
            Verdict::Failed(format!("restarts in a loop: {times} restarts, last exit code {code}{}", self.reason()))
        };
        match (self.state.status.as_str(), self.health()) {
            ("exited", _) if self.ended_well(moment.one_shot) => Verdict::Done,
            ("exited", _) => Verdict::Failed(format!("exited with code {code}{}", self.reason())),
            ("restarting", _) if loops => in_a_loop(),
            ("restarting", _) => {
                Verdict::Waiting(format!("restarts after exit code {code} (restart {})", self.restart_count))
            }
            ("running", Some("healthy")) if !moment.one_shot => Verdict::Ready,
            ("running", Some("starting" | "unhealthy")) if self.lacks_its_check() => {
                Verdict::Failed(format!("has a health check that its image cannot run{}", self.last_check()))
            }
            ("running", Some("unhealthy")) => {
                let health = self.state.health.as_ref();
                let streak = health.map_or(0, |health| health.failing_streak);
                let retries = self.config.healthcheck.as_ref().map_or(0, |check| check.retries);
                let last = self.last_check();
                // one more check than the container's own limit: it may have come up in between
                match streak > if retries == 0 { 3 } else { retries } {
                    true => Verdict::Failed(format!("is unhealthy, {streak} checks failed in a row{last}")),
                    false => Verdict::Waiting(format!("is unhealthy{last}")),
                }
            }
            ("running", _) if loops && up < SETTLED_AGAIN => in_a_loop(),
            ("running", Some("starting")) => {
                Verdict::Waiting(format!("health check not passed yet{}", self.last_check()))
            }
            ("running", _) if moment.one_shot => Verdict::Waiting("runs and has to end".to_owned()),
            ("running", _) => {
                let enough = if self.restart_count > 0 { SETTLED_AGAIN } else { SETTLED };
                match up >= enough {
                    true => Verdict::Ready,
                    false => Verdict::Waiting(format!("has just started, must stay up for {} s", enough / 1000)),
                }
            }
            ("created", _) if self.state.error.is_empty() => Verdict::Waiting("is not started yet".to_owned()),
            ("created", _) => Verdict::Failed(format!("cannot start: {}", self.state.error)),
            ("paused", _) => Verdict::Failed("is paused; `docker unpause` lets it go on".to_owned()),
            ("dead", _) => Verdict::Failed(format!("is dead{}", self.reason())),
            (other, _) => Verdict::Waiting(format!("is {other}")),
        }
    }

    fn reason(&self) -> String {
        match (self.state.oom_killed, self.state.error.as_str()) {
            (true, _) => " (out of memory)".to_owned(),
            (false, "") => String::new(),
            (false, error) => format!(" ({error})"),
        }
    }

    fn last_check(&self) -> String {
        let log = self.state.health.as_ref().and_then(|health| health.log.as_deref()).unwrap_or_default();
        let Some(check) = log.iter().rev().find(|check| check.exit_code != 0) else { return String::new() };
        let output: String = check.output.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(160).collect();
        match output.as_str() {
            "" => format!("; last check: exit code {}", check.exit_code),
            output => format!("; last check: {output}"),
        }
    }

    /// The program of the health check is not in the image: no later check will find it. Said by the engine, or by the
    /// shell in the image, whose exit code an `|| exit 1` hides.
    fn lacks_its_check(&self) -> bool {
        let log = self.state.health.as_ref().and_then(|health| health.log.as_deref()).unwrap_or_default();
        log.last().is_some_and(|check| {
            let said = check.output.trim();
            let by_shell = said.lines().count() == 1
                && ["/bin/sh: ", "sh: ", "/bin/bash: ", "bash: "].iter().any(|shell| said.starts_with(shell))
                && said.ends_with("not found");
            check.exit_code != 0 && (by_shell || said.contains("executable file not found in $PATH"))
        })
    }

    /// The health checks that Docker remembers, oldest first.
    pub(super) fn health_log(&self) -> Vec<String> {
        let log = self.state.health.as_ref().and_then(|health| health.log.as_deref()).unwrap_or_default();
        log.iter().map(|check| format!("exit code {}: {}", check.exit_code, check.output.trim_end())).collect()
    }
}

/// Docker's time stamps; one that cannot be read is the beginning of time.
pub(super) fn milliseconds(stamp: &str) -> i64 {
    stamp.parse::<jiff::Timestamp>().map_or(0, |stamp| stamp.as_millisecond())
}

/// How long to wait before looking again.
pub(super) fn pause(waited: Duration) -> Duration {
    Duration::from_millis(match waited.as_secs() {
        0..5 => 300,
        5..15 => 500,
        15..60 => 1_000,
        60..180 => 2_000,
        _ => 5_000,
    })
}

/// The question for a container's last lines.
pub(super) fn last_lines(id: &str) -> Query {
    // one clock for both streams, so that they come in order
    ask(Script::new().raw("docker logs --tail 20").arg(id).raw("2>&1").timeout(Duration::from_secs(20)))
}

/// A failure with what the operator would look at next: the last lines and the health checks.
pub(super) fn lost(text: String, container: &Container, logs: Option<&Answer>) -> Failure {
    let logs = match logs {
        Some(Answer::Output(output)) => output.stdout_text(),
        _ => String::new(),
    };
    let health = container.health_log();
    let failure = Failure::new(text)
        .with("cmd", format!("docker logs --tail 20 {}", container.name()))
        .with("rc", container.state.exit_code)
        .with("stdout", "")
        .with("stderr", logs.trim_end())
        .with("container", container.name())
        .with("health_log", health);
    match container.state.exit_code {
        126 | 127 => failure.hint("the container's command or its interpreter is not in the image"),
        137 => failure.hint("killed: out of memory, or it did not stop in time"),
        _ => failure,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::{Value, json};

    pub(in crate::modules) const NOW: i64 = 1_795_436_400_000; // 2026-11-23T12:20:00Z

    /// A container as `docker inspect` shows it, started so many seconds ago.
    pub(in crate::modules) fn container(name: &str, status: &str, ago: i64, more: Value) -> Value {
        let stamp = |ago: i64| jiff::Timestamp::from_millisecond(NOW - ago * 1000).unwrap().to_string();
        let mut container = json!({
            "Id": format!("id-{name}"), "Name": format!("/{name}"), "Created": stamp(ago + 1), "RestartCount": 0,
            "State": {"Status": status, "ExitCode": 0, "OOMKilled": false, "Error": "", "StartedAt": stamp(ago)},
            "Config": {"Image": "x", "Env": [], "Labels": {}},
            "HostConfig": {"RestartPolicy": {"Name": "unless-stopped", "MaximumRetryCount": 0}},
        });
        merge(&mut container, more);
        container
    }

    fn merge(into: &mut Value, from: Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (key, value) in from {
                    merge(into.entry(key).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from,
        }
    }

    #[test]
    fn the_clock_is_read() {
        assert_eq!(milliseconds("2026-11-23T12:20:00.5Z"), NOW + 500);
        assert!(milliseconds("0001-01-01T00:00:00Z") < 0);
        assert_eq!(milliseconds("soon"), 0);
    }

    #[test]
    fn verdicts() {
        let health = |status: &str, streak: u64, output: &str| {
            json!({"State": {"Health": {"Status": status, "FailingStreak": streak,
                "Log": [{"ExitCode": 1, "Output": output}]}}, "Config": {"Healthcheck": {"Retries": 3}}})
        };
        let policy = |name: &str| json!({"HostConfig": {"RestartPolicy": {"Name": name}}});
        let exit = |code: i64| json!({"State": {"ExitCode": code}});
        let restarts = |n: u64, code: i64| json!({"RestartCount": n, "State": {"ExitCode": code}});
        let both = |mut a: Value, b: Value| {
            merge(&mut a, b);
            a
        };
        let table = [
            ("running", 60, json!({}), false, false, "ready"),
            ("running", 1, json!({}), false, false, "waiting: has just started"),
            ("running", 7, restarts(1, 1), false, false, "waiting: has just started, must stay up for 10 s"),
            ("running", 60, restarts(9, 1), false, false, "ready"),
            ("running", 1, restarts(3, 1), false, false, "failed: restarts in a loop: 3 restarts, last exit code 1"),
            ("running", 1, restarts(3, 1), false, true, "waiting: has just started"),
            ("restarting", 0, restarts(2, 1), false, false, "waiting: restarts after exit code 1"),
            ("restarting", 0, restarts(6, 1), false, true, "failed: restarts in a loop"),
            ("running", 60, health("healthy", 0, ""), false, false, "ready"),
            ("running", 1, health("healthy", 0, ""), false, false, "ready"),
            (
                "running",
                9,
                health("starting", 1, "curl: (7)\n"),
                false,
                false,
                "waiting: health check not passed yet; last check: curl: (7)",
            ),
            ("running", 1, both(health("starting", 1, ""), restarts(4, 1)), false, false, "failed: restarts in a loop"),
            (
                "running",
                60,
                health("unhealthy", 3, "refused"),
                false,
                false,
                "waiting: is unhealthy; last check: refused",
            ),
            (
                "running",
                60,
                health("unhealthy", 4, "refused"),
                false,
                false,
                "failed: is unhealthy, 4 checks failed in a row; last check: refused",
            ),
            (
                "running",
                2,
                health(
                    "starting",
                    0,
                    "OCI runtime exec failed: exec failed: exec: \"curl\": executable file not found in $PATH: unknown",
                ),
                false,
                true,
                "failed: has a health check that its image cannot run; last check: OCI runtime exec failed",
            ),
            (
                "running",
                9,
                health("unhealthy", 3, "/bin/sh: curl: not found\n"),
                false,
                false,
                "failed: has a health check that its image cannot run; last check: /bin/sh: curl: not found",
            ),
            (
                "running",
                9,
                health("starting", 1, "wget: server returned error: HTTP/1.1 404 Not Found\n"),
                false,
                false,
                "waiting: health check not passed yet",
            ),
            ("running", 60, json!({}), true, false, "waiting: runs and has to end"),
            ("exited", 60, policy("no"), false, false, "done"),
            ("exited", 60, policy("on-failure"), false, false, "done"),
            ("exited", 60, json!({}), true, false, "done"),
            ("exited", 60, json!({}), false, false, "failed: exited with code 0"),
            ("exited", 60, both(policy("no"), exit(3)), true, false, "failed: exited with code 3"),
            (
                "exited",
                60,
                json!({"State": {"ExitCode": 137, "OOMKilled": true}}),
                false,
                false,
                "failed: exited with code 137 (out of memory)",
            ),
            ("created", 60, json!({}), false, false, "waiting: is not started yet"),
            (
                "created",
                60,
                json!({"State": {"Error": "port is already allocated"}}),
                false,
                false,
                "failed: cannot start: port is already allocated",
            ),
            ("paused", 60, json!({}), false, false, "failed: is paused"),
            ("removing", 60, json!({}), false, false, "waiting: is removing"),
        ];
        for (status, ago, more, one_shot, others_starting, wanted) in table {
            let value = container("c", status, ago, more);
            let container: Container = serde_json::from_value(value.clone()).unwrap();
            let said = match container.verdict(Moment { now: NOW, one_shot, others_starting }) {
                Verdict::Done => "done".to_owned(),
                Verdict::Ready => "ready".to_owned(),
                Verdict::Waiting(why) => format!("waiting: {why}"),
                Verdict::Failed(why) => format!("failed: {why}"),
            };
            assert!(said.starts_with(wanted), "wanted {wanted}, got {said}: {value}");
        }
    }

    #[test]
    fn a_failure_brings_the_logs_along() {
        let value = container("hub-db-1", "exited", 5, json!({"State": {"ExitCode": 127}}));
        let container: Container = serde_json::from_value(value).unwrap();
        let output = crate::plan::Output { stdout: b"sh: bench: not found\n".to_vec(), ..Default::default() };
        let failure = lost("hub-db-1 exited".to_owned(), &container, Some(&Answer::Output(output)));
        assert_eq!(failure.values["stderr"], "sh: bench: not found");
        assert_eq!(failure.values["cmd"], "docker logs --tail 20 hub-db-1");
        assert!(failure.hint.is_some());
    }
}
