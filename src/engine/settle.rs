//! The heart: one module's work on one host. Ask what it wants to know, let it plan, carry the plan out.

use std::time::{Duration, Instant};

use crate::event::Cause;
use crate::lane::{ActError, Trouble, is_disk_full};
use crate::plan::{Answer, Change, Diff, Failure, Module, Observed, Operation, Output, Plan, Query, Return, Then};

/// A module that still wants to plan again after this many changes goes in circles.
const MOST_CHANGES: usize = 20;

/// How a task's work reaches its host. The engine's own is a lane; tests may bring another.
pub(super) trait Reach {
    async fn ask(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble>;
    /// Never answered from what was asked ahead of time.
    async fn ask_anew(&self, queries: &[Query]) -> Result<Vec<Answer>, Trouble>;
    /// Changes the host, on which nobody else may work meanwhile; `None`, and nothing done, if somebody did until now.
    /// What `again` asks afterwards is likely to be asked next.
    async fn act(&self, operations: &[Operation], again: &[Query]) -> Result<Option<Vec<Output>>, ActError>;
    /// Sleeps, saying why; `false` if nothing would come of it, since changes are only imagined.
    async fn wait(&self, after: Duration, status: &str) -> Result<bool, Trouble>;
    /// Check mode: the change is imagined instead of made.
    fn check(&self) -> bool;
    fn imagine(&self, change: &Change);
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub returned: Return,
    pub changed: bool,
    pub diff: Vec<Diff>,
}

/// Why it did not come to its end.
#[derive(Debug)]
pub(super) enum Stopped {
    Trouble(Trouble),
    Failed { failure: Failure, cause: Cause },
}

pub(super) async fn settle(module: &dyn Module, host: &impl Reach) -> Result<Settled, Stopped> {
    let begin = Instant::now();
    let mut settled = Settled::default();
    let (mut more, mut changes) = (Vec::new(), 0);
    let mut answers = host.ask(&module.probe()).await?;
    loop {
        let observed = Observed { answers: &answers, more: &more, elapsed: begin.elapsed(), changes };
        match module.plan(&observed)? {
            Plan::Ask(queries) => more.extend(host.ask(&queries).await?),
            Plan::NoChange(returned) => return Ok(settled.end(returned)),
            Plan::Wait { after, status, look } => {
                if !host.wait(after, &status).await? {
                    return Ok(settled.end(Return::msg(status)));
                }
                look.renew(&mut answers, host.ask_anew(&look.of(module.probe())).await?);
                more.clear();
            }
            Plan::Change(change) => {
                if host.check() {
                    host.imagine(&change);
                    settled.changed = true;
                    settled.diff.extend(change.diff);
                    return Ok(settled.end(change.forecast));
                }
                let again = match change.then {
                    Then::Finish => Vec::new(),
                    Then::Replan(look) => look.of(module.probe()),
                };
                let Some(outputs) = host.act(&change.operations, &again).await? else {
                    // planned upon what was so before
                    answers = host.ask_anew(&module.probe()).await?;
                    more.clear();
                    continue;
                };
                settled.changed = true;
                settled.diff.extend(change.diff);
                changes += 1;
                match change.then {
                    Then::Finish => return Ok(settled.end(module.finish(&outputs)?.over(change.forecast))),
                    Then::Replan(_) if changes == MOST_CHANGES => {
                        return Err(Failure::new(format!("still not as wanted after {changes} changes")).into());
                    }
                    Then::Replan(look) => look.renew(&mut answers, host.ask(&again).await?),
                }
                more.clear();
            }
        }
    }
}

impl Settled {
    fn end(mut self, returned: Return) -> Settled {
        self.changed = returned.changed.unwrap_or(self.changed);
        self.returned = returned;
        self
    }
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Stopped::Trouble(trouble)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        // modules that judge exit codes themselves meet full disks too
        let stderr = failure.values.get("stderr").and_then(serde_json::Value::as_str).unwrap_or_default();
        let cause = if is_disk_full(stderr.as_bytes()) { Cause::DiskFull } else { Cause::Task };
        Stopped::Failed { failure, cause }
    }
}

impl From<ActError> for Stopped {
    fn from(error: ActError) -> Self {
        match error {
            ActError::Trouble(trouble) => Stopped::Trouble(trouble),
            ActError::Failed { failure, cause, .. } => Stopped::Failed { failure, cause },
        }
    }
}
