//! The containers of a stack: do they run, are they well, how often did they restart, does something listen?

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::args;
use super::brief;
use crate::plan::{Answer, Failure, Object, Output, Query, Return, Script};

/// The containers of one service of the stack, or of all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    #[serde(default)]
    pub service: Option<String>,
    /// Services of the stack that must have one.
    #[serde(default, deserialize_with = "args::list")]
    pub expected: Vec<String>,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pub running: bool,
    /// Where there is a health check, it must have passed.
    #[serde(default = "yes", deserialize_with = "args::flag")]
    pub healthy: bool,
    #[serde(default, deserialize_with = "args::opt_count")]
    pub max_restarts: Option<u64>,
    /// Try whether something listens on its ports.
    #[serde(default, deserialize_with = "args::flag")]
    pub ports: bool,
}

fn yes() -> bool {
    true
}

/// At most so many ports of a container are tried.
const PORTS: usize = 6;

/// Puts the ids of a project's containers into `$ids`, whatever their state.
pub(super) fn list(project: &str, service: Option<&str>) -> Script {
    let script = Script::new()
        .raw("set --")
        .arg(format!("label=com.docker.compose.project={project}"))
        .arg(match service {
            Some(service) => format!("label=com.docker.swarm.service.name={project}_{service}"),
            None => format!("label=com.docker.stack.namespace={project}"),
        })
        .arg(format!("label=com.docker.compose.service={}", service.unwrap_or_default()));
    let script =
        script.raw("\nids=$(docker ps -aq --no-trunc --filter label=com.docker.compose.oneoff=False --filter \"$1\"");
    let script = if service.is_some() { script.raw("--filter \"$3\"") } else { script };
    script.raw(") || exit\n[ -n \"$ids\" ] || ids=$(docker ps -aq --no-trunc --filter \"$2\") || exit\n")
}

/// Of what Docker knows, only this: the environment holds secrets.
const SHAPE: &str = r#"'{"name":{{json .Name}},"image":{{json .Config.Image}},"digest":{{json .Image}},"user":{{json .Config.User}},"state":{{json .State}},"restarts":{{json .RestartCount}},"policy":{{json .HostConfig.RestartPolicy.Name}},"ports":{{json .NetworkSettings.Ports}},"networks":{{json .NetworkSettings.Networks}},"service":{{json (index .Config.Labels "com.docker.compose.service")}},"task":{{json (index .Config.Labels "com.docker.swarm.service.name")}}}' $ids"#;

impl Container {
    pub(super) fn script(&self, project: &str) -> Option<Script> {
        let script = list(project, self.service.as_deref()).raw("[ -n \"$ids\" ] || exit 0\n");
        let script = script.raw("printf '@project %s\\n'").arg(project);
        Some(script.raw("\nexec docker container inspect --format").raw(SHAPE))
    }

    /// The containers, without those of a swarm's earlier tasks and without one-shots that are done.
    fn read(output: &Output) -> Vec<Object> {
        let text = output.stdout_text();
        let project = text.lines().find_map(|line| line.strip_prefix("@project ")).unwrap_or_default().to_owned();
        let all: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let mut seen: Vec<Object> = all.iter().map(|raw| shape(raw, &project)).collect();
        seen.retain(|container| !is_done(container));
        let runs: Vec<String> =
            seen.iter().filter(|c| text_of(c, "status") == "running").map(|c| text_of(c, "service")).collect();
        seen.retain(|c| {
            text_of(c, "task").is_empty() || text_of(c, "status") == "running" || !runs.contains(&text_of(c, "service"))
        });
        seen.sort_by_key(|container| text_of(container, "name"));
        seen
    }

    /// Connections to try after the containers are known: address and port, from the host.
    pub(super) fn connections(&self, output: &Output) -> Vec<Query> {
        if !self.ports || !output.ok() {
            return Vec::new();
        }
        let tries = Self::read(output).iter().flat_map(doors).collect::<Vec<_>>();
        tries.into_iter().map(|(host, port)| Query::Run(super::super::net::connect(&host, port, 3))).collect()
    }

    /// Puts what the connections came to into the containers: the port that is served, and whether one is.
    fn reach(containers: &mut [Object], answers: &[Answer]) {
        let mut answers = answers.iter();
        for container in containers {
            let doors = doors(container);
            let mut first = None;
            let mut open = None;
            for (_, port) in &doors {
                first.get_or_insert(*port);
                let Some(Answer::Output(output)) = answers.next() else { continue };
                if output.stdout_text().trim() == "open" {
                    open.get_or_insert(*port);
                }
            }
            // an image names ports for every container made of it, also for a worker that listens on none
            let named_only = !published(container) && text_of(container, "health") == "healthy";
            if open.is_none() && named_only {
                first = None;
            }
            container.insert("port".to_owned(), open.or(first).map_or(Value::Null, Value::from));
            let reachable = if first.is_none() { Value::Null } else { open.is_some().into() };
            container.insert("reachable".to_owned(), reachable);
        }
    }

    pub(super) fn judge(&self, output: &Output, connections: &[Answer]) -> Result<Return, Failure> {
        if !output.ok() {
            let why = brief(&output.stderr_text());
            return Err(Failure::new(format!("docker does not tell: {why}")).with("rc", output.rc));
        }
        let mut containers = Self::read(output);
        if self.ports {
            Self::reach(&mut containers, connections);
        }
        let mut wrong = Vec::new();
        for container in &containers {
            wrong.extend(self.complaint(container));
        }
        let has = |service: &String| containers.iter().any(|container| text_of(container, "service") == **service);
        wrong.extend(self.expected.iter().filter(|service| !has(service)).map(|s| format!("{s} has no container")));
        if containers.is_empty() && self.expected.is_empty() {
            wrong.push("there are no containers".to_owned());
        }
        for container in &mut containers {
            // what docker prints of networks is only needed to find a door
            for key in ["doors", "published", "task", "policy"] {
                container.shift_remove(key);
            }
        }
        let count = containers.len();
        match wrong.is_empty() {
            true => Ok(Return::msg(format!("{count} of {count} are well")).with("containers", containers)),
            false => Err(Failure::new(wrong.join("; ")).with("containers", containers)),
        }
    }

    fn complaint(&self, container: &Object) -> Option<String> {
        let (name, status, health) =
            (text_of(container, "name"), text_of(container, "status"), text_of(container, "health"));
        let last = container.get("health_log").and_then(Value::as_str).filter(|last| !last.is_empty());
        let last = last.map(|last| format!(": {}", brief(last))).unwrap_or_default();
        let restarts = container.get("restarts").and_then(Value::as_u64).unwrap_or_default();
        if self.running && status != "running" {
            let code = container.get("exit_code").and_then(Value::as_i64).unwrap_or_default();
            return Some(format!("{name} is {status} (exit code {code})"));
        }
        if self.healthy && !health.is_empty() && health != "healthy" {
            return Some(format!("{name} is {health}{last}"));
        }
        let most = self.max_restarts?;
        (restarts > most).then(|| format!("{name} has restarted {restarts} times, more than {most}"))
    }
}

/// Docker's answer in our words.
fn shape(raw: &Value, project: &str) -> Object {
    let text = |pointer: &str| raw.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let task = text("/task");
    let service = match task.strip_prefix(&format!("{project}_")) {
        Some(service) => service.to_owned(),
        None => text("/service"),
    };
    let log = raw.pointer("/state/Health/Log").and_then(Value::as_array).and_then(|log| log.last());
    let log = log.and_then(|check| check.get("Output")).and_then(Value::as_str).unwrap_or_default();
    let shaped = json!({
        "name": text("/name").trim_start_matches('/'), "service": service, "image": text("/image"),
        "digest": text("/digest"), "user": text("/user"), "status": text("/state/Status"),
        "health": text("/state/Health/Status").replace("none", ""), "restarts": raw.get("restarts"),
        "exit_code": raw.pointer("/state/ExitCode"), "oom_killed": raw.pointer("/state/OOMKilled"),
        "started_at": text("/state/StartedAt"), "health_log": brief(log), "doors": found_doors(raw), "published": is_published(raw),
        "task": task, "policy": text("/policy"),
    });
    shaped.as_object().cloned().unwrap_or_default()
}

/// Published ports where they are published; else those that the image names, on the container's own address.
fn found_doors(raw: &Value) -> Vec<Value> {
    let ports = raw.get("ports").and_then(Value::as_object);
    let tcp = ports.into_iter().flatten().filter_map(|(port, bound)| {
        Some((port.strip_suffix("/tcp")?.parse::<u64>().ok()?, bound.as_array().cloned().unwrap_or_default()))
    });
    let tcp: Vec<(u64, Vec<Value>)> = tcp.collect();
    let published = tcp.iter().flat_map(|(_, bound)| bound).filter_map(|bound| {
        let host = match bound.get("HostIp").and_then(Value::as_str).unwrap_or_default() {
            "" | "0.0.0.0" | "::" => "127.0.0.1",
            other => other,
        };
        Some(json!([host, bound.get("HostPort")?.as_str()?.parse::<u64>().ok()?]))
    });
    let mut doors: Vec<Value> = published.collect();
    doors.dedup();
    if doors.is_empty() {
        let address =
            raw.get("networks").and_then(Value::as_object).into_iter().flatten().find_map(|(name, network)| {
                let address = network.get("IPAddress")?.as_str()?;
                (!address.is_empty() && name != "ingress").then(|| address.to_owned())
            });
        // an overlay's addresses cannot be reached from the host
        let swarm = raw.get("task").and_then(Value::as_str).is_some_and(|task| !task.is_empty());
        if let Some(address) = address.filter(|_| !swarm) {
            doors = tcp.iter().map(|(port, _)| json!([address, port])).collect();
        }
    }
    doors.truncate(PORTS);
    doors
}

fn doors(container: &Object) -> Vec<(String, u64)> {
    if text_of(container, "status") != "running" {
        return Vec::new();
    }
    let doors = container.get("doors").and_then(Value::as_array).into_iter().flatten();
    doors.filter_map(|door| Some((door.get(0)?.as_str()?.to_owned(), door.get(1)?.as_u64()?))).collect()
}

fn is_published(raw: &Value) -> bool {
    let ports = raw.get("ports").and_then(Value::as_object);
    ports.into_iter().flatten().any(|(_, bound)| bound.as_array().is_some_and(|bound| !bound.is_empty()))
}

fn published(container: &Object) -> bool {
    container.get("published").and_then(Value::as_bool) == Some(true)
}

fn is_done(container: &Object) -> bool {
    let may_end = matches!(text_of(container, "policy").as_str(), "" | "no" | "on-failure");
    text_of(container, "status") == "exited" && container.get("exit_code").and_then(Value::as_i64) == Some(0) && may_end
}

fn text_of(container: &Object, key: &str) -> String {
    container.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}
