//! `--detach`: each host gets its own work and does it alone, in a transient systemd unit; this machine may sleep.
//! The program itself is the runner. What it needs lies in /run for a moment, for root alone, and is taken away before the
//! first task; then it is in memory only. Leaves out how the result comes back: `attach`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, command_line};
use super::execute::{RunFlags, drive, execute, store_secrets};
use super::slice::{Book, load_book};
use super::status::ask;
use crate::engine::{GRACE, Job, Kept, Locks, PATIENCE, is_kept_by};
use crate::error::{Error, Result};
use crate::inventory::Inventory;
use crate::plan::{Failure, Object};
use crate::report::style::dim;
use crate::report::{Desk, journal};
use crate::secrets::Redactor;
use crate::services::{Rollout, ServiceDeploy, Services};
use crate::shipped;
use crate::vars::Scope;

/// Set for the runner: the folder with its work.
pub const WORK: &str = "PROVISION_WORK";

/// Set for the runner: the folder of the host's lock.
const LOCKS: &str = "PROVISION_LOCKS";

/// All that a host needs to work alone.
#[derive(Serialize, Deserialize)]
struct Work {
    run: String,
    host: String,
    vars: Object,
    groups: IndexMap<String, Vec<String>>,
    services: Vec<Sealed>,
    /// Path → text of every playbook, the operator's own over the program's.
    playbooks: IndexMap<String, String>,
    playbook: String,
    extra_vars: Object,
    skip_tags: Vec<String>,
    tags: Vec<String>,
    diff: bool,
    held: bool,
    command: Vec<String>,
    secrets: Vec<String>,
    /// The process that hands this over, on the machine that may sleep; it holds the host's lock meanwhile.
    sender: u32,
}

#[derive(Clone, Serialize, Deserialize)]
struct Sealed {
    service: String,
    version: String,
    url: Option<String>,
    vars: Object,
}

impl Services for Work {
    fn expand(&self, _: &str, _: &Value, _: &Scope) -> std::result::Result<Vec<ServiceDeploy>, Failure> {
        let deploy = |sealed: Sealed| ServiceDeploy {
            service: sealed.service,
            version: sealed.version,
            url: sealed.url,
            vars: sealed.vars,
        };
        Ok(self.services.iter().cloned().map(deploy).collect())
    }
}

/// Hands each host its work and starts it.
pub async fn send(
    mut fleet: Fleet,
    flags: &RunFlags,
    hosts: Vec<String>,
    rollout: Rollout,
    book: &Book<'_>,
) -> Result<u8> {
    let run = journal::new_run_id(&fleet.runs);
    for host in rollout.hosts.values() {
        for service in &host.services {
            let builds = service.vars.get("service").and_then(|vars| vars.get("builds")?.as_array());
            if builds.is_some_and(|builds| !builds.is_empty()) {
                return Err(Error::new(format!(
                    "--detach: {} builds its images from folders of this machine",
                    service.id
                ))
                .hint("run it without --detach"));
            }
        }
    }
    let plays = load_book("playbooks/detach.yml")?;
    store_secrets(&fleet, &rollout)?;
    let playbooks = playbooks();
    let mut works = Object::new();
    for host in &hosts {
        let services = rollout.hosts.get(host).map(|host| host.services.as_slice()).unwrap_or_default();
        let work = Work {
            run: run.clone(),
            host: host.clone(),
            vars: fleet.inventory.vars(host),
            groups: fleet.inventory.groups().clone(),
            services: services
                .iter()
                .map(|service| Sealed {
                    service: service.id.clone(),
                    version: service.version.clone(),
                    url: service.url.clone(),
                    vars: service.vars.clone(),
                })
                .collect(),
            playbooks: playbooks.clone(),
            playbook: book.playbook.to_owned(),
            extra_vars: fleet.extra_vars.clone(),
            skip_tags: flags.skip_tags.clone(),
            tags: flags.tags.clone(),
            diff: flags.diff,
            held: flags.held,
            command: command_line(),
            secrets: fleet.redactor.forms(),
            sender: std::process::id(),
        };
        let text = serde_json::to_vec(&work).map_err(|error| Error::new(error.to_string()))?;
        // a template would be looked for in plain text
        works.insert(host.clone(), Value::from(base64::engine::general_purpose::STANDARD.encode(text)));
    }
    let program = std::env::current_exe().map_err(|error| Error::new(format!("cannot find this program: {error}")))?;
    fleet.extra_vars = Object::from_iter([
        ("detach_run".to_owned(), Value::from(run.as_str())),
        ("detach_program".to_owned(), Value::from(program.display().to_string())),
        ("detach_user".to_owned(), Value::from(std::env::var("USER").unwrap_or_else(|_| "root".to_owned()))),
        ("detach_works".to_owned(), Value::Object(works)),
    ]);
    let mut flags = flags.clone();
    (flags.tags, flags.skip_tags, flags.locks.before) = (Vec::new(), Vec::new(), true);
    let names = rollout.hosts.values().flat_map(|host| host.services.iter().map(|service| service.id.clone()));
    flags.locks.names = Some(names.collect());
    let code = execute(&fleet, &flags, plays, hosts.clone(), None, None).await?;
    if code == 0 {
        println!(
            "run {run} goes on without this machine; its result: provision attach {run} --host {}",
            hosts.join(",")
        );
    } else {
        // nothing of it stays where it was not begun
        fleet.extra_vars = Object::from_iter([
            ("detach_run".to_owned(), Value::from(run.as_str())),
            ("detach_spare".to_owned(), Value::from("running")),
        ]);
        ask(&fleet, &hosts, "playbooks/detach_end.yml", CancellationToken::new()).await?;
        eprintln!("{}", dim(&format!("where it was begun it goes on: provision attach {run}")));
    }
    Ok(code)
}

/// The program's and the project's; the latter win.
fn playbooks() -> IndexMap<String, String> {
    let mut all = IndexMap::new();
    let carried = Path::new(shipped::ROOT).join("playbooks");
    for dir in [carried.as_path(), Path::new("playbooks")] {
        for file in shipped::walk(dir) {
            if let Ok(text) = shipped::read_to_string(&dir.join(&file)) {
                all.insert(file.display().to_string(), text);
            }
        }
    }
    all
}

/// The runner, on the host.
pub async fn work(dir: PathBuf) -> Result<u8> {
    let trouble = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::new(format!("{what}: {error}"))
    };
    let path = dir.join("work.json");
    let text = std::fs::read(&path).map_err(trouble("the work cannot be read"))?;
    std::fs::remove_file(&path).map_err(trouble("the work cannot be taken away"))?;
    let work: Work = serde_json::from_slice(&text).map_err(|error| Error::new(format!("the work: {error}")))?;
    drop(text);
    // a running program needs no file
    if let Some(own) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        let _ = std::fs::remove_dir_all(own);
    }
    for (name, text) in &work.playbooks {
        let path = dir.join("playbooks").join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(&dir)).map_err(trouble("a folder of playbooks"))?;
        std::fs::write(path, text).map_err(trouble("a playbook"))?;
    }
    std::env::set_current_dir(&dir).map_err(trouble("the folder of the work"))?;
    let inventory = inventory(&work)?;
    wait_for(work.sender).await;
    let redactor = Redactor::new();
    work.secrets.iter().for_each(|secret| redactor.add(secret));
    let journal = journal::Journal::create(Path::new("runs"), &work.run)?;
    let mut desk = Desk::new(vec![Box::new(journal)]);
    let kept = if work.held { Kept::Own } else { Kept::Nobodys };
    let job = Job {
        run: work.run.clone(),
        plays: load_book(&work.playbook)?,
        inventory: Arc::new(inventory),
        redactor,
        extra_vars: work.extra_vars.clone(),
        limit: vec![work.host.clone()],
        check: false,
        diff: work.diff,
        forks: 1,
        connects_at_once: 1,
        tags: work.tags.clone(),
        skip_tags: work.skip_tags.clone(),
        command: work.command.clone(),
        become_password: None,
        window: 32,
        grace: GRACE,
        locks: Locks { before: true, kept, ..Locks::default() },
        services: Some(Arc::new(work)),
    };
    let summary = drive(job, CancellationToken::new(), |event| desk.event(&event)).await;
    desk.finish();
    let _ = std::fs::remove_dir_all("playbooks");
    Ok(u8::try_from(summary?.exit_code).unwrap_or(1))
}

/// This host as the inventory had it, reached without a wire; the others by their names alone.
fn inventory(work: &Work) -> Result<Inventory> {
    let mut vars: Object = work.vars.clone();
    vars.retain(|name, _| !name.starts_with("ansible_"));
    vars.insert("ansible_connection".to_owned(), Value::from("local"));
    vars.insert("ansible_become".to_owned(), Value::from(false));
    let mut groups = serde_json::Map::new();
    for (group, hosts) in work.groups.iter().filter(|(group, _)| !["all", "ungrouped"].contains(&group.as_str())) {
        let hosts: Object = hosts.iter().map(|host| (host.clone(), Value::Null)).collect();
        groups.insert(group.clone(), json!({"hosts": hosts}));
    }
    let mut all = json!({"hosts": {}, "children": groups});
    all["hosts"][&work.host] = Value::Object(vars);
    let trouble = |error: std::io::Error| Error::new(format!("the inventory: {error}"));
    std::fs::create_dir_all("inventory").map_err(trouble)?;
    std::fs::write("inventory/hosts.yml", json!({"all": all}).to_string()).map_err(trouble)?;
    let inventory = Inventory::load(&[PathBuf::from("inventory/hosts.yml")]);
    std::fs::remove_dir_all("inventory").map_err(trouble)?;
    inventory
}

/// Whoever started this holds the lock until all hosts are started, or until its own end is noticed.
async fn wait_for(sender: u32) {
    let Ok(dir) = std::env::var(LOCKS) else { return };
    let begun = Instant::now();
    while is_kept_by(Path::new(&dir), sender) && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
