//! `runs/<id>/events.jsonl`: every event as a line, written at once, so that the journal of a killed run is complete up
//! to the kill. Reading tolerates a last line that was cut.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::{Reporter, Tally};
use crate::error::{Error, Result};
use crate::event::Event;

/// Writes a run's events.
pub struct Journal {
    file: File,
    /// The first write that failed; said once at the end.
    failed: Option<std::io::Error>,
}

/// A folder name that sorts by time, to the millisecond, for two short runs fit into one second: `20261123-120342517-7f3a`.
/// It comes after those that are there: where this machine's clock went back, the newest run would not be the last one,
/// and `last`, `@failed` and `--resume` would speak of another.
pub fn new_run_id(runs: &Path) -> String {
    let now = jiff::Timestamp::now();
    let newest = list(runs).pop().and_then(|id| begun(&id));
    let at = newest.and_then(|newest| newest.checked_add(jiff::SignedDuration::from_millis(1)).ok());
    let at = at.map_or(now, |at| at.max(now)).to_zoned(jiff::tz::TimeZone::UTC);
    format!("{}{:03}-{:04x}", at.strftime("%Y%m%d-%H%M%S"), at.millisecond(), uuid_like())
}

/// The moment that an id names.
fn begun(id: &str) -> Option<jiff::Timestamp> {
    let (day, rest) = id.split_once('-')?;
    let (time, _) = rest.split_once('-')?;
    let (clock, millisecond) = (time.get(..6)?, time.get(6..)?);
    let text = format!("{day}{clock}.{millisecond}");
    let at = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S%.f", text).ok()?;
    Some(at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

fn uuid_like() -> u16 {
    let mut bytes = [0; 2];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u16::from_le_bytes(bytes),
        Err(_) => std::process::id() as u16,
    }
}

impl Journal {
    /// Opens `runs/<id>/events.jsonl` for this user alone.
    pub fn create(runs: &Path, id: &str) -> Result<Journal> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        let folder = runs.join(id);
        let trouble = |error: std::io::Error| {
            Error::new(format!("cannot write the journal in `{}`: {error}", folder.display()))
                .hint("choose another folder with --runs-dir")
        };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(trouble)?;
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(folder.join("events.jsonl"))
            .map_err(trouble)?;
        // for as long as the run goes on
        let _ = file.try_lock();
        Ok(Journal { file, failed: None })
    }
}

/// Takes back a journal in which nothing was written, and its folder.
pub fn discard(runs: &Path, id: &str) {
    let folder = runs.join(id);
    let unused = |meta: std::fs::Metadata| meta.len() == 0;
    if std::fs::metadata(folder.join("events.jsonl")).is_ok_and(unused) && std::fs::remove_dir_all(&folder).is_ok() {
        // the folder of all runs goes if this would have been its first
        let _ = std::fs::remove_dir(runs);
    }
}

impl Reporter for Journal {
    fn event(&mut self, event: &Event) {
        if self.failed.is_some() {
            return;
        }
        let written = serde_json::to_vec(event).map_err(std::io::Error::from).and_then(|mut line| {
            line.push(b'\n');
            self.file.write_all(&line)
        });
        self.failed = written.err();
    }

    fn finish(&mut self) {
        if let Some(error) = &self.failed {
            tracing::error!("the journal is incomplete: {error}");
            eprintln!("provision: the journal of this run is incomplete: {error}");
        } else if let Err(error) = self.file.sync_data() {
            tracing::warn!("journal: {error}");
        }
    }
}

/// Whether the process that writes this journal is still there.
pub fn is_running(runs: &Path, id: &str) -> bool {
    is_written(&runs.join(id).join("events.jsonl"))
}

/// The same for a journal that lies elsewhere.
pub fn is_written(path: &Path) -> bool {
    let file = File::open(path);
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

/// The ids of all runs, oldest first.
pub fn list(runs: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(runs) else { return Vec::new() };
    let mut ids: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.path().join("events.jsonl").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    ids.sort();
    ids
}

/// A run's events.
pub fn read(runs: &Path, id: &str) -> Result<Vec<Event>> {
    let path: PathBuf = runs.join(id).join("events.jsonl");
    let text = std::fs::read_to_string(&path).map_err(|error| {
        let ids = list(runs);
        let why = if error.kind() == std::io::ErrorKind::NotFound { String::new() } else { format!(": {error}") };
        Error::new(format!("there is no run `{id}` in `{}`{why}", runs.display()))
            .hint("`provision history` lists the runs")
            .did_you_mean(id, ids.iter().map(String::as_str))
    })?;
    parse(&path, &text)
}

/// The events of a journal that lies elsewhere.
pub fn read_file(path: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::at(&crate::error::Place::file(path), format!("cannot be read: {error}")))?;
    parse(path, &text)
}

/// Beside the journal of a run that became part of another.
const MERGED: &str = "merged-into";

/// Notes that a run's events are told again in another run, so that nothing counts them twice.
pub fn note_merged(runs: &Path, id: &str, into: &str) -> Result<()> {
    let path = runs.join(id).join(MERGED);
    std::fs::write(&path, format!("{into}\n"))
        .map_err(|error| Error::new(format!("cannot write `{}`: {error}", path.display())))
}

/// Is a run told again in another one?
pub fn is_merged(runs: &Path, id: &str) -> bool {
    runs.join(id).join(MERGED).is_file()
}

fn parse(path: &Path, text: &str) -> Result<Vec<Event>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut events = Vec::with_capacity(lines.len());
    for (index, line) in lines.iter().enumerate() {
        match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(_) if index + 1 == lines.len() => {}
            Err(error) => {
                let place = crate::error::Place::new(path, index + 1, 0);
                return Err(Error { place: Some(place), ..Error::new(format!("not an event: {error}")) });
            }
        }
    }
    Ok(events)
}

/// The hosts that failed in the last run, for the pattern `@failed`.
pub fn last_failed(runs: &Path) -> Vec<String> {
    let last = list(runs).into_iter().rev().filter_map(|id| read(runs, &id).ok()).map(|events| Tally::of(&events));
    last.into_iter()
        .find(|tally| tally.hosts.iter().any(|_| true))
        .map(|tally| tally.failed_hosts())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Counts, Kind, RunStatus};

    fn event(seq: u64, kind: Kind) -> Event {
        Event { at: "2026-11-23T12:00:00.000Z".to_owned(), run: "r".to_owned(), seq, kind }
    }

    #[test]
    fn ids_sort_by_time_within_a_second_and_when_the_clock_went_back() {
        let dir = tempfile::tempdir().unwrap();
        let made = || {
            let id = new_run_id(dir.path());
            Journal::create(dir.path(), &id).unwrap();
            id
        };
        let mut ids: Vec<String> = (0..20).map(|_| made()).collect();
        // of a machine whose clock was ahead
        ids.push("20991231-235959999-0001".to_owned());
        Journal::create(dir.path(), "20991231-235959999-0001").unwrap();
        ids.extend([made(), made()]);
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(ids[21].starts_with("21000101-000000000-") && ids[22].starts_with("21000101-000000001-"), "{ids:?}");
    }

    #[test]
    fn a_cut_journal_is_read_up_to_the_cut_and_says_who_failed() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(dir.path(), "20260101-000000-0001").unwrap();
        let hosts = vec!["a".to_owned(), "b".to_owned()];
        journal.event(&event(
            1,
            Kind::RunStarted {
                version: String::new(),
                command: vec![],
                hosts,
                check: false,
                user: String::new(),
                inventory: String::new(),
            },
        ));
        journal.event(&event(
            2,
            Kind::HostFinished { host: "b".to_owned(), counts: Counts { failed: 1, ..Counts::default() } },
        ));
        journal.event(&event(3, Kind::RunFinished { status: RunStatus::Failed, exit_code: 1, took_ms: 5 }));
        journal.finish();
        let path = dir.path().join("20260101-000000-0001/events.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 20]).unwrap();
        let events = read(dir.path(), "20260101-000000-0001").unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(Tally::of(&events).status_word(), "killed");
        assert_eq!(last_failed(dir.path()), ["b"]);
    }
}
