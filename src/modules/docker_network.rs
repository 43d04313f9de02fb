//! `docker_network`: a network exists, with this driver and these options.
//!
//! ```yaml
//! - docker_network: {name: web}
//! - docker_network: {name: web, driver: overlay, attachable: true}
//! - docker_network: {name: old, state: absent}
//! ```
//!
//! A network that exists with another driver, scope or address range is never replaced silently: two networks named
//! `web`, a bridge and an overlay, are different things. With `force: true` it is replaced if nothing uses it.
//!
//! Leaves out connecting containers (`connected`): compose files say which networks a container joins.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::{self, State};
use super::docker::{ask, attempt, diff, docker, exactly, inspected, json, output, pairs, succeeded};
use super::{Build, Spec, typed};
use crate::plan::{Change, Failure, Module, Object, Observed, Operation, Output, Plan, Query, Return, Script, Then};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_network",
    aliases: &["community.docker.docker_network", "community.general.docker_network"],
    args: &[
        "name",
        "network_name",
        "driver",
        "driver_options",
        "attachable",
        "internal",
        "enable_ipv6",
        "ipam_config",
        "ipam_driver",
        "labels",
        "scope",
        "force",
        "state",
    ],
    free_form: None,
    build,
}];

#[derive(Debug, Deserialize)]
struct Network {
    #[serde(alias = "network_name")]
    name: String,
    driver: Option<String>,
    #[serde(default)]
    driver_options: Object,
    #[serde(default, deserialize_with = "args::opt_flag")]
    attachable: Option<bool>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    internal: Option<bool>,
    #[serde(default, deserialize_with = "args::opt_flag")]
    enable_ipv6: Option<bool>,
    #[serde(default)]
    ipam_config: Vec<Pool>,
    ipam_driver: Option<String>,
    #[serde(default)]
    labels: Object,
    scope: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default)]
    state: State,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    subnet: Option<String>,
    gateway: Option<String>,
    iprange: Option<String>,
    #[serde(default)]
    aux_addresses: Map<String, Value>,
}

/// The part of `docker network inspect` that is compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    name: String,
    id: String,
    scope: String,
    driver: String,
    #[serde(default, rename = "EnableIPv6")]
    enable_ipv6: bool,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    attachable: bool,
    #[serde(default, rename = "IPAM")]
    ipam: SeenIpam,
    #[serde(default)]
    containers: Option<Map<String, Value>>,
    #[serde(default)]
    options: Option<Map<String, Value>>,
    #[serde(default)]
    labels: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct SeenIpam {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    config: Option<Vec<Map<String, Value>>>,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    Ok(Box::new(typed::<Network>(FAMILY[0].args, args)?))
}

impl Module for Network {
    fn probe(&self) -> Vec<Query> {
        let networks = Script::new()
            .raw("set --")
            .arg(format!("name={}", exactly(&self.name)))
            .raw("\nids=$(docker network ls -q --no-trunc --filter \"$1\") || exit\n")
            .raw("if [ -n \"$ids\" ]; then docker network inspect $ids; else echo '[]'; fi");
        let users = docker().raw("ps -aq --no-trunc --filter").arg(format!("network={}", self.name));
        vec![ask(networks), ask(users)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = inspected(&docker().raw("network inspect").arg(&self.name), observed.answers)?;
        let raw: Vec<Value> = json("docker network inspect", found)?;
        let mut seen: Vec<Seen> = json("docker network inspect", found)?;
        seen.retain(|network| network.name == self.name);
        let containers = output(observed.answers, 1)?.stdout_text().lines().count();
        match (&self.state, seen.as_slice()) {
            (State::Absent, []) => Ok(Plan::NoChange(Return::msg(format!("there is no network {}", self.name)))),
            (State::Absent, seen) => Ok(self.change(seen, false, "exists")),
            (State::Present, []) => Ok(self.change(&[], true, "")),
            (State::Present, [one]) => {
                let differences = self.differences(one);
                if differences.is_empty() {
                    let msg = format!("network {} is a {} network of scope {}", one.name, one.driver, one.scope);
                    let network = raw.into_iter().next().unwrap_or_default();
                    return Ok(Plan::NoChange(Return::msg(msg).with("network", network)));
                }
                let used = containers + one.containers.as_ref().map_or(0, Map::len);
                if self.force && used == 0 {
                    return Ok(self.change(&seen, true, &differences.join("\n")));
                }
                let text = format!("network {} exists, but differs: {}", self.name, differences.join(", "));
                Err(Failure::new(text).hint(match used {
                    0 => format!("nothing uses it: set `force: true`, or `docker network rm {}`", self.name),
                    _ => "containers use it, so it is not replaced; stop them first, or choose another name".to_owned(),
                }))
            }
            (State::Present, several) => {
                let kinds: Vec<_> = several.iter().map(|n| format!("{} ({})", n.driver, n.scope)).collect();
                let text = format!("{} networks are named {}: {}", several.len(), self.name, kinds.join(", "));
                Err(Failure::new(text)
                    .hint("remove all but one: `docker network ls --no-trunc`, `docker network rm ID`"))
            }
        }
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let done = succeeded(&format!("network {}", self.name), &self.create(), outputs)?;
        let msg = match self.state {
            State::Present => format!("created network {}", self.name),
            State::Absent => format!("removed network {}", self.name),
        };
        let created: Vec<Value> = serde_json::from_slice(&done.stdout).unwrap_or_default();
        Ok(match created.into_iter().next() {
            Some(network) => Return::msg(msg).with("network", network),
            None => Return::msg(msg),
        })
    }
}

impl Network {
    /// What of the existing network is not as wanted, in words. What the task does not mention is not compared.
    fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, wanted: Option<String>, is: String| {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != is) {
                found.push(format!("{what} is {}, not {wanted}", if is.is_empty() { "unset" } else { &is }));
            }
        };
        compare("driver", Some(self.driver().to_owned()), seen.driver.clone());
        compare("scope", self.scope.clone(), seen.scope.clone());
        compare("internal", self.internal.map(|v| v.to_string()), seen.internal.to_string());
        compare("attachable", self.attachable.map(|v| v.to_string()), seen.attachable.to_string());
        compare("enable_ipv6", self.enable_ipv6.map(|v| v.to_string()), seen.enable_ipv6.to_string());
        compare("ipam driver", self.ipam_driver.clone(), seen.ipam.driver.clone());
        let is = |map: &Option<Map<String, Value>>, key: &str| {
            map.as_ref().and_then(|map| map.get(key)).map(args::as_text).unwrap_or_default()
        };
        for (key, value) in &self.driver_options {
            compare(&format!("option {key}"), Some(args::as_text(value)), is(&seen.options, key));
        }
        for (key, value) in &self.labels {
            compare(&format!("label {key}"), Some(args::as_text(value)), is(&seen.labels, key));
        }
        let pools = seen.ipam.config.as_deref().unwrap_or_default();
        for wanted in &self.ipam_config {
            let pool = pools.iter().find(|pool| pool.get("Subnet").map(args::as_text) == wanted.subnet);
            let get = |key: &str| pool.and_then(|pool| pool.get(key)).map(args::as_text).unwrap_or_default();
            compare("subnet", wanted.subnet.clone(), get("Subnet"));
            compare("gateway", wanted.gateway.clone(), get("Gateway"));
            compare("iprange", wanted.iprange.clone(), get("IPRange"));
        }
        found
    }

    fn driver(&self) -> &str {
        self.driver.as_deref().unwrap_or("bridge")
    }

    fn create(&self) -> Script {
        let mut script = docker().raw("network create --driver").arg(self.driver());
        for (flag, set) in
            [("--internal", self.internal), ("--attachable", self.attachable), ("--ipv6", self.enable_ipv6)]
        {
            if set == Some(true) {
                script = script.raw(flag);
            }
        }
        if let Some(scope) = &self.scope {
            script = script.raw("--scope").arg(scope);
        }
        if let Some(driver) = &self.ipam_driver {
            script = script.raw("--ipam-driver").arg(driver);
        }
        for pool in &self.ipam_config {
            for (flag, value) in
                [("--subnet", &pool.subnet), ("--gateway", &pool.gateway), ("--ip-range", &pool.iprange)]
            {
                if let Some(value) = value {
                    script = script.raw(flag).arg(value);
                }
            }
            for (name, address) in &pool.aux_addresses {
                script = script.raw("--aux-address").arg(format!("{name}={}", args::as_text(address)));
            }
        }
        pairs(pairs(script, "--opt", &self.driver_options), "--label", &self.labels).arg(&self.name)
    }

    fn change(&self, old: &[Seen], create: bool, why: &str) -> Plan {
        let mut operations: Vec<Operation> =
            old.iter().map(|network| Operation::run(docker().raw("network rm").arg(&network.id))).collect();
        if create {
            let create = self.create().raw(">/dev/null && docker network inspect").arg(&self.name);
            operations.push(attempt(create));
        }
        let after = if create { format!("driver: {}\n", self.driver()) } else { String::new() };
        let before = if old.is_empty() { String::new() } else { format!("{why}\n") };
        Plan::Change(Change {
            diff: vec![diff(&format!("network {}", self.name), before, after)],
            operations,
            then: Then::Finish,
            forecast: Return::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker::tests::decided;

    const BRIDGE: &str = r#"[{"Name":"web","Id":"06c3a1","Created":"2026-11-23T12:20:00Z","Scope":"local",
        "Driver":"bridge","EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":[{"Subnet":"172.20.0.0/16",
        "Gateway":"172.20.0.1"}]},"Internal":false,"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},
        "ConfigOnly":false,"Containers":{},"Options":{},"Labels":{}}]"#;

    fn network(task: Value) -> Network {
        let Value::Object(task) = task else { unreachable!() };
        typed(FAMILY[0].args, task).unwrap()
    }

    #[test]
    fn what_is_decided() {
        let table = [
            (serde_json::json!({"name": "web"}), BRIDGE, "", "no change"),
            (
                serde_json::json!({"name": "web"}),
                "[]",
                "",
                "docker network create --driver bridge web >/dev/null && docker network inspect web",
            ),
            (
                serde_json::json!({"name": "web", "driver": "overlay", "attachable": "yes"}),
                "[]",
                "",
                "docker network create --driver overlay --attachable web >/dev/null && docker network inspect web",
            ),
            (serde_json::json!({"name": "web", "driver": "overlay"}), BRIDGE, "", "driver is bridge, not overlay"),
            (serde_json::json!({"name": "web", "scope": "swarm"}), BRIDGE, "c1\n", "containers use it"),
            (
                serde_json::json!({"name": "web", "internal": true, "force": true}),
                BRIDGE,
                "",
                "docker network rm 06c3a1",
            ),
            (serde_json::json!({"name": "web", "internal": true, "force": true}), BRIDGE, "c1\n", "containers use it"),
            (serde_json::json!({"name": "web", "ipam_config": [{"subnet": "172.20.0.0/16"}]}), BRIDGE, "", "no change"),
            (
                serde_json::json!({"name": "web", "ipam_config": [{"subnet": "10.9.0.0/24"}]}),
                BRIDGE,
                "",
                "subnet is unset, not 10.9.0.0/24",
            ),
            // the filter is a regular expression, the comparison is not
            (serde_json::json!({"name": "we"}), BRIDGE, "", "docker network create"),
            (serde_json::json!({"name": "web", "state": "absent"}), BRIDGE, "", "docker network rm 06c3a1"),
            (serde_json::json!({"name": "web", "state": "absent"}), "[]", "", "no change"),
        ];
        for (task, networks, users, wanted) in table {
            let said = decided(&network(task.clone()), &[networks, users]);
            assert!(said.contains(wanted), "{task}: {said}");
        }
    }

    #[test]
    fn two_networks_of_one_name_are_refused() {
        let two = format!(
            "[{},{}]",
            BRIDGE.trim_matches(['[', ']']),
            r#"{"Name":"web","Id":"o","Scope":"swarm","Driver":"overlay"}"#
        );
        let said = decided(&network(serde_json::json!({"name": "web"})), &[&two, ""]);
        assert!(said.starts_with("2 networks are named web: bridge (local), overlay (swarm)"), "{said}");
    }
}
