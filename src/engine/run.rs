//! A run: plays in their order, their hosts in batches, each host on its own walk.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::emit::Emitter;
use super::host::{Fate, Host};
use super::lock::Claim;
use super::pace::Pace;
use super::policy::{Fared, SoFar};
use super::walk::Walk;
use super::{Job, Summary, scope};
use crate::error::{Error, Place, Result};
use crate::event::{Counts, Kind, Level, RunStatus};
use crate::inventory::Inventory;
use crate::lane::Connections;
use crate::plan::{Object, Secret};
use crate::playbook::{Around, Item, Order, Play, Strategy, Task, load_tasks};
use crate::secrets::Redactor;
use crate::services::Services;
use crate::vars::{Layer, NoWorld, Scope};

/// How many different surroundings of one included file are kept.
const MOST_SURROUNDINGS: usize = 16;

/// What all hosts of a run share.
pub(super) struct Run {
    pub id: String,
    pub inventory: Arc<Inventory>,
    pub hosts: IndexMap<String, Arc<Host>>,
    pub extra_vars: Arc<Object>,
    /// Variables that say something about the run itself.
    pub magic: Arc<Object>,
    pub emit: Emitter,
    pub cancel: CancellationToken,
    pub connections: Connections,
    /// A place for each host that is worked on at once.
    pub forks: Arc<Semaphore>,
    pub redactor: Redactor,
    pub services: Option<Arc<dyn Services>>,
    pub become_password: Option<Secret>,
    pub check: bool,
    pub diff: bool,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    pub window: usize,
    pub grace: Duration,
    pub owner: String,
    pub since: String,
    pub locks: super::Locks,
    /// The plays that have begun, by their names, and how their hosts were divided.
    pub begun: Mutex<HashMap<String, Begun>>,
    /// Included files, by what surrounded them.
    files: Mutex<HashMap<PathBuf, Vec<(Around, Arc<[Item]>)>>>,
}

/// How far a play has come.
#[derive(Default)]
pub(super) struct Begun {
    /// Hosts that earlier plays had lost.
    lost: usize,
    all: usize,
    /// Those that have begun, the current one last.
    batches: Vec<Vec<String>>,
}

/// Some hosts of a play, walking it together.
pub(super) struct Batch {
    pub run: Arc<Run>,
    pub play: Arc<Play>,
    pub play_index: usize,
    pub hosts: Vec<String>,
    pub magic: Arc<Object>,
    pub pace: Pace,
    /// The variables that name the hosts still in the play, and how many had left it then. Made once for all hosts
    /// and tasks: of many hosts these are long lists.
    roster: Mutex<Option<(usize, Arc<Object>)>>,
    handlers: Mutex<Vec<Arc<Task>>>,
    /// How many hosts at once do a task that says `throttle`.
    throttles: Mutex<HashMap<Place, Arc<Semaphore>>>,
    /// Nobody begins another task.
    stop: AtomicBool,
    /// The stop is a failure's consequence: later batches and plays do not begin.
    pub broken: AtomicBool,
    /// `rollout_gate` decides what a failure means for further batches.
    governed: AtomicBool,
    /// Why this batch and all further ones do not take place; later plays do.
    closed: Mutex<Option<String>>,
}

/// A play with the hosts that it is for.
pub(super) struct Planned {
    pub play: Arc<Play>,
    pub hosts: Vec<String>,
}

impl Run {
    pub fn host(&self, name: &str) -> Option<Arc<Host>> {
        self.hosts.get(name).cloned()
    }

    /// How the hosts of a play have fared; `mark` is the variable that is set for one that failed and was rescued.
    pub fn so_far(self: &Arc<Run>, play: &str, mark: &str) -> Option<SoFar> {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = begun.get(play)?;
        let fared = |name: &String| match self.host(name) {
            Some(host) if host.fate() == Fate::Unreachable => Fared::Unreachable,
            Some(host) if host.fate() == Fate::Failed || host.has_set(mark) => Fared::Failed,
            _ => Fared::Well,
        };
        let batch = |batch: &Vec<String>| batch.iter().map(|name| (name.clone(), fared(name))).collect();
        Some(SoFar { all: begun.all, lost: begun.lost, batches: begun.batches.iter().map(batch).collect() })
    }

    /// The tasks of a file below such surroundings, read once for all hosts: they all run the same text, and of many
    /// hosts the copies would be most of the program's memory.
    pub fn tasks(&self, path: &Path, around: &Around) -> Result<Arc<[Item]>> {
        let known = |files: &HashMap<PathBuf, Vec<(Around, Arc<[Item]>)>>| {
            let found = files.get(path)?.iter().find(|(surroundings, _)| surroundings == around);
            found.map(|(_, items)| items.clone())
        };
        if let Some(items) = known(&self.files.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(items);
        }
        let items: Arc<[Item]> = load_tasks(path, around)?.into();
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let known = files.entry(path.to_owned()).or_default();
        // surroundings that differ from host to host are nothing to keep
        if known.len() < MOST_SURROUNDINGS {
            known.push((around.clone(), items.clone()));
        }
        Ok(items)
    }

    pub fn claim(&self, host: &str, own: &super::lock::LockVars) -> Claim {
        let services = |services: &Arc<dyn Services>| {
            let scope = Scope::new(Arc::new(NoWorld));
            let list = services.expand(host, &Value::Null, &scope).ok()?;
            Some(list.into_iter().map(|service| service.service).collect())
        };
        let mut locks = self.locks.clone();
        locks.names = locks.names.or_else(|| self.services.as_ref().and_then(services));
        Claim {
            dir: own.dir.clone().unwrap_or_else(|| super::lock::DIR.to_owned()),
            holds: own.holds.clone().unwrap_or_else(|| super::lock::HOLDS.to_owned()),
            expiry: own.expiry.unwrap_or(super::lock::EXPIRY),
            locks,
            again: false,
            owner: self.owner.clone(),
            process: std::process::id(),
            run: self.id.clone(),
            since: self.since.clone(),
        }
    }
}

impl Batch {
    /// `all` are the play's hosts, of which these are some.
    pub fn new(run: &Arc<Run>, play: &Arc<Play>, index: usize, hosts: Vec<String>, all: &[String]) -> Arc<Batch> {
        Arc::new(Batch {
            run: run.clone(),
            play: play.clone(),
            play_index: index + 1,
            pace: Pace::new(hosts.iter().cloned()),
            magic: Arc::new(scope::about_batch(play, all)),
            hosts,
            roster: Mutex::default(),
            handlers: Mutex::new(play.handlers.clone()),
            throttles: Mutex::default(),
            stop: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            governed: AtomicBool::new(false),
            closed: Mutex::default(),
        })
    }

    pub fn roster(&self) -> Arc<Object> {
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = self.pace.gone();
        match &*roster {
            Some((then, vars)) if *then == gone => vars.clone(),
            _ => {
                let vars = Arc::new(scope::about_roster(self));
                *roster = Some((gone, vars.clone()));
                vars
            }
        }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn govern(&self) {
        self.governed.store(true, Ordering::SeqCst);
    }

    /// Ends the play here, its further batches included.
    pub fn close(&self, why: &str) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| why.to_owned());
        self.stop();
    }

    fn closed(&self) -> Option<String> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn handler(&self, index: usize) -> Option<Arc<Task>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).get(index).cloned()
    }

    pub fn handlers(&self) -> Vec<Arc<Task>> {
        self.handlers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Handlers of a role that was included; the same role brings them in once.
    pub fn add_handlers(&self, more: Vec<Arc<Task>>) {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        for handler in more {
            if !handlers.iter().any(|known| known.place == handler.place && known.name == handler.name) {
                handlers.push(handler);
            }
        }
    }

    pub fn throttle(&self, task: &Place, most: usize) -> Arc<Semaphore> {
        let mut throttles = self.throttles.lock().unwrap_or_else(PoisonError::into_inner);
        throttles.entry(task.clone()).or_insert_with(|| Arc::new(Semaphore::new(most))).clone()
    }

    /// Hosts must not run ahead of each other: a failure of one may concern the others.
    pub fn in_step(&self) -> bool {
        self.play.max_fail_percentage.is_some() || self.play.around.keywords.any_errors_fatal.is_some()
    }

    /// Stops the batch if as many hosts have failed as the play allows for.
    pub fn note_failures(&self) {
        let failed = self.hosts.iter().filter_map(|name| self.run.host(name)).filter(|host| host.fate() != Fate::Well);
        let failed = failed.count();
        let share = 100.0 * failed as f64 / self.hosts.len().max(1) as f64;
        let fatal = matches!(&self.play.around.keywords.any_errors_fatal, Some(Value::Bool(true)));
        if failed > 0 && (fatal || self.play.max_fail_percentage.is_some_and(|most| share > most)) {
            self.broken.store(true, Ordering::SeqCst);
            self.stop();
        }
        if failed == self.hosts.len() && failed > 0 && !self.governed.load(Ordering::SeqCst) {
            self.broken.store(true, Ordering::SeqCst);
        }
    }
}

/// Runs a job. `Err` only if nothing was touched.
pub(super) async fn run(
    mut job: Job,
    events: tokio::sync::mpsc::UnboundedSender<crate::event::Event>,
    cancel: CancellationToken,
) -> Result<Summary> {
    let begin = Instant::now();
    let plays = std::mem::take(&mut job.plays);
    let planned = plan(&job, plays)?;
    let mut hosts = IndexMap::new();
    let mentioned: HashSet<&String> = planned.iter().flat_map(|planned| &planned.hosts).collect();
    for host in job.inventory.hosts() {
        let layers = job.inventory.layers(&host.name).into_iter().map(|layer| Layer::written(layer.vars)).collect();
        hosts.insert(host.name.clone(), Arc::new(Host::new(host.name.clone(), false, layers, job.window)));
    }
    if !hosts.contains_key("localhost") {
        let layers = job.inventory.layers("localhost").into_iter().map(|layer| Layer::written(layer.vars)).collect();
        hosts.insert("localhost".into(), Arc::new(Host::new("localhost".into(), true, layers, job.window)));
    }
    let taking_part: Vec<String> = hosts.keys().filter(|name| mentioned.contains(name)).cloned().collect();
    let connections = Connections::new(job.connects_at_once.max(1)).map_err(|trouble| Error {
        text: trouble.msg,
        hint: trouble.hint,
        ..Error::default()
    })?;
    let emit = Emitter::new(job.run.clone(), job.redactor.clone(), events);
    if let Some(password) = &job.become_password {
        job.redactor.add(password.reveal());
    }
    let user = user();
    emit.emit(Kind::RunStarted {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command: job.command.clone(),
        hosts: taking_part.clone(),
        check: job.check,
        user,
        inventory: job.inventory.data_dir().display().to_string(),
    });
    let run = Arc::new(Run {
        magic: Arc::new(scope::about_run(&job)),
        id: job.run,
        inventory: job.inventory,
        hosts,
        extra_vars: Arc::new(job.extra_vars),
        emit,
        cancel,
        connections,
        forks: Arc::new(Semaphore::new(job.forks.max(1))),
        redactor: job.redactor,
        services: job.services,
        become_password: job.become_password,
        check: job.check,
        diff: job.diff,
        tags: job.tags,
        skip_tags: job.skip_tags,
        window: job.window,
        grace: job.grace,
        owner: owner(),
        since: super::emit::now(),
        locks: job.locks,
        begun: Mutex::default(),
        files: Mutex::default(),
    });
    let free = !run.locks.before || run.check || super::locked::lock_all(&run, &planned, &taking_part).await;
    for (index, planned) in planned.into_iter().enumerate() {
        if !free || run.cancel.is_cancelled() || !play(&run, planned, index).await {
            break;
        }
    }
    Ok(finish(&run, taking_part, begin).await)
}

fn user() -> String {
    std::env::var("USER").unwrap_or_else(|_| "root".to_owned())
}

/// Who works here, as other operators are told: `ana@desk`.
pub fn owner() -> String {
    format!("{}@{}", user(), rustix::system::uname().nodename().to_string_lossy())
}

/// What [`run`] would complain about before it touches anything.
pub(super) fn verify(job: &Job) -> Result<()> {
    plan(job, job.plays.clone()).map(drop)
}

/// Which hosts each play is for. All mistakes in patterns are found before any host is touched.
fn plan(job: &Job, plays: Vec<Play>) -> Result<Vec<Planned>> {
    let extra = Layer::written(job.extra_vars.clone());
    let mut planned = Vec::new();
    let mut errors = Vec::new();
    for mut play in plays {
        let mut scope = Scope::new(Arc::new(NoWorld));
        scope.push(Layer::written(play.vars.clone()));
        scope.push(extra.clone());
        let mut vars = Object::clone(&play.vars);
        for prompt in &play.vars_prompt {
            match (&prompt.default, scope.has(&prompt.name)) {
                (_, true) => {}
                (Some(default), false) => {
                    vars.insert(prompt.name.clone(), default.clone());
                }
                (None, false) => errors.push(
                    Error::at(&prompt.place, format!("variable `{}` is not given, and nobody is asked", prompt.name))
                        .hint(format!("add -e {}=…", prompt.name)),
                ),
            }
        }
        play.vars = Arc::new(vars);
        match hosts_of(job, &play, &scope) {
            Ok(hosts) => planned.push(Planned { play: Arc::new(play), hosts }),
            Err(error) => errors.push(error),
        }
    }
    match Error::all(errors) {
        None => Ok(planned),
        Some(error) => Err(error),
    }
}

fn hosts_of(job: &Job, play: &Play, scope: &Scope) -> Result<Vec<String>> {
    let pattern = scope.value(&play.hosts).map_err(|fault| fault.at(&play.place).context("hosts"))?;
    let pattern = match pattern {
        Value::String(text) => text,
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    let implicit = |name: &str| matches!(name, "localhost" | "127.0.0.1") && job.inventory.host(name).is_none();
    if implicit(pattern.trim()) {
        return Ok(vec!["localhost".to_owned()]);
    }
    let mut hosts = job.inventory.select(&pattern, &[]).map_err(|mut error| {
        if error.place.is_none() {
            error.place = Some(play.place.clone());
        }
        error
    })?;
    if !job.limit.is_empty() {
        hosts.retain(|host| job.limit.contains(host));
    }
    match play.order {
        Order::Inventory => {}
        Order::ReverseInventory => hosts.reverse(),
        Order::Sorted => hosts.sort(),
        Order::ReverseSorted => {
            hosts.sort();
            hosts.reverse();
        }
    }
    Ok(hosts)
}

/// `false`: the run ends here.
async fn play(run: &Arc<Run>, planned: Planned, index: usize) -> bool {
    let Planned { play, hosts } = planned;
    let well = |name: &String| run.host(name).is_some_and(|host| host.fate() == Fate::Well);
    let all = hosts.len();
    let mut hosts: Vec<String> = hosts.into_iter().filter(well).collect();
    come_first(run, &play, &mut hosts);
    {
        let begun = Begun { lost: all - hosts.len(), all, batches: Vec::new() };
        run.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(play.name.clone(), begun);
    }
    run.emit.emit(Kind::PlayStarted { play: play.name.clone(), hosts: hosts.clone(), place: play.place.to_string() });
    if hosts.is_empty() {
        let text = format!("play `{}`: no hosts are left for it", play.name);
        run.emit.emit(Kind::Note { host: None, level: Level::Info, text });
        return true;
    }
    let mut batches = batches(&hosts, &serial(run, &play)).into_iter();
    while let Some(names) = batches.next() {
        if run.cancel.is_cancelled() {
            return false;
        }
        if let Some(begun) = run.begun.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&play.name) {
            begun.batches.push(names.clone());
        }
        let batch = Batch::new(run, &play, index, names, &hosts);
        let walks = batch.hosts.iter().filter_map(|name| run.host(name)).map(|host| {
            let walk = Walk::new(batch.clone(), host);
            tokio::spawn(walk.play())
        });
        for walk in walks.collect::<Vec<_>>() {
            if let Err(error) = walk.await {
                let text = format!("a host's walk ended early: {error}");
                run.emit.emit(Kind::Note { host: None, level: Level::Warning, text });
            }
        }
        if let Some(why) = batch.closed() {
            let rest: Vec<String> = batch.hosts.iter().cloned().chain(batches.flatten()).collect();
            let text = format!("not tried, because of what failed before: {} ({why})", rest.join(", "));
            run.emit.emit(Kind::Note { host: None, level: Level::Warning, text });
            return true;
        }
        if batch.hosts.len() < hosts.len() {
            run.emit.emit(Kind::BatchFinished { play: play.name.clone(), hosts: batch.hosts.clone() });
        }
        if batch.broken.load(Ordering::SeqCst) {
            let rest: Vec<String> = batches.flatten().collect();
            if !rest.is_empty() {
                let text = format!("not tried, because of what failed before: {}", rest.join(", "));
                run.emit.emit(Kind::Note { host: None, level: Level::Warning, text });
            }
            return false;
        }
    }
    true
}

/// Puts the hosts first for which the play's `first` holds; in each half the order stays.
fn come_first(run: &Arc<Run>, play: &Play, hosts: &mut [String]) {
    let Some(condition) = &play.first else { return };
    let holds = |name: &String| {
        let scope = run.host(name).map(|host| scope::host_scope(run, &host, &play.around));
        // a condition that cannot be told of a host does not hold
        scope.is_some_and(|scope| scope.condition(condition).unwrap_or(false))
    };
    let first: HashSet<String> = hosts.iter().filter(|name| holds(name)).cloned().collect();
    if first.is_empty() || first.len() == hosts.len() {
        return;
    }
    hosts.sort_by_key(|name| !first.contains(name));
    let text = format!("first, as `{}` says: {}", play.name, hosts[..first.len()].join(", "));
    run.emit.emit(Kind::Note { host: None, level: Level::Info, text });
}

fn serial(run: &Run, play: &Play) -> Vec<Value> {
    let mut scope = Scope::new(Arc::new(NoWorld));
    scope.push(Layer::written(play.vars.clone()));
    scope.push(Layer::written(run.extra_vars.clone()));
    // a template that says nothing useful means: all at once
    let sizes = play.serial.iter().map(|size| scope.value(size).unwrap_or(Value::Null));
    sizes.flat_map(|size| if let Value::Array(list) = size { list } else { vec![size] }).collect()
}

/// `serial`: numbers or percentages; the last counts for all further batches.
fn batches(hosts: &[String], serial: &[Value]) -> Vec<Vec<String>> {
    let size = |value: &Value| -> usize {
        let text = match value {
            Value::String(text) => text.trim().to_owned(),
            other => other.to_string(),
        };
        let size = match text.strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().unwrap_or(100.0);
                ((hosts.len() as f64 * percent / 100.0) as usize).max(1)
            }
            None => text.parse().unwrap_or(0),
        };
        if size == 0 { hosts.len() } else { size }
    };
    let mut sizes = serial.iter().map(size);
    let mut last = hosts.len();
    let mut rest = hosts;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        last = sizes.next().unwrap_or(last).max(1);
        let (batch, others) = rest.split_at(last.min(rest.len()));
        batches.push(batch.to_vec());
        rest = others;
    }
    batches
}

async fn finish(run: &Arc<Run>, taking_part: Vec<String>, begin: Instant) -> Summary {
    let mut hosts = IndexMap::new();
    let mut failed = Vec::new();
    let mut round_trips = IndexMap::new();
    let closing = run.hosts.values().map(|host| async move {
        let trips = host.wire.round_trips().await;
        match run.cancel.is_cancelled() {
            true => host.wire.leave().await,
            false => host.wire.reset().await,
        }
        (host.name.clone(), trips)
    });
    for (name, trips) in futures::future::join_all(closing).await {
        if taking_part.contains(&name) {
            round_trips.insert(name, trips);
        }
    }
    for host in taking_part.iter().filter_map(|name| run.host(name)) {
        let counts: Counts = host.counts();
        if host.fate() != Fate::Well {
            failed.push(host.name.clone());
        }
        run.emit.emit(Kind::HostFinished { host: host.name.clone(), counts: counts.clone() });
        hosts.insert(host.name.clone(), counts);
    }
    let (status, exit_code) = match (run.cancel.is_cancelled(), failed.is_empty()) {
        (true, _) => (RunStatus::Interrupted, 130),
        (false, true) => (RunStatus::Ok, 0),
        (false, false) => (RunStatus::Failed, 1),
    };
    let took_ms = begin.elapsed().as_millis() as u64;
    run.emit.emit(Kind::RunFinished { status, exit_code, took_ms });
    run.emit.close();
    Summary { status, exit_code, hosts, failed, round_trips, took_ms }
}

/// In the free strategy nobody waits for anybody.
pub(super) fn together(play: &Play) -> bool {
    play.strategy == Strategy::Linear
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn serial_makes_batches() {
        let hosts: Vec<String> = (0..7).map(|n| format!("h{n}")).collect();
        let sizes = |serial: Value| -> Vec<usize> {
            batches(&hosts, serial.as_array().unwrap()).iter().map(Vec::len).collect()
        };
        assert_eq!(sizes(json!([])), [7]);
        assert_eq!(sizes(json!([2])), [2, 2, 2, 1]);
        assert_eq!(sizes(json!([1, "50%"])), [1, 3, 3]);
        assert_eq!(sizes(json!(["1%"])), [1; 7]);
    }
}
