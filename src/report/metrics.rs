//! Where the time of many runs went, and who fails: a fold over their journals.

use indexmap::IndexMap;

use super::{Tally, timeline};
use crate::event::{Event, Status};

/// How often something ran, how long it took, how often it failed.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub name: String,
    /// Milliseconds of each time.
    pub took: Vec<u64>,
    /// Of each run in which it ran, oldest first: the median of its times in milliseconds.
    pub by_run: Vec<u64>,
    pub failed: usize,
}

/// What many runs come to.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub runs: usize,
    /// Tasks by name and place; skipped ones do not count.
    pub tasks: Vec<Row>,
    pub hosts: Vec<Row>,
    pub services: Vec<Row>,
    /// Runs by their command line.
    pub commands: Vec<Row>,
}

impl Row {
    pub fn median(&self) -> u64 {
        median(&self.took)
    }
    pub fn slowest(&self) -> u64 {
        self.took.iter().copied().max().unwrap_or(0)
    }
    pub fn total(&self) -> u64 {
        self.took.iter().sum()
    }
    /// The newest run against the median of all before it, in percent; None with fewer than three.
    pub fn trend(&self) -> Option<i64> {
        let (newest, before) = self.by_run.split_last()?;
        let usual = median(before);
        let enough = before.len() >= 2 && usual > 0;
        enough.then(|| (*newest as i64 - usual as i64) * 100 / usual as i64)
    }
}

fn median(times: &[u64]) -> u64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// Rows by their names, with how many times each had when the run began.
#[derive(Default)]
struct Rows(IndexMap<String, (Row, usize)>);

impl Rows {
    fn add(&mut self, name: &str, took: u64, failed: bool) {
        let new = || (Row { name: name.to_owned(), ..Row::default() }, 0);
        let (row, _) = self.0.entry(name.to_owned()).or_insert_with(new);
        row.took.push(took);
        row.failed += usize::from(failed);
    }
    fn end_of_run(&mut self) {
        for (row, before) in self.0.values_mut().filter(|(row, before)| row.took.len() > *before) {
            row.by_run.push(median(row.took.get(*before..).unwrap_or_default()));
            *before = row.took.len();
        }
    }
    /// What took longest altogether comes first.
    fn sorted(self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.0.into_values().map(|(row, _)| row).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.total()));
        rows
    }
}

/// Of journals, oldest first. Runs that only looked (`--check`) are left out.
pub fn of(journals: impl IntoIterator<Item = Vec<Event>>) -> Metrics {
    let (mut tasks, mut hosts, mut services, mut commands) =
        (Rows::default(), Rows::default(), Rows::default(), Rows::default());
    let mut runs = 0;
    for events in journals {
        let tally = Tally::of(&events);
        if tally.check || tally.run.is_empty() {
            continue;
        }
        runs += 1;
        let (spans, total) = timeline::of(&events);
        let bad = |status| matches!(status, Status::Failed | Status::Unreachable);
        let mut each: IndexMap<&str, u64> = IndexMap::new();
        for span in spans.iter().filter(|span| span.outcome.status != Status::Skipped) {
            let name = match &span.task.service {
                Some(service) => format!("[{service}] {}", span.task.name),
                None => span.task.name.clone(),
            };
            tasks.add(&name, span.took_ms, bad(span.outcome.status) && !span.outcome.ignored);
            *each.entry(&span.host).or_default() += span.took_ms;
        }
        let failed = tally.failed_hosts();
        each.iter().for_each(|(host, took)| hosts.add(host, *took, failed.iter().any(|name| name == host)));
        tally.cells.iter().for_each(|cell| services.add(&cell.service, cell.took_ms, bad(cell.status)));
        commands.add(&tally.command.join(" "), total, tally.status_word() != "ok");
        [&mut tasks, &mut hosts, &mut services, &mut commands].into_iter().for_each(Rows::end_of_run);
    }
    Metrics {
        runs,
        tasks: tasks.sorted(),
        hosts: hosts.sorted(),
        services: services.sorted(),
        commands: commands.sorted(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_compares_with_what_was_usual() {
        let mut rows = Rows::default();
        let mut run = |times: &[u64]| {
            times.iter().for_each(|took| rows.add("x", *took, false));
            rows.end_of_run();
            rows.0["x"].0.trend()
        };
        assert_eq!([run(&[100, 90, 5000]), run(&[120]), run(&[150])], [None, None, Some(25)]);
        assert_eq!(run(&[60, 60]), Some(-50));
        assert_eq!((median(&[3, 1, 2]), median(&[])), (2, 0));
    }
}
