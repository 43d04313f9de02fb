//! `docker_volume`: a named volume exists.
//!
//! ```yaml
//! - docker_volume: {name: hub_sites}
//! ```
//!
//! A volume with another driver or other options is a failure, never a replacement: replacing would drop its data.
//! Removing takes `state: absent` in so many words.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::args::{self, State};
use super::docker::{ask, change, docker, exactly, inspected, json, pairs, succeeded};
use super::{Build, Spec, typed};
use crate::plan::{Failure, Module, Object, Observed, Output, Plan, Query, Return, Script};

pub const FAMILY: &[Spec] = &[Spec {
    name: "docker_volume",
    aliases: &["community.docker.docker_volume", "community.general.docker_volume"],
    args: &["name", "volume_name", "driver", "driver_options", "labels", "state"],
    free_form: None,
    build,
}];

#[derive(Debug, Deserialize)]
struct Volume {
    #[serde(alias = "volume_name")]
    name: String,
    driver: Option<String>,
    #[serde(default)]
    driver_options: Object,
    #[serde(default)]
    labels: Object,
    #[serde(default)]
    state: State,
}

/// The part of `docker volume inspect` that is compared.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Seen {
    name: String,
    driver: String,
    options: Option<Map<String, Value>>,
    labels: Option<Map<String, Value>>,
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    Ok(Box::new(typed::<Volume>(FAMILY[0].args, args)?))
}

impl Module for Volume {
    fn probe(&self) -> Vec<Query> {
        let script = Script::new()
            .raw("set --")
            .arg(format!("name={}", exactly(&self.name)))
            .raw("\nids=$(docker volume ls -q --filter \"$1\") || exit\n")
            .raw("if [ -n \"$ids\" ]; then docker volume inspect $ids; else echo '[]'; fi");
        vec![ask(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let found = inspected(&docker().raw("volume inspect").arg(&self.name), observed.answers)?;
        let raw: Vec<Value> = json("docker volume inspect", found)?;
        let seen: Vec<Seen> = json("docker volume inspect", found)?;
        let seen = seen.into_iter().find(|volume| volume.name == self.name);
        let header = format!("volume {}", self.name);
        match (&self.state, seen) {
            (State::Absent, None) => Ok(Plan::NoChange(Return::msg(format!("there is no volume {}", self.name)))),
            (State::Absent, Some(_)) => Ok(change(&header, "exists\n", "", self.remove())),
            (State::Present, None) => Ok(change(&header, "", "exists\n", self.create())),
            (State::Present, Some(seen)) => match self.differences(&seen).as_slice() {
                [] => {
                    let volume = raw.into_iter().next().unwrap_or_default();
                    Ok(Plan::NoChange(Return::msg(format!("volume {} exists", self.name)).with("volume", volume)))
                }
                differences => {
                    let text = format!("volume {} exists, but differs: {}", self.name, differences.join(", "));
                    Err(Failure::new(text)
                        .hint("a volume is never replaced, since that drops its data; remove it with `state: absent`"))
                }
            },
        }
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let (script, done) = match self.state {
            State::Present => (self.create(), "created"),
            State::Absent => (self.remove(), "removed"),
        };
        succeeded(&format!("volume {}", self.name), &script, outputs)?;
        Ok(Return::msg(format!("{done} volume {}", self.name)))
    }
}

impl Volume {
    fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(driver) = self.driver.as_ref().filter(|driver| **driver != seen.driver) {
            found.push(format!("driver is {}, not {driver}", seen.driver));
        }
        for (what, wanted, is) in
            [("option", &self.driver_options, &seen.options), ("label", &self.labels, &seen.labels)]
        {
            for (key, value) in wanted {
                let is = is.as_ref().and_then(|map| map.get(key)).map(args::as_text);
                if is.as_deref() != Some(args::as_text(value).as_str()) {
                    found.push(format!("{what} {key} is {}", is.as_deref().unwrap_or("unset")));
                }
            }
        }
        found
    }

    fn create(&self) -> Script {
        let script = docker().raw("volume create --driver").arg(self.driver.as_deref().unwrap_or("local"));
        pairs(pairs(script, "--opt", &self.driver_options), "--label", &self.labels).arg(&self.name)
    }

    fn remove(&self) -> Script {
        docker().raw("volume rm").arg(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::docker::tests::decided;

    #[test]
    fn what_is_decided() {
        let exists = r#"[{"CreatedAt":"2026-11-23T12:30:00Z","Driver":"local","Labels":null,
            "Mountpoint":"/var/lib/docker/volumes/v/_data","Name":"v","Options":null,"Scope":"local"}]"#;
        let table = [
            (serde_json::json!({"name": "v"}), "[]", "docker volume create --driver local v"),
            (serde_json::json!({"name": "v"}), exists, "no change"),
            (serde_json::json!({"name": "v", "labels": {"a": 1}}), exists, "label a is unset"),
            (serde_json::json!({"name": "v", "driver": "nfs"}), exists, "driver is local, not nfs"),
            (serde_json::json!({"name": "v", "state": "absent"}), exists, "docker volume rm v"),
            (serde_json::json!({"name": "v", "state": "absent"}), "[]", "no change"),
        ];
        for (task, seen, wanted) in table {
            let Value::Object(map) = task.clone() else { unreachable!() };
            let volume: Volume = typed(FAMILY[0].args, map).unwrap();
            let said = decided(&volume, &[seen]);
            assert!(said.contains(wanted), "{task}: {said}");
        }
    }
}
