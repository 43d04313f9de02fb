//! On a terminal: a line for the whole run and one for each busy host, at most eight, redrawn in place; finished things
//! scroll by above them.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::{Reporter, Tally, plain};
use crate::event::{Event, Kind};

/// More lines than this would push the terminal's content away.
const LINES: usize = 8;

/// Draws on standard error.
pub struct Progress {
    screen: MultiProgress,
    total: ProgressBar,
    hosts: HashMap<String, ProgressBar>,
    tally: Tally,
    connected: usize,
    verbose: bool,
    diff: bool,
}

impl Progress {
    pub fn new(verbose: bool, diff: bool) -> Progress {
        let screen = MultiProgress::new();
        let total = screen.add(ProgressBar::new_spinner().with_style(style("{spinner} {msg} {elapsed:.dim}")));
        total.enable_steady_tick(Duration::from_millis(120));
        Progress { screen, total, hosts: HashMap::new(), tally: Tally::default(), connected: 0, verbose, diff }
    }

    fn host_line(&mut self, host: &str) {
        let Some(state) = self.tally.hosts.get(host) else { return };
        let Some(task) = &state.current else {
            if let Some(line) = self.hosts.remove(host) {
                line.finish_and_clear();
                self.screen.remove(&line);
            }
            return;
        };
        let service = task.service.as_ref().map(|service| format!("{service}: ")).unwrap_or_default();
        let doing = state.status.as_ref().unwrap_or(&task.name);
        let text = format!("  {host}  {service}{doing}");
        if let Some(line) = self.hosts.get(host) {
            line.set_message(text);
        } else if self.hosts.len() < LINES {
            let line = self.screen.add(ProgressBar::new_spinner().with_style(style("{wide_msg}")));
            line.set_message(text);
            self.hosts.insert(host.to_owned(), line);
        }
    }

    fn total_line(&self) {
        let doing = match &self.tally.play {
            // all are locked before the first play begins
            (play, ..) if play.is_empty() => {
                format!("{} of {} hosts connected", self.connected, self.tally.hosts.len())
            }
            (play, all, done) => format!("{play}: {done} of {all} hosts done"),
        };
        let failed = self.tally.failed_hosts().len();
        let trouble = if failed > 0 { format!(", {failed} failed") } else { String::new() };
        self.total.set_message(format!("{doing}, {} changed{trouble}", self.tally.changed()));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Reporter for Progress {
    fn event(&mut self, event: &Event) {
        self.tally.add(event);
        for line in plain::lines(event, self.verbose, self.diff) {
            let _ = self.screen.println(line);
        }
        match &event.kind {
            Kind::TaskStarted { host, .. }
            | Kind::TaskProgress { host, .. }
            | Kind::TaskFinished { host, .. }
            | Kind::HostFinished { host, .. } => self.host_line(&host.clone()),
            Kind::HostConnected { .. } => self.connected += 1,
            _ => {}
        }
        self.total_line();
    }

    fn finish(&mut self) {
        for line in self.hosts.values() {
            line.finish_and_clear();
        }
        self.total.finish_and_clear();
        let _ = self.screen.clear();
    }
}
