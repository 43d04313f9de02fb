//! The fold over a run's events that all reports share.

use indexmap::IndexMap;

use super::links::{self, Link};
use super::steps::{self, Step};
use crate::event::{Cause, Counts, Event, Kind, Level, Outcome, RunStatus, Status, TaskRef};

/// What is known of a run after the events so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub run: String,
    pub started: String,
    pub command: Vec<String>,
    pub user: String,
    pub check: bool,
    pub hosts: IndexMap<String, HostTally>,
    /// The play that goes on, how many hosts it is for, and how many of them are through.
    pub play: (String, usize, usize),
    pub failures: Vec<Trouble>,
    pub cells: Vec<Cell>,
    /// Addresses that were looked at.
    pub links: Vec<Link>,
    /// What people have to do, as it was seen last.
    pub steps: Vec<Step>,
    pub notes: Vec<(Option<String>, Level, String)>,
    /// None while it runs, and for a run that was killed.
    pub end: Option<End>,
}

#[derive(Clone, Debug)]
pub struct End {
    pub status: RunStatus,
    pub exit_code: i32,
    pub took_ms: u64,
}

#[derive(Clone, Debug, Default)]
pub struct HostTally {
    pub counts: Counts,
    pub finished: bool,
    /// What runs there now.
    pub current: Option<TaskRef>,
    pub status: Option<String>,
}

/// A failure that nothing took over.
#[derive(Clone, Debug)]
pub struct Trouble {
    pub host: String,
    pub task: TaskRef,
    pub outcome: Outcome,
}

/// One cell of the client × service matrix.
#[derive(Clone, Debug)]
pub struct Cell {
    pub host: String,
    pub service: String,
    pub status: Status,
    pub version: String,
    pub url: Option<String>,
    pub url_result: Option<String>,
    pub took_ms: u64,
    pub msg: Option<String>,
}

impl Tally {
    /// Of a whole journal.
    pub fn of<'a>(events: impl IntoIterator<Item = &'a Event>) -> Tally {
        let mut tally = Tally::default();
        events.into_iter().for_each(|event| tally.add(event));
        tally
    }

    pub fn add(&mut self, event: &Event) {
        self.links.extend(links::of(event));
        for step in steps::of(event) {
            self.steps
                .retain(|known| (&known.host, &known.service, &known.id) != (&step.host, &step.service, &step.id));
            self.steps.push(step);
        }
        match &event.kind {
            Kind::RunStarted { command, hosts, check, user, .. } => {
                self.run.clone_from(&event.run);
                self.started.clone_from(&event.at);
                self.command.clone_from(command);
                self.user.clone_from(user);
                self.check = *check;
                self.hosts = hosts.iter().map(|host| (host.clone(), HostTally::default())).collect();
            }
            Kind::TaskStarted { host, task } => {
                let host = self.host(host);
                host.current = Some(task.clone());
                host.status = None;
            }
            Kind::TaskProgress { host, status, .. } => self.host(host).status = Some(status.clone()),
            Kind::TaskFinished { host, task, outcome } => {
                let entry = self.host(host);
                entry.current = None;
                entry.status = None;
                count(&mut entry.counts, outcome);
                if matches!(outcome.status, Status::Failed | Status::Unreachable) && !outcome.ignored {
                    self.failures.push(Trouble {
                        host: host.clone(),
                        task: task.clone(),
                        outcome: (**outcome).clone(),
                    });
                }
            }
            Kind::ServiceFinished { host, service, status, version, url, url_result, took_ms, msg } => {
                let mut cell = Cell {
                    host: host.clone(),
                    service: service.clone(),
                    status: *status,
                    version: version.clone(),
                    url: url.clone(),
                    url_result: url_result.clone(),
                    took_ms: *took_ms,
                    msg: msg.clone(),
                };
                match self.cells.iter_mut().find(|known| known.host == cell.host && known.service == cell.service) {
                    // a second look at a service is part of the same cell
                    Some(known) => {
                        cell.took_ms += known.took_ms;
                        if cell.status == Status::Ok {
                            cell.status = known.status;
                            cell.msg = known.msg.take();
                        }
                        cell.url_result = cell.url_result.or(known.url_result.take());
                        *known = cell;
                    }
                    None => self.cells.push(cell),
                }
            }
            Kind::HostFinished { host, counts } => {
                let entry = self.host(host);
                entry.counts = counts.clone();
                entry.finished = true;
                entry.current = None;
            }
            Kind::Note { host, level, text } => self.notes.push((host.clone(), *level, text.clone())),
            Kind::RunFinished { status, exit_code, took_ms } => {
                self.end = Some(End { status: *status, exit_code: *exit_code, took_ms: *took_ms });
            }
            Kind::PlayStarted { play, hosts, .. } => self.play = (play.clone(), hosts.len(), 0),
            Kind::PlayFinished { .. } => self.play.2 += 1,
            Kind::BatchFinished { .. } | Kind::HostConnected { .. } | Kind::ItemFinished { .. } => {}
        }
    }

    fn host(&mut self, name: &str) -> &mut HostTally {
        self.hosts.entry(name.to_owned()).or_default()
    }

    /// Hosts on which something failed or that were not reached, in the run's order.
    pub fn failed_hosts(&self) -> Vec<String> {
        let failed = |(_, host): &(&String, &HostTally)| host.counts.failed > 0 || host.counts.unreachable > 0;
        self.hosts.iter().filter(failed).map(|(name, _)| name.clone()).collect()
    }

    pub fn changed(&self) -> u32 {
        self.hosts.values().map(|host| host.counts.changed).sum()
    }

    /// `ok`, `failed`, `interrupted`, or `killed` if the journal just ends.
    pub fn status_word(&self) -> &'static str {
        match self.end.as_ref().map(|end| end.status) {
            Some(RunStatus::Ok) => "ok",
            Some(RunStatus::Failed) => "failed",
            Some(RunStatus::Interrupted) => "interrupted",
            None => "killed",
        }
    }
}

fn count(counts: &mut Counts, outcome: &Outcome) {
    match outcome.status {
        Status::Ok => counts.ok += 1,
        Status::Changed => {
            counts.ok += 1;
            counts.changed += 1;
        }
        Status::Skipped => counts.skipped += 1,
        Status::Failed if outcome.ignored => counts.ignored += 1,
        Status::Failed => counts.failed += 1,
        Status::Unreachable => counts.unreachable += 1,
        Status::Uncertain => counts.uncertain += 1,
    }
}

/// What a cause is called in a headline.
pub fn cause_word(cause: Option<Cause>) -> &'static str {
    match cause {
        None | Some(Cause::Task) => "task failed",
        Some(Cause::Auth) => "login refused",
        Some(Cause::HostKeyUnknown) => "unknown host key",
        Some(Cause::HostKeyChanged) => "host key changed",
        Some(Cause::Dns) => "name not found",
        Some(Cause::Refused) => "connection refused",
        Some(Cause::Timeout) => "no answer",
        Some(Cause::Throttled) => "sshd turned us away",
        Some(Cause::Lost) => "connection lost",
        Some(Cause::Become) => "sudo refused",
        Some(Cause::Shell) => "unusable shell",
        Some(Cause::DiskFull) => "disk full",
        Some(Cause::Locked) => "could not be locked",
        Some(Cause::Local) => "trouble on this machine",
        Some(Cause::Interrupted) => "interrupted",
    }
}
