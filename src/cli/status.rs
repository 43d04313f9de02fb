//! `provision status`: what each client should run, what it runs, whether it is well, and whether it still is as it was
//! deployed. Asks with `playbooks/status.yml`; changes nothing.

use clap::Args;
use indexmap::IndexMap;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, FleetFlags};
use super::execute::drive;
use super::slice::load_book;
use crate::engine::Job;
use crate::error::Result;
use crate::event::{Event, Kind, Outcome, Status};
use crate::report::style::{bold, green, red, table, yellow};
use crate::report::tally::cause_word;
use crate::services::{Rollout, Selection, declared};

#[derive(Args)]
#[command(after_help = "Examples:
  provision status                    every client
  provision status --host clienteA
  provision status --json             for programs

DRIFT compares the host with what would be deployed now: `no`, `settings` (a new setting, package or version waits to
be rolled out), `edited` (somebody changed the compose file on the host), `?` (the secrets cannot be read here).
BY HAND counts the steps that only people can do and nobody has marked as done: `provision steps list`.")]
pub struct Flags {
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all")]
    host: String,
    /// One JSON object per host and service
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// What a host says of itself.
#[derive(Default)]
struct Seen {
    records: IndexMap<String, Value>,
    /// Path → SHA-256.
    files: IndexMap<String, String>,
    /// Service → the steps that were done by hand.
    steps: IndexMap<String, Value>,
    containers: Vec<Value>,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    let answers = look(&fleet, &hosts, CancellationToken::new()).await?;
    let mut rows = vec![
        ["CLIENT", "SERVICE", "DECLARED", "INSTALLED", "STATE", "DRIFT", "BY HAND", "URL"].map(str::to_owned).to_vec(),
    ];
    let mut code = 0;
    for (host, answer) in &answers {
        match answer {
            Ok(services) => {
                for row in services {
                    if flags.json {
                        println!("{}", row.json(host));
                    } else {
                        rows.push(row.cells(host));
                    }
                }
            }
            Err(trouble) => {
                code = 1;
                report_trouble(&flags, &mut rows, host, trouble);
            }
        }
    }
    if !flags.json {
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { colour(line) });
        }
    }
    Ok(code)
}

/// What each host has of what it should have, or why that is not known.
pub(super) async fn look(
    fleet: &Fleet,
    hosts: &[String],
    cancel: CancellationToken,
) -> Result<IndexMap<String, std::result::Result<Vec<Row>, String>>> {
    let mut answers = ask(fleet, hosts, "playbooks/status.yml", cancel).await?;
    let mut found = IndexMap::new();
    for host in hosts {
        let rows = match answers.shift_remove(host) {
            Some(Ok(output)) => Ok(host_rows(fleet, host, &parse(&output))?),
            Some(Err(trouble)) => Err(trouble),
            None => Err("no answer".to_owned()),
        };
        found.insert(host.clone(), rows);
    }
    Ok(found)
}

fn report_trouble(flags: &Flags, rows: &mut Vec<Vec<String>>, host: &str, trouble: &str) {
    if flags.json {
        println!("{}", serde_json::json!({"host": host, "error": trouble}));
    } else {
        let mut row = vec![host.to_owned()];
        row.extend(["-", "-", "-"].map(str::to_owned));
        row.push(trouble.to_owned());
        rows.push(row);
    }
}

fn colour(line: String) -> String {
    let paint = |line: String, word: &str, by: fn(&str) -> String| line.replacen(word, &by(word), 1);
    let line = paint(line, "healthy", green);
    let line = paint(line, "edited", red);
    paint(line, "settings", yellow)
}

/// One service of a host.
pub(super) struct Row {
    pub service: String,
    /// The version that the inventory asks for.
    pub declared: Option<String>,
    pub installed: Option<String>,
    /// `healthy 7/7`, or what is wrong.
    pub state: String,
    /// See the help text.
    pub drift: &'static str,
    /// Steps by hand that nobody has marked as done, and whether the service is of no use before.
    pub pending: Vec<(String, bool)>,
    pub url: String,
}

impl Row {
    fn cells(&self, host: &str) -> Vec<String> {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let drift = self.drift.to_owned();
        vec![
            host.to_owned(),
            self.service.clone(),
            dash(&self.declared),
            dash(&self.installed),
            self.state.clone(),
            drift,
            self.by_hand(),
            self.url.clone(),
        ]
    }
    fn json(&self, host: &str) -> Value {
        serde_json::json!({"host": host, "service": self.service, "declared": self.declared, "installed": self.installed,
            "state": self.state, "drift": self.drift, "url": self.url,
            "pending": self.pending.iter().map(|(step, critical)| serde_json::json!({"step": step, "critical": critical})).collect::<Vec<_>>()})
    }
    fn by_hand(&self) -> String {
        match (self.pending.len(), self.pending.iter().filter(|(_, critical)| *critical).count()) {
            (0, _) => "-".to_owned(),
            (all, 0) => format!("{all} pending"),
            (all, critical) => format!("{all} pending, {critical} critical"),
        }
    }
}

fn host_rows(fleet: &Fleet, host: &str, seen: &Seen) -> Result<Vec<Row>> {
    let (declared, _) = declared::services(&fleet.catalogue, &fleet.inventory, host)?.unwrap_or_default();
    // records speak of packages by their ids; a name that no package has is shown as it is
    let id = |name: String| fleet.catalogue.instance(&name).map_or(name, |instance| instance.to_string());
    let declared: Vec<String> = declared.into_iter().map(id).collect();
    let wanted = wanted(fleet, host);
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut names: Vec<String> = seen.records.keys().cloned().collect();
    names.extend(declared.iter().filter(|name| !seen.records.contains_key(*name)).cloned());
    let mut rows = Vec::new();
    for service in names {
        let record = seen.records.get(&service);
        let want = wanted.as_ref().and_then(|wanted| wanted.get(&service));
        let version = want.map(|(version, _, _)| version.clone());
        let edited = record.zip(want).is_some_and(|(record, (_, digest, stack))| {
            let path = format!("{}/docker-compose.yml", text(record, "root").unwrap_or_default());
            let same = text(record, "digest").as_deref() == Some(digest);
            same && seen.files.get(&path).is_some_and(|checksum| checksum != stack)
        });
        let drift = match (record, want) {
            (None, _) => "-",
            (Some(_), None) => "?",
            (Some(_), Some(_)) if edited => "edited",
            (Some(record), Some((_, digest, _))) if text(record, "digest").as_deref() != Some(digest) => "settings",
            (Some(_), Some(_)) => "no",
        };
        let done = seen.steps.get(&service);
        let steps = record.and_then(|record| record.get("steps")?.as_array()).into_iter().flatten();
        let steps = steps.map(|step| (text(step, "id").unwrap_or_default(), step["critical"] == true));
        let pending = steps.filter(|(id, _)| done.is_none_or(|done| done.get(id).is_none())).collect();
        let project = record.and_then(|record| text(record, "project"));
        let url =
            record.and_then(|record| record.pointer("/urls/0/url")?.as_str().map(str::to_owned)).unwrap_or_default();
        rows.push(Row {
            declared: declared.contains(&service).then(|| version.clone().unwrap_or_else(|| "yes".to_owned())),
            installed: record.and_then(|record| text(record, "version")),
            state: project.map_or_else(|| "not installed".to_owned(), |project| state(&project, &seen.containers)),
            drift,
            pending,
            url,
            service,
        });
    }
    Ok(rows)
}

/// What would be deployed now: version, digest, SHA-256 of the stack. None where it cannot be worked out here.
fn wanted(fleet: &Fleet, host: &str) -> Option<IndexMap<String, (String, String, String)>> {
    let sources = fleet.sources();
    let selection = Selection { services: None, with_dependencies: true, ..Selection::default() };
    let rollout = Rollout::prepare(&sources, &[host.to_owned()], &selection).ok()?;
    let services = rollout.hosts.get(host)?.services.iter().map(|service| {
        let stack = service.vars.get("service").and_then(|vars| vars.get("stack")?.as_str()).unwrap_or_default();
        let checksum = Sha256::digest(stack.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        (service.id.clone(), (service.version.clone(), service.digest.clone(), checksum))
    });
    Some(services.collect())
}

/// `healthy 7/7`, or what is wrong.
fn state(project: &str, containers: &[Value]) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mine = |container: &&Value| {
        let labels = text(container, "Labels");
        labels.split(',').any(|label| {
            label == format!("com.docker.compose.project={project}")
                || label == format!("com.docker.stack.namespace={project}")
        })
    };
    let (mut total, mut well, mut wrong) = (0, 0, Vec::new());
    for container in containers.iter().filter(mine) {
        let (state, status, name) = (text(container, "State"), text(container, "Status"), text(container, "Names"));
        // one-shots that ended well are done; a swarm keeps its earlier tasks' containers
        if state == "exited" && status.starts_with("Exited (0)") {
            continue;
        }
        total += 1;
        if state == "running" && !status.contains("unhealthy") && !status.contains("starting") {
            well += 1;
        } else {
            wrong.push(format!("{name}: {status}"));
        }
    }
    match (total, wrong.first()) {
        (0, _) => "no containers".to_owned(),
        (_, None) => format!("healthy {well}/{total}"),
        (_, Some(first)) => format!("{well}/{total} {first}"),
    }
}

fn parse(output: &str) -> Seen {
    let mut seen = Seen::default();
    for line in output.lines() {
        if let Some(record) = line.strip_prefix("@record ").and_then(|text| serde_json::from_str::<Value>(text).ok()) {
            let service = record.get("service").and_then(Value::as_str).unwrap_or_default().to_owned();
            seen.records.insert(service, record);
        } else if let Some((checksum, path)) = line.strip_prefix("@file ").and_then(|text| text.split_once("  ")) {
            seen.files.insert(path.to_owned(), checksum.to_owned());
        } else if let Some((service, done)) = line.strip_prefix("@steps ").and_then(|text| text.split_once(' ')) {
            seen.steps.insert(service.to_owned(), serde_json::from_str(done).unwrap_or_default());
        } else if let Some(container) =
            line.strip_prefix("@container ").and_then(|text| serde_json::from_str(text).ok())
        {
            seen.containers.push(container);
        }
    }
    seen
}

/// Each host's output of a playbook of one task, or why there is none.
pub(super) async fn ask(
    fleet: &Fleet,
    hosts: &[String],
    playbook: &str,
    cancel: CancellationToken,
) -> Result<IndexMap<String, std::result::Result<String, String>>> {
    let job = Job {
        run: "status".to_owned(),
        plays: load_book(playbook)?,
        inventory: fleet.inventory.clone(),
        redactor: fleet.redactor.clone(),
        services: None,
        extra_vars: fleet.extra_vars.clone(),
        limit: hosts.to_vec(),
        check: true,
        diff: false,
        forks: 100,
        connects_at_once: 4 * std::thread::available_parallelism().map_or(2, usize::from),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        command: Vec::new(),
        become_password: None,
        window: 0,
        grace: crate::engine::GRACE,
        locks: crate::engine::Locks::default(),
    };
    let mut answers = IndexMap::new();
    let hear = |event: Event| {
        if let Kind::TaskFinished { host, outcome, .. } = event.kind {
            answers.insert(host, answer(&outcome));
        }
    };
    drive(job, cancel, hear).await?;
    Ok(answers)
}

fn answer(outcome: &Outcome) -> std::result::Result<String, String> {
    match outcome.status {
        Status::Ok | Status::Changed => Ok(outcome.text("stdout").to_owned()),
        _ => {
            let message = outcome.text("msg");
            Err(format!("{}: {}", cause_word(outcome.cause), message.lines().next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pending_by_hand_is_counted() {
        let seen = parse("@steps shop@two {\"a\": {\"by\": \"ana\"}}\n@steps broken {\n");
        assert_eq!(seen.steps["shop@two"]["a"]["by"], "ana");
        let row = |pending: &[(&str, bool)]| {
            let pending = pending.iter().map(|(step, critical)| ((*step).to_owned(), *critical)).collect();
            let text = String::new;
            Row { service: text(), declared: None, installed: None, state: text(), drift: "no", pending, url: text() }
        };
        assert_eq!(row(&[]).by_hand(), "-");
        assert_eq!(row(&[("b", false)]).by_hand(), "1 pending");
        assert_eq!(row(&[("a", true), ("b", false)]).by_hand(), "2 pending, 1 critical");
        assert_eq!(row(&[("a", true)]).json("h")["pending"], serde_json::json!([{"step": "a", "critical": true}]));
    }

    #[test]
    fn states_are_read_from_docker() {
        let container = |name: &str, state: &str, status: &str| serde_json::json!({"Names": name, "State": state, "Status": status, "Labels": "a=b,com.docker.compose.project=versatile-x"});
        let done = container("x-job-1", "exited", "Exited (0) 2 minutes ago");
        let well = container("x-web-1", "running", "Up 2 minutes (healthy)");
        let sick = container("x-db-1", "running", "Up 2 minutes (unhealthy)");
        assert_eq!(state("versatile-x", &[done.clone(), well.clone()]), "healthy 1/1");
        assert_eq!(state("versatile-x", &[done, well, sick]), "1/2 x-db-1: Up 2 minutes (unhealthy)");
        assert_eq!(state("versatile-other", &[]), "no containers");
    }
}
