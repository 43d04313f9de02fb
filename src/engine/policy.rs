//! Whether a fleet's change goes on: a pure function of the policy and of how the hosts have fared so far.
//!
//! `rollout_gate` asks it before each batch and once more after the last. Leaves out who carries the answer out: the
//! batches are `run.rs`'s, going back is the playbook's.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{Failure, Object};

/// What a change of many hosts may cost.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Policy {
    /// Of all hosts.
    pub max_fail: Limit,
    /// Of the hosts of one batch.
    pub max_fail_batch: Option<Limit>,
    pub on_fail: OnFail,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    Count(usize),
    Percent(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OnFail {
    /// No further batch; what failed stays where it stopped.
    Stop,
    /// All batches, whatever fails.
    Continue,
    /// No further batch; what failed has gone back by itself.
    Rollback,
    /// No further batch, and the one in which too much failed goes back as a whole.
    RollbackBatch,
    /// No further batch, and whatever this run has changed goes back.
    RollbackAll,
}

/// How a host fared that was tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Fared {
    Well,
    Failed,
    Unreachable,
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub(super) struct SoFar {
    /// All hosts of the change, tried or not.
    pub all: usize,
    /// Hosts that were lost before the first batch began.
    pub lost: usize,
    /// The batches that have ended, in their order.
    pub batches: Vec<Vec<(String, Fared)>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    Go,
    Stop {
        why: String,
    },
    /// No further batch, and these hosts go back to what they ran before.
    Undo {
        hosts: Vec<String>,
        why: String,
    },
}

impl Limit {
    fn of(value: &Value) -> Result<Limit, Failure> {
        let text = value.as_str().map_or_else(|| value.to_string(), |text| text.trim().to_owned());
        let limit = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().filter(|p| (0.0..=100.0).contains(p)).map(Limit::Percent),
            None => text.parse().ok().map(Limit::Count),
        };
        limit.ok_or_else(|| Failure::new(format!("`{text}` is neither a number nor a percentage of hosts")))
    }

    fn exceeded(self, failed: usize, of: usize) -> bool {
        match self {
            Limit::Count(most) => failed > most,
            Limit::Percent(most) => failed as f64 * 100.0 > most * of as f64,
        }
    }

    fn told(self) -> String {
        match self {
            Limit::Count(0) => "none may".to_owned(),
            Limit::Count(most) => format!("{most} may"),
            Limit::Percent(most) => format!("{most}% may"),
        }
    }
}

impl Policy {
    pub fn read(args: &Object) -> Result<Policy, Failure> {
        let given = |key: &str| args.get(key).filter(|value| !matches!(value.as_str(), Some("")) && !value.is_null());
        let on_fail = match given("on_fail") {
            None => OnFail::Stop,
            Some(word) => serde_json::from_value(word.clone()).map_err(|_| {
                Failure::new(format!("`on_fail: {word}` is unknown"))
                    .hint("it is stop, continue, rollback, rollback-batch or rollback-all")
            })?,
        };
        Ok(Policy {
            max_fail: given("max_fail").map_or(Ok(Limit::Count(0)), Limit::of)?,
            max_fail_batch: given("max_fail_batch").map(Limit::of).transpose()?,
            on_fail,
        })
    }

    /// May the next batch begin? The first one always may.
    pub fn decide(&self, so_far: &SoFar) -> Decision {
        if self.on_fail == OnFail::Continue {
            return Decision::Go;
        }
        let mut failed = so_far.lost;
        for (index, batch) in so_far.batches.iter().enumerate() {
            let here = batch.iter().filter(|(_, fared)| *fared != Fared::Well).count();
            failed += here;
            let Some(why) = self.too_many(here, batch.len(), failed, so_far.all) else { continue };
            let back = match self.on_fail {
                OnFail::RollbackBatch => &so_far.batches[index..=index],
                OnFail::RollbackAll => so_far.batches.as_slice(),
                OnFail::Stop | OnFail::Continue | OnFail::Rollback => return Decision::Stop { why },
            };
            // one that cannot be reached cannot be brought back either
            let hosts = back.iter().flatten().filter(|(_, fared)| *fared != Fared::Unreachable);
            return Decision::Undo { hosts: hosts.map(|(host, _)| host.clone()).collect(), why };
        }
        Decision::Go
    }

    fn too_many(&self, here: usize, batch: usize, failed: usize, all: usize) -> Option<String> {
        if self.max_fail.exceeded(failed, all) {
            return Some(format!("{failed} of {all} failed, {}", self.max_fail.told()));
        }
        if let Some(most) = self.max_fail_batch.filter(|most| most.exceeded(here, batch)) {
            return Some(format!("{here} of a batch of {batch} failed, {}", most.told()));
        }
        (here > 0 && here == batch).then(|| format!("the whole batch of {batch} failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Policy, all hosts, lost ones, batches (`w`ell, `f`ailed, `u`nreachable), the decision.
    const TABLE: &[(&str, usize, usize, &str, &str)] = &[
        // the first batch always begins
        ("{}", 3, 0, "", "go"),
        ("{}", 3, 2, "", "go"),
        // none may fail unless it is said
        ("{}", 3, 0, "w", "go"),
        ("{}", 3, 0, "f", "stop: 1 of 3 failed, none may"),
        ("{}", 3, 0, "u", "stop: 1 of 3 failed, none may"),
        ("{}", 3, 1, "w", "stop: 1 of 3 failed, none may"),
        ("{on_fail: stop}", 9, 0, "w wf", "stop: 1 of 9 failed, none may"),
        // of all
        ("{max_fail: 1}", 9, 0, "w wf", "go"),
        ("{max_fail: 1}", 9, 0, "w wfu", "stop: 2 of 9 failed, 1 may"),
        ("{max_fail: 1}", 9, 0, "wf wf", "stop: 2 of 9 failed, 1 may"),
        ("{max_fail: 1}", 9, 1, "wu", "stop: 2 of 9 failed, 1 may"),
        ("{max_fail: 25%}", 8, 0, "wff", "go"),
        ("{max_fail: 25%}", 8, 0, "wff wf", "stop: 3 of 8 failed, 25% may"),
        // a batch of which nothing is left says enough
        ("{max_fail: 5}", 9, 0, "f", "stop: the whole batch of 1 failed"),
        ("{max_fail: 5}", 9, 0, "w fu", "stop: the whole batch of 2 failed"),
        // of one batch
        ("{max_fail: 5, max_fail_batch: 1}", 9, 0, "wf wf", "go"),
        ("{max_fail: 5, max_fail_batch: 1}", 9, 0, "wf wfu", "stop: 2 of a batch of 3 failed, 1 may"),
        ("{max_fail: 5, max_fail_batch: '30%'}", 9, 0, "wwwf", "go"),
        ("{max_fail: 5, max_fail_batch: '30%'}", 9, 0, "wwf", "stop: 1 of a batch of 3 failed, 30% may"),
        ("{max_fail: 0, max_fail_batch: 5}", 9, 0, "wf", "stop: 1 of 9 failed, none may"),
        // whatever fails
        ("{on_fail: continue}", 3, 1, "f u", "go"),
        // what failed has gone back already, the rest of its batch stays
        ("{on_fail: rollback}", 4, 0, "w wf", "stop: 1 of 4 failed, none may"),
        ("{on_fail: rollback, max_fail: 1}", 4, 0, "w wf", "go"),
        // the batch goes back as a whole, what came before stays
        ("{on_fail: rollback-batch}", 9, 0, "a bfcu", "undo b f c: 2 of 9 failed, none may"),
        ("{on_fail: rollback-batch, max_fail: 2}", 9, 0, "a bfcu", "go"),
        (
            "{on_fail: rollback-batch, max_fail: 2, max_fail_batch: 1}",
            9,
            0,
            "a bfcu",
            "undo b f c: 2 of a batch of 4 failed, 1 may",
        ),
        ("{on_fail: rollback-batch}", 9, 0, "u", "undo: 1 of 9 failed, none may"),
        // everything goes back
        ("{on_fail: rollback-all}", 9, 0, "a bfcu", "undo a b f c: 2 of 9 failed, none may"),
        ("{on_fail: rollback-all, max_fail: 1}", 9, 0, "a fb c", "go"),
        ("{on_fail: rollback-all, max_fail: 1}", 9, 1, "a b fc", "undo a b f c: 2 of 9 failed, 1 may"),
    ];

    #[test]
    fn every_policy_has_its_decision() {
        for (policy, all, lost, batches, wanted) in TABLE {
            let args: Object = serde_yaml::from_str(policy).unwrap();
            let fared = |letter: char| match letter {
                'f' => Fared::Failed,
                'u' => Fared::Unreachable,
                _ => Fared::Well,
            };
            let batch = |word: &str| word.chars().map(|letter| (letter.to_string(), fared(letter))).collect();
            let so_far = SoFar { all: *all, lost: *lost, batches: batches.split_whitespace().map(batch).collect() };
            let said = match Policy::read(&args).unwrap().decide(&so_far) {
                Decision::Go => "go".to_owned(),
                Decision::Stop { why } => format!("stop: {why}"),
                Decision::Undo { hosts, why } if hosts.is_empty() => format!("undo: {why}"),
                Decision::Undo { hosts, why } => format!("undo {}: {why}", hosts.join(" ")),
            };
            assert_eq!(said, *wanted, "{policy} {all} {lost} {batches}");
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for (args, wanted) in [
            (json!({"on_fail": "undo"}), "`on_fail: \"undo\"` is unknown"),
            (json!({"max_fail": "x"}), "`x` is neither a number nor a percentage of hosts"),
            (json!({"max_fail_batch": "101%"}), "`101%` is neither a number nor a percentage of hosts"),
            (json!({"max_fail": -1}), "`-1` is neither a number nor a percentage of hosts"),
        ] {
            let Value::Object(args) = args else { panic!() };
            assert_eq!(Policy::read(&args).unwrap_err().msg, wanted);
        }
        let Value::Object(empty) = json!({"on_fail": "", "max_fail": null}) else { panic!() };
        let policy = Policy { max_fail: Limit::Count(0), max_fail_batch: None, on_fail: OnFail::Stop };
        assert_eq!(Policy::read(&empty).unwrap(), policy);
    }
}
