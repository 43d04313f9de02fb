//! The end of a run: the client × service matrix, the hosts' counts, and the failures grouped by cause — last, because
//! the last lines are what stays on the screen.

use indexmap::{IndexMap, IndexSet};
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::Tally;
use super::causes;
use super::style::{bold, dim, duration, green, red, status, table, word, yellow};
use super::tally::Cell;
use crate::event::{Level, Outcome, RunStatus, Status};
use crate::plan::Diff;

/// Above this many cells the matrix has a line per client, above this many clients a line per service.
const DETAILED: usize = 40;

/// Everything that closes a run, as lines.
pub fn lines(tally: &Tally) -> Vec<String> {
    let mut lines = Vec::new();
    if !tally.cells.is_empty() {
        // services of different hosts end in between each other; the matrix keeps a client together
        let mut cells = tally.cells.clone();
        cells.sort_by_key(|cell| tally.hosts.get_index_of(&cell.host));
        lines.extend(matrix(&cells));
        lines.push(String::new());
    }
    let many = tally.hosts.len() > DETAILED;
    for table in [super::links::lines(&tally.links, many), super::steps::lines(&tally.steps, many)] {
        if !table.is_empty() {
            lines.extend(table);
            lines.push(String::new());
        }
    }
    lines.extend(recap(tally));
    lines.extend(warnings(tally));
    lines.extend(failures(tally));
    lines.push(verdict(tally));
    lines
}

/// The matrix: a line per cell, for more of them a line per client, and for large fleets a line per service. Who failed
/// stands below it in any case, and all cells in the journal.
pub fn matrix(cells: &[Cell]) -> Vec<String> {
    let clients: IndexSet<&str> = cells.iter().map(|cell| cell.host.as_str()).collect();
    match cells.len() {
        0..=DETAILED => details(cells),
        _ if clients.len() > DETAILED => sums(cells),
        _ => signs(cells),
    }
}

/// A line per service, its instances together: on how many clients it came to what.
fn sums(cells: &[Cell]) -> Vec<String> {
    let mut statuses: IndexSet<&str> = IndexSet::from([word(Status::Ok), word(Status::Changed)]);
    let mut services: IndexMap<&str, IndexMap<&str, usize>> = IndexMap::new();
    for cell in cells {
        let package = cell.service.split('@').next().unwrap_or(&cell.service);
        let result = word(cell.status);
        statuses.insert(result);
        *services.entry(package).or_default().entry(result).or_default() += 1;
    }
    let head = ["SERVICE".to_owned()].into_iter().chain(statuses.iter().map(|result| result.to_uppercase()));
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    for (service, counts) in &services {
        let numbers = statuses.iter().map(|result| counts.get(result).copied().unwrap_or(0).to_string());
        rows.push(std::iter::once((*service).to_owned()).chain(numbers).collect());
    }
    table(&rows)
}

fn details(cells: &[Cell]) -> Vec<String> {
    let head = ["CLIENT", "SERVICE", "RESULT", "VERSION", "TIME", "URL"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut before = "";
    for cell in cells {
        let host = if cell.host == before { String::new() } else { cell.host.clone() };
        before = &cell.host;
        let url =
            [cell.url.as_deref(), cell.url_result.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("  ");
        let row = [
            host,
            cell.service.clone(),
            word(cell.status).to_owned(),
            cell.version.clone(),
            duration(cell.took_ms),
            url,
        ];
        rows.push(row.to_vec());
    }
    let mut lines = table(&rows);
    for (line, cell) in lines.iter_mut().skip(1).zip(cells) {
        // the table is laid out first, so that colour codes do not count as width
        let plain = format!("{}  ", word(cell.status));
        *line = line.replacen(&plain, &format!("{}  ", status(cell.status, word(cell.status))), 1);
    }
    if let Some(head) = lines.first_mut() {
        *head = bold(head);
    }
    lines
}

fn signs(cells: &[Cell]) -> Vec<String> {
    let mut services: Vec<&str> = Vec::new();
    let mut hosts: IndexMap<&str, IndexMap<&str, Status>> = IndexMap::new();
    for cell in cells {
        if !services.contains(&cell.service.as_str()) {
            services.push(&cell.service);
        }
        hosts.entry(&cell.host).or_default().insert(&cell.service, cell.status);
    }
    let mut rows =
        vec![std::iter::once("CLIENT").chain(services.iter().copied()).map(str::to_owned).collect::<Vec<_>>()];
    for (host, states) in &hosts {
        let mut row = vec![(*host).to_owned()];
        row.extend(services.iter().map(|service| states.get(service).map_or("-", |state| word(*state)).to_owned()));
        rows.push(row);
    }
    table(&rows)
}

/// What was warned of, each text once, with the hosts that it is about.
fn warnings(tally: &Tally) -> Vec<String> {
    let mut texts: IndexMap<&str, IndexSet<&str>> = IndexMap::new();
    for (host, level, text) in &tally.notes {
        if *level == Level::Warning {
            texts.entry(text).or_default().extend(host.as_deref());
        }
    }
    let line = |(text, hosts): (&str, IndexSet<&str>)| {
        let mut hosts: Vec<&str> = hosts.into_iter().collect();
        // in the run's order, whoever was first
        hosts.sort_by_key(|host| tally.hosts.get_index_of(*host));
        let who = if hosts.is_empty() { String::new() } else { format!("{}: ", causes::named(&hosts)) };
        format!("{} {who}{text}", yellow("warning:"))
    };
    texts.into_iter().map(line).collect()
}

fn recap(tally: &Tally) -> Vec<String> {
    let rows: Vec<Vec<String>> = tally
        .hosts
        .iter()
        .map(|(host, state)| {
            let c = &state.counts;
            let mut row = vec![host.clone(), format!("ok={}", c.ok), format!("changed={}", c.changed)];
            row.extend([
                format!("unreachable={}", c.unreachable),
                format!("failed={}", c.failed),
                format!("skipped={}", c.skipped),
            ]);
            for (name, value) in [("rescued", c.rescued), ("ignored", c.ignored), ("uncertain", c.uncertain)] {
                if value > 0 {
                    row.push(format!("{name}={value}"));
                }
            }
            row
        })
        .collect();
    if rows.len() > DETAILED {
        let troubled = tally.failed_hosts().len();
        return vec![format!("{} hosts, {} without trouble", rows.len(), rows.len() - troubled)];
    }
    table(&rows)
}

/// Failures with the same cause are one entry with all its hosts.
fn failures(tally: &Tally) -> Vec<String> {
    if tally.failures.is_empty() {
        return Vec::new();
    }
    let groups = causes::groups(tally);
    let mut lines = vec![String::new(), red(&bold(&causes::headline(tally, groups.len())))];
    for (index, group) in groups.iter().enumerate() {
        lines.push(String::new());
        lines.push(format!("{}. {}: {}", index + 1, bold(group.word), bold(&causes::named(&group.hosts))));
        for (name, text) in &group.fields {
            let mut rows = text.lines();
            if let Some(row) = rows.next() {
                lines.push(format!("   {} {row}", dim(&format!("{name:<8}"))));
            }
            lines.extend(rows.map(|row| format!("            {row}")));
        }
    }
    lines.push(String::new());
    lines
}

fn verdict(tally: &Tally) -> String {
    let Some(end) = &tally.end else { return "the run did not end".to_owned() };
    let changed = tally.changed();
    let what = match end.status {
        RunStatus::Ok if tally.check => green(&format!("would change {changed} things")),
        RunStatus::Ok => green(&format!("all well, {changed} changed")),
        RunStatus::Failed => red(&format!("{} of {} hosts failed", tally.failed_hosts().len(), tally.hosts.len())),
        RunStatus::Interrupted => red("interrupted"),
    };
    format!("{what} in {}  {}", duration(end.took_ms), dim(&format!("(provision history {})", tally.run)))
}

/// A diff as `diff -u` shows it, three lines of context, coloured.
pub fn diff_lines(diff: &Diff) -> Vec<String> {
    let head = |index: usize, line: &str| index < 2 && (line.starts_with("---") || line.starts_with("+++"));
    let paint = |(index, line): (usize, String)| match line.chars().next() {
        _ if head(index, &line) => bold(&line),
        Some('-') => red(&line),
        Some('+') => green(&line),
        Some('@') => dim(&line),
        _ => line,
    };
    diff_text(diff).into_iter().enumerate().map(paint).collect()
}

/// The same without colour.
pub fn diff_text(diff: &Diff) -> Vec<String> {
    let text = TextDiff::from_lines(&diff.before, &diff.after);
    let mut lines = vec![format!("--- {}", diff.before_header), format!("+++ {}", diff.after_header)];
    for hunk in text.unified_diff().context_radius(3).iter_hunks() {
        lines.push(hunk.header().to_string());
        for change in hunk.iter_changes() {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            lines.push(format!("{sign}{}", change.value().trim_end_matches('\n')));
        }
    }
    lines
}

/// What `debug` says.
pub(super) fn debug_text(outcome: &Outcome) -> Vec<String> {
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    let hidden = ["changed", "failed", "skipped", "item", "ansible_loop_var"];
    let values = outcome.result.iter().filter(|(key, _)| !hidden.contains(&key.as_str()));
    let text = values.map(|(key, value)| if key == "msg" { shown(value) } else { format!("{key}: {}", shown(value)) });
    text.flat_map(|text| text.lines().map(|line| format!("    {line}")).collect::<Vec<_>>()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Kind, TaskRef};

    fn tally(command: &[&str], kinds: Vec<Kind>) -> Tally {
        let started = Kind::RunStarted {
            version: String::new(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            hosts: vec!["a".to_owned(), "b".to_owned()],
            check: false,
            user: String::new(),
            inventory: String::new(),
        };
        let events: Vec<Event> = std::iter::once(started)
            .chain(kinds)
            .map(|kind| Event { at: String::new(), run: "r1".to_owned(), seq: 0, kind })
            .collect();
        Tally::of(&events)
    }

    fn failed(host: &str) -> Kind {
        let mut outcome = Outcome { status: Status::Failed, hint: Some("look at it".to_owned()), ..Outcome::default() };
        outcome.result.insert("msg".to_owned(), Value::from(format!("cannot write on {host}")));
        outcome.result.insert("rc".to_owned(), Value::from(28));
        let task = TaskRef { name: "Copy".to_owned(), place: "x.yml:3".to_owned(), ..TaskRef::default() };
        Kind::TaskFinished { host: host.to_owned(), task, outcome: Box::new(outcome) }
    }

    #[test]
    fn the_same_trouble_on_two_hosts_is_one_entry_with_the_command_to_run_next() {
        let end = Kind::RunFinished { status: RunStatus::Failed, exit_code: 1, took_ms: 1500 };
        let tally = tally(&["provision", "--all", "--services", "x y"], vec![failed("a"), failed("b"), end]);
        let text = lines(&tally).join("\n");
        assert!(text.contains("2 of 2 hosts failed, one cause"), "{text}");
        assert!(text.contains("1. task failed: a, b"), "{text}");
        assert!(text.contains("then     provision --services 'x y' --host a,b"), "{text}");
        assert!(text.contains("rc       28") && text.contains("do       look at it"), "{text}");
    }

    #[test]
    fn a_restore_onto_another_host_is_repeated_as_it_was() {
        let end = Kind::RunFinished { status: RunStatus::Failed, exit_code: 1, took_ms: 1500 };
        let command = ["provision", "restore", "--host", "old", "--to", "a"];
        let text = lines(&tally(&command, vec![failed("a"), end])).join("\n");
        assert!(text.contains("then     provision restore --host old --to a\n"), "{text}");
    }

    #[test]
    fn an_interrupted_task_is_told_without_a_failed_host() {
        let mut interrupted = failed("a");
        if let Kind::TaskFinished { outcome, .. } = &mut interrupted {
            outcome.cause = Some(crate::event::Cause::Interrupted);
        }
        let counts = crate::event::Counts::default();
        let ended = Kind::HostFinished { host: "a".to_owned(), counts };
        let end = Kind::RunFinished { status: RunStatus::Interrupted, exit_code: 130, took_ms: 31_000 };
        let text = lines(&tally(&["provision"], vec![interrupted, ended, end])).join("\n");
        assert!(text.contains("interrupted in the middle of a task on 1 of 2 hosts"), "{text}");
        assert!(text.contains("1. interrupted: a") && text.contains("do       look at it"), "{text}");
    }

    fn cell(host: &str, service: &str) -> Kind {
        Kind::ServiceFinished {
            host: host.to_owned(),
            service: service.to_owned(),
            status: Status::Changed,
            version: "v1".to_owned(),
            url: Some("https://x.example".to_owned()),
            url_result: Some("200 in 4 ms".to_owned()),
            took_ms: 4200,
            msg: None,
        }
    }

    #[test]
    fn the_matrix_has_a_line_per_cell() {
        let tally = tally(&["provision"], vec![cell("a", "shop"), cell("a", "mail"), cell("b", "shop")]);
        let text = matrix(&tally.cells).join("\n");
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("a       shop     changed  v1       4.2 s  https://x.example  200 in 4 ms"), "{text}");
    }

    #[test]
    fn a_large_fleet_fits_on_a_screen() {
        let names: Vec<String> = (0..1000).map(|n| format!("h{n:03}")).collect();
        let mut kinds: Vec<Kind> = names.iter().map(|name| cell(name, "shop@mall")).collect();
        kinds.extend(names[300..].iter().map(|name| failed(name)));
        for name in &names {
            let text = "Docker 20.10.24 is older than 24.0".to_owned();
            kinds.push(Kind::Note { host: Some(name.clone()), level: Level::Warning, text });
            let reached =
                serde_json::json!({"url": format!("https://{name}.test"), "answers": name != "h007", "result": "x"});
            kinds.push(finished(name, "link_check", reached));
            let step = serde_json::json!({"id": "share", "text": "Share it", "critical": true, "done": null});
            kinds.push(finished(name, "manual_steps", serde_json::json!({"steps": [step]})));
        }
        kinds.push(Kind::RunFinished { status: RunStatus::Failed, exit_code: 1, took_ms: 1500 });
        let tally = tally(&["provision", "--all", "--yes"], kinds);
        let lines = lines(&tally);
        let text = lines.join("\n");
        assert!(lines.len() < 30 && lines.iter().all(|line| line.len() < 200), "{text}");
        assert!(text.contains("SERVICE  OK  CHANGED\nshop     0   1000"), "{text}");
        assert!(
            text.contains("h309 and 690 more") && text.contains("then     provision --yes --host @failed"),
            "{text}"
        );
        assert_eq!(text.matches(" and 990 more: Docker 20.10.24 is older than 24.0").count(), 1, "{text}");
        assert!(text.contains("https://h007.test") && text.contains("999 addresses answer as they should"), "{text}");
        assert_eq!(text.matches("Share it").count(), 1, "{text}");
    }

    fn finished(host: &str, action: &str, result: Value) -> Kind {
        let task = TaskRef { action: action.to_owned(), service: Some("shop".to_owned()), ..TaskRef::default() };
        let outcome = Outcome { result: result.as_object().cloned().unwrap_or_default(), ..Outcome::default() };
        Kind::TaskFinished { host: host.to_owned(), task, outcome: Box::new(outcome) }
    }
}
