//! What only people can do: the steps of `manual_steps` that nobody has marked as done, as a table at the end of a run.

use indexmap::IndexMap;
use serde_json::Value;

use super::causes::named;
use super::style::{bold, table, yellow};
use crate::event::{Event, Kind};

/// One step of a service on a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub host: String,
    pub service: String,
    pub id: String,
    pub text: String,
    pub critical: bool,
    /// By whom and when; none: pending.
    pub done: Option<Done>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    pub by: String,
    /// RFC 3339.
    pub at: String,
    pub note: String,
}

/// Those that an event tells of.
pub fn of(event: &Event) -> Vec<Step> {
    let Kind::TaskFinished { host, task, outcome } = &event.kind else { return Vec::new() };
    if task.action != "manual_steps" {
        return Vec::new();
    }
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let steps = outcome.result.get("steps").and_then(Value::as_array).into_iter().flatten();
    let steps = steps.map(|step| Step {
        host: host.clone(),
        service: task.service.clone().unwrap_or_default(),
        id: text(step, "id"),
        text: text(step, "text"),
        critical: step.get("critical").and_then(Value::as_bool) == Some(true),
        done: step.get("done").filter(|done| done.is_object()).map(|done| Done {
            by: text(done, "by"),
            at: text(done, "at"),
            note: text(done, "note"),
        }),
    });
    steps.collect()
}

/// The table of what is pending; of many clients each step once.
pub fn lines(steps: &[Step], many: bool) -> Vec<String> {
    let mut rows: IndexMap<[&str; 4], Vec<&str>> = IndexMap::new();
    let mut alone = Vec::new();
    for step in steps.iter().filter(|step| step.done.is_none()) {
        let weight = if step.critical { "critical" } else { "pending" };
        let what = [step.service.as_str(), &step.id, weight, &step.text];
        match many {
            true => rows.entry(what).or_default().push(&step.host),
            false => alone.push((what, vec![step.host.as_str()])),
        }
    }
    let rows = rows
        .into_iter()
        .chain(alone)
        .map(|(what, hosts)| std::iter::once(named(&hosts)).chain(what.map(str::to_owned)).collect::<Vec<_>>());
    let head = ["CLIENT", "SERVICE", "BY HAND", "", ""].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    if rows.len() == 1 {
        return Vec::new();
    }
    let mut lines: Vec<String> =
        table(&rows)
            .into_iter()
            .enumerate()
            .map(|(at, line)| {
                if at == 0 { bold(&line) } else { line.replacen(" critical ", &format!(" {} ", yellow("critical")), 1) }
            })
            .collect();
    lines.push("`provision steps done SERVICE STEP --host CLIENT` when one is done".to_owned());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Outcome, TaskRef};
    use serde_json::json;

    #[test]
    fn what_is_pending_is_shown_and_what_is_done_is_not() {
        let result = json!({"steps": [
            {"id": "share", "text": "Share it", "critical": true, "done": null},
            {"id": "ping", "text": "Ping it", "critical": false, "done": {"by": "ana@desk", "at": "t", "note": ""}}]});
        let task =
            TaskRef { action: "manual_steps".to_owned(), service: Some("shop".to_owned()), ..TaskRef::default() };
        let outcome = Outcome { result: result.as_object().cloned().unwrap_or_default(), ..Outcome::default() };
        let kind = Kind::TaskFinished { host: "a".to_owned(), task, outcome: Box::new(outcome) };
        let steps = of(&Event { at: String::new(), run: String::new(), seq: 0, kind });
        assert_eq!(steps[1].done.as_ref().map(|done| done.by.as_str()), Some("ana@desk"));
        let shown = lines(&steps, false);
        assert!(shown.len() == 3 && shown[1].contains("share") && shown[1].contains("critical"), "{shown:?}");
        assert!(lines(&steps[1..], true).is_empty());
    }
}
