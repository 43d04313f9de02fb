//! `provision plan`: what a verb would do to a slice, as a document that `provision apply` carries out. A fold over the
//! events of a run in check mode; free of secrets: what would be written is named and fingerprinted, not told.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use super::digests::Look;
use super::execute::{drive, job};
use super::inputs::{Inputs, Secrets};
use super::outlook::{self, Cell, Client, Disks, Past, cells, clients};
use super::slice::{Book, Dependencies, SliceFlags, load_book};
use super::status::ask;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Outcome, Status};
use crate::plan::{Diff, Object};
use crate::report::style::{dim, yellow};
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
        outlook::show(&document.clients, &document.steps, document.hosts.len());
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
        made: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
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

/// What Compose or Swarm would do, by host and service.
type Actions = Vec<(String, Option<String>, Value)>;

/// What the services' own files would become: host, service, before and after.
type Rewritten = Vec<(String, Option<String>, Diff)>;

/// What a look in check mode found.
pub struct Looked {
    pub steps: Vec<Step>,
    pub(super) actions: Actions,
    pub(super) rewritten: Rewritten,
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
pub(super) fn named(diff: &Diff) -> String {
    if diff.after_header.is_empty() { diff.before_header.clone() } else { diff.after_header.clone() }
}

/// The files out of which Compose makes containers.
fn is_own(name: &str) -> bool {
    let path = name.split(" (").next().unwrap_or_default();
    path.ends_with("/docker-compose.yml") || path.ends_with("/.env")
}

impl Document {
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
        let text = std::fs::read_to_string(path).map_err(|error| {
            Error::new(format!("cannot read the plan {}: {error}", path.display()))
                .hint("`provision plan … -o FILE` writes one")
        })?;
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
