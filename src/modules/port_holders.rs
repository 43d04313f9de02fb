//! `port_holders`: which containers and processes hold the ports, or the container names, that a project needs.
//!
//! ```yaml
//! - name: Who is in the way
//!   port_holders:
//!     ports: [{port: 5432, address: 127.0.0.1}, 8000]
//!     names: [vnm_postgres_debug]
//!     label: com.docker.compose.project=versatile-vnm
//!   register: taken
//! ```
//!
//! Only looks. `holders` has one entry for each thing in the way (`what`, `port`, `kind`, `name`, `pid`, `unit`, `image`,
//! `project`), but none for containers that carry `label`: those are the project itself, which whoever starts it
//! replaces as needed. Processes are seen through `ss`, or `netstat` where there is no `ss`.

use std::time::Duration;

use fancy_regex::Regex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::docker::{ask, output};
use super::{Build, Spec, args, observed, typed};
use crate::plan::{Failure, Module, Object, Observed, Plan, Query, Return, Script};

pub const FAMILY: &[Spec] =
    &[Spec { name: "port_holders", aliases: &[], args: &["ports", "names", "label"], free_form: None, build }];

#[derive(Deserialize)]
struct Arguments {
    #[serde(default)]
    ports: Vec<Value>,
    #[serde(default, deserialize_with = "args::list")]
    names: Vec<String>,
    #[serde(default)]
    label: String,
}

struct PortHolders {
    ports: Vec<Port>,
    names: Vec<String>,
    label: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Port {
    port: u16,
    /// Empty: every one.
    address: String,
    protocol: String,
}

/// Something that listens.
struct Listener {
    at: Port,
    process: String,
    pid: Option<u32>,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Arguments = typed(FAMILY[0].args, args)?;
    let ports = args.ports.iter().map(|port| read_port(port).ok_or_else(|| Failure::new(format!("{port} is no port"))));
    Ok(Box::new(PortHolders { ports: ports.collect::<Result<_, _>>()?, names: args.names, label: args.label }))
}

fn read_port(value: &Value) -> Option<Port> {
    let number = |value: &Value| args::as_text(value).parse::<u16>().ok().filter(|port| *port > 0);
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    match value {
        Value::Object(map) => {
            let protocol = Some(text("protocol")).filter(|text| !text.is_empty()).unwrap_or_else(|| "tcp".to_owned());
            Some(Port { port: number(map.get("port")?)?, address: text("address"), protocol })
        }
        other => Some(Port { port: number(other)?, address: String::new(), protocol: "tcp".to_owned() }),
    }
}

impl Port {
    /// Can both not be listened on?
    fn clashes(&self, other: &Port) -> bool {
        let any = |address: &str| ["", "*", "0.0.0.0", "::", "[::]"].contains(&address);
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.address) || any(&other.address) || self.address == other.address)
    }
}

/// Every container without its environment: `{"name", "image", "runs", "labels", "ports"}`, one a line.
const CONTAINERS: &str = "command -v docker >/dev/null || exit 0
ids=$(docker ps -aq --no-trunc) || exit 0
[ -z \"$ids\" ] || docker inspect --type container --format '{\"name\":{{json .Name}},\"image\":{{json .Config.Image}},\"runs\":{{json .State.Running}},\"labels\":{{json .Config.Labels}},\"ports\":{{json .NetworkSettings.Ports}}}' $ids";

/// One clock for both; a program's name and pid are only seen by root.
const LISTENERS: &str = "if command -v ss >/dev/null 2>&1; then ss -Htlnp | sed 's/^/tcp /'; ss -Hulnp | sed 's/^/udp /'
elif command -v netstat >/dev/null 2>&1; then netstat -tlnp 2>/dev/null | sed -n 's/^tcp6* /netstat tcp /p'; netstat -ulnp 2>/dev/null | sed -n 's/^udp6* /netstat udp /p'
else echo none; fi";

impl Module for PortHolders {
    fn probe(&self) -> Vec<Query> {
        // never ahead of time: what is in the way may be there only after the task before
        Vec::new()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        if observed.more.is_empty() {
            let questions = [CONTAINERS, LISTENERS].map(|text| ask(Script::new().raw(text)));
            return Ok(Plan::Ask(questions.into()));
        }
        let containers = output(observed.more, 0)?.stdout_text();
        let listeners = output(observed.more, 1)?.stdout_text();
        let mut holders = self.containers(&containers);
        let published: Vec<Port> = containers.lines().flat_map(ports_of).collect();
        let processes: Vec<Listener> = listeners
            .lines()
            .filter_map(listener)
            // what Docker holds, it holds for a container that is known already
            .filter(|listener| {
                !(published.iter().any(|port| port.clashes(&listener.at)) && of_docker(&listener.process))
            })
            .filter(|listener| self.ports.iter().any(|port| port.clashes(&listener.at)))
            .collect();
        let pids: Vec<String> =
            processes.iter().filter_map(|listener| listener.pid).map(|pid| pid.to_string()).collect();
        if !pids.is_empty() && observed.more.len() == 2 {
            let script = Script::new()
                .raw("for p in")
                .args(pids)
                .raw("; do printf '%s %s\\n' \"$p\" \"$(tail -n 1 \"/proc/$p/cgroup\" 2>/dev/null)\"; done")
                .timeout(Duration::from_secs(20));
            return Ok(Plan::Ask(vec![Query::Run(script)]));
        }
        let units = match observed.more.get(2) {
            Some(_) => observed::output(observed.more, 2, "port_holders")?.stdout_text(),
            None => String::new(),
        };
        for listener in processes {
            let holder = process(&listener, &units);
            // one that listens on IPv4 and IPv6 is one
            if !holders.contains(&holder) {
                holders.push(holder);
            }
        }
        let told: Vec<String> =
            holders.iter().filter_map(|holder| holder["what"].as_str().map(str::to_owned)).collect();
        let msg = if told.is_empty() { "nothing is in the way".to_owned() } else { told.join("; ") };
        Ok(Plan::NoChange(Return::msg(msg).with("holders", holders)))
    }
}

impl PortHolders {
    fn containers(&self, lines: &str) -> Vec<Value> {
        let (key, project) = self.label.split_once('=').unwrap_or((&self.label, ""));
        let mut holders = Vec::new();
        for container in lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let label = |key: &str| container["labels"].get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            if !self.label.is_empty() && label(key) == project {
                continue;
            }
            let name = container["name"].as_str().unwrap_or_default().trim_start_matches('/').to_owned();
            let (compose, stack) = (label("com.docker.compose.project"), label("com.docker.stack.namespace"));
            let wanted = |held: &Port| self.ports.iter().any(|port| port.clashes(held));
            let ports: Vec<u16> =
                ports_in(&container).iter().filter(|held| wanted(held)).map(|held| held.port).collect();
            let takes_name = self.names.contains(&name);
            if ports.is_empty() && !takes_name {
                continue;
            }
            let image = container["image"].as_str().unwrap_or_default();
            let mut held: Vec<String> = ports.iter().map(|port| format!("port {port}")).collect();
            held.dedup();
            held.extend(takes_name.then(|| "the name".to_owned()));
            let owner = [&compose, &stack].into_iter().find(|owner| !owner.is_empty());
            let of = owner.map(|owner| format!(" of the project {owner}")).unwrap_or_default();
            holders.push(json!({
                "what": format!("container {name} ({image}){of} holds {}", held.join(" and ")),
                "kind": "container", "name": name, "image": image, "port": ports.first(), "pid": null, "unit": "",
                "project": owner, "same_project": owner.is_some_and(|owner| owner == project),
                "runtime": if stack.is_empty() { "compose" } else { "swarm" },
                "runs": container["runs"], "takes_name": takes_name,
            }));
        }
        holders
    }
}

fn ports_of(line: &str) -> Vec<Port> {
    serde_json::from_str::<Value>(line).map(|container| ports_in(&container)).unwrap_or_default()
}

/// `{"5432/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5432"}], "80/tcp": null}`.
fn ports_in(container: &Value) -> Vec<Port> {
    let mut found = Vec::new();
    for (inside, outside) in container["ports"].as_object().into_iter().flatten() {
        let protocol = inside.rsplit('/').next().unwrap_or("tcp");
        for bound in outside.as_array().into_iter().flatten() {
            let text = |key: &str| bound.get(key).and_then(Value::as_str).unwrap_or_default();
            if let Ok(port) = text("HostPort").parse() {
                found.push(Port { port, address: text("HostIp").to_owned(), protocol: protocol.to_owned() });
            }
        }
    }
    found
}

fn of_docker(process: &str) -> bool {
    ["docker-proxy", "dockerd", "rootlessport"].contains(&process)
}

/// A line of `ss` or `netstat`: the local address is the 4th word of both, as they are made here.
fn listener(line: &str) -> Option<Listener> {
    let (is_netstat, line) = match line.strip_prefix("netstat ") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let words: Vec<&str> = line.split_whitespace().collect();
    // tcp LISTEN 0 4096 127.0.0.1:5432 0.0.0.0:* users:(("postgres",pid=7,fd=5))
    // tcp 0 0 127.0.0.1:5432 0.0.0.0:* LISTEN 7/postgres
    let local = words.get(if is_netstat { 3 } else { 4 })?;
    let (address, port) = local.rsplit_once(':')?;
    let address = address.trim_matches(['[', ']']).split('%').next().unwrap_or_default();
    let at = Port { port: port.parse().ok()?, address: address.to_owned(), protocol: (*words.first()?).to_owned() };
    let (process, pid) = if is_netstat {
        let (pid, name) = words.last()?.split_once('/').unwrap_or_default();
        (name.to_owned(), pid.parse().ok())
    } else {
        let users = Regex::new(r#"\("([^"]*)",pid=(\d+)"#).ok()?.captures(line).ok().flatten();
        let part = |at: usize| users.as_ref().and_then(|found| found.get(at)).map_or("", |part| part.as_str());
        (part(1).to_owned(), part(2).parse().ok())
    };
    Some(Listener { at, process, pid })
}

fn process(listener: &Listener, units: &str) -> Value {
    let pid = listener.pid.map(|pid| pid.to_string()).unwrap_or_default();
    let group = units.lines().find_map(|line| line.split_once(' ').filter(|(of, _)| *of == pid)).map_or("", |(_, g)| g);
    let unit = group.rsplit('/').find(|part| part.ends_with(".service")).unwrap_or_default();
    let name = if listener.process.is_empty() { "a process that cannot be seen" } else { listener.process.as_str() };
    let by = match (unit, listener.pid) {
        ("", None) => String::new(),
        ("", Some(pid)) => format!(" (pid {pid})"),
        (unit, _) => format!(" ({unit})"),
    };
    json!({
        "what": format!("{name}{by} holds port {}", listener.at.port),
        "kind": "process", "name": listener.process, "image": "", "port": listener.at.port, "pid": listener.pid,
        "unit": unit, "project": null, "same_project": false, "runtime": "", "runs": true, "takes_name": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{build, said};

    fn holders(args: Value, containers: &str, listeners: &str, groups: &str) -> Vec<String> {
        let module = build("port_holders", args).map_err(|failure| failure.msg).unwrap();
        let mut more = vec![said(containers), said(listeners)];
        loop {
            let observed = Observed { answers: &[], more: &more, elapsed: Duration::ZERO, changes: 0 };
            match module.plan(&observed).map_err(|failure| failure.msg).unwrap() {
                Plan::Ask(_) => more.push(said(groups)),
                Plan::NoChange(done) => {
                    let all = done.values["holders"].as_array().unwrap().clone();
                    return all.iter().map(|holder| holder["what"].as_str().unwrap().to_owned()).collect();
                }
                other => panic!("{other:?}"),
            }
        }
    }

    const CONTAINER: &str = r#"{"name":"/old_db","image":"postgres:13","runs":true,"labels":{"com.docker.compose.project":"workspace"},"ports":{"5432/tcp":[{"HostIp":"0.0.0.0","HostPort":"5432"},{"HostIp":"::","HostPort":"5432"}],"80/tcp":null}}"#;
    const SS: &str = "tcp LISTEN 0 4096 0.0.0.0:5432 0.0.0.0:* users:((\"docker-proxy\",pid=9,fd=4))\n\
        tcp LISTEN 0 511 127.0.0.1:8000 0.0.0.0:* users:((\"python3\",pid=77,fd=5),(\"python3\",pid=78,fd=5))\n\
        tcp LISTEN 0 511 [::]:22 [::]:* users:((\"sshd\",pid=1,fd=3))\nudp UNCONN 0 0 0.0.0.0:53 0.0.0.0:*";

    #[test]
    fn containers_and_processes_are_named() {
        let said = holders(
            json!({"ports": [{"port": 5432, "address": "127.0.0.1"}, "8000", 3000], "label": "com.docker.compose.project=versatile-vnm"}),
            CONTAINER,
            SS,
            "77 0::/system.slice/api.service",
        );
        let first = "container old_db (postgres:13) of the project workspace holds port 5432";
        assert_eq!(said, [first, "python3 (api.service) holds port 8000"]);
    }

    #[test]
    fn the_project_itself_is_not_in_its_own_way() {
        let own = json!({"ports": [5432], "names": ["old_db"], "label": "com.docker.compose.project=workspace"});
        assert!(holders(own, CONTAINER, SS, "").is_empty());
        let other = json!({"ports": [5432], "names": ["old_db"], "label": "com.docker.stack.namespace=workspace"});
        let said = holders(other, CONTAINER, "", "");
        assert!(said[0].ends_with("of the project workspace holds port 5432 and the name"), "{said:?}");
    }

    #[test]
    fn another_address_or_protocol_is_no_clash() {
        assert!(holders(json!({"ports": [{"port": 8000, "address": "10.0.0.1"}]}), "", SS, "").is_empty());
        assert!(holders(json!({"ports": [53]}), "", SS, "").is_empty());
        let udp = holders(json!({"ports": [{"port": 53, "protocol": "udp"}]}), "", SS, "");
        assert_eq!(udp, ["a process that cannot be seen holds port 53"]);
    }

    #[test]
    fn netstat_is_understood_too() {
        let netstat =
            "netstat tcp 0 0 127.0.0.1:8000 0.0.0.0:* LISTEN 77/python3\nnetstat tcp 0 0 :::22 :::* LISTEN 1/sshd";
        let said = holders(json!({"ports": [8000]}), "", netstat, "77 0::/user.slice/user-0.slice");
        assert_eq!(said, ["python3 (pid 77) holds port 8000"]);
        assert!(build("port_holders", json!({"ports": ["x"]})).is_err());
    }
}
