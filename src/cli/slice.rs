//! The slice of the client × service matrix that a verb works on, and how a verb that is a play is run on it.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::alike;
use super::common::{Fleet, FleetFlags, confirm};
use super::consent::Consent;
use super::detach::send;
use super::digests::Promotion;
use super::execute::{RunFlags, execute, readers_are_known};
use super::resume::leave_out_done;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::playbook::{self, ActionKind, Around, Control, Item, Play, Task};
use crate::report::{Reporter, style};
use crate::services::render::Rendered;
use crate::services::{Grain, Mode, Rollout, Selection};
use crate::shipped;

/// Which clients and which of their services.
#[derive(Args, Clone)]
pub struct SliceFlags {
    /// Clients: names, groups, globs, `web:&prod:!old`, `@failed` (those of the last run)
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    pub host: Option<String>,
    /// Every client of the inventory
    #[arg(long, conflicts_with = "host")]
    pub all: bool,
    /// One part of these clients, as 2/3, for one of several controllers; see docs/schedules.md
    #[arg(long, value_name = "I/N")]
    pub shard: Option<Shard>,
    /// Services, and profiles as @erp; without it each client's declared ones
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    pub services: Option<Vec<String>>,
    /// Run the services as their packages describe it for this mode: debug, produccion [default: the client's
    /// variable `mode`; else debug on this machine, produccion elsewhere]
    #[arg(long, value_name = "MODE", visible_alias = "modo", value_parser = Mode::ALL.map(Mode::word))]
    pub mode: Option<String>,
    /// Do not ask before touching anything
    #[arg(short, long)]
    pub yes: bool,
    /// Let the hosts do it alone: this machine may sleep, `provision attach` fetches the result
    #[arg(long, conflicts_with_all = ["check", "json"])]
    pub detach: bool,
    #[command(flatten)]
    pub fleet: FleetFlags,
    #[command(flatten)]
    pub run: RunFlags,
}

/// What is looked at before a verb brings services onto a host.
#[derive(Args, Clone)]
pub struct BeforehandFlags {
    /// Go on although the server is smaller than the services need at least, or its Docker older
    #[arg(long)]
    ignore_requirements: bool,
    /// Do not ask those who gave API keys out whether the keys are valid
    #[arg(long)]
    no_live_check: bool,
}

impl BeforehandFlags {
    /// What can be asked from here, without any host.
    pub async fn ask(&self, rollout: &Rollout) -> Result<()> {
        if self.no_live_check { Ok(()) } else { super::live::refuse(rollout).await }
    }

    pub fn vars(&self) -> Object {
        Object::from_iter([("ignore_requirements".to_owned(), Value::from(self.ignore_requirements))])
    }
}

/// Whether the services that the named ones depend on belong to the slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependencies {
    Included,
    Left,
}

impl SliceFlags {
    /// The fleet and the hosts of the slice. One that would be every host has to be asked for by name or with --all.
    pub fn load(&self) -> Result<(Fleet, Vec<String>)> {
        let mut fleet = self.fleet.load()?;
        let mode = self.mode.iter().map(|mode| ("mode".to_owned(), Value::from(mode.as_str())));
        fleet.extra_vars.extend(mode);
        let every = fleet.inventory.hosts().count();
        let hosts = match (&self.host, self.all) {
            (Some(pattern), _) => fleet.select(pattern)?,
            (None, true) => fleet.select("all")?,
            // there is no doubt about who is meant
            (None, false) if every == 1 => fleet.select("all")?,
            (None, false) => {
                return Err(Error::new("no client is named")
                    .hint("use --host NAME, or --all for every client of the inventory"));
            }
        };
        let named = names_each(self.host.as_deref().unwrap_or_default(), &hosts);
        if hosts.len() == every && every > 1 && !self.all && !named {
            return Err(
                Error::new(format!("this would touch every one of the {every} hosts")).hint("say so with --all")
            );
        }
        let hosts = match self.shard {
            Some(shard) => shard.of_hosts(&hosts)?,
            None => hosts,
        };
        Ok((fleet, hosts))
    }

    /// For verbs that need this machine until their end.
    pub fn stays(&self, why: &str) -> Result<()> {
        match self.detach {
            true => Err(Error::new(format!("--detach: {why}")).hint("leave --detach out")),
            false => Ok(()),
        }
    }

    /// The services of the slice, resolved and rendered for all its hosts.
    pub fn prepare(&self, fleet: &Fleet, hosts: &[String], dependencies: Dependencies) -> Result<Rollout> {
        self.prepare_at(Grain::Services, fleet, hosts, dependencies)
    }

    /// What a verb about data works on: of a client whose services are not named, also those that it only has because
    /// others need them, as a shared database.
    pub fn prepare_data(&self, fleet: &Fleet, hosts: &[String]) -> Result<Rollout> {
        let dependencies = if self.services.is_none() { Dependencies::Included } else { Dependencies::Left };
        self.prepare(fleet, hosts, dependencies)
    }

    /// The same for a verb that takes parts of services, too: `chat/worker`.
    pub fn prepare_parts(&self, fleet: &Fleet, hosts: &[String], dependencies: Dependencies) -> Result<Rollout> {
        self.prepare_at(Grain::Parts, fleet, hosts, dependencies)
    }

    pub(super) fn prepare_at(
        &self,
        grain: Grain,
        fleet: &Fleet,
        hosts: &[String],
        dependencies: Dependencies,
    ) -> Result<Rollout> {
        let with_dependencies = dependencies == Dependencies::Included;
        let selection = Selection { services: self.services.clone(), with_dependencies, grain };
        Rollout::prepare(&fleet.sources(), hosts, &selection)
    }

    /// Shows what is going to be worked on, asks unless told not to, and runs the playbook. `vars` are the verb's own
    /// flags as extra variables; `question` is put in the users' language.
    pub async fn perform(&self, fleet: Fleet, hosts: Vec<String>, rollout: Rollout, book: &Book<'_>) -> Result<u8> {
        let agreed = |_: &[String]| if self.yes { Ok(true) } else { confirm(book.question) };
        self.perform_if(agreed, fleet, hosts, rollout, book).await
    }

    /// The same for what deletes data: the hosts' names have to be typed. `what` says what is going to happen, in the
    /// users' language.
    pub async fn destroy(
        &self,
        fleet: Fleet,
        hosts: Vec<String>,
        rollout: Rollout,
        book: &Book<'_>,
        consent: &Consent,
        what: &str,
    ) -> Result<u8> {
        self.perform_if(|hosts: &[String]| consent.ask(what, hosts), fleet, hosts, rollout, book).await
    }

    async fn perform_if(
        &self,
        agreed: impl FnOnce(&[String]) -> Result<bool>,
        mut fleet: Fleet,
        mut hosts: Vec<String>,
        mut rollout: Rollout,
        book: &Book<'_>,
    ) -> Result<u8> {
        let plays = load_book(book.playbook)?;
        if self.detach && fleet.lock_has_moved() {
            self.stays("what images mean is written to fleet.lock by this machine, once a client has taken them well")?;
        }
        let mut promotion = Promotion::of(&fleet, &rollout).filter(|_| !self.run.check && !self.detach);
        if !leave_out_done(&mut hosts, &mut rollout) {
            promotion.iter_mut().for_each(Reporter::finish);
            eprintln!("nothing of it is left to do");
            return Ok(0);
        }
        if !self.run.check {
            readers_are_known(&fleet, &rollout)?;
        }
        overview(&rollout);
        if !self.run.check && !agreed(&hosts)? {
            eprintln!("nothing was touched");
            return Ok(0);
        }
        fleet.extra_vars.extend(book.vars.clone());
        let mut run = self.run.clone();
        run.skip_tags.extend(book.skip_tags.iter().map(|tag| (*tag).to_owned()));
        run.locks.before = true;
        if self.detach {
            return send(fleet, &run, hosts, rollout, book).await;
        }
        execute(&fleet, &run, plays, hosts, Some(rollout), promotion).await
    }
}

/// The playbook that a verb is.
pub struct Book<'a> {
    /// In the project folder or the binary, e.g. `playbooks/rollout.yml`.
    pub playbook: &'a str,
    /// The verb's flags, as extra variables of the playbook.
    pub vars: Object,
    pub skip_tags: &'a [&'a str],
    /// Asked before anything is touched.
    pub question: &'a str,
}

/// A playbook of the project or the binary, with every task file that it is sure to include: a mistake in an operator's
/// own ones is said before a host is touched.
pub fn load_book(name: &str) -> Result<Vec<Play>> {
    let path =
        shipped::locate(Path::new("."), name).ok_or_else(|| Error::new(format!("the playbook {name} is missing")))?;
    let plays = playbook::load(&path)?;
    read_services_ahead(&plays)?;
    Ok(plays)
}

/// Does a play include services?
pub fn needs_services(plays: &[Play]) -> bool {
    tasks(plays).iter().any(|task| includes_services(task))
}

/// Reads the task files that the plays run for each service.
pub fn read_services_ahead(plays: &[Play]) -> Result<()> {
    let mut seen = Vec::new();
    for task in tasks(plays).iter().filter(|task| includes_services(task)) {
        let name = task.action.args.get("tasks").and_then(serde_json::Value::as_str);
        if name.is_some_and(|name| name.contains("{{")) {
            continue;
        }
        let path = playbook::service_tasks(&task.around, name).map_err(|error| at(task, error))?;
        let dir = path.parent().map(Path::to_owned).unwrap_or_default();
        read_ahead(&path, &Around { play_dir: dir.clone(), dir, ..Around::default() }, &mut seen)?;
    }
    Ok(())
}

fn includes_services(task: &Task) -> bool {
    matches!(task.action.kind, ActionKind::Control(Control::IncludeServices))
}

/// All tasks of the plays, those in blocks too.
fn tasks(plays: &[Play]) -> Vec<&Task> {
    fn collect<'a>(items: &'a [Item], found: &mut Vec<&'a Task>) {
        for item in items {
            match item {
                Item::Task(task) => found.push(task),
                Item::Block(block) => {
                    [&block.body, &block.rescue, &block.always].into_iter().for_each(|part| collect(part, found))
                }
            }
        }
    }
    let mut found = Vec::new();
    for play in plays {
        [&play.pre_tasks, &play.tasks, &play.post_tasks].into_iter().for_each(|items| collect(items, &mut found));
    }
    found
}

fn at(task: &Task, error: Error) -> Error {
    Error { hint: error.hint, ..Error::at(&task.place, error.text) }
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
                let found =
                    playbook::find_file(&task.around, "tasks", file.trim()).map_err(|error| at(&task, error))?;
                read_ahead(&found, &task.around, seen)?;
            }
            Item::Task(_) => {}
        }
    }
    Ok(())
}

/// A pattern that spells out every host has been thought about.
fn names_each(pattern: &str, hosts: &[String]) -> bool {
    let words: Vec<&str> = pattern.split([',', ':']).map(str::trim).collect();
    hosts.iter().all(|host| words.contains(&host.as_str()))
}

/// A stack is deployed to swarm as a whole.
pub fn no_parts_under_swarm(rollout: &Rollout, verb: &str) -> Result<()> {
    let Some((host, service)) = rollout.part_under_swarm() else { return Ok(()) };
    Err(Error::new(format!("host `{host}` runs swarm, where `{verb}` works on all of `{service}`, not on parts of it"))
        .hint(format!(
            "`provision scale --host {host} {service}/PART=0` stops a part, `=1` starts it; `restart` takes parts"
        )))
}

fn overview(rollout: &Rollout) {
    let many = rollout.hosts.len() > alike::MANY;
    let mut rows = Vec::new();
    for host in rollout.hosts.values() {
        let parts = |service: &Rendered| {
            let parts = service.vars.get("service").and_then(|vars| vars.get("parts")).and_then(Value::as_array);
            let parts: Vec<&str> = parts.into_iter().flatten().filter_map(Value::as_str).collect();
            if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
        };
        let why = |service: &Rendered| {
            let reason = service.pin.as_ref().and_then(|pin| pin.reason.as_ref());
            reason.map(|reason| format!(" (pinned: {reason})")).unwrap_or_default()
        };
        let services = host.services.iter().map(|service| {
            let name = if many { alike::package(&service.id) } else { &service.id };
            format!("{name} {}{}{}", service.version, parts(service), why(service))
        });
        rows.push(vec![host.host.clone(), services.collect::<Vec<_>>().join(", ")]);
    }
    if many {
        rows = alike::counted(rows).into_iter().map(|(_, row)| row).collect();
    }
    for line in style::table(&rows) {
        eprintln!("{line}");
    }
}
