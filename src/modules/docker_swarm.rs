//! `docker_swarm`: the host is the manager of a swarm.
//!
//! ```yaml
//! - docker_swarm: {state: present, advertise_addr: "{{ ansible_default_ipv4.address }}"}
//! ```
//!
//! Starts a swarm of one where there is none. Leaves out joining further nodes and returns no join tokens: they are
//! secrets that nobody here needs.

use serde::Deserialize;
use serde_json::json;

use super::args::{self, State};
use super::docker::{ask, change, docker, json, output, succeeded, trouble};
use super::{Build, Spec, typed};
use crate::plan::{Failure, Module, Object, Observed, Output, Plan, Query, Return, Script};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_swarm",
    aliases: &["community.docker.docker_swarm", "community.general.docker_swarm"],
    args: &["state", "advertise_addr", "listen_addr", "default_addr_pool", "subnet_size", "force"],
    free_form: None,
    build,
}];

#[derive(Debug, Deserialize)]
struct Swarm {
    advertise_addr: Option<String>,
    listen_addr: Option<String>,
    #[serde(default, deserialize_with = "args::list")]
    default_addr_pool: Vec<String>,
    #[serde(default, deserialize_with = "args::opt_count")]
    subnet_size: Option<u64>,
    /// For `absent`: leave although this is the last manager, which ends the swarm and its services.
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default)]
    state: State,
}

/// The part of `docker info` that counts.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    #[serde(default)]
    local_node_state: String,
    #[serde(default)]
    control_available: bool,
    #[serde(default, rename = "NodeID")]
    node_id: String,
    #[serde(default)]
    node_addr: String,
    #[serde(default)]
    error: String,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    Ok(Box::new(typed::<Swarm>(FAMILY[0].args, args)?))
}

fn info() -> Script {
    docker().raw("info --format '{{json .Swarm}}'")
}

impl Module for Swarm {
    fn probe(&self) -> Vec<Query> {
        vec![ask(info())]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = output(observed.answers, 0)?;
        // some versions answer `null` with rc 0 when the engine cannot be reached
        if !found.ok() || found.stdout.starts_with(b"null") {
            return Err(trouble("docker info failed", &info(), found));
        }
        let seen: Seen = json("docker info", &found.stdout)?;
        match (&self.state, seen.local_node_state.as_str(), seen.control_available) {
            (State::Present, "active", true) => {
                let msg = format!("this host manages a swarm ({})", seen.node_addr);
                let facts = json!({"node_id": seen.node_id, "node_addr": seen.node_addr});
                Ok(Plan::NoChange(Return::msg(msg).with("swarm_facts", facts)))
            }
            (State::Present, "active", false) => {
                Err(Failure::new("this host is a worker of another swarm")
                    .hint("run the task on a manager of that swarm"))
            }
            (State::Present, "inactive" | "", _) => Ok(change("swarm", "inactive\n", "active\n", self.init())),
            (State::Absent, "inactive" | "", _) => Ok(Plan::NoChange(Return::msg("this host is in no swarm"))),
            (State::Absent, "active", manager) if manager && !self.force => {
                Err(Failure::new("this host manages a swarm; leaving it ends the swarm's services")
                    .hint("set `force: true` if that is meant"))
            }
            (State::Absent, ..) => Ok(change("swarm", "active\n", "inactive\n", self.leave())),
            (State::Present, state, _) => Err(Failure::new(format!("the swarm is {state}: {}", seen.error))
                .hint("`docker swarm leave --force` on the host starts anew; its services are lost")),
        }
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        match self.state {
            State::Present => succeeded("docker swarm init failed", &self.init(), outputs)?,
            State::Absent => succeeded("docker swarm leave failed", &self.leave(), outputs)?,
        };
        Ok(Return::msg(match self.state {
            State::Present => "started a swarm",
            State::Absent => "left the swarm",
        }))
    }
}

impl Swarm {
    fn init(&self) -> Script {
        let mut script = docker().raw("swarm init");
        for (flag, value) in [("--advertise-addr", &self.advertise_addr), ("--listen-addr", &self.listen_addr)] {
            if let Some(value) = value {
                script = script.raw(flag).arg(value);
            }
        }
        for pool in &self.default_addr_pool {
            script = script.raw("--default-addr-pool").arg(pool);
        }
        if let Some(size) = self.subnet_size {
            script = script.raw("--default-addr-pool-mask-length").arg(size.to_string());
        }
        // its output holds a join token
        script.raw(">/dev/null")
    }

    fn leave(&self) -> Script {
        let script = docker().raw("swarm leave");
        if self.force { script.raw("--force") } else { script }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker::tests::decided;

    #[test]
    fn what_is_decided() {
        let inactive = r#"{"NodeID":"","NodeAddr":"","LocalNodeState":"inactive","ControlAvailable":false,"Error":"","RemoteManagers":null}"#;
        let manager = r#"{"NodeID":"vq","NodeAddr":"10.0.0.5","LocalNodeState":"active","ControlAvailable":true,"Error":"","RemoteManagers":[],"Nodes":1,"Managers":1}"#;
        let worker =
            r#"{"NodeID":"vq","NodeAddr":"10.0.0.6","LocalNodeState":"active","ControlAvailable":false,"Error":""}"#;
        let table = [
            (json!({"advertise_addr": "10.0.0.5"}), inactive, "docker swarm init --advertise-addr 10.0.0.5 >/dev/null"),
            (json!({}), manager, "this host manages a swarm (10.0.0.5)"),
            (json!({}), worker, "worker of another swarm"),
            (json!({"state": "absent"}), manager, "ends the swarm"),
            (json!({"state": "absent", "force": true}), manager, "docker swarm leave --force"),
            (json!({"state": "absent"}), inactive, "in no swarm"),
        ];
        for (task, seen, wanted) in table {
            let serde_json::Value::Object(map) = task.clone() else { unreachable!() };
            let swarm: Swarm = typed(FAMILY[0].args, map).unwrap();
            let said = decided(&swarm, &[seen]);
            assert!(said.contains(wanted), "{task}: {said}");
        }
    }
}
