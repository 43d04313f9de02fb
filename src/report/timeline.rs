//! When each task of a run ran, and how it ended: what the HTML report draws and `provision metrics` adds up.

use std::collections::HashMap;

use crate::event::{Event, Kind, Outcome, TaskRef};

/// One task on one host.
#[derive(Clone, Debug)]
pub struct Span {
    pub host: String,
    pub task: TaskRef,
    pub outcome: Outcome,
    /// Milliseconds after the run's first event.
    pub start_ms: u64,
    pub took_ms: u64,
}

/// The tasks of a journal in the order in which they ended, and the milliseconds that the journal covers.
pub fn of(events: &[Event]) -> (Vec<Span>, u64) {
    let begin = events.first().and_then(at).unwrap_or_default();
    let since = |event: &Event| at(event).map_or(0, |at| u64::try_from(at.saturating_sub(begin)).unwrap_or(0));
    let mut started: HashMap<(&str, &str), u64> = HashMap::new();
    let mut spans = Vec::new();
    for event in events {
        match &event.kind {
            Kind::TaskStarted { host, task } => {
                started.insert((host, &task.id), since(event));
            }
            Kind::TaskFinished { host, task, outcome } => {
                let end = since(event);
                let start = started.remove(&(host.as_str(), task.id.as_str()));
                let start_ms = start.unwrap_or_else(|| end.saturating_sub(outcome.took_ms));
                spans.push(Span {
                    host: host.clone(),
                    task: task.clone(),
                    outcome: Outcome::clone(outcome),
                    start_ms,
                    took_ms: end.saturating_sub(start_ms),
                });
            }
            _ => {}
        }
    }
    (spans, events.last().map_or(0, since))
}

/// Milliseconds since 1970.
fn at(event: &Event) -> Option<i64> {
    event.at.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_lasts_from_its_start_to_its_end() {
        let task = TaskRef { id: "0:1".to_owned(), name: "Copy".to_owned(), ..TaskRef::default() };
        let event = |at: &str, kind: Kind| Event { at: at.to_owned(), run: "r".to_owned(), seq: 1, kind };
        let outcome = Box::new(Outcome { took_ms: 40, ..Outcome::default() });
        let events = [
            event("2026-11-23T12:00:00.000Z", Kind::TaskStarted { host: "other".to_owned(), task: task.clone() }),
            event("2026-11-23T12:00:00.500Z", Kind::TaskStarted { host: "a".to_owned(), task: task.clone() }),
            event(
                "2026-11-23T12:00:02.000Z",
                Kind::TaskFinished { host: "a".to_owned(), task: task.clone(), outcome: outcome.clone() },
            ),
            event("2026-11-23T12:00:03.000Z", Kind::TaskFinished { host: "b".to_owned(), task, outcome }),
        ];
        let (spans, total) = of(&events);
        let times: Vec<_> = spans.iter().map(|span| (span.host.as_str(), span.start_ms, span.took_ms)).collect();
        assert_eq!(times, [("a", 500, 1500), ("b", 2960, 40)]);
        assert_eq!(total, 3000);
    }
}
