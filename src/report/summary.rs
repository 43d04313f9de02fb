//! The end of a run: the client × service matrix, the hosts' counts, and the failures grouped by cause — last, because
//! the last lines are what stays on the screen.

use indexmap::IndexMap;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::Tally;
use super::style::{bold, dim, duration, green, red, status, table, word, yellow};
use super::tally::{Cell, Trouble, cause_word};
use crate::event::{Level, Outcome, RunStatus, Status};
use crate::plan::{Diff, quote};

/// Above this many cells the matrix shows one sign per service instead of a line.
const DETAILED: usize = 40;
/// The last lines of an error that a summary shows; the journal has all.
const STDERR_LINES: usize = 12;

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
    lines.extend(recap(tally));
    let steps = tally.notes.iter().filter(|(_, level, _)| *level == Level::Warning);
    for (host, _, text) in steps {
        let who = host.as_ref().map(|host| format!("{host}: ")).unwrap_or_default();
        lines.push(format!("{} {who}{text}", yellow("warning:")));
    }
    lines.extend(failures(tally));
    lines.push(verdict(tally));
    lines
}

/// The matrix: a line per cell, or for large fleets a line per client.
pub fn matrix(cells: &[Cell]) -> Vec<String> {
    if cells.len() > DETAILED { signs(cells) } else { details(cells) }
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

/// Failures with the same cause, task and message are one entry with all its hosts.
fn failures(tally: &Tally) -> Vec<String> {
    if tally.failures.is_empty() {
        return Vec::new();
    }
    let mut groups: IndexMap<String, Vec<&Trouble>> = IndexMap::new();
    for trouble in &tally.failures {
        let message = without_word(trouble.outcome.text("msg"), &trouble.host);
        let key = format!("{:?}/{}/{message}", trouble.outcome.cause, trouble.task.place);
        groups.entry(key).or_default().push(trouble);
    }
    let hosts = tally.failed_hosts();
    let causes = if groups.len() == 1 { "one cause".to_owned() } else { format!("{} causes", groups.len()) };
    let mut lines =
        vec![String::new(), red(&bold(&format!("{} of {} hosts failed, {}", hosts.len(), tally.hosts.len(), causes)))];
    for (index, group) in groups.values().enumerate() {
        lines.push(String::new());
        lines.extend(group_lines(index + 1, group, tally));
    }
    lines.push(String::new());
    lines
}

/// The text with a word left out wherever it stands by itself.
fn without_word(text: &str, word: &str) -> String {
    text.split_inclusive(|c: char| !c.is_alphanumeric() && c != '-' && c != '.' && c != '_')
        .filter(|piece| piece.trim_end_matches(|c: char| !c.is_alphanumeric()) != word)
        .collect()
}

fn group_lines(number: usize, group: &[&Trouble], tally: &Tally) -> Vec<String> {
    let Some(first) = group.first() else { return Vec::new() };
    let outcome = &first.outcome;
    let hosts: Vec<&str> = group.iter().map(|trouble| trouble.host.as_str()).collect();
    let mut lines = vec![format!("{number}. {}: {}", bold(cause_word(outcome.cause)), bold(&hosts.join(", ")))];
    let mut field = |name: &str, text: &str| {
        let mut rows = text.lines();
        if let Some(row) = rows.next() {
            lines.push(format!("   {} {row}", dim(&format!("{name:<8}"))));
        }
        lines.extend(rows.map(|row| format!("            {row}")));
    };
    let service = first.task.service.as_ref().map(|service| format!(", service {service}")).unwrap_or_default();
    let item = first.task.item.as_ref().map(|item| format!(" ({item})")).unwrap_or_default();
    if !first.task.name.is_empty() {
        field("task", &format!("{}{item}{service}", first.task.name));
    }
    field("at", &first.task.place);
    field("says", outcome.text("msg"));
    let failed_item = failed_item(outcome);
    let source = failed_item.as_ref().unwrap_or(&outcome.result);
    if let Some(message) = failed_item.as_ref().and_then(|item| item.get("msg")).and_then(Value::as_str) {
        field("item", message);
    }
    if let Some(command) = source.get("cmd") {
        let text = command.as_str().map_or_else(|| command.to_string(), str::to_owned);
        field("command", &tail(&text, 3));
    }
    if let Some(rc) = source.get("rc").and_then(Value::as_i64) {
        field("rc", &rc.to_string());
    }
    for stream in ["stdout", "stderr"] {
        let text = source.get(stream).and_then(Value::as_str).unwrap_or_default();
        if !text.trim().is_empty() {
            field(stream, &tail(text, STDERR_LINES));
        }
    }
    if let Some(hint) = &outcome.hint {
        field("do", hint);
    }
    field("then", &next_command(tally, &hosts));
    lines
}

/// The first failed item of a looped task.
fn failed_item(outcome: &Outcome) -> Option<crate::plan::Object> {
    let items = outcome.result.get("results")?.as_array()?;
    let failed = |item: &&Value| item.get("failed").and_then(Value::as_bool) == Some(true);
    items.iter().find(failed)?.as_object().cloned()
}

/// The same command again, for these hosts only.
fn next_command(tally: &Tally, hosts: &[&str]) -> String {
    let mut words: Vec<String> = vec!["provision".to_owned()];
    let mut rest = tally.command.iter().skip(1).peekable();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--all" => {}
            "--host" | "--limit" | "-l" => {
                rest.next();
            }
            other if other.starts_with("--host=") || other.starts_with("--limit=") => {}
            other => words.push(quote(other)),
        }
    }
    let flag = if tally.command.get(1).is_some_and(|verb| verb == "run") { "--limit" } else { "--host" };
    words.extend([flag.to_owned(), quote(&hosts.join(","))]);
    words.join(" ")
}

fn tail(text: &str, keep: usize) -> String {
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let skipped = lines.len().saturating_sub(keep);
    let mut shown: Vec<String> = lines.iter().skip(skipped).map(|line| (*line).to_owned()).collect();
    if skipped > 0 {
        shown.insert(0, format!("… {skipped} more lines in the journal"));
    }
    shown.join("\n")
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
    let text = TextDiff::from_lines(&diff.before, &diff.after);
    let mut lines = vec![bold(&format!("--- {}", diff.before_header)), bold(&format!("+++ {}", diff.after_header))];
    for hunk in text.unified_diff().context_radius(3).iter_hunks() {
        lines.push(dim(&hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let line = change.value().trim_end_matches('\n');
            lines.push(match change.tag() {
                ChangeTag::Delete => red(&format!("-{line}")),
                ChangeTag::Insert => green(&format!("+{line}")),
                ChangeTag::Equal => format!(" {line}"),
            });
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
    fn the_matrix_has_a_line_per_cell() {
        let cell = |host: &str, service: &str| Kind::ServiceFinished {
            host: host.to_owned(),
            service: service.to_owned(),
            status: Status::Changed,
            version: "v1".to_owned(),
            url: Some("https://x.example".to_owned()),
            url_result: Some("200 in 4 ms".to_owned()),
            took_ms: 4200,
            msg: None,
        };
        let tally = tally(&["provision"], vec![cell("a", "shop"), cell("a", "mail"), cell("b", "shop")]);
        let text = matrix(&tally.cells).join("\n");
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("a       shop     changed  v1       4.2 s  https://x.example  200 in 4 ms"), "{text}");
    }
}
