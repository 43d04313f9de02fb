//! What must, and what must not, stand in the last lines of a service's log.

use serde::Deserialize;

use super::super::{args, pattern};
use super::{brief, inside};
use crate::plan::{Failure, Output, Return, Script};

/// The log of one service of the stack, or of all.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    #[serde(default)]
    pub service: Option<String>,
    /// Of each container.
    #[serde(default = "five_hundred", deserialize_with = "args::count")]
    pub lines: u64,
    /// Not older than this, as `docker logs --since` takes it, e.g. `24h`.
    #[serde(default)]
    pub since: Option<String>,
    /// Regular expressions, each of which some line must match.
    #[serde(default, deserialize_with = "args::list")]
    pub must: Vec<String>,
    /// Regular expressions that no line may match.
    #[serde(default, deserialize_with = "args::list")]
    pub must_not: Vec<String>,
}

fn five_hundred() -> u64 {
    500
}

/// As many lines are shown as evidence.
const SHOWN: usize = 3;

impl Log {
    pub(super) fn validate(&self) -> Result<(), String> {
        if self.must.is_empty() && self.must_not.is_empty() {
            return Err("`log` needs `must` or `must_not`".to_owned());
        }
        self.must.iter().chain(&self.must_not).try_for_each(|text| inside::pattern(Some(text)).map(drop))
    }

    pub(super) fn script(&self, project: &str) -> Option<Script> {
        let script = super::containers::list(project, self.service.as_deref());
        let script = script.raw("[ -n \"$ids\" ] || { echo 'no containers' >&2; exit 86; }\nfor c in $ids; do\n");
        let script = script.raw("docker logs --tail").arg(self.lines.to_string());
        let script = match &self.since {
            Some(since) => script.raw("--since").arg(since),
            None => script,
        };
        Some(script.raw("\"$c\" 2>&1\ndone"))
    }

    pub(super) fn judge(&self, output: &Output) -> Result<Return, Failure> {
        let text = output.stdout_text();
        let lines: Vec<&str> = text.lines().collect();
        let matching = |wanted: &str| -> Result<Vec<&str>, Failure> {
            let Some(regex) = inside::pattern(Some(wanted)).map_err(Failure::new)? else { return Ok(Vec::new()) };
            let mut found = Vec::new();
            for line in &lines {
                if pattern::search(&regex, line)? {
                    found.push(*line);
                }
            }
            Ok(found)
        };
        for wanted in &self.must {
            if matching(wanted)?.is_empty() {
                return Err(Failure::new(format!("none of {} lines matches `{wanted}`", lines.len())));
            }
        }
        for unwanted in &self.must_not {
            let found = matching(unwanted)?;
            if !found.is_empty() {
                let shown: Vec<String> = found.iter().rev().take(SHOWN).rev().map(|line| brief(line)).collect();
                let text =
                    format!("{} of {} lines match `{unwanted}`: {}", found.len(), lines.len(), shown.join(" | "));
                return Err(Failure::new(text).with("matches", found.len()));
            }
        }
        Ok(Return::msg(format!("{} lines looked at", lines.len())))
    }
}
