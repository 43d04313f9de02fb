//! Telling people and programs outside how a run ended: what is new since the last time, and to whom.
//!
//! [`news`] is pure: a run's tally and what was told before, to messages and what has been told then. The shapes of the
//! messages and their way out are in [`send`]. Leaves out: where the destinations are configured.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Tally;
use super::causes;
use super::tally::{Trouble, cause_word};
use crate::event::RunStatus;

pub mod send;

/// Where messages go, as `notifications` in the inventory says.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    pub kind: Kind,
    #[serde(default)]
    pub name: String,
    #[serde(default = "everything")]
    pub events: Vec<Occasion>,
    pub url: Option<String>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Of a Telegram bot, or for ntfy.
    pub token: Option<String>,
    pub chat_id: Option<Value>,
    /// Where Telegram's API is.
    pub api: Option<String>,
    #[serde(default)]
    pub to: Vec<String>,
    pub from: Option<String>,
    pub server: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub tls: Option<Tls>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Webhook,
    Slack,
    Discord,
    Telegram,
    Ntfy,
    Email,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Occasion {
    Failure,
    Recovery,
    Schedule,
    /// `provision notify test`.
    #[serde(skip_deserializing)]
    Test,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    Starttls,
    Implicit,
    None,
}

fn everything() -> Vec<Occasion> {
    vec![Occasion::Failure, Occasion::Recovery, Occasion::Schedule]
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Webhook => "webhook",
            Kind::Slack => "slack",
            Kind::Discord => "discord",
            Kind::Telegram => "telegram",
            Kind::Ntfy => "ntfy",
            Kind::Email => "email",
        }
    }
}

impl Destination {
    /// What it needs and does not have.
    pub fn missing(&self) -> Option<&'static str> {
        let lacks = |text: &Option<String>| text.as_deref().is_none_or(|text| text.trim().is_empty());
        match self.kind {
            Kind::Webhook | Kind::Slack | Kind::Discord | Kind::Ntfy => lacks(&self.url).then_some("url"),
            Kind::Telegram if lacks(&self.token) => Some("token"),
            Kind::Telegram => self.chat_id.is_none().then_some("chat_id"),
            Kind::Email if self.to.is_empty() => Some("to"),
            Kind::Email if lacks(&self.from) => Some("from"),
            Kind::Email => lacks(&self.server).then_some("server"),
        }
    }

    /// For people: never its address, which often is a secret.
    pub fn shown(&self) -> String {
        match self.name.is_empty() {
            true => self.kind.word().to_owned(),
            false => format!("{} ({})", self.name, self.kind.word()),
        }
    }

    /// What it is remembered by, between runs.
    fn key(&self) -> String {
        match self.name.is_empty() {
            true => digest(&serde_json::to_string(self).unwrap_or_default()),
            false => self.name.clone(),
        }
    }
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub occasion: Occasion,
    pub title: String,
    pub text: String,
    /// The same for programs.
    pub facts: Value,
}

/// What was told and is not over: destination → host → verb → which failure.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Told(BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>);

impl Told {
    /// For a destination that was not reached: all is as it was.
    pub fn forget(&mut self, before: &Told, destination: &Destination) {
        let key = destination.key();
        match before.0.get(&key) {
            Some(old) => self.0.insert(key, old.clone()),
            None => self.0.remove(&key),
        };
    }
}

/// Which runs are compared with each other: `update` with `update`.
pub fn verb(tally: &Tally) -> &str {
    tally.command.get(1).filter(|word| !word.starts_with('-')).map_or("rollout", String::as_str)
}

/// What of a run is new to a destination that looks after these hosts; `schedule` is the name of the schedule that
/// started it. `told` becomes what it is once the messages have arrived.
pub fn news(
    tally: &Tally,
    destination: &Destination,
    hosts: &BTreeSet<String>,
    schedule: Option<&str>,
    told: &mut Told,
) -> Vec<Message> {
    let status = tally.end.as_ref().map(|end| end.status);
    if tally.check || matches!(status, None | Some(RunStatus::Interrupted)) {
        return Vec::new();
    }
    let verb = verb(tally).to_owned();
    let known = told.0.entry(destination.key()).or_default();
    let failed: BTreeMap<&str, &Trouble> = tally
        .failures
        .iter()
        .rev()
        .filter(|trouble| hosts.contains(&trouble.host))
        .map(|trouble| (trouble.host.as_str(), trouble))
        .collect();
    let mut fresh = BTreeSet::new();
    for (host, trouble) in &failed {
        let mark = fingerprint(trouble);
        if known.entry((*host).to_owned()).or_default().insert(verb.clone(), mark.clone()).as_ref() != Some(&mark) {
            fresh.insert(*host);
        }
    }
    let well = |host: &&String| tally.hosts.contains_key(*host) && !tally.failed_hosts().contains(host);
    let recovered: Vec<&str> = hosts
        .iter()
        .filter(well)
        .filter(|host| known.get_mut(*host).and_then(|verbs| verbs.remove(&verb)).is_some())
        .map(String::as_str)
        .collect();
    known.retain(|_, verbs| !verbs.is_empty());
    told.0.retain(|_, hosts| !hosts.is_empty());
    let mut messages = Vec::new();
    if !fresh.is_empty() {
        messages.push(failure(tally, &verb, &fresh, hosts.len()));
    }
    if !recovered.is_empty() {
        let title = format!("provision {verb}: well again: {}", recovered.join(", "));
        messages.push(message(tally, Occasion::Recovery, title, String::new(), json!({"hosts": recovered})));
    }
    if let Some(name) = schedule {
        let count = tally.hosts.keys().filter(|host| hosts.contains(*host)).count();
        let title = match failed.len() {
            0 => format!("schedule {name}: {count} clients, all well"),
            some => format!("schedule {name}: {some} of {count} clients failed"),
        };
        let failed: Vec<&str> = failed.keys().copied().collect();
        messages.push(message(
            tally,
            Occasion::Schedule,
            title,
            String::new(),
            json!({"schedule": name, "failed": failed}),
        ));
    }
    messages.retain(|message| destination.events.contains(&message.occasion));
    messages
}

fn failure(tally: &Tally, verb: &str, fresh: &BTreeSet<&str>, all: usize) -> Message {
    let mut lines = Vec::new();
    for group in causes::groups(tally) {
        let hosts: Vec<&str> = group.hosts.iter().copied().filter(|host| fresh.contains(host)).collect();
        if hosts.is_empty() {
            continue;
        }
        let field = |name: &str| group.fields.iter().find(|(field, _)| *field == name).map(|(_, text)| text.as_str());
        let says = field("says").unwrap_or_default().lines().next().unwrap_or_default();
        let task = field("task").map(|task| format!(" in `{task}`")).unwrap_or_default();
        lines.push(format!("{}: {}{task}: {}", hosts.join(", "), group.word, short(says, 400)));
    }
    let details: Vec<Value> = tally
        .failures
        .iter()
        .filter(|trouble| fresh.contains(trouble.host.as_str()))
        .map(|trouble| {
            json!({"host": trouble.host, "cause": cause_word(trouble.outcome.cause), "task": trouble.task.name,
                "service": trouble.task.service, "message": short(trouble.outcome.text("msg"), 1000)})
        })
        .collect();
    let title = format!("provision {verb}: {} of {all} clients failed", fresh.len());
    let text = format!("{}\nrun {}: provision history {}", lines.join("\n"), tally.run, tally.run);
    message(tally, Occasion::Failure, title, text, json!({"failures": details}))
}

fn message(tally: &Tally, occasion: Occasion, title: String, text: String, mut facts: Value) -> Message {
    facts["run"] = Value::from(tally.run.as_str());
    facts["verb"] = Value::from(verb(tally));
    Message { occasion, title, text, facts }
}

pub(super) fn short(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The same failure has the same one, whatever numbers and times its message holds.
fn fingerprint(trouble: &Trouble) -> String {
    let service = trouble.task.service.as_deref().unwrap_or_default();
    let item = trouble.task.item.as_deref().unwrap_or_default();
    digest(&format!("{}\n{}\n{service}\n{item}", cause_word(trouble.outcome.cause), trouble.task.name))
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Outcome, TaskRef};
    use crate::report::tally::{End, HostTally};

    fn tally(command: &[&str], failed: &[(&str, &str)]) -> Tally {
        let mut tally = Tally {
            command: std::iter::once("provision").chain(command.iter().copied()).map(str::to_owned).collect(),
            run: "r1".to_owned(),
            end: Some(End { status: RunStatus::Ok, exit_code: 0, took_ms: 1 }),
            ..Tally::default()
        };
        for host in ["a", "b"] {
            tally.hosts.insert(host.to_owned(), HostTally::default());
        }
        for (host, task) in failed {
            tally.hosts[*host].counts.failed = 1;
            let outcome: Outcome =
                serde_json::from_value(json!({"status": "failed", "result": {"msg": "no"}, "took_ms": 1})).unwrap();
            let task = TaskRef { name: (*task).to_owned(), ..TaskRef::default() };
            tally.failures.push(Trouble { host: (*host).to_owned(), task, outcome });
        }
        tally
    }

    #[test]
    fn the_same_failure_is_told_once_and_so_is_its_end() {
        let destination: Destination =
            serde_json::from_value(json!({"kind": "slack", "url": "http://x", "name": "ops"})).unwrap();
        let hosts = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
        let mut told = Told::default();
        let mut titles = |tally: &Tally, schedule: Option<&str>| -> Vec<String> {
            news(tally, &destination, &hosts, schedule, &mut told).into_iter().map(|one| one.title).collect()
        };
        let bad = tally(&["update"], &[("a", "Containers")]);
        assert_eq!(titles(&bad, None), ["provision update: 1 of 2 clients failed"]);
        assert!(titles(&bad, None).is_empty());
        // another failure of the same client, then one of another client
        assert_eq!(titles(&tally(&["update"], &[("a", "Networks")]), None).len(), 1);
        assert_eq!(titles(&tally(&["update"], &[("a", "Networks"), ("b", "Networks")]), None).len(), 1);
        // another verb says nothing about this one, and looking does not count
        assert!(titles(&tally(&["verify"], &[]), None).is_empty());
        assert!(titles(&Tally { check: true, ..tally(&["update"], &[]) }, None).is_empty());
        assert_eq!(titles(&tally(&["update"], &[("b", "Networks")]), None), ["provision update: well again: a"]);
        assert_eq!(
            titles(&tally(&["update"], &[]), Some("nightly")),
            ["provision update: well again: b", "schedule nightly: 2 clients, all well"]
        );
        assert!(titles(&tally(&["update"], &[]), None).is_empty());
        assert_eq!(verb(&tally(&["--host", "a"], &[])), "rollout");
    }
}
