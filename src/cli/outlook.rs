//! What a plan says about each client's services: what would change, which containers are made anew and why, what does not
//! come back, how long it takes, how much room it needs. Out of what `plan` found, earlier runs and what the hosts say.

use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::plan::{Looked, Of, Step, named};
use crate::event::{Kind, Status};
use crate::plan::Diff;
use crate::report::journal;
use crate::report::style::{bold, duration};

/// A service on a client, or what the client itself needs.
#[derive(Debug, Serialize, Deserialize)]
pub struct Client {
    pub host: String,
    pub service: Option<String>,
    /// The version that its inventory holds it at, and why.
    #[serde(default)]
    pub pinned: Option<String>,
    pub changes: Vec<String>,
    pub containers: Vec<String>,
    pub irreversible: Vec<String>,
    pub downtime: Vec<String>,
    pub disk: Vec<String>,
}

/// A service as far as a plan speaks of it.
pub(super) struct Cell {
    host: String,
    service: String,
    urls: Vec<String>,
    jobs: Vec<String>,
    backup: bool,
    /// The compose file that would be deployed.
    stack: String,
    pinned: Option<String>,
}

pub(super) fn cells(host: &crate::services::HostServices) -> Vec<Cell> {
    let of = |service: &crate::services::Rendered| {
        let vars = service.vars.get("service").cloned().unwrap_or_default();
        let texts = |list: &str, key: &str| -> Vec<String> {
            let entries = vars.get(list).and_then(Value::as_array).into_iter().flatten();
            entries.filter_map(|entry| entry.get(key)?.as_str().map(str::to_owned)).collect()
        };
        Cell {
            host: host.host.clone(),
            service: service.id.clone(),
            pinned: service.pin.as_ref().map(|pin| match &pin.reason {
                Some(reason) => format!("{}: {reason}", pin.version),
                None => pin.version.clone(),
            }),
            urls: texts("urls", "url"),
            jobs: texts("jobs", "name"),
            stack: vars.get("stack").and_then(Value::as_str).unwrap_or_default().to_owned(),
            backup: vars.pointer("/backup/items").and_then(Value::as_array).is_some_and(|items| !items.is_empty()),
        }
    };
    host.services.iter().map(of).collect()
}

/// What each client's services would go through: those that change nothing, too.
pub(super) fn clients(
    hosts: &[String],
    cells: &[Cell],
    looked: &Looked,
    of: Of,
    past: &Past,
    disks: &Disks,
) -> Vec<Client> {
    let mut all = Vec::new();
    for host in hosts {
        let own = cells.iter().filter(|cell| cell.host == *host);
        for cell in std::iter::once(None).chain(own.map(Some)) {
            let service = cell.map(|cell| cell.service.clone());
            let its: Vec<&Step> =
                looked.steps.iter().filter(|step| step.host == *host && step.service == service).collect();
            let its_actions: Vec<&Value> = looked
                .actions
                .iter()
                .filter(|(h, s, _)| h == host && *s == service)
                .map(|(_, _, action)| action)
                .collect();
            if cell.is_none() && its.is_empty() {
                continue;
            }
            let changes = its.iter().map(|step| {
                let what = if step.what.is_empty() { String::new() } else { format!(": {}", step.what.join(", ")) };
                format!("{}{what}{}", step.task, if step.uncertain { " (the run will tell)" } else { "" })
            });
            let text =
                |action: &Value, key: &str| action.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let word =
                |action: &&Value| format!("{} {}: {}", text(action, "status"), text(action, "id"), text(action, "why"));
            let images: Vec<&&Value> = its_actions.iter().filter(|action| text(action, "what") == "image").collect();
            let mut containers: Vec<String> =
                its_actions.iter().filter(|action| text(action, "what") != "image").map(word).collect();
            if let Some(cell) = cell.filter(|_| containers.is_empty()) {
                let own = looked.rewritten.iter().filter(|(h, s, _)| h == host && *s == service);
                containers = remade(&cell.stack, own.map(|(.., diff)| diff));
            }
            let stops = !containers.is_empty() || matches!(of, Of::Restart | Of::Down | Of::Purge);
            let busy = !its.is_empty();
            all.push(Client {
                host: host.clone(),
                irreversible: cell.map(|cell| irreversible(cell, of, busy)).unwrap_or_default(),
                downtime: cell.map(|cell| downtime(cell, of, busy && stops, past)).unwrap_or_default(),
                disk: images
                    .iter()
                    .map(|image| disks.needed(host, &text(image, "why")))
                    .chain(disks.free(host, busy))
                    .collect(),
                service,
                pinned: cell.and_then(|cell| cell.pinned.clone()),
                changes: changes.collect(),
                containers,
            });
        }
    }
    all
}

fn irreversible(cell: &Cell, of: Of, busy: bool) -> Vec<String> {
    if !busy {
        return Vec::new();
    }
    match of {
        Of::Purge => {
            let backup = if cell.backup { "a backup is taken before" } else { "its package declares no backup" };
            vec![format!("volumes, settings and data are deleted; {backup}")]
        }
        Of::Down | Of::Restart => Vec::new(),
        Of::Rollout | Of::Up | Of::Update => {
            let jobs = cell.jobs.iter();
            jobs.map(|job| format!("job `{job}` (a migration stays when the release goes back)")).collect()
        }
    }
}

fn downtime(cell: &Cell, of: Of, stops: bool, past: &Past) -> Vec<String> {
    let names = if cell.urls.is_empty() { vec![cell.service.clone()] } else { cell.urls.clone() };
    let expected = match (stops, of) {
        (false, _) => "none".to_owned(),
        (true, Of::Down | Of::Purge) => "from then on".to_owned(),
        (true, _) => match past.longest(&cell.host, &cell.service) {
            Some((took, run, host)) if host == cell.host => format!("up to {} (run {run})", duration(took)),
            Some((took, run, host)) => format!("up to {} (on {host}, run {run})", duration(took)),
            None => "unknown: no earlier run of it is in the journal".to_owned(),
        },
    };
    names.into_iter().map(|name| format!("{name}: {expected}")).collect()
}

/// How long containers took to be remade and healthy, in earlier runs.
#[derive(Default)]
pub(super) struct Past(Vec<(String, String, u64, String)>);

impl Past {
    /// Of the newest runs.
    pub fn read(runs: &Path) -> Past {
        let mut past = Past::default();
        for id in journal::list(runs).into_iter().rev().take(50) {
            for event in journal::read(runs, &id).unwrap_or_default() {
                match event.kind {
                    Kind::RunStarted { check: true, .. } => break,
                    Kind::TaskFinished { host, task, outcome }
                        if outcome.status == Status::Changed
                            && ["docker_compose_v2", "docker_stack"].contains(&task.action.as_str()) =>
                    {
                        past.0.push((host, task.service.unwrap_or_default(), outcome.took_ms, id.clone()));
                    }
                    _ => {}
                }
            }
        }
        past
    }

    /// The longest of the newest five on this host; else of any.
    fn longest(&self, host: &str, service: &str) -> Option<(u64, String, String)> {
        let of = |own: bool| {
            let fits = self.0.iter().filter(move |(h, s, ..)| s == service && (!own || h == host));
            fits.take(5).max_by_key(|(_, _, took, _)| *took)
        };
        of(true).or_else(|| of(false)).map(|(host, _, took, run)| (*took, run.clone(), host.clone()))
    }
}

/// What the hosts say of their disks and images.
#[derive(Default)]
pub(super) struct Disks {
    /// KiB.
    free: IndexMap<String, u64>,
    images: IndexMap<String, String>,
}

impl Disks {
    pub fn read<'a>(said: impl Iterator<Item = (&'a str, &'a str)>) -> Disks {
        let mut disks = Disks::default();
        for (host, text) in said {
            for line in text.lines() {
                let words: Vec<&str> = line.split_whitespace().collect();
                match words.as_slice() {
                    ["@free", kib] => {
                        disks.free.extend(kib.parse().ok().map(|kib| (host.to_owned(), kib)));
                    }
                    ["@image", name, size] => {
                        disks.images.insert((*name).to_owned(), (*size).to_owned());
                    }
                    _ => {}
                }
            }
        }
        disks
    }

    /// `why` begins with the image's name.
    fn needed(&self, _host: &str, why: &str) -> String {
        let name = why.split_whitespace().next().unwrap_or_default();
        match self.images.get(name) {
            Some(size) => format!("image {name}: {size} unpacked, as on another client"),
            None => format!("image {name}: size unknown"),
        }
    }

    fn free(&self, host: &str, busy: bool) -> Option<String> {
        let kib = self.free.get(host).filter(|_| busy)?;
        Some(format!("free: {:.1} GiB", *kib as f64 / 1_048_576.0))
    }
}

/// The containers that Compose would make anew, and why: check mode cannot ask it about files that are not there yet, so
/// the definitions are compared, and the settings that they speak of.
fn remade<'d>(stack: &str, diffs: impl Iterator<Item = &'d Diff>) -> Vec<String> {
    let now = services(stack);
    let mut why: IndexMap<String, Vec<String>> = IndexMap::new();
    for diff in diffs {
        if named(diff).contains("docker-compose.yml") {
            let before = services(&diff.before);
            for (name, definition) in &now {
                match before.get(name) {
                    None => why.entry(name.clone()).or_default().push("new".to_owned()),
                    Some(old) => why.entry(name.clone()).or_default().extend(differing(old, definition)),
                }
            }
            for name in before.keys().filter(|name| !now.contains_key(*name)) {
                why.entry(name.clone()).or_default().push("no longer part of the service".to_owned());
            }
        } else {
            // names, with a word behind those whose value differs
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let (old, new) = (lines(&diff.before), lines(&diff.after));
            let key = |line: &String| line.split([' ', '=']).next().unwrap_or_default().to_owned();
            let known: Vec<String> = new.iter().map(key).collect();
            let gone = old.iter().map(key).filter(|name| !known.contains(name));
            for key in new.iter().filter(|line| !old.contains(line)).map(key).chain(gone) {
                let speaks = |definition: &&Value| {
                    let text = definition.to_string();
                    text.contains(&format!("${{{key}")) || definition.get("env_file").is_some()
                };
                for (name, _) in now.iter().filter(|(_, definition)| speaks(definition)) {
                    why.entry(name.clone()).or_default().push(format!("setting {key}"));
                }
            }
        }
    }
    why.retain(|_, reasons| !reasons.is_empty());
    let word = |name: &str| if now.contains_key(name) { "is made anew" } else { "goes" };
    why.into_iter().map(|(name, reasons)| format!("{name} {}: {}", word(&name), reasons.join(", "))).collect()
}

fn services(stack: &str) -> serde_json::Map<String, Value> {
    let documents = crate::yaml::parse(stack, Path::new("docker-compose.yml")).unwrap_or_default();
    let value = documents.first().map(crate::yaml::Node::to_value).unwrap_or_default();
    value.get("services").and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The keys of a definition that differ; an image with both names.
fn differing(old: &Value, new: &Value) -> Vec<String> {
    let empty = serde_json::Map::new();
    let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
    let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
    let word = |key: &String| match (key.as_str(), old.get(key), new.get(key)) {
        (_, before, after) if before == after => None,
        ("image", Some(Value::String(before)), Some(Value::String(after))) => Some(format!("image {before} → {after}")),
        ("labels", before, after) => Some(labels(before, after)),
        _ => Some(key.clone()),
    };
    keys.filter_map(word).collect()
}

/// A changed label that stands for changed files says so.
fn labels(before: Option<&Value>, after: Option<&Value>) -> String {
    let of_files = |labels: Option<&Value>| {
        let text = labels.map(Value::to_string).unwrap_or_default();
        text.find("provision.files").map(|at| text[at..].chars().take(60).collect::<String>())
    };
    if of_files(before) == of_files(after) { "labels".to_owned() } else { "files that it mounts".to_owned() }
}

/// For people.
pub(super) fn show(clients: &[Client], steps: &[Step], hosts_in_all: usize) {
    for client in clients {
        let name = client.service.as_deref().unwrap_or("(the server)");
        println!("{}", bold(&format!("{}  {name}", client.host)));
        let part = |title: &str, lines: &[String]| {
            for (index, line) in lines.iter().enumerate() {
                println!("  {:<12}{line}", if index == 0 { title } else { "" });
            }
        };
        part("pinned", client.pinned.as_slice());
        if client.changes.is_empty() {
            println!("  nothing would change");
            continue;
        }
        part("changes", &client.changes);
        part("containers", &client.containers);
        part("for good", &client.irreversible);
        part("downtime", &client.downtime);
        part("disk", &client.disk);
    }
    let hosts: std::collections::BTreeSet<&str> = steps.iter().map(|step| step.host.as_str()).collect();
    println!("{} steps would change something on {} of {} clients", steps.len(), hosts.len(), hosts_in_all);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_anew_and_why() {
        let file = |image: &str, more: &str| {
            format!(
                "services:\n  web:\n    image: {image}\n    environment: {{A: \"${{A}}\"}}\n  db:\n    image: db:1\n{more}"
            )
        };
        let diff = |name: &str, before: String, after: String| Diff {
            before_header: name.to_owned(),
            after_header: name.to_owned(),
            before,
            after,
        };
        let (old, new) = (file("web:1", "  old: {image: o}\n"), file("web:2", ""));
        let compose = diff("/opt/x/docker-compose.yml", old, new.clone());
        assert_eq!(
            remade(&new, [&compose].into_iter()),
            ["web is made anew: image web:1 → web:2", "old goes: no longer part of the service"]
        );
        let env = diff("/opt/x/.env", "A\nB\n".to_owned(), "A (new value)\nB\n".to_owned());
        assert_eq!(remade(&new, [&env].into_iter()), ["web is made anew: setting A"]);
        assert!(remade(&new, std::iter::empty()).is_empty());
    }
}
