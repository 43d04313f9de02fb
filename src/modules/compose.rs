//! `docker_compose_v2`: a compose project runs as its files say, and is healthy.
//!
//! ```yaml
//! - docker_compose_v2:
//!     project_src: /opt/ATS/VersatileHub/services/hub
//!     project_name: versatile-hub
//!     remove_orphans: true
//!     wait_timeout: 900
//! ```
//!
//! The story, each step followed by a new look at the host:
//! 1. images that are missing are pulled (or built), before anything stops;
//! 2. `docker compose create` makes new containers, replacing only those that differ; why is in the difference;
//! 3. containers are started as soon as what they depend on is ready;
//! 4. all are watched until they are ready, done or lost. One that restarts in a loop fails at once, with its last lines.
//!
//! So `docker compose up`, which would block on a dependency for as long as that takes, is never run, and the containers
//! are exactly those that it would have made. If nothing is to be done, one round trip shows it.
//!
//! Unlike Ansible's module it waits by default (`wait: false` ends after starting). Leaves out `definition` (write the file
//! with `template` or `copy`), `scale`, `dependencies: false` and lifecycle hooks.

use std::time::Duration;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::compose_beside;
use super::compose_call::{self, Call};
use super::compose_state::{Action, Kind, Project, Recreate, SERVICE, Seen, Service, Wish};
use super::docker::{ask, diff, docker, json as read_json, output, trouble};
use super::docker_wait::{Container, Verdict, last_lines, lost, pause};
use super::{Build, Spec, args, observed, typed};
use crate::plan::{
    Answer, Change, Failure, Look, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then,
};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_compose_v2",
    aliases: &["community.docker.docker_compose_v2"],
    args: &[
        "project_src",
        "project_name",
        "files",
        "env_files",
        "profiles",
        "services",
        "state",
        "pull",
        "build",
        "recreate",
        "start_first",
        "remove_orphans",
        "remove_volumes",
        "remove_images",
        "timeout",
        "wait",
        "wait_timeout",
    ],
    free_form: None,
    build,
}];

#[derive(Debug, Deserialize)]
struct Compose {
    #[serde(flatten)]
    call: Call,
    #[serde(default, deserialize_with = "args::list")]
    services: Vec<String>,
    #[serde(default)]
    state: State,
    #[serde(default)]
    pull: Get,
    #[serde(default)]
    build: Get,
    #[serde(default)]
    recreate: Recreate,
    /// Where two of a service may run at once, the new container is ready before the old one goes.
    #[serde(default, deserialize_with = "args::flag")]
    start_first: bool,
    #[serde(default, deserialize_with = "args::flag")]
    remove_orphans: bool,
    #[serde(default, deserialize_with = "args::flag")]
    remove_volumes: bool,
    remove_images: Option<Images>,
    /// Seconds that a container gets to stop.
    #[serde(default, deserialize_with = "args::opt_count")]
    timeout: Option<u64>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    wait: bool,
    /// Seconds without progress after which waiting is given up.
    #[serde(default, deserialize_with = "args::opt_count")]
    wait_timeout: Option<u64>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Absent,
    Stopped,
    Restarted,
}

/// When to pull or build images. `policy`: as the compose file says, which is `missing` if it says nothing.
#[derive(Clone, Copy, Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Get {
    Always,
    Missing,
    Never,
    #[default]
    Policy,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Images {
    All,
    Local,
}

fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut compose: Compose = typed(FAMILY[0].args, args)?;
    compose.call.project_src = args::host_path(&compose.call.project_src, build)?;
    Ok(Box::new(compose))
}

/// Positions of the answers.
const DIRECTORY: usize = 0;
const CONFIG: usize = 1;
const HASHES: usize = 2;
const IMAGES: usize = 3;
const CONTAINERS: usize = 4;
/// What can be another one after a change of the task's own, or later. Compose takes its time to read the files again,
/// and while they are the same, so are its answers.
const MOVING: Look = Look::At(&[CONTAINERS]);
const MOVING_WITH_IMAGES: Look = Look::At(&[IMAGES, CONTAINERS]);

impl Module for Compose {
    fn probe(&self) -> Vec<Query> {
        vec![
            Query::Stat { path: self.call.project_src.clone(), follow: true, checksum: false },
            ask(self.call.config("config --format json")),
            ask(self.call.config("config --hash '*'")),
            ask(self.call.images()),
            ask(self.call.containers()),
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let directory = observed::stat(observed.answers, DIRECTORY, &self.call.project_src)?;
        let (now, containers) = self.containers(observed.answers)?;
        if self.state == State::Absent {
            return Ok(self.down(containers, directory.is_some()));
        }
        if directory.is_none() {
            return Err(Failure::new(format!("project_src {} does not exist", self.call.project_src)));
        }
        let (seen, warnings) = self.seen(observed, now, containers)?;
        match self.state {
            State::Stopped => self.stop(&seen),
            State::Present | State::Restarted | State::Absent => self.converge(observed, &seen, &warnings),
        }
    }
}

impl Compose {
    fn containers(&self, answers: &[Answer]) -> Result<(i64, Vec<Container>), Failure> {
        let found = output(answers, CONTAINERS)?;
        let text = found.stdout_text();
        let (date, rest) = text.split_once('\n').unwrap_or((&text, ""));
        // a container that went away in between makes inspect fail, but its answer is complete
        if !found.ok() && !rest.trim_end().ends_with(']') {
            return Err(trouble("docker ps failed", &docker().raw("ps -a"), found));
        }
        let now = date.trim().parse::<i64>().map_or(0, |seconds| seconds * 1000);
        Ok((now, read_json("docker inspect", rest.as_bytes())?))
    }

    fn seen(
        &self,
        observed: &Observed<'_>,
        now: i64,
        containers: Vec<Container>,
    ) -> Result<(Seen, Vec<String>), Failure> {
        let config = output(observed.answers, CONFIG)?;
        let wrong = |output: &Output| {
            let shown = self.call.config("config");
            // its standard output may hold secrets, its complaints do not
            let output = Output { rc: output.rc, stdout: Vec::new(), stderr: output.stderr.clone() };
            trouble(&format!("the compose files of {} are refused", self.call.project_src), &shown, &output)
        };
        if !config.ok() {
            return Err(wrong(config));
        }
        let hashes = output(observed.answers, HASHES)?;
        if !hashes.ok() {
            return Err(wrong(hashes));
        }
        let project: Project = read_json("docker compose config", &config.stdout)?;
        let pairs = |at: usize, by: char| -> Result<Vec<(String, String)>, Failure> {
            let text = output(observed.answers, at)?.stdout_text();
            let pair = |line: &str| line.split_once(by).map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
            Ok(text.lines().filter_map(pair).collect())
        };
        let images = pairs(IMAGES, '\t')?;
        let seen = Seen {
            project,
            hashes: pairs(HASHES, ' ')?.into_iter().collect(),
            images: images.into_iter().map(|(name, id)| (name, Some(id).filter(|id| !id.is_empty()))).collect(),
            containers,
            now,
            began: now - i64::try_from(observed.elapsed.as_millis()).unwrap_or(i64::MAX),
        };
        let stderr = config.stderr_text();
        let warnings = stderr.lines().filter(|line| line.contains("variable is not set")).map(str::to_owned);
        Ok((seen, warnings.collect()))
    }

    /// The services that the task is about, with what they depend on.
    fn wanted(&self, project: &Project) -> Result<Vec<String>, Failure> {
        let mut wanted: Vec<String> = Vec::new();
        let mut open: Vec<String> = match self.services.as_slice() {
            [] => project.services.keys().rev().cloned().collect(),
            some => some.iter().rev().cloned().collect(),
        };
        while let Some(name) = open.pop() {
            let Some(service) = project.services.get(&name) else {
                if !self.services.contains(&name) {
                    // a dependency that is not required, or of another profile
                    continue;
                }
                let failure = Failure::new(format!("the project {} has no service `{name}`", project.name));
                return Err(match crate::error::nearest(&name, project.services.keys().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure,
                });
            };
            if !wanted.contains(&name) {
                open.extend(service.needs().into_keys());
                wanted.push(name);
            }
        }
        // in the order of the file, so that reports read alike
        wanted.sort_by_key(|name| project.services.get_index_of(name));
        Ok(wanted)
    }

    fn converge(&self, observed: &Observed<'_>, seen: &Seen, warnings: &[String]) -> Result<Plan, Failure> {
        let mut wish = Wish {
            services: self.wanted(&seen.project)?,
            named: self.services.clone(),
            recreate: self.recreate,
            restart: self.state == State::Restarted,
            beside: Vec::new(),
            gaps: IndexMap::new(),
            again: observed.changes > 0,
        };
        if self.start_first {
            seen.without_gap(&mut wish);
        }
        let wish = wish;
        let hooked = wish.services.iter().find(|name| seen.project.services[*name].post_start.is_some());
        if let Some(name) = hooked {
            return Err(Failure::new(format!("service `{name}` has a `post_start` hook, which is not run here"))
                .hint("make it a one-shot service, or a job of the package"));
        }
        let (orphans, asked) = match self.orphans(observed, seen)? {
            Ok(orphans) => orphans,
            Err(question) => return Ok(Plan::Ask(vec![question])),
        };
        let mut actions = self.images(seen, &wish)?;
        actions.extend(orphans);
        actions.extend(seen.actions(&wish));
        let due = |kinds: &[Kind]| actions_of(&actions, kinds);

        let images = due(&[Kind::Pull, Kind::Build]);
        if !images.is_empty() {
            return Ok(self.change(seen, &actions, self.call.get_images(&images), warnings));
        }
        if !due(&[Kind::Create, Kind::Recreate, Kind::Remove]).is_empty() {
            return Ok(self.change(seen, &actions, vec![Operation::run(self.create(&wish))], warnings));
        }
        let beside = due(&[Kind::Beside]);
        // what they need is started and ready first
        let ready =
            |action: &Action| seen.blocked(&action.service, &wish, &actions_of(&actions, &[Kind::Start])).is_none();
        let beside: Vec<Action> = beside.into_iter().filter(ready).collect();
        if !beside.is_empty() {
            let operations = vec![Operation::run(self.create_beside(seen, &beside))];
            return Ok(self.change(seen, &beside, operations, warnings));
        }
        let pending = due(&[Kind::Start, Kind::Restart]);
        let (blocked, free): (Vec<_>, Vec<_>) = pending
            .iter()
            .map(|action| (action, seen.blocked(&action.service, &wish, &pending)))
            .partition(|(_, verdict)| verdict.is_some());
        if !free.is_empty() {
            let free: Vec<Action> = free.into_iter().map(|(action, _)| action.clone()).collect();
            return Ok(self.change(seen, &free, compose_call::starts(&free), warnings));
        }
        let retired: Vec<Action> =
            due(&[Kind::Retire]).into_iter().filter(|action| seen.relieved(&action.service, &wish)).collect();
        if !retired.is_empty() {
            let operations = retired.iter().filter_map(|action| seen.retire(action, &wish)).collect();
            return Ok(self.change(seen, &retired, operations, warnings));
        }
        if !self.wait && pending.is_empty() && due(&[Kind::Retire, Kind::Beside]).is_empty() {
            return Ok(Plan::NoChange(self.report(observed, seen, &wish, warnings)));
        }
        self.watch(observed, seen, &wish, &blocked, asked)
            .map(|plan| plan.unwrap_or_else(|| Plan::NoChange(self.report(observed, seen, &wish, warnings))))
    }

    /// Looks at every container; `None` if all are done or ready.
    fn watch(
        &self,
        observed: &Observed<'_>,
        seen: &Seen,
        wish: &Wish,
        blocked: &[(&Action, Option<Verdict>)],
        asked: usize,
    ) -> Result<Option<Plan>, Failure> {
        let pending: Vec<Action> = blocked.iter().map(|(action, _)| (*action).clone()).collect();
        let leaving = seen.leaving(wish);
        let verdicts = seen.verdicts(&wish.services, &pending);
        let verdicts = verdicts.into_iter().filter(|(container, _)| !leaving.contains(&container.id.as_str()));
        let of_blocked = |container: &Container| {
            let at =
                blocked.iter().find(|(action, _)| action.container.as_ref().is_some_and(|(_, id)| *id == container.id));
            at.and_then(|(_, verdict)| verdict.clone())
        };
        let (mut failed, mut waiting) = (Vec::new(), Vec::new());
        for (container, verdict) in verdicts {
            match of_blocked(container).unwrap_or(verdict) {
                Verdict::Failed(why) => failed.push((container, why)),
                Verdict::Waiting(why) => waiting.push((container, why)),
                Verdict::Done | Verdict::Ready => {}
            }
        }
        let told = |found: &[(&Container, String)]| {
            let each = found.iter().map(|(container, why)| format!("{} {why}", container.name()));
            each.collect::<Vec<_>>().join("; ")
        };
        let logs = observed.more.get(asked);
        let give_up = |container: &Container, text: String| match logs {
            None => Ok(Some(Plan::Ask(vec![last_lines(&container.id)]))),
            logs => Err(lost(text, container, logs)),
        };
        if let Some((first, _)) = failed.first() {
            return give_up(first, told(&failed));
        }
        // the container that holds the others up is not one that waits for others
        let Some((first, _)) = waiting.iter().find(|(c, _)| of_blocked(c).is_none()).or(waiting.first()) else {
            return Ok(None);
        };
        let limit = self.wait_timeout.unwrap_or(120);
        let still = Duration::from_millis(u64::try_from(seen.now - self.last_progress(seen, wish)).unwrap_or(0));
        if still >= Duration::from_secs(limit) {
            let text = format!("not ready {limit} s after the last start: {}", told(&waiting));
            return give_up(first, text).map_err(|failure| match failure.hint {
                None => failure.hint("if it only needs longer, raise `wait_timeout`"),
                Some(_) => failure,
            });
        }
        Ok(Some(Plan::Wait { after: pause(observed.elapsed), status: told(&waiting), look: MOVING }))
    }

    /// When this task last made or started a container; its own beginning if it did not.
    fn last_progress(&self, seen: &Seen, wish: &Wish) -> i64 {
        let containers = wish.services.iter().flat_map(|name| seen.of(name));
        let moments = containers.flat_map(|container| {
            let started = if container.restart_count == 0 { container.started() } else { 0 };
            [container.created(), started]
        });
        moments.fold(seen.began, i64::max)
    }

    /// Orphans to remove, and how many answers were needed; or the question whether they are orphans.
    fn orphans(&self, observed: &Observed<'_>, seen: &Seen) -> Result<Result<(Vec<Action>, usize), Query>, Failure> {
        if !self.remove_orphans || seen.orphans(&[]).is_empty() {
            return Ok(Ok((Vec::new(), 0)));
        }
        // services of profiles that are not active are no orphans
        if observed.more.is_empty() {
            return Ok(Err(ask(self.call.config("--profile '*' config --services"))));
        }
        let known = output(observed.more, 0)?.stdout_text();
        let orphans = seen.orphans(&known.lines().collect::<Vec<_>>());
        let action = |container: &Container| Action {
            kind: Kind::Remove,
            service: container.label(SERVICE).to_owned(),
            container: Some((container.name().to_owned(), container.id.clone())),
            why: "no such service any more".to_owned(),
        };
        Ok(Ok((orphans.into_iter().map(action).collect(), 1)))
    }

    /// Whether a service's image is pulled, or built: as the task says, else as the compose file does.
    fn get(&self, service: &Service) -> Get {
        let asked = if service.build.is_some() { self.build } else { self.pull };
        match (asked, service.pull_policy.as_deref()) {
            // made on the host: no registry has it
            (Get::Always, Some("never")) if service.build.is_none() => Get::Never,
            (Get::Policy, Some("always")) => Get::Always,
            (Get::Policy, Some("never")) => Get::Never,
            (Get::Policy, _) => Get::Missing,
            (get, _) => get,
        }
    }

    /// Images to pull or build before anything stops.
    fn images(&self, seen: &Seen, wish: &Wish) -> Result<Vec<Action>, Failure> {
        let mut actions = Vec::new();
        for name in &wish.services {
            let service = &seen.project.services[name];
            let image = seen.image_of(name, service);
            let there = seen.image_id(name, service).is_some();
            let builds = service.build.is_some();
            let kind = if builds { Kind::Build } else { Kind::Pull };
            let why = match self.get(service) {
                Get::Always if !wish.again => "asked for",
                Get::Never if !there => {
                    let verb = kind.verb();
                    return Err(Failure::new(format!("image {image} of service `{name}` is not on the host"))
                        .hint(format!("`{verb}: never` forbids to {verb} it")));
                }
                Get::Missing if !there && wish.again => {
                    return Err(Failure::new(format!("image {image} of service `{name}` is still not on the host")));
                }
                Get::Missing if !there => "not on the host",
                Get::Always | Get::Missing | Get::Never | Get::Policy => continue,
            };
            actions.push(Action { kind, service: name.clone(), container: None, why: format!("{image} {why}") });
        }
        Ok(actions)
    }

    fn change(&self, seen: &Seen, actions: &[Action], operations: Vec<Operation>, warnings: &[String]) -> Plan {
        let lines: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let values: Vec<Value> = actions.iter().map(Action::to_value).collect();
        let told: Vec<String> = actions.iter().map(Action::to_string).collect();
        let gaps: Vec<String> =
            actions.iter().filter(|action| action.why.contains("; it stops first: ")).map(Action::to_string).collect();
        let mut forecast = Return::msg(told.join("; ")).with("actions", values).with("gaps", gaps);
        if !warnings.is_empty() {
            forecast = forecast.with("warnings", warnings);
        }
        let diff = vec![diff(&format!("project {}", seen.project.name), "", lines)];
        let got = actions.iter().any(|action| matches!(action.kind, Kind::Pull | Kind::Build));
        let look = if got { MOVING_WITH_IMAGES } else { MOVING };
        Plan::Change(Change { diff, operations, then: Then::Replan(look), forecast })
    }

    fn report(&self, observed: &Observed<'_>, seen: &Seen, wish: &Wish, warnings: &[String]) -> Return {
        let (mut containers, mut actions) = (Vec::new(), Vec::new());
        for name in &wish.services {
            for container in seen.of(name) {
                containers.push(json!({
                    "name": container.name(), "service": name, "id": container.id, "image": container.config.image,
                    "state": container.state.status, "health": container.health(), "exit_code": container.state.exit_code,
                }));
                let status = match wish.again {
                    true if container.created() >= seen.began => "create",
                    true if container.started() >= seen.began => "start",
                    _ => continue,
                };
                actions.push(json!({"what": "container", "id": container.name(), "service": name, "status": status}));
            }
        }
        let pulled_only = observed.changes == 1
            && wish.services.iter().any(|name| self.get(&seen.project.services[name]) == Get::Always);
        let count = containers.len();
        let noun = if count == 1 { "container" } else { "containers" };
        let state = if self.wait { "as wanted and ready" } else { "as wanted" };
        let mut done = Return::msg(format!("{count} {noun} of {} {state}", seen.project.name))
            .with("actions", actions)
            .with("gaps", self.gaps(seen, wish))
            .with("containers", containers);
        if !warnings.is_empty() {
            done = done.with("warnings", warnings);
        }
        if pulled_only {
            done.changed = Some(false);
        }
        done
    }

    /// What had to stop before its successor could start, and why.
    fn gaps(&self, seen: &Seen, wish: &Wish) -> Vec<String> {
        let replaced = |name: &str| wish.again && seen.of(name).any(|container| container.created() >= seen.began);
        let gaps = wish.gaps.iter().filter(|(name, _)| replaced(name));
        gaps.map(|(name, why)| format!("{name} stops first: {why}")).collect()
    }

    fn stop(&self, seen: &Seen) -> Result<Plan, Failure> {
        let wanted = self.wanted(&seen.project)?;
        let names = if self.services.is_empty() { &wanted } else { &self.services };
        let running: Vec<&Container> = names.iter().flat_map(|name| seen.of(name)).filter(|c| c.runs()).collect();
        if running.is_empty() {
            return Ok(Plan::NoChange(Return::msg(format!("no container of {} runs", seen.project.name))));
        }
        let mut words = vec!["stop".to_owned()];
        words.extend(self.grace());
        words.extend(self.services.iter().cloned());
        let lines: String = running.iter().map(|container| format!("stop {}\n", container.name())).collect();
        Ok(Plan::Change(Change {
            diff: vec![diff(&format!("project {}", seen.project.name), "", lines)],
            operations: vec![Operation::run(self.call.run(words).timeout(Duration::from_secs(900)))],
            then: Then::Replan(MOVING),
            forecast: Return::default(),
        }))
    }

    /// One new container next to each of these.
    fn create_beside(&self, seen: &Seen, actions: &[Action]) -> Script {
        let mut words = ["up", "--no-start", "--no-deps", "--no-recreate", "--no-build"].map(str::to_owned).to_vec();
        let names = compose_beside::names(actions);
        for name in &names {
            let more = actions.iter().filter(|action| action.service == *name).count();
            words.extend(["--scale".to_owned(), format!("{name}={}", seen.of(name).count() + more)]);
        }
        words.extend(names);
        self.call.run(words).timeout(Duration::from_secs(900))
    }

    fn create(&self, wish: &Wish) -> Script {
        // without those whose turn comes later
        let others = || wish.services.iter().filter(|name| !wish.beside.contains(name)).cloned();
        let (verb, services): (&[&str], Vec<String>) = match wish.beside.is_empty() {
            true => (&["create", "--no-build"], self.services.clone()),
            false => (&["up", "--no-start", "--no-deps", "--no-build"], others().collect()),
        };
        let mut words: Vec<String> = verb.iter().map(|word| (*word).to_owned()).collect();
        match self.recreate {
            // nobody is named: only orphans go
            Recreate::Auto | Recreate::Always if !wish.beside.is_empty() && services.is_empty() => {
                words.push("--no-recreate".to_owned());
            }
            Recreate::Auto => {}
            Recreate::Always => words.push("--force-recreate".to_owned()),
            Recreate::Never => words.push("--no-recreate".to_owned()),
        }
        if self.remove_orphans {
            words.push("--remove-orphans".to_owned());
        }
        words.extend(services);
        self.call.run(words).timeout(Duration::from_secs(900))
    }

    fn grace(&self) -> Vec<String> {
        self.timeout.map_or(Vec::new(), |seconds| vec!["--timeout".to_owned(), seconds.to_string()])
    }

    fn down(&self, containers: Vec<Container>, files: bool) -> Plan {
        let name = self.call.project_name.as_deref().unwrap_or(&self.call.project_src);
        if containers.is_empty() {
            return Plan::NoChange(Return::msg(format!("{name} has no containers")));
        }
        let flags = [
            (self.remove_orphans, "--remove-orphans"),
            (self.remove_volumes, "--volumes"),
            (self.remove_images == Some(Images::All), "--rmi=all"),
            (self.remove_images == Some(Images::Local), "--rmi=local"),
        ];
        let mut words = vec!["down".to_owned()];
        words.extend(flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag.to_owned()));
        words.extend(self.grace());
        // without its files the project's name is enough
        let script = match (&self.call.project_name, files) {
            (Some(name), false) => docker().raw("compose --project-name").arg(name).args(words),
            _ => self.call.run(words),
        };
        let lines: String = containers.iter().map(|container| format!("{}\n", container.name())).collect();
        Plan::Change(Change {
            diff: vec![diff(&format!("containers of {name}"), lines, "")],
            operations: vec![Operation::run(script.timeout(Duration::from_secs(900)))],
            then: Then::Finish,
            forecast: Return::default(),
        })
    }
}

fn actions_of(actions: &[Action], kinds: &[Kind]) -> Vec<Action> {
    actions.iter().filter(|action| kinds.contains(&action.kind)).cloned().collect()
}
