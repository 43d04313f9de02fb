//! `provision plan`: what a verb would do to a slice, as a document that `provision apply` carries out. A fold over the
//! events of a run in check mode; free of secrets: what would be written is named and fingerprinted, not told.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use super::digests::Look;
use super::execute::{drive, job};
use super::inputs::{Inputs, Secrets};
use super::slice::{Book, Dependencies, SliceFlags, load_book};
use super::status::ask;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Outcome, Status};
use crate::plan::{Diff, Object};
use crate::report::journal;
use crate::report::style::{bold, dim, duration, yellow};
use crate::report::tally::cause_word;
use crate::services::{Grain, Rollout};

/// The form of the document; another one is refused.
const FORMAT: u32 = 1;

#[derive(Args)]
#[command(after_help = "Examples:
  provision plan --host clienteA                             what a rollout would do
  provision plan --host clienteA --services chat --of update -o chat.plan
  provision plan --all --of update --detailed-exitcode       for a nightly look
  provision plan --host clienteA --of purge                  what would be lost
  provision apply chat.plan                                  does exactly that, or refuses

Exit codes: 0 the plan is made; with --detailed-exitcode 0 nothing would change, 3 something would (2 is wrong usage
here); 1 a host failed or was not reached, and no file is written.")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Which verb is planned; rollout is `provision --host …`
    #[arg(long, value_enum, value_name = "VERB", default_value_t = Of::Rollout)]
    of: Of,
    /// Leave out the preparation of the server (packages, Docker, firewall)
    #[arg(long)]
    no_bootstrap: bool,
    /// Write the plan to this file, for `provision apply`
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Exit with 3 if something would change
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    Rollout,
    Up,
    Update,
    Restart,
    Down,
    /// `down --purge`
    Purge,
}

impl Of {
    pub fn book(self) -> Book<'static> {
        let flag = |name: &str| (name.to_owned(), Value::from(true));
        let (playbook, vars, question) = match self {
            Of::Rollout => ("playbooks/rollout.yml", Object::new(), "¿Continuar?"),
            Of::Up => ("playbooks/up.yml", Object::new(), "¿Iniciar estos servicios?"),
            Of::Update => ("playbooks/update.yml", Object::new(), "¿Actualizar estos servicios?"),
            Of::Restart => ("playbooks/restart.yml", Object::new(), "¿Reiniciar estos servicios?"),
            Of::Down => ("playbooks/down.yml", Object::new(), "¿Detener estos servicios?"),
            Of::Purge => ("playbooks/down.yml", Object::from_iter([flag("purge")]), "¿Borrar estos servicios?"),
        };
        Book { playbook, vars, skip_tags: &[], question }
    }

    /// The slice's services as the verb itself takes them.
    pub fn prepare(self, slice: &SliceFlags, fleet: &mut Fleet, hosts: &[String]) -> Result<Rollout> {
        let locked = |fleet, look| slice.prepare_locked(Grain::Services, fleet, hosts, Dependencies::Included, look);
        match self {
            Of::Rollout | Of::Up => locked(fleet, Look::Missing),
            Of::Update => locked(fleet, Look::All),
            Of::Restart | Of::Down | Of::Purge => {
                Ok(slice.prepare(fleet, hosts, Dependencies::Left)?.without_new_secrets())
            }
        }
    }
}

/// The document.
#[derive(Debug, Serialize, Deserialize)]
pub struct Document {
    format: u32,
    pub provision: String,
    pub made: String,
    pub by: String,
    pub of: Of,
    pub hosts: Vec<String>,
    pub services: Option<Vec<String>>,
    pub mode: Option<String>,
    pub skip_tags: Vec<String>,
    /// Names of what was given with -e.
    pub extra_vars: Vec<String>,
    pub inputs: Inputs,
    pub steps: Vec<Step>,
    pub clients: Vec<Client>,
}

/// A task that would change something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub host: String,
    pub service: Option<String>,
    pub task: String,
    /// What it would change: paths, containers.
    pub what: Vec<String>,
    /// It hangs on an earlier step, so only the run will tell.
    pub uncertain: bool,
    print: String,
}

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

pub async fn main(flags: Flags) -> Result<u8> {
    flags.slice.stays("a plan is only looked at; `provision apply` has this flag")?;
    let (mut fleet, hosts) = flags.slice.load()?;
    let rollout = flags.of.prepare(&flags.slice, &mut fleet, &hosts)?;
    let mut skip_tags = flags.slice.run.skip_tags.clone();
    if flags.no_bootstrap {
        skip_tags.push("bootstrap".to_owned());
    }
    let (document, trouble) = make(&flags.slice, fleet, hosts, rollout, flags.of, skip_tags).await?;
    if flags.slice.run.json {
        println!("{}", serde_json::to_string_pretty(&document).map_err(|error| Error::new(error.to_string()))?);
    } else {
        document.show();
    }
    for line in &trouble {
        eprintln!("{}", yellow(line));
    }
    if !trouble.is_empty() {
        return Ok(1);
    }
    if let Some(path) = &flags.out {
        document.write(path)?;
        eprintln!("{}", dim(&format!("written to {0}; carried out by: provision apply {0}", path.display())));
    }
    Ok(if flags.detailed_exitcode && !document.steps.is_empty() { 3 } else { 0 })
}

/// Plans; with what went wrong on hosts.
pub async fn make(
    slice: &SliceFlags,
    mut fleet: Fleet,
    hosts: Vec<String>,
    rollout: Rollout,
    of: Of,
    skip_tags: Vec<String>,
) -> Result<(Document, Vec<String>)> {
    fleet.sudo_password(slice.run.ask_become_pass)?;
    let inputs = Inputs::of(&fleet, &hosts, Some(&rollout), Secrets::MaybeNew)?;
    let extra_vars = fleet.extra_vars.keys().cloned().collect();
    let seen = ask(&fleet, &hosts, "playbooks/plan.yml", CancellationToken::new()).await?;
    let disks = Disks::read(seen.iter().filter_map(|(host, said)| Some((host.as_str(), said.as_deref().ok()?))));
    let cells: Vec<Cell> = rollout.hosts.values().flat_map(cells).collect();
    let looked = steps(slice, &mut fleet, &hosts, rollout, of, &skip_tags, &inputs).await?;
    let past = Past::read(&fleet.runs);
    let clients = clients(&hosts, &cells, &looked, of, &past, &disks);
    let (steps, trouble) = (looked.steps, looked.trouble);
    let document = Document {
        format: FORMAT,
        provision: env!("CARGO_PKG_VERSION").to_owned(),
        made: jiff::Timestamp::now().to_string(),
        by: crate::engine::owner(),
        of,
        hosts,
        services: slice.services.clone(),
        mode: slice.mode.clone(),
        skip_tags,
        extra_vars,
        inputs,
        steps,
        clients,
    };
    Ok((document, trouble))
}

/// A service as far as a plan speaks of it.
struct Cell {
    host: String,
    service: String,
    urls: Vec<String>,
    jobs: Vec<String>,
    backup: bool,
    /// The compose file that would be deployed.
    stack: String,
    pinned: Option<String>,
}

fn cells(host: &crate::services::HostServices) -> Vec<Cell> {
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

/// What Compose or Swarm would do, by host and service.
type Actions = Vec<(String, Option<String>, Value)>;

/// What the services' own files would become: host, service, before and after.
type Rewritten = Vec<(String, Option<String>, Diff)>;

/// What a look in check mode found.
pub struct Looked {
    pub steps: Vec<Step>,
    actions: Actions,
    rewritten: Rewritten,
    /// What went wrong on hosts.
    pub trouble: Vec<String>,
}

/// Runs the verb in check mode and keeps what would change.
pub async fn steps(
    slice: &SliceFlags,
    fleet: &mut Fleet,
    hosts: &[String],
    rollout: Rollout,
    of: Of,
    skip_tags: &[String],
    inputs: &Inputs,
) -> Result<Looked> {
    let book = of.book();
    let fresh: Vec<String> =
        rollout.hosts.values().filter(|host| host.generates()).map(|host| host.host.clone()).collect();
    let plays = load_book(book.playbook)?;
    fleet.extra_vars.extend(book.vars);
    let mut run = slice.run.clone();
    run.check = true;
    run.diff = true;
    run.skip_tags = skip_tags.to_vec();
    let job = job(fleet, &run, "plan".to_owned(), plays, hosts.to_vec(), Some(std::sync::Arc::new(rollout)))?;
    let (mut steps, mut actions, mut trouble, mut rewritten) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let hear = |event: Event| {
        let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
        match outcome.status {
            Status::Failed if !outcome.ignored => trouble.push(said(&host, &task.name, &outcome)),
            Status::Unreachable => trouble.push(said(&host, &task.name, &outcome)),
            Status::Changed | Status::Uncertain => {
                let done = outcome.result.get("actions").and_then(Value::as_array).into_iter().flatten();
                actions.extend(done.map(|action| (host.clone(), task.service.clone(), action.clone())));
                let own = outcome.diff.iter().filter(|diff| is_own(&named(diff)));
                rewritten.extend(own.map(|diff| (host.clone(), task.service.clone(), diff.clone())));
                let text = match fresh.contains(&host) {
                    // secrets that are made up anew each time
                    true => String::new(),
                    false => serde_json::to_string(&outcome.diff).unwrap_or_default(),
                };
                steps.push(Step {
                    host,
                    service: task.service,
                    task: task.name,
                    what: what(&outcome),
                    uncertain: outcome.status == Status::Uncertain,
                    print: inputs.print(text.as_bytes()),
                });
            }
            Status::Ok | Status::Skipped | Status::Failed => {}
        }
    };
    drive(job, CancellationToken::new(), hear).await?;
    steps.sort_by(|a: &Step, b: &Step| a.host.cmp(&b.host));
    Ok(Looked { steps, actions, rewritten, trouble })
}

fn said(host: &str, task: &str, outcome: &Outcome) -> String {
    let message = outcome.text("msg").lines().next().unwrap_or_default();
    format!("{host}: {task}: {}: {message}", cause_word(outcome.cause))
}

/// The things that a task would change, by their names.
fn what(outcome: &Outcome) -> Vec<String> {
    let headers = outcome.diff.iter().map(named);
    let mut names: Vec<String> = headers.filter(|header| !header.is_empty()).collect();
    names.dedup();
    names
}

/// What a difference is of.
fn named(diff: &Diff) -> String {
    if diff.after_header.is_empty() { diff.before_header.clone() } else { diff.after_header.clone() }
}

/// The files out of which Compose makes containers.
fn is_own(name: &str) -> bool {
    let path = name.split(" (").next().unwrap_or_default();
    path.ends_with("/docker-compose.yml") || path.ends_with("/.env")
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

fn clients(hosts: &[String], cells: &[Cell], looked: &Looked, of: Of, past: &Past, disks: &Disks) -> Vec<Client> {
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
struct Past(Vec<(String, String, u64, String)>);

impl Past {
    /// Of the newest runs.
    fn read(runs: &Path) -> Past {
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
struct Disks {
    /// KiB.
    free: IndexMap<String, u64>,
    images: IndexMap<String, String>,
}

impl Disks {
    fn read<'a>(said: impl Iterator<Item = (&'a str, &'a str)>) -> Disks {
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

impl Document {
    fn show(&self) {
        for client in &self.clients {
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
        let hosts: std::collections::BTreeSet<&str> = self.steps.iter().map(|step| step.host.as_str()).collect();
        println!(
            "{} steps would change something on {} of {} clients",
            self.steps.len(),
            hosts.len(),
            self.hosts.len()
        );
    }

    /// For this user alone.
    fn write(&self, path: &Path) -> Result<()> {
        use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
        let trouble = |error: std::io::Error| Error::new(format!("cannot write {}: {error}", path.display()));
        let text = serde_json::to_string_pretty(&json!(self)).map_err(|error| Error::new(error.to_string()))?;
        let mut file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(path)
            .map_err(trouble)?;
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).map_err(trouble)?;
        file.write_all(text.as_bytes()).and_then(|()| file.write_all(b"\n")).map_err(trouble)
    }

    pub fn read(path: &Path) -> Result<Document> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::new(format!("cannot read the plan {}: {error}", path.display())))?;
        let document: Document = serde_json::from_str(&text).map_err(|error| {
            Error::new(format!("{}:{}: this is no plan: {error}", path.display(), error.line()))
                .hint("`provision plan … -o FILE` writes one")
        })?;
        if document.format != FORMAT {
            return Err(Error::new(format!("{}: a plan of form {}, not {FORMAT}", path.display(), document.format))
                .hint("make it anew with this program"));
        }
        Ok(document)
    }

    /// What the hosts would do otherwise than planned.
    pub fn moved(&self, now: &[Step]) -> Vec<String> {
        let name = |step: &Step| match &step.service {
            Some(service) => format!("{} {service}: `{}`", step.host, step.task),
            None => format!("{}: `{}`", step.host, step.task),
        };
        let mut moved = Vec::new();
        let same = |a: &Step, b: &Step| a.host == b.host && a.service == b.service && a.task == b.task;
        for step in &self.steps {
            match now.iter().find(|other| same(step, other)) {
                None => moved.push(format!("{} has nothing to change any more", name(step))),
                Some(_) if now.contains(step) => {}
                Some(_) => moved.push(format!("{} would change something else", name(step))),
            }
        }
        for step in now.iter().filter(|step| !self.steps.iter().any(|other| same(step, other))) {
            moved.push(format!("{} would change something as well", name(step)));
        }
        moved
    }
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
