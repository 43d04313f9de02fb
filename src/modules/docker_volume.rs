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

use super::docker::{ask, attempt, diff, docker, exactly, json, output, succeeded, trouble};
use super::{Build, Spec, args, typed};
use crate::plan::{Change, Failure, Module, Object, Observed, Output, Plan, Query, Return, Script, Then};

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

#[derive(Debug, Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Present,
    Absent,
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
        let found = output(observed.answers, 0)?;
        if !found.ok() {
            return Err(trouble(
                "docker volume inspect failed",
                &docker().raw("volume inspect").arg(&self.name),
                found,
            ));
        }
        let raw: Vec<Value> = json("docker volume inspect", &found.stdout)?;
        let seen: Vec<Seen> = json("docker volume inspect", &found.stdout)?;
        let seen = seen.into_iter().find(|volume| volume.name == self.name);
        let header = format!("volume {}", self.name);
        let change = |script: Script, before: &str, after: &str| {
            Ok(Plan::Change(Change {
                diff: vec![diff(&header, before, after)],
                operations: vec![attempt(script)],
                then: Then::Finish,
                forecast: Return::default(),
            }))
        };
        match (&self.state, seen) {
            (State::Absent, None) => Ok(Plan::NoChange(Return::msg(format!("there is no volume {}", self.name)))),
            (State::Absent, Some(_)) => change(self.remove(), "exists\n", ""),
            (State::Present, None) => change(self.create(), "", "exists\n"),
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
        let mut script = docker().raw("volume create --driver").arg(self.driver.as_deref().unwrap_or("local"));
        for (flag, map) in [("--opt", &self.driver_options), ("--label", &self.labels)] {
            for (key, value) in map {
                script = script.raw(flag).arg(format!("{key}={}", args::as_text(value)));
            }
        }
        script.arg(&self.name)
    }

    fn remove(&self) -> Script {
        docker().raw("volume rm").arg(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Answer, Operation};
    use std::time::Duration;

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
            let answers = [Answer::Output(Output { stdout: seen.into(), ..Output::default() })];
            let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
            let said = match volume.plan(&observed) {
                Ok(Plan::NoChange(_)) => "no change".to_owned(),
                Ok(Plan::Change(change)) => match &change.operations[0] {
                    Operation::Run { script, .. } => script.shown(),
                    other => format!("{other:?}"),
                },
                Ok(other) => format!("{other:?}"),
                Err(failure) => failure.msg,
            };
            assert!(said.contains(wanted), "{task}: {said}");
        }
    }
}
