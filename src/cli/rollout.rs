//! `provision --host clienteA --services hub,chat`: shows what is going to be rolled out, asks, does it.

use std::path::{Path, PathBuf};

use clap::Args;

use super::common::{FleetFlags, confirm};
use super::execute::{RunFlags, execute, readers_are_known};
use crate::error::{Error, Result};
use crate::playbook::{self, ActionKind, Around, Control, Item, Play};
use crate::report::style;
use crate::services::{Rollout, Selection};
use crate::shipped;

#[derive(Args)]
pub struct Flags {
    /// Clients: names, groups, globs, `web:&prod:!old`, `@failed` (those of the last run)
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: Option<String>,
    /// Every client of the inventory
    #[arg(long, conflicts_with = "host")]
    all: bool,
    /// Services; without it each client's declared ones
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<String>>,
    /// Only the named services, not what they depend on
    #[arg(long)]
    no_deps: bool,
    /// Leave out the preparation of the server (packages, Docker, firewall)
    #[arg(long)]
    no_bootstrap: bool,
    /// Do not ask before touching anything
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    fleet: FleetFlags,
    #[command(flatten)]
    run: RunFlags,
}

impl Flags {
    /// Nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.host.is_none() && !self.all && self.services.is_none()
    }
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let every = fleet.inventory.hosts().count();
    let hosts = match (&flags.host, flags.all) {
        (Some(pattern), _) => fleet.select(pattern)?,
        (None, true) => fleet.select("all")?,
        (None, false) => {
            return Err(
                Error::new("no client is named").hint("use --host NAME, or --all for every client of the inventory")
            );
        }
    };
    if hosts.len() == every && every > 1 && !flags.all && !names_each(flags.host.as_deref().unwrap_or_default(), &hosts)
    {
        return Err(Error::new(format!("this would touch every one of the {every} hosts")).hint("say so with --all"));
    }
    let sources = fleet.sources();
    let selection = Selection { services: flags.services.clone(), with_dependencies: !flags.no_deps };
    let rollout = Rollout::prepare(&sources, &hosts, &selection, tasks_file()?)?;
    let playbook = shipped::locate(Path::new("."), "playbooks/rollout.yml")
        .ok_or_else(|| Error::new("the playbook playbooks/rollout.yml is missing"))?;
    let plays = playbook::load(&playbook)?;
    if !flags.run.check {
        readers_are_known(&fleet, &rollout)?;
    }
    overview(&rollout);
    if !flags.run.check && !flags.yes && !confirm("¿Continuar?")? {
        eprintln!("nothing was touched");
        return Ok(0);
    }
    let mut run = flags.run.clone();
    if flags.no_bootstrap {
        run.skip_tags.push("bootstrap".to_owned());
    }
    execute(&fleet, &run, plays, hosts, Some(rollout)).await
}

/// A pattern that spells out every host has been thought about.
fn names_each(pattern: &str, hosts: &[String]) -> bool {
    let words: Vec<&str> = pattern.split([',', ':']).map(str::trim).collect();
    hosts.iter().all(|host| words.contains(&host.as_str()))
}

fn overview(rollout: &Rollout) {
    let mut rows = Vec::new();
    for host in rollout.hosts.values() {
        let services = host.services.iter().map(|service| format!("{} {}", service.id, service.version));
        rows.push(vec![host.host.clone(), services.collect::<Vec<_>>().join(", ")]);
    }
    for line in style::table(&rows) {
        eprintln!("{line}");
    }
}

/// Does a play roll services out?
pub(super) fn needs_services(plays: &[Play]) -> bool {
    fn includes(item: &Item) -> bool {
        match item {
            Item::Task(task) => matches!(task.action.kind, ActionKind::Control(Control::IncludeServices)),
            Item::Block(block) => {
                [&block.body, &block.rescue, &block.always].into_iter().flat_map(|items| items.iter()).any(includes)
            }
        }
    }
    plays.iter().any(|play| {
        [&play.pre_tasks, &play.tasks, &play.post_tasks].into_iter().flat_map(|items| items.iter()).any(includes)
    })
}

/// The playbook that deploys one service. It and what it includes are read here, so that a mistake in an operator's
/// own ones is said before a host is touched.
pub(super) fn tasks_file() -> Result<PathBuf> {
    let path = shipped::locate(Path::new("."), "playbooks/services/deploy.yml")
        .ok_or_else(|| Error::new("the playbook playbooks/services/deploy.yml is missing"))?;
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let around = Around { play_dir: dir.clone(), dir, ..Around::default() };
    read_ahead(&path, &around, &mut Vec::new())?;
    Ok(path)
}

/// Reads a task file and those that it is sure to include: named as they are and under no condition.
fn read_ahead(path: &Path, around: &Around, seen: &mut Vec<PathBuf>) -> Result<()> {
    if seen.iter().any(|known| known == path) {
        return Ok(());
    }
    seen.push(path.to_owned());
    let mut items = playbook::load_tasks(path, around)?;
    while let Some(item) = items.pop() {
        match item {
            Item::Block(block) => {
                items.extend([&block.body, &block.rescue, &block.always].into_iter().flat_map(|part| part.to_vec()))
            }
            Item::Task(task)
                if matches!(task.action.kind, ActionKind::Control(Control::IncludeTasks)) && task.when.is_empty() =>
            {
                let file = task.action.args.get("file").and_then(serde_json::Value::as_str);
                let Some(file) = file.filter(|file| !file.contains("{{")) else { continue };
                let missing = |error: Error| Error { hint: error.hint, ..Error::at(&task.place, error.text) };
                let found = playbook::find_file(&task.around, "tasks", file.trim()).map_err(missing)?;
                read_ahead(&found, &task.around, seen)?;
            }
            Item::Task(_) => {}
        }
    }
    Ok(())
}
