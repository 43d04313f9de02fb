//! Failures grouped by their cause: the same trouble on many hosts is said once, with what to do.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

use super::Tally;
use super::tally::{Trouble, cause_word};
use crate::event::Outcome;
use crate::plan::quote;

/// The last lines of an output that a report shows; the journal has all.
const OUTPUT_LINES: usize = 12;

/// More hosts than this are not named one by one, nor in the next command.
const NAMED: usize = 20;

/// One cause and the hosts that it met.
pub struct Group<'a> {
    /// E.g. `disk full`.
    pub word: &'static str,
    pub hosts: Vec<&'a str>,
    /// What is known of it, each with its name: task, at, says, item, command, rc, stdout, stderr, do, then.
    pub fields: Vec<(&'static str, String)>,
}

/// `2 of 5 hosts failed, one cause`. A host on which a task was only interrupted has not failed.
pub fn headline(tally: &Tally, groups: usize) -> String {
    let all = tally.hosts.len();
    let causes = if groups == 1 { "one cause".to_owned() } else { format!("{groups} causes") };
    match tally.failed_hosts().len() {
        0 => {
            let hosts: BTreeSet<&str> = tally.failures.iter().map(|trouble| trouble.host.as_str()).collect();
            format!("interrupted in the middle of a task on {} of {all} hosts", hosts.len())
        }
        failed => format!("{failed} of {all} hosts failed, {causes}"),
    }
}

/// Failures with the same cause, task and message together, in the order of the first of each.
pub fn groups(tally: &Tally) -> Vec<Group<'_>> {
    let mut groups: IndexMap<String, Vec<&Trouble>> = IndexMap::new();
    for trouble in &tally.failures {
        let message = without_word(trouble.outcome.text("msg"), &trouble.host);
        let key = format!("{:?}/{}/{message}", trouble.outcome.cause, trouble.task.place);
        groups.entry(key).or_default().push(trouble);
    }
    groups.values().filter_map(|group| described(group, tally)).collect()
}

fn described<'a>(group: &[&'a Trouble], tally: &Tally) -> Option<Group<'a>> {
    let first = group.first()?;
    let outcome = &first.outcome;
    let hosts: Vec<&str> = group.iter().map(|trouble| trouble.host.as_str()).collect();
    let mut fields = Vec::new();
    let mut field = |name: &'static str, text: &str| {
        if !text.trim().is_empty() {
            fields.push((name, text.to_owned()));
        }
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
        field(stream, &tail(text, OUTPUT_LINES));
    }
    field("do", outcome.hint.as_deref().unwrap_or_default());
    field("then", &next_command(tally, &hosts));
    Some(Group { word: cause_word(outcome.cause), hosts, fields })
}

/// The text with a word left out wherever it stands by itself.
fn without_word(text: &str, word: &str) -> String {
    text.split_inclusive(|c: char| !c.is_alphanumeric() && c != '-' && c != '.' && c != '_')
        .filter(|piece| piece.trim_end_matches(|c: char| !c.is_alphanumeric()) != word)
        .collect()
}

/// The first failed item of a looped task.
fn failed_item(outcome: &Outcome) -> Option<crate::plan::Object> {
    let items = outcome.result.get("results")?.as_array()?;
    let failed = |item: &&Value| item.get("failed").and_then(Value::as_bool) == Some(true);
    items.iter().find(failed)?.as_object().cloned()
}

/// The hosts by their names, of many the first.
pub fn named(hosts: &[&str]) -> String {
    match hosts.len() {
        0..=NAMED => hosts.join(", "),
        all => format!("{} and {} more", hosts[..NAMED / 2].join(", "), all - NAMED / 2),
    }
}

/// The same command again, for these hosts only; for many, those that failed for other causes too.
fn next_command(tally: &Tally, hosts: &[&str]) -> String {
    let failed = ["@failed"];
    let words = command_for(tally, if hosts.len() > NAMED { &failed } else { hosts });
    let typed = |word: &String| if word == failed[0] { word.clone() } else { quote(word) };
    words.iter().map(typed).collect::<Vec<_>>().join(" ")
}

/// The words of the same command again, for these hosts only.
pub fn command_for(tally: &Tally, hosts: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = vec!["provision".to_owned()];
    // there --host names the one whose backup it is
    let restores = tally.command.get(1).is_some_and(|verb| ["restore", "restaurar"].contains(&verb.as_str()));
    if restores && tally.command.iter().any(|word| word == "--to" || word.starts_with("--to=")) {
        words.extend(tally.command.iter().skip(1).cloned());
        return words;
    }
    let mut rest = tally.command.iter().skip(1).peekable();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "--all" => {}
            // the hosts are all named, so no part of them is meant
            "--host" | "--hosts" | "--limit" | "-l" | "--shard" => {
                rest.next();
            }
            other if ["--host=", "--hosts=", "--limit=", "--shard="].iter().any(|flag| other.starts_with(flag)) => {}
            other => words.push(other.to_owned()),
        }
    }
    let flag = if tally.command.get(1).is_some_and(|verb| verb == "run") { "--limit" } else { "--host" };
    words.extend([flag.to_owned(), hosts.join(",")]);
    words
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
