//! `provision history`: the runs, or one of them again.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Error, Result};
use crate::report::style::{duration, set_colour, table};
use crate::report::{Tally, journal, summary};

#[derive(Args)]
#[command(after_help = "Examples:
  provision history                          the last 20 runs
  provision history --limit 5 --failed       the last five that failed
  provision history 20261123-120342517-7f3a  the end of one run again
  provision history last --json              its events

A run that was interrupted is taken up again by: provision --resume RUN")]
pub struct Flags {
    /// A run's id, or `last`
    run: Option<String>,
    /// How many runs to list
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Only runs that did not end well
    #[arg(long)]
    failed: bool,
    /// The run's events as JSON lines
    #[arg(long)]
    json: bool,
    /// Where the journals are kept
    #[arg(long, value_name = "DIR", env = "PROVISION_RUNS", default_value = "runs")]
    runs_dir: PathBuf,
}

pub fn main(flags: Flags) -> Result<u8> {
    set_colour("auto");
    match &flags.run {
        None => list(&flags, &journal::list(&flags.runs_dir)),
        Some(run) => show(&flags, &chosen(&flags.runs_dir, run)?),
    }
}

/// A run's id as given, or the newest one's for `last`.
pub(super) fn chosen(runs: &Path, run: &str) -> Result<String> {
    match run {
        "last" => {
            journal::list(runs).pop().ok_or_else(|| Error::new(format!("there is no run in `{}`", runs.display())))
        }
        id => Ok(id.to_owned()),
    }
}

fn list(flags: &Flags, ids: &[String]) -> Result<u8> {
    let head = ["RUN", "STATUS", "HOSTS", "CHANGED", "TIME", "WHO", "COMMAND"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let runs = ids.iter().rev().filter_map(|id| Some((id, journal::read(&flags.runs_dir, id).ok()?)));
    let tallies = runs.map(|(id, events)| (id, Tally::of(&events)));
    for (id, tally) in tallies.filter(|(_, tally)| !flags.failed || tally.status_word() != "ok").take(flags.limit) {
        let failed = tally.failed_hosts().len();
        let hosts =
            if failed > 0 { format!("{} ({failed} failed)", tally.hosts.len()) } else { tally.hosts.len().to_string() };
        let status = match tally.status_word() {
            "killed" if journal::is_running(&flags.runs_dir, id) => "running",
            // its program was killed, or its machine went off
            "killed" => "interrupted (killed)",
            word => word,
        };
        let status = if tally.check { format!("{status} (check)") } else { status.to_owned() };
        let took = tally.end.as_ref().map(|end| duration(end.took_ms)).unwrap_or_default();
        rows.push(vec![
            id.clone(),
            status,
            hosts,
            tally.changed().to_string(),
            took,
            tally.user.clone(),
            tally.command.join(" "),
        ]);
    }
    for line in table(&rows) {
        println!("{line}");
    }
    Ok(0)
}

fn show(flags: &Flags, id: &str) -> Result<u8> {
    let events = journal::read(&flags.runs_dir, id)?;
    if flags.json {
        for event in &events {
            let line = serde_json::to_string(event).map_err(|error| Error::new(error.to_string()))?;
            println!("{line}");
        }
        return Ok(0);
    }
    let tally = Tally::of(&events);
    println!("{}  {}  {}  {}", tally.run, tally.started, tally.user, tally.command.join(" "));
    println!();
    for line in summary::lines(&tally) {
        println!("{line}");
    }
    Ok(0)
}
