//! `provision report merge`: the journals of the parts of a fleet (`--shard`) as one run, which `history`, `report` and
//! `metrics` understand like any other. The journals of the parts stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::history::chosen;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Level, RunStatus};
use crate::report::{Reporter, Tally, journal, summary};

#[derive(Args)]
#[command(after_help = "Examples:
  provision report merge part1/events.jsonl part2/events.jsonl part3/events.jsonl
  provision report merge 20261123-120342517-7f3a 20261123-120342530-91bc
  provision report merge artifacts/*/events.jsonl --partial   though one part is lost

The runs must be of the same command but for --shard, and of different clients. Exit code: 0 if all parts ended well, 1 if
one did not, 2 if they are not the parts of one run (nothing is written).")]
pub struct Flags {
    /// Runs: ids, their folders, or their events.jsonl
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Merge although parts are missing
    #[arg(long)]
    partial: bool,
    /// Where the journals are kept, and where the new one goes
    #[arg(long, value_name = "DIR", env = "PROVISION_RUNS", default_value = "runs")]
    runs_dir: PathBuf,
}

/// One journal.
struct Source {
    /// As it was given.
    name: String,
    events: Vec<Event>,
    tally: Tally,
    shard: Option<Shard>,
    /// The command without its shard.
    command: Vec<String>,
}

pub fn main(flags: &Flags) -> Result<u8> {
    let sources = flags.runs.iter().map(|run| read(&flags.runs_dir, run)).collect::<Result<Vec<_>>>()?;
    if let Some(error) = Error::all(mistakes(&sources, flags.partial)) {
        return Err(error);
    }
    let id = journal::new_run_id(&flags.runs_dir);
    let events = merged(&sources, &id);
    let mut written = journal::Journal::create(&flags.runs_dir, &id)?;
    events.iter().for_each(|event| written.event(event));
    written.finish();
    for source in sources.iter().filter(|source| journal::list(&flags.runs_dir).contains(&source.tally.run)) {
        journal::note_merged(&flags.runs_dir, &source.tally.run, &id)?;
    }
    let tally = Tally::of(&events);
    println!("{id}");
    for line in summary::lines(&tally) {
        eprintln!("{line}");
    }
    Ok(u8::from(tally.status_word() != "ok"))
}

fn read(runs: &Path, name: &str) -> Result<Source> {
    let path = Path::new(name);
    let file = if path.is_dir() { path.join("events.jsonl") } else { path.to_owned() };
    let (events, running) = if file.is_file() {
        (journal::read_file(&file)?, journal::is_written(&file))
    } else {
        let id = chosen(runs, name)?;
        (journal::read(runs, &id)?, journal::is_running(runs, &id))
    };
    if running {
        return Err(Error::new(format!("{name} still goes on")).hint("wait until it has ended"));
    }
    let tally = Tally::of(&events);
    if !matches!(events.first().map(|event| &event.kind), Some(Kind::RunStarted { .. })) {
        return Err(Error::new(format!("{name} is no journal of a run: it has no beginning")));
    }
    let (shard, command) = Shard::of_command(&tally.command);
    Ok(Source { name: name.to_owned(), events, tally, shard, command })
}

/// Why these are not the parts of one run.
fn mistakes(sources: &[Source], partial: bool) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut owners: BTreeMap<&str, &Source> = BTreeMap::new();
    let Some(first) = sources.first() else { return errors };
    for source in sources {
        if said(&source.command) != said(&first.command) || source.tally.check != first.tally.check {
            let (a, b) = (first.command.join(" "), source.command.join(" "));
            errors.push(Error::new(format!("{} ran `{a}`, {} ran `{b}`", first.name, source.name)));
        }
        let twice: Vec<&str> =
            source.tally.hosts.keys().map(String::as_str).filter(|host| owners.contains_key(host)).collect();
        if let Some(other) = twice.first().and_then(|host| owners.get(host)) {
            let text = format!("{} and {} have clients in common: {}", other.name, source.name, twice.join(", "));
            errors.push(Error::new(text).hint("name only the one that counts, or merge the parts of one run"));
        }
        owners.extend(source.tally.hosts.keys().map(|host| (host.as_str(), source)));
    }
    let shards: Vec<Shard> = sources.iter().filter_map(|source| source.shard).collect();
    if let Some(odd) = shards.iter().find(|shard| shard.of != shards[0].of) {
        errors.push(Error::new(format!("{} and {odd} are parts of different wholes", shards[0])));
    } else if let Some(Shard { of, .. }) = shards.first().filter(|_| !partial) {
        let missing = (1..=*of).filter(|index| !shards.iter().any(|shard| shard.index == *index));
        let missing: Vec<String> = missing.map(|index| format!("{index}/{of}")).collect();
        if !missing.is_empty() {
            let hint = "a part without clients has no journal; --partial merges what there is";
            errors.push(Error::new(format!("missing: {}", missing.join(", "))).hint(hint));
        }
    }
    errors
}

/// A command without what is each machine's own: where the program, its journals and keys are.
fn said(command: &[String]) -> Vec<&str> {
    let own = ["--runs-dir", "--identity"];
    let mut words = command.iter().skip(1).map(String::as_str);
    let mut said = Vec::new();
    while let Some(word) = words.next() {
        if own.contains(&word) {
            words.next();
        } else if !own.iter().any(|flag| word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('='))) {
            said.push(word);
        }
    }
    said
}

/// The command of the whole, as it could be given here.
fn command(source: &Source) -> Vec<String> {
    std::iter::once("provision").chain(said(&source.command)).map(str::to_owned).collect()
}

/// The events of all, in the order of time, between one beginning and one end.
fn merged(sources: &[Source], id: &str) -> Vec<Event> {
    let mut hosts: Vec<String> = sources.iter().flat_map(|source| source.tally.hosts.keys().cloned()).collect();
    hosts.sort();
    let mut users: Vec<&str> = sources.iter().map(|source| source.tally.user.as_str()).collect();
    users.sort_unstable();
    users.dedup();
    let mut all: Vec<Event> = Vec::new();
    let started = sources.iter().flat_map(|source| source.events.first()).min_by(|a, b| a.at.cmp(&b.at));
    if let Some(Event { at, kind: Kind::RunStarted { version, inventory, check, .. }, .. }) = started {
        let kind = Kind::RunStarted {
            version: version.clone(),
            command: sources.first().map(command).unwrap_or_default(),
            hosts,
            check: *check,
            user: users.join(", "),
            inventory: inventory.clone(),
        };
        all.push(Event { at: at.clone(), run: id.to_owned(), seq: 0, kind });
    }
    let mut rest: Vec<(String, Event)> = Vec::new();
    for source in sources {
        let mut latest = String::new();
        for event in &source.events {
            // a clock that was set back does not turn a part's own order round
            latest = latest.max(event.at.clone());
            if !matches!(event.kind, Kind::RunStarted { .. } | Kind::RunFinished { .. }) {
                rest.push((latest.clone(), event.clone()));
            }
        }
        let shard = source.shard.map(|shard| format!(" (part {shard})")).unwrap_or_default();
        let text = format!("merged from run {}{shard}", source.tally.run);
        let note = Kind::Note { host: None, level: Level::Info, text };
        rest.push((latest.clone(), Event { at: latest, run: String::new(), seq: 0, kind: note }));
    }
    rest.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.extend(rest.into_iter().map(|(_, event)| event));
    all.extend(end(sources));
    for (seq, event) in (1..).zip(&mut all) {
        event.seq = seq;
        id.clone_into(&mut event.run);
    }
    all
}

/// How the whole ended; a part that was killed has no end, and so the whole has none.
fn end(sources: &[Source]) -> Option<Event> {
    let ends = sources.iter().map(|source| source.tally.end.as_ref()).collect::<Option<Vec<_>>>()?;
    let has = |status| ends.iter().any(|end| end.status == status);
    let status = match () {
        () if has(RunStatus::Interrupted) => RunStatus::Interrupted,
        () if has(RunStatus::Failed) => RunStatus::Failed,
        () => RunStatus::Ok,
    };
    let times = |which: fn(&Source) -> Option<&Event>| {
        sources.iter().filter_map(which).filter_map(|event| event.at.parse::<jiff::Timestamp>().ok())
    };
    let (from, to) = (times(|source| source.events.first()).min()?, times(|source| source.events.last()).max()?);
    let took_ms =
        u64::try_from((to - from).total(jiff::Unit::Millisecond).unwrap_or_default() as i64).unwrap_or_default();
    let at = sources.iter().filter_map(|source| source.events.last()).map(|event| event.at.clone()).max()?;
    let exit_code = ends.iter().map(|end| end.exit_code).max().unwrap_or_default();
    Some(Event { at, run: String::new(), seq: 0, kind: Kind::RunFinished { status, exit_code, took_ms } })
}
