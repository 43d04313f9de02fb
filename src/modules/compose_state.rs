//! What a compose project should be and what of it is there: the reasons why a container has to be created, recreated,
//! started or removed.
//!
//! The measure is Compose's own: `docker compose config --hash` against the label that Compose put on the container, and
//! the image's id against the one it was made from. Leaves out carrying anything out; see `compose.rs`.

use std::collections::HashMap;
use std::fmt;

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::{Value, json};

use super::docker::short;
use super::docker_wait::{Container, Moment, Verdict};

/// The part of `docker compose config --format json` that counts. Values of `environment` may be secrets.
#[derive(Deserialize)]
pub(super) struct Project {
    pub name: String,
    #[serde(default)]
    pub services: IndexMap<String, Service>,
}

#[derive(Deserialize)]
pub(super) struct Service {
    pub image: Option<String>,
    pub build: Option<Value>,
    pub pull_policy: Option<String>,
    scale: Option<usize>,
    pub container_name: Option<String>,
    #[serde(default)]
    pub ports: Vec<Port>,
    #[serde(default)]
    pub volumes: Vec<Volume>,
    pub healthcheck: Option<Value>,
    #[serde(default)]
    pub labels: Option<IndexMap<String, Value>>,
    pub networks: Option<IndexMap<String, Option<Attached>>>,
    restart: Option<String>,
    #[serde(default)]
    deploy: Option<Deploy>,
    #[serde(default)]
    depends_on: IndexMap<String, Dependency>,
    #[serde(default)]
    environment: Option<IndexMap<String, Option<Value>>>,
    pub network_mode: Option<String>,
    ipc: Option<String>,
    pid: Option<String>,
    #[serde(default)]
    links: Vec<String>,
    #[serde(default)]
    pub post_start: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Port {
    pub published: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Volume {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub source: Option<String>,
    #[serde(default)]
    pub target: String,
    #[serde(default)]
    pub read_only: bool,
}

#[derive(Deserialize)]
pub(super) struct Attached {
    pub ipv4_address: Option<String>,
    pub ipv6_address: Option<String>,
}

#[derive(Deserialize)]
struct Deploy {
    replicas: Option<usize>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Dependency {
    pub condition: Condition,
    #[serde(default = "yes")]
    pub required: bool,
    #[serde(default)]
    pub restart: bool,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub(super) enum Condition {
    #[serde(rename = "service_started")]
    Started,
    #[serde(rename = "service_healthy")]
    Healthy,
    #[serde(rename = "service_completed_successfully")]
    Completed,
}

impl Service {
    pub(super) fn replicas(&self) -> usize {
        self.scale.or(self.deploy.as_ref().and_then(|deploy| deploy.replicas)).unwrap_or(1)
    }

    /// Is meant to end: nothing would start it again.
    pub(super) fn ends(&self) -> bool {
        matches!(self.restart.as_deref(), Some("no" | "on-failure"))
    }

    pub(super) fn label(&self, key: &str) -> Option<String> {
        self.labels.as_ref()?.get(key).map(super::args::as_text)
    }

    /// `depends_on`, and what shares a namespace with another service.
    pub(super) fn needs(&self) -> IndexMap<String, Dependency> {
        let started = Dependency { condition: Condition::Started, required: true, restart: false };
        let shared = [&self.network_mode, &self.ipc, &self.pid];
        let shared = shared.into_iter().flatten().filter_map(|mode| mode.strip_prefix("service:"));
        let linked = self.links.iter().map(|link| link.split(':').next().unwrap_or(link));
        let mut needs = self.depends_on.clone();
        for name in shared.chain(linked) {
            needs.entry(name.to_owned()).or_insert_with(|| started.clone());
        }
        needs
    }
}

/// When to recreate a container.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Recreate {
    #[default]
    Auto,
    Always,
    Never,
}

/// One thing to do, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Action {
    pub kind: Kind,
    pub service: String,
    /// Name and id of an existing container.
    pub container: Option<(String, String)>,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Pull,
    Build,
    Create,
    Recreate,
    Start,
    Restart,
    Remove,
    /// A new container next to the one that it is going to replace.
    Beside,
    /// What was replaced goes.
    Retire,
}

impl Kind {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Kind::Pull => "pull",
            Kind::Build => "build",
            Kind::Create => "create",
            Kind::Recreate => "recreate",
            Kind::Start => "start",
            Kind::Restart => "restart",
            Kind::Remove => "remove",
            Kind::Beside => "replace without a gap",
            Kind::Retire => "retire",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.container.as_ref().map_or(self.service.as_str(), |(name, _)| name);
        write!(f, "{} {name}: {}", self.kind.verb(), self.why)
    }
}

impl Action {
    pub(super) fn to_value(&self) -> Value {
        json!({
            "what": if matches!(self.kind, Kind::Pull | Kind::Build) { "image" } else { "container" },
            "id": self.container.as_ref().map_or(self.service.as_str(), |(name, _)| name),
            "service": self.service,
            "status": self.kind.verb(),
            "why": self.why,
        })
    }
}

/// Everything that was observed.
pub(super) struct Seen {
    pub project: Project,
    /// Compose's digest of each service.
    pub hashes: HashMap<String, String>,
    /// Image name → id, None if it is not on the host.
    pub images: HashMap<String, Option<String>>,
    pub containers: Vec<Container>,
    /// Milliseconds since the epoch by the host's clock: now, and when this task began.
    pub now: i64,
    pub began: i64,
}

pub(super) const SERVICE: &str = "com.docker.compose.service";
const ONE_OFF: &str = "com.docker.compose.oneoff";
const HASH: &str = "com.docker.compose.config-hash";
const IMAGE: &str = "com.docker.compose.image";

/// What the task wants of the containers.
pub(super) struct Wish {
    /// Services, dependencies included.
    pub services: Vec<String>,
    /// Those that were named; none: all. Only these are restarted or made anew because somebody asked for it.
    pub named: Vec<String>,
    pub recreate: Recreate,
    pub restart: bool,
    /// Services whose new container is started before the old one goes.
    pub beside: Vec<String>,
    /// Why others cannot be.
    pub gaps: IndexMap<String, String>,
    /// A change was already carried out by this task.
    pub again: bool,
}

impl Wish {
    fn names(&self, service: &str) -> bool {
        self.named.is_empty() || self.named.iter().any(|name| name == service)
    }
}

impl Seen {
    pub(super) fn image_of(&self, name: &str, service: &Service) -> String {
        service.image.clone().unwrap_or_else(|| format!("{}-{name}", self.project.name))
    }

    pub(super) fn image_id(&self, name: &str, service: &Service) -> Option<&str> {
        self.images.get(&self.image_of(name, service)).and_then(Option::as_deref)
    }

    /// The containers of a service, without those of `docker compose run`.
    pub(super) fn of<'a>(&'a self, service: &str) -> impl Iterator<Item = &'a Container> + use<'a> {
        let service = service.to_owned();
        self.containers.iter().filter(move |c| c.label(SERVICE) == service && c.label(ONE_OFF) != "True")
    }

    /// Containers whose service is in no compose file any more.
    pub(super) fn orphans(&self, known: &[&str]) -> Vec<&Container> {
        self.containers
            .iter()
            .filter(|container| container.label(ONE_OFF) != "True" && !container.label(SERVICE).is_empty())
            .filter(|container| !self.project.services.contains_key(container.label(SERVICE)))
            .filter(|container| !known.contains(&container.label(SERVICE)))
            .collect()
    }

    /// Another service waits for the end of this one.
    pub(super) fn one_shot(&self, name: &str) -> bool {
        let waits = |service: &Service| service.needs().get(name).is_some_and(|d| d.condition == Condition::Completed);
        self.project.services.values().any(waits)
    }

    /// What differs from the wish, container by container.
    pub(super) fn actions(&self, wish: &Wish) -> Vec<Action> {
        let mut actions = Vec::new();
        for name in &wish.services {
            let Some(service) = self.project.services.get(name) else { continue };
            if wish.beside.contains(name) {
                actions.extend(self.beside(name, service, wish));
                continue;
            }
            let wanted = service.replicas();
            let mut there = 0;
            for container in self.of(name) {
                there += 1;
                let action = |kind, why| Action {
                    kind,
                    service: name.clone(),
                    container: Some((container.name().to_owned(), container.id.clone())),
                    why,
                };
                if there > wanted {
                    actions.push(action(Kind::Remove, format!("{wanted} wanted")));
                } else if let Some(mut why) = self.outdated(name, service, container, wish) {
                    if let Some(gap) = wish.gaps.get(name) {
                        why.push_str(&format!("; it stops first: {gap}"));
                    }
                    actions.push(action(Kind::Recreate, why));
                } else if let Some((kind, why)) = self.asleep(name, service, container, wish) {
                    actions.push(action(kind, why));
                }
            }
            for _ in there..wanted {
                let why = "there is none".to_owned();
                actions.push(Action { kind: Kind::Create, service: name.clone(), container: None, why });
            }
        }
        actions
    }

    /// Why a container has to be replaced.
    pub(super) fn outdated(&self, name: &str, service: &Service, container: &Container, wish: &Wish) -> Option<String> {
        // what this task has made is as Compose makes it; a second try would not make it otherwise
        let fresh = wish.again && container.created() >= self.began;
        match wish.recreate {
            Recreate::Never => return None,
            _ if fresh => return None,
            Recreate::Always if wish.names(name) => return Some("asked for".to_owned()),
            Recreate::Always | Recreate::Auto => {}
        }
        let image = self.image_of(name, service);
        if self.hashes.get(name).is_some_and(|hash| hash != container.label(HASH)) {
            if container.config.image != image {
                return Some(format!("image changed: {} → {image}", container.config.image));
            }
            return Some(match self.changed_settings(service, container).as_slice() {
                [] => "configuration changed".to_owned(),
                names => format!("configuration changed: {}", names.join(", ")),
            });
        }
        let id = self.image_id(name, service).filter(|id| *id != container.label(IMAGE))?;
        Some(format!("image {image} changed: {} → {}", short(container.label(IMAGE)), short(id)))
    }

    /// Names of settings whose values differ; no values.
    fn changed_settings(&self, service: &Service, container: &Container) -> Vec<String> {
        let now: HashMap<&str, &str> =
            container.config.env.iter().flatten().filter_map(|setting| setting.split_once('=')).collect();
        let mut names = Vec::new();
        for (name, value) in service.environment.iter().flatten() {
            // dollars are doubled in the answer, so that it could be read again
            let wanted = value.as_ref().map(|value| super::args::as_text(value).replace("$$", "$"));
            if wanted.is_some() && wanted.as_deref() != now.get(name.as_str()).copied() {
                names.push(name.clone());
            }
        }
        names.sort();
        names
    }

    /// Why a container that need not be replaced has to be started.
    pub(super) fn asleep(
        &self,
        name: &str,
        service: &Service,
        container: &Container,
        wish: &Wish,
    ) -> Option<(Kind, String)> {
        let tried = wish.again && container.started() >= self.began;
        match container.state.status.as_str() {
            "created" if container.started() <= 0 => return Some((Kind::Start, "was never started".to_owned())),
            "exited" if container.ended_well(self.one_shot(name)) => return None,
            "created" | "exited" | "dead" if !tried => {
                return Some((Kind::Start, format!("had ended with code {}", container.state.exit_code)));
            }
            "running" if wish.restart && wish.names(name) && !tried => {
                return Some((Kind::Restart, "asked for".to_owned()));
            }
            "running" => {}
            _ => return None,
        }
        let newer = service.needs().into_iter().find(|(other, dependency)| {
            dependency.restart && self.of(other).any(|other| other.created() > container.started())
        });
        newer.map(|(other, _)| (Kind::Restart, format!("{other} was replaced")))
    }

    /// The verdict on every container of these services.
    pub(super) fn verdicts(&self, services: &[String], pending: &[Action]) -> Vec<(&Container, Verdict)> {
        let judge = |container: &Container, others_starting| {
            let one_shot = self.one_shot(container.label(SERVICE));
            container.verdict(Moment { now: self.now, one_shot, others_starting })
        };
        let all: Vec<&Container> = services.iter().flat_map(|name| self.of(name)).collect();
        let slow = |container: &&&Container| {
            container.health() == Some("starting")
                || (container.runs() && self.one_shot(container.label(SERVICE)) && container.restart_count == 0)
        };
        let starting: Vec<&str> = all.iter().filter(slow).map(|container| container.id.as_str()).collect();
        let waits = pending.iter().any(|action| matches!(action.kind, Kind::Start | Kind::Restart));
        let judged = all.into_iter().map(|container| {
            let others = waits || starting.iter().any(|id| *id != container.id);
            (container, judge(container, others))
        });
        judged.collect()
    }

    /// What a service still waits for before it may start; None if it may.
    pub(super) fn blocked(&self, name: &str, wish: &Wish, pending: &[Action]) -> Option<Verdict> {
        let service = self.project.services.get(name)?;
        service.needs().into_iter().find_map(|(other, dependency)| {
            let containers: Vec<&Container> = self.of(&other).collect();
            if containers.is_empty() {
                let counts = dependency.required && wish.services.contains(&other);
                return counts.then(|| Verdict::Waiting(format!("waits for {other} to be created")));
            }
            if pending.iter().any(|action| action.service == other) {
                return Some(Verdict::Waiting(format!("waits for {other} to start")));
            }
            if dependency.condition == Condition::Healthy && containers.iter().any(|c| c.runs() && c.health().is_none())
            {
                let text = format!("depends on a healthy {other}, but {other} has no health check");
                return Some(Verdict::Failed(text));
            }
            let one_shot = dependency.condition == Condition::Completed;
            let moment = Moment { now: self.now, one_shot, others_starting: true };
            let ended = |container: &&Container| container.verdict(moment) == Verdict::Done;
            let ready = containers.iter().all(|container| match dependency.condition {
                Condition::Started => container.runs() || ended(container),
                Condition::Healthy => container.health() == Some("healthy"),
                Condition::Completed => ended(container),
            });
            let what = match dependency.condition {
                Condition::Started => "start",
                Condition::Healthy => "be healthy",
                Condition::Completed => "end well",
            };
            (!ready).then(|| Verdict::Waiting(format!("waits for {other} to {what}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker_wait::tests::{NOW, container};

    /// As Compose 2.26 prints it.
    const CONFIG: &str = r#"{"name":"p1","networks":{"default":{"name":"p1_default","ipam":{}}},"services":{
        "db":{"command":["sleep","9"],"entrypoint":null,"healthcheck":{"test":["CMD","true"],"interval":"1s","retries":20},
            "image":"postgres:17","networks":{"default":null},"restart":"unless-stopped"},
        "job":{"command":null,"depends_on":{"db":{"condition":"service_healthy","required":true}},"entrypoint":null,
            "image":"app:1","networks":{"default":null},"restart":"no"},
        "web":{"command":null,"depends_on":{"db":{"condition":"service_started","required":true,"restart":true},
            "job":{"condition":"service_completed_successfully","required":true}},
            "deploy":{"replicas":2,"resources":{},"placement":{}},"entrypoint":null,
            "environment":{"A":"x$$y","EMPTY":null},"image":"app:1","networks":{"default":null}}}}"#;

    fn of(service: &str, number: usize, status: &str, more: Value) -> Value {
        let labels = json!({"com.docker.compose.service": service, "com.docker.compose.oneoff": "False",
            "com.docker.compose.config-hash": format!("hash-{service}"), "com.docker.compose.image": "sha256:1"});
        let image = if service == "db" { "postgres:17" } else { "app:1" };
        let mut value = container(&format!("p1-{service}-{number}"), status, 3600, more);
        value["Config"]["Image"] = image.into();
        if value["Config"]["Env"] == json!([]) {
            value["Config"]["Env"] = json!(["A=x$y", "PATH=/bin"]);
        }
        let own = value["Config"]["Labels"].as_object().cloned().unwrap_or_default();
        value["Config"]["Labels"] = labels;
        for (key, label) in own {
            value["Config"]["Labels"][key] = label;
        }
        value
    }

    fn seen(containers: Vec<Value>) -> Seen {
        let one = |name: &str| (name.to_owned(), Some("sha256:1".to_owned()));
        Seen {
            project: serde_json::from_str(CONFIG).unwrap(),
            hashes: ["db", "job", "web"].iter().map(|name| ((*name).to_owned(), format!("hash-{name}"))).collect(),
            images: [one("postgres:17"), one("app:1")].into(),
            containers: containers.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect(),
            now: NOW,
            began: NOW - 10_000,
        }
    }

    fn all(change: impl Fn(&str, usize) -> (&'static str, Value)) -> Vec<Value> {
        let each = [("db", 1), ("job", 1), ("web", 1), ("web", 2)].into_iter();
        let made = each.map(|(service, number)| {
            let (status, more) = change(service, number);
            of(service, number, status, more)
        });
        made.collect()
    }

    fn well(service: &str) -> (&'static str, Value) {
        match service {
            "job" => ("exited", json!({"HostConfig": {"RestartPolicy": {"Name": "no"}}})),
            _ => ("running", json!({})),
        }
    }

    #[test]
    fn what_differs_and_why() {
        let wish = |recreate, restart| Wish {
            services: vec!["db".to_owned(), "job".to_owned(), "web".to_owned()],
            named: vec![],
            recreate,
            restart,
            beside: Vec::new(),
            gaps: IndexMap::new(),
            again: false,
        };
        let auto = || wish(Recreate::Auto, false);
        let only = |service: &'static str, number: usize, status: &'static str, more: Value| {
            all(move |s, n| if (s, n) == (service, number) { (status, more.clone()) } else { well(s) })
        };
        let label = |key: &str, value: &str| json!({"Config": {"Labels": {key: value}}});
        let table = [
            (all(|s, _| well(s)), auto(), ""),
            (
                Vec::new(),
                auto(),
                "create db: there is none|create job: there is none|create web: there is none|create web: there is none",
            ),
            (
                only("db", 1, "running", label("com.docker.compose.config-hash", "old")),
                auto(),
                "recreate p1-db-1: configuration changed",
            ),
            (
                only(
                    "web",
                    2,
                    "running",
                    json!({"Config": {"Labels": {"com.docker.compose.config-hash": "old"}, "Env": ["A=hunter2"]}}),
                ),
                auto(),
                "recreate p1-web-2: configuration changed: A",
            ),
            (
                only("db", 1, "running", label("com.docker.compose.image", "sha256:0")),
                auto(),
                "recreate p1-db-1: image postgres:17 changed: 0 → 1",
            ),
            (
                only("db", 1, "running", label("com.docker.compose.config-hash", "old")),
                wish(Recreate::Never, false),
                "",
            ),
            (
                only("db", 1, "exited", json!({"State": {"ExitCode": 137}})),
                auto(),
                "start p1-db-1: had ended with code 137",
            ),
            (
                only("db", 1, "created", json!({"State": {"StartedAt": "0001-01-01T00:00:00Z"}})),
                auto(),
                "start p1-db-1: was never started",
            ),
            (
                only("job", 1, "exited", json!({"State": {"ExitCode": 1}})),
                auto(),
                "start p1-job-1: had ended with code 1",
            ),
            // `restart: true` on the dependency
            (
                only(
                    "db",
                    1,
                    "running",
                    json!({"Created": "2026-11-23T12:19:00Z", "State": {"StartedAt": "2026-11-23T12:19:01Z"}}),
                ),
                auto(),
                "restart p1-web-1: db was replaced|restart p1-web-2: db was replaced",
            ),
            (
                all(|s, _| well(s)),
                wish(Recreate::Auto, true),
                "restart p1-db-1: asked for|restart p1-web-1: asked for|restart p1-web-2: asked for",
            ),
            (
                [all(|s, _| well(s)), vec![of("web", 3, "running", json!({}))]].concat(),
                auto(),
                "remove p1-web-3: 2 wanted",
            ),
            // `docker compose run` makes containers of its own
            (
                [all(|s, _| well(s)), vec![of("web", 3, "exited", label("com.docker.compose.oneoff", "True"))]]
                    .concat(),
                auto(),
                "",
            ),
        ];
        for (containers, wish, wanted) in table {
            let actions = seen(containers).actions(&wish);
            let said: Vec<String> = actions.iter().map(Action::to_string).collect();
            assert_eq!(said.join("|"), wanted);
        }
    }

    #[test]
    fn orphans_are_those_of_no_service() {
        let seen = seen([all(|s, _| well(s)), vec![of("old", 1, "running", json!({}))]].concat());
        let names: Vec<&str> = seen.orphans(&[]).iter().map(|container| container.name()).collect();
        assert_eq!(names, ["p1-old-1"]);
        assert!(seen.orphans(&["old"]).is_empty());
    }

    #[test]
    fn a_service_starts_when_what_it_needs_is_ready() {
        let wish = Wish {
            services: vec!["db".to_owned(), "job".to_owned(), "web".to_owned()],
            named: vec![],
            recreate: Recreate::Auto,
            restart: false,
            beside: Vec::new(),
            gaps: IndexMap::new(),
            again: true,
        };
        let healthy = json!({"State": {"Health": {"Status": "healthy"}}});
        let starting = json!({"State": {"Health": {"Status": "starting"}}});
        let table = [
            ("job", "running", healthy.clone(), "exited", None),
            ("job", "running", starting, "created", Some("waits for db to be healthy")),
            ("job", "running", json!({}), "created", Some("depends on a healthy db, but db has no health check")),
            ("web", "running", healthy.clone(), "running", Some("waits for job to end well")),
            ("web", "running", healthy.clone(), "exited", None),
            ("web", "created", json!({}), "exited", Some("waits for db to start")),
        ];
        for (service, db, more, job, wanted) in table {
            let seen = seen(vec![of("db", 1, db, more), of("job", 1, job, well("job").1)]);
            let said = seen.blocked(service, &wish, &[]).map(|verdict| match verdict {
                Verdict::Waiting(why) | Verdict::Failed(why) => why,
                other => format!("{other:?}"),
            });
            assert_eq!(said.as_deref(), wanted, "{service}: db {db}, job {job}");
        }
    }
}
