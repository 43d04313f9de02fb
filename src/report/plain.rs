//! One line per finished task, for logs and pipes: no cursor movement, nothing to clear.

use super::style::{dim, duration, status, word};
use super::{Reporter, summary};
use crate::event::{Event, Kind, Level, Outcome, Status, TaskRef};

/// Prints lines on standard error.
pub struct Plain {
    pub verbose: bool,
    pub diff: bool,
}

impl Reporter for Plain {
    fn event(&mut self, event: &Event) {
        for line in lines(event, self.verbose, self.diff) {
            eprintln!("{line}");
        }
    }
}

/// What an event is worth saying in a log; also what the progress display leaves behind.
pub(super) fn lines(event: &Event, verbose: bool, diff: bool) -> Vec<String> {
    match &event.kind {
        Kind::PlayStarted { play, hosts, .. } => vec![format!("▸ {play} {}", dim(&format!("({} hosts)", hosts.len())))],
        Kind::HostConnected { host, took_ms } if verbose => {
            vec![format!("{host}: connected in {}", duration(*took_ms))]
        }
        Kind::ItemFinished { host, task, outcome } if verbose || outcome.status == Status::Failed => {
            vec![task_line(host, task, outcome)]
        }
        Kind::TaskFinished { host, task, outcome } => task_lines(host, task, outcome, verbose, diff),
        Kind::TaskProgress { host, task, status } if verbose => vec![format!("{host}: {}: {status}", task.name)],
        // warnings stand in the summary, which is what stays on the screen
        Kind::Note { host, level: Level::Info, text } => {
            let who = host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
            vec![format!("{who}{text}")]
        }
        _ => Vec::new(),
    }
}

fn task_lines(host: &str, task: &TaskRef, outcome: &Outcome, verbose: bool, diff: bool) -> Vec<String> {
    let quiet = matches!(outcome.status, Status::Ok | Status::Skipped);
    let talks = task.action.ends_with("debug") && outcome.status == Status::Ok;
    if quiet && !verbose && !talks {
        return Vec::new();
    }
    let mut lines = vec![task_line(host, task, outcome)];
    if talks {
        lines.extend(summary::debug_text(outcome));
    }
    if diff {
        lines.extend(outcome.diff.iter().flat_map(summary::diff_lines));
    }
    lines
}

fn task_line(host: &str, task: &TaskRef, outcome: &Outcome) -> String {
    let what = format!("{:<11}", word(outcome.status));
    let item = task.item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
    let service = task.service.as_ref().map(|service| format!("[{service}] ")).unwrap_or_default();
    let why = match outcome.status {
        Status::Failed | Status::Unreachable | Status::Uncertain | Status::Skipped => {
            outcome.text("msg").lines().next().unwrap_or_default()
        }
        Status::Ok | Status::Changed => "",
    };
    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
    let ignored = if outcome.ignored { " (ignored)" } else { "" };
    let took = if outcome.took_ms >= 1000 { dim(&format!("  {}", duration(outcome.took_ms))) } else { String::new() };
    format!("{} {host}  {service}{}{item}{why}{ignored}{took}", status(outcome.status, &what), task.name)
}
