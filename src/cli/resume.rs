//! `provision --resume RUN`: the same command once more for what was left: clients that were not brought to their end,
//! without those of their services that were. What a run is made from must still be as it was.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::FromArgMatches;

use super::common::{Fleet, speak_as};
use super::history::chosen;
use super::inputs::{Inputs, Secrets};
use super::{Cli, command, dispatch};
use crate::error::{Error, Result};
use crate::event::{Event, Kind, RunStatus, Status};
use crate::report::style::dim;
use crate::report::{Tally, causes, journal};
use crate::services::{FleetLock, Rollout};

/// The run that this process takes up.
struct Resumed {
    run: String,
    runs: PathBuf,
    even_if_changed: bool,
    /// What the run took image names for; none without a fleet.lock.
    digests: Option<FleetLock>,
    /// Client → services that came to their end.
    done: HashMap<String, Vec<String>>,
}

static RESUMED: OnceLock<Resumed> = OnceLock::new();

pub struct Wish<'w> {
    pub run: &'w str,
    pub runs: &'w Path,
    pub yes: bool,
    pub even_if_changed: bool,
}

pub fn main(wish: &Wish<'_>) -> Result<u8> {
    let run = chosen(wish.runs, wish.run)?;
    let events = journal::read(wish.runs, &run)?;
    let tally = Tally::of(&events);
    let refuse = |text: &str, hint: &str| Err(Error::new(format!("run {run} {text}")).hint(hint));
    if journal::is_running(wish.runs, &run) {
        return refuse("still goes on", "wait until it has ended, or end it with Ctrl-C where it runs");
    }
    if tally.check {
        return refuse("only looked", "there is nothing in it to take up");
    }
    let ended = tally.end.as_ref().map(|end| end.status);
    if ended == Some(RunStatus::Ok) {
        return refuse("ended well", "nothing of it is left to do; `provision history` lists the others");
    }
    if tally.command.iter().any(|word| word.contains("********")) {
        return refuse(
            "was given a secret on its command line, which no journal keeps",
            "give the command again; what is done is not done twice",
        );
    }
    let hosts = left(&tally, ended);
    if hosts.is_empty() {
        return refuse("has left no client behind", "`provision history` shows how it ended");
    }
    let mut words = causes::command_for(&tally, &hosts.iter().map(String::as_str).collect::<Vec<_>>());
    if wish.yes && !words.iter().any(|word| ["--yes", "-y"].contains(&word.as_str())) {
        words.push("--yes".to_owned());
    }
    eprintln!("{}", dim(&format!("takes up run {run} of {} on {}", tally.started, hosts.join(", "))));
    let resumed = Resumed {
        digests: FleetLock::read(&digests_path(wish.runs, &run))?,
        run,
        runs: wish.runs.to_owned(),
        even_if_changed: wish.even_if_changed,
        done: done(&events),
    };
    // a process takes up one run
    let _ = RESUMED.set(resumed);
    speak_as(&words);
    let cli = command().try_get_matches_from(&words).and_then(|found| Cli::from_arg_matches(&found));
    dispatch(cli.map_err(|error| Error::new(format!("its command is no longer understood: {error}")))?)
}

/// The clients that were not brought to their end. Of a run that ended in the middle that may be any.
fn left(tally: &Tally, ended: Option<RunStatus>) -> Vec<String> {
    let all = tally.hosts.iter();
    match ended {
        Some(RunStatus::Failed) => {
            let untouched = |name: &String| {
                let counts = &tally.hosts[name].counts;
                counts.ok + counts.skipped + counts.failed + counts.unreachable + counts.rescued + counts.ignored == 0
            };
            let failed = tally.failed_hosts();
            all.map(|(name, _)| name.clone()).filter(|name| failed.contains(name) || untouched(name)).collect()
        }
        _ => all.map(|(name, _)| name.clone()).collect(),
    }
}

/// The services that came to their end, by client.
fn done(events: &[Event]) -> HashMap<String, Vec<String>> {
    let mut done: HashMap<String, Vec<String>> = HashMap::new();
    for event in events {
        if let Kind::ServiceFinished { host, service, status, .. } = &event.kind {
            let services = done.entry(host.clone()).or_default();
            services.retain(|known| known != service);
            if matches!(status, Status::Ok | Status::Changed) {
                services.push(service.clone());
            }
        }
    }
    done
}

/// Beside a run's journal: what its image names mean, whatever their tags mean by now.
pub fn digests_path(runs: &Path, run: &str) -> PathBuf {
    runs.join(run).join("fleet.lock")
}

/// What the resumed run took image names for, if this process takes one up.
pub fn digests() -> Option<&'static FleetLock> {
    RESUMED.get()?.digests.as_ref()
}

/// Whether what was not there for the resumed run may come in.
pub fn even_if_changed() -> bool {
    RESUMED.get().is_some_and(|resumed| resumed.even_if_changed)
}

/// Client and service that the resumed run brought to their end, with its digests.
pub fn done_with_digests() -> impl Iterator<Item = (String, String)> {
    let resumed = RESUMED.get().filter(|resumed| resumed.digests.is_some());
    let done = resumed.into_iter().flat_map(|resumed| &resumed.done);
    done.flat_map(|(host, services)| services.iter().map(|service| (host.clone(), service.clone())))
}

/// Leaves out what the resumed run has done, if this process takes one up. `false`: nothing is left.
pub fn leave_out_done(hosts: &mut Vec<String>, rollout: &mut Rollout) -> bool {
    let Some(resumed) = RESUMED.get() else { return true };
    for (host, services) in &resumed.done {
        if let Some(own) = rollout.hosts.get_mut(host) {
            let had = !own.services.is_empty();
            own.services.retain(|service| !services.contains(&service.id));
            if had && own.services.is_empty() {
                rollout.hosts.shift_remove(host);
                hosts.retain(|name| name != host);
            }
        }
    }
    !hosts.is_empty()
}

/// Whether the resumed run was made from what is there now.
pub fn inputs_are_the_same(fleet: &Fleet, hosts: &[String], rollout: Option<&Rollout>) -> Result<()> {
    let Some(resumed) = RESUMED.get().filter(|resumed| !resumed.even_if_changed) else { return Ok(()) };
    let hint = "--even-if-changed takes it up with what is there now";
    let Some(before) = Inputs::read(&resumed.runs, &resumed.run)? else {
        return Err(Error::new(format!("run {} has not noted what it was made from", resumed.run)).hint(hint));
    };
    let now = before.again(fleet, hosts, rollout, Secrets::Stored)?;
    let moved = before.moved_within(&now);
    if moved.is_empty() {
        return Ok(());
    }
    let lines = moved.iter().map(|line| format!("\n  {line}")).collect::<String>();
    Err(Error::new(format!("since run {} something has changed:{lines}", resumed.run)).hint(hint))
}
