//! What came of a task or of one item, on the way from the module to the registered result.

use serde_json::{Value, json};

use super::scope::object;
use super::settle::{Settled, Stopped};
use crate::event::{Cause, Status};
use crate::lane::Trouble;
use crate::plan::{Diff, Failure, Object};

#[derive(Clone, Debug, Default)]
pub(super) struct Done {
    pub status: Status,
    /// Without `changed`, `failed` and `skipped`, which follow from the status.
    pub result: Object,
    pub diff: Vec<Diff>,
    pub hint: Option<String>,
    pub cause: Option<Cause>,
    pub facts: Object,
    /// Variables for `set_fact`'s layer.
    pub set: Object,
    /// It changed something although it failed or its status says otherwise.
    pub touched: bool,
}

impl Done {
    pub fn ok() -> Self {
        Done::default()
    }

    pub fn said(msg: impl Into<Value>) -> Self {
        Done { result: Object::from_iter([("msg".to_owned(), msg.into())]), ..Done::default() }
    }

    pub fn skipped(condition: &str) -> Self {
        Done {
            status: Status::Skipped,
            result: object(json!({"skip_reason": "Conditional result was False", "false_condition": condition})),
            ..Done::default()
        }
    }

    pub fn skipped_because(reason: &str) -> Self {
        Done {
            status: Status::Skipped,
            result: object(json!({"skip_reason": reason, "msg": reason})),
            ..Done::default()
        }
    }

    pub fn no_items() -> Self {
        Done {
            status: Status::Skipped,
            result: object(
                json!({"results": [], "skipped_reason": "No items in the list", "skip_reason": "No items in the list"}),
            ),
            ..Done::default()
        }
    }

    pub fn failed(failure: impl Into<Failure>) -> Self {
        let failure = failure.into();
        let mut result = failure.values;
        result.insert("msg".to_owned(), Value::String(failure.msg));
        Done { status: Status::Failed, result, hint: failure.hint, cause: Some(Cause::Task), ..Done::default() }
    }

    pub fn trouble(trouble: Trouble) -> Self {
        let status = match trouble.cause {
            Cause::Task | Cause::Become | Cause::DiskFull | Cause::Locked | Cause::Interrupted => Status::Failed,
            Cause::Auth
            | Cause::HostKeyUnknown
            | Cause::HostKeyChanged
            | Cause::Dns
            | Cause::Refused
            | Cause::Timeout
            | Cause::Throttled
            | Cause::Lost
            | Cause::Shell
            | Cause::Local => Status::Unreachable,
        };
        Done {
            status,
            result: Object::from_iter([("msg".to_owned(), Value::String(trouble.msg))]),
            hint: trouble.hint,
            cause: Some(trouble.cause),
            ..Done::default()
        }
    }

    pub fn settled(outcome: Result<Settled, Stopped>) -> Self {
        match outcome {
            Ok(settled) => {
                let mut result = settled.returned.values;
                if let Some(msg) = settled.returned.msg {
                    result.entry("msg").or_insert(Value::String(msg));
                }
                Done {
                    status: if settled.changed { Status::Changed } else { Status::Ok },
                    result,
                    diff: settled.diff,
                    facts: settled.returned.facts,
                    touched: settled.changed,
                    ..Done::default()
                }
            }
            Err(Stopped::Trouble(trouble)) => Done::trouble(trouble),
            Err(Stopped::Failed { failure, cause }) => Done { cause: Some(cause), ..Done::failed(failure) },
        }
    }

    /// A loop's result in Ansible's shape.
    pub fn of_items(items: Vec<Done>) -> Self {
        let count = |status: Status| items.iter().filter(|item| item.status == status).count();
        let worst = [Status::Unreachable, Status::Failed, Status::Uncertain, Status::Changed]
            .into_iter()
            .find(|status| count(*status) > 0);
        let all_skipped = count(Status::Skipped) == items.len();
        let status = worst.unwrap_or(if all_skipped { Status::Skipped } else { Status::Ok });
        let msg = match status {
            Status::Failed | Status::Unreachable => "One or more items failed",
            Status::Skipped => "All items skipped",
            Status::Ok | Status::Changed | Status::Uncertain => "All items completed",
        };
        let mut done = Done { status, touched: items.iter().any(Done::changed), ..Done::default() };
        let bad = items.iter().find(|item| item.status == status && item.cause.is_some());
        if let Some(bad) = bad {
            done.hint = bad.hint.clone();
            done.cause = bad.cause;
        }
        let mut msg = msg.to_owned();
        if let Some(text) = bad.and_then(|bad| bad.result.get("msg")).and_then(Value::as_str) {
            msg = format!("{msg}: {text}");
        }
        let results: Vec<Value> = items.iter().map(|item| Value::Object(item.registered())).collect();
        done.result = object(json!({"results": results, "msg": msg}));
        for item in items {
            done.diff.extend(item.diff);
            done.facts.extend(item.facts);
            done.set.extend(item.set);
        }
        done
    }

    pub fn changed(&self) -> bool {
        self.touched || self.status == Status::Changed
    }

    /// As `register` and `changed_when` see it.
    pub fn registered(&self) -> Object {
        let mut result = self.result.clone();
        for stream in ["stdout", "stderr"] {
            let lines = format!("{stream}_lines");
            if let Some(Value::String(text)) = result.get(stream)
                && !result.contains_key(&lines)
            {
                let split: Vec<Value> = text.lines().map(Value::from).collect();
                result.insert(lines, Value::Array(split));
            }
        }
        result.insert("changed".to_owned(), Value::Bool(self.changed()));
        let failed = matches!(self.status, Status::Failed);
        result.insert("failed".to_owned(), Value::Bool(failed));
        match self.status {
            Status::Skipped => {
                result.insert("skipped".to_owned(), Value::Bool(true));
            }
            Status::Unreachable => {
                result.insert("unreachable".to_owned(), Value::Bool(true));
            }
            Status::Uncertain => {
                result.insert("uncertain".to_owned(), Value::Bool(true));
            }
            Status::Ok | Status::Changed | Status::Failed => {}
        }
        result
    }

    /// For tasks with `no_log`.
    pub fn censored(&self) -> Object {
        let mut result = self.registered();
        result.retain(|key, value| {
            matches!(key.as_str(), "changed" | "failed" | "skipped" | "unreachable" | "uncertain" | "rc" | "attempts")
                && !value.is_string()
        });
        result.insert("censored".to_owned(), Value::from("the result is hidden because the task says `no_log: true`"));
        result
    }

    pub fn set_changed(&mut self, changed: bool) {
        self.touched = changed;
        if matches!(self.status, Status::Ok | Status::Changed) {
            self.status = if changed { Status::Changed } else { Status::Ok };
        }
    }

    pub fn set_failed(&mut self, failed: bool) {
        if failed {
            self.status = Status::Failed;
            self.cause.get_or_insert(Cause::Task);
            self.result.entry("msg").or_insert(Value::from("`failed_when` holds"));
            self.result.insert("failed_when_result".to_owned(), Value::Bool(true));
        } else if self.status == Status::Failed {
            self.status = if self.touched { Status::Changed } else { Status::Ok };
            self.cause = None;
            self.hint = None;
            self.result.insert("failed_when_result".to_owned(), Value::Bool(false));
        }
    }

    /// A condition on the result could not be read. What the task itself failed with stays in front: often that is why.
    pub fn misjudged(&self, condition: Failure) -> Self {
        if self.status != Status::Failed {
            return Done::failed(condition);
        }
        let mut done = self.clone();
        let own = done.result.get("msg").and_then(Value::as_str).unwrap_or("failed");
        done.result.insert("msg".to_owned(), Value::String(format!("{own}; then {}", condition.msg)));
        done
    }

    pub fn gave_up(mut self, retries: u64) -> Self {
        if self.status != Status::Failed {
            self.status = Status::Failed;
            self.cause = Some(Cause::Task);
            let msg = format!("`until` did not hold after {} attempts", retries + 1);
            self.result.insert("msg".to_owned(), Value::String(msg));
        }
        self
    }

    pub fn interrupted(mut self) -> Self {
        self.status = Status::Failed;
        self.cause = Some(Cause::Interrupted);
        self.result.insert("msg".to_owned(), Value::from("interrupted"));
        self
    }

    pub fn uncertain(mut self) -> Self {
        self.status = Status::Uncertain;
        self.cause = None;
        self.hint = Some("a change that is only imagined in check mode may decide this".to_owned());
        self
    }
}
