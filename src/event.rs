//! What happened, in the past tense. Every event is complete by itself, redacted where it is born, and replayable:
//! the journal is a list of them, and every report is a fold over that list.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::plan::{Diff, Object};

/// One line of `runs/<id>/events.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Event {
    /// RFC 3339 with milliseconds, UTC.
    pub at: String,
    pub run: String,
    /// Counts from 1 without gaps within a run.
    pub seq: u64,
    #[serde(flatten)]
    pub kind: Kind,
}

/// Names a task within a run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
pub struct TaskRef {
    /// Unique within the run: position in the play, and of the include it came from.
    pub id: String,
    pub name: String,
    /// The module or control action, e.g. `docker_compose_v2`.
    pub action: String,
    /// `file:line`.
    pub place: String,
    /// The service that this task deploys, if it came from `include_services`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Loop item's label, if the event is about one item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Kind {
    RunStarted {
        version: String,
        /// The command line as typed (secrets in `-e` redacted).
        command: Vec<String>,
        hosts: Vec<String>,
        check: bool,
        user: String,
        /// Directory of the inventory.
        inventory: String,
    },
    PlayStarted {
        play: String,
        hosts: Vec<String>,
        place: String,
    },
    /// A host has no more to do in a play, also if it failed.
    PlayFinished {
        play: String,
        host: String,
    },
    /// One of a play's several batches came to its end, also if hosts of it failed.
    BatchFinished {
        play: String,
        hosts: Vec<String>,
    },
    HostConnected {
        host: String,
        /// Milliseconds from the start of the connection to the answered handshake.
        took_ms: u64,
    },
    TaskStarted {
        host: String,
        task: TaskRef,
    },
    /// A wait or a retry inside a task: what it is waiting for.
    TaskProgress {
        host: String,
        task: TaskRef,
        status: String,
    },
    /// One item of a loop.
    ItemFinished {
        host: String,
        task: TaskRef,
        outcome: Box<Outcome>,
    },
    TaskFinished {
        host: String,
        task: TaskRef,
        outcome: Box<Outcome>,
    },
    /// A service's deployment on a host came to its end, for the client × service matrix.
    ServiceFinished {
        host: String,
        service: String,
        status: Status,
        version: String,
        url: Option<String>,
        /// What the URL check from the operator's side said, e.g. `200 in 41 ms`; None if it was not reached.
        url_result: Option<String>,
        took_ms: u64,
        msg: Option<String>,
    },
    HostFinished {
        host: String,
        counts: Counts,
    },
    /// Something the operator should read: a warning, a manual step, a deprecation.
    Note {
        host: Option<String>,
        level: Level,
        text: String,
    },
    RunFinished {
        status: RunStatus,
        exit_code: i32,
        took_ms: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    Warning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Ok,
    Failed,
    Interrupted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Ok,
    Changed,
    Skipped,
    Failed,
    Unreachable,
    /// Check mode only: an earlier change of this run, only imagined, would decide.
    Uncertain,
}

/// How a task ended on a host.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub status: Status,
    /// Ansible's registered result: return values, `msg`, `changed`, `failed`, `skipped` … For `no_log` tasks only
    /// those last ones.
    pub result: Object,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diff: Vec<Diff>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// For failures: [`Cause`] groups hosts with the same trouble in the summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// A failure that `ignore_errors` or a `rescue` took over.
    #[serde(default)]
    pub ignored: bool,
    pub took_ms: u64,
}

impl Outcome {
    /// A string out of the result, or "".
    pub fn text(&self, key: &str) -> &str {
        self.result.get(key).and_then(Value::as_str).unwrap_or_default()
    }
    pub fn rc(&self) -> Option<i64> {
        self.result.get("rc").and_then(Value::as_i64)
    }
}

/// Why a host could not go on. Connection causes are those that an operator acts on differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    Task,
    Auth,
    HostKeyUnknown,
    HostKeyChanged,
    Dns,
    Refused,
    Timeout,
    Throttled,
    /// The connection stood and was lost.
    Lost,
    Become,
    /// A remote shell that the lane cannot use.
    Shell,
    DiskFull,
    /// Another run holds the host's lock.
    Locked,
    /// Ours: could not start ssh, and the like.
    Local,
    Interrupted,
}

/// Ansible's recap line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub ok: u32,
    pub changed: u32,
    pub unreachable: u32,
    pub failed: u32,
    pub skipped: u32,
    pub rescued: u32,
    pub ignored: u32,
    #[serde(default)]
    pub uncertain: u32,
}
