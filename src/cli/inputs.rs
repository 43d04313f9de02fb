//! What a run is made from, as fingerprints: the client's variables, packages, settings, playbooks. Two sets tell whether
//! something has moved in between, and what. Fingerprints are salted, so they say nothing about a value to who guesses.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::common::Fleet;
use crate::error::{Error, Result};
use crate::services::Rollout;
use crate::shipped;

const FILE: &str = "inputs.json";

/// Name of an input → its fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inputs {
    salt: String,
    prints: IndexMap<String, String>,
}

/// Whether secrets that were made for this run are stored by now; else they would be others each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    Stored,
    MaybeNew,
}

impl Inputs {
    pub fn new() -> Result<Inputs> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Error::new(format!("no random numbers: {error}")))?;
        Ok(Inputs { salt: hex(&bytes), prints: IndexMap::new() })
    }

    /// What a run on these hosts is made from now.
    pub fn of(fleet: &Fleet, hosts: &[String], rollout: Option<&Rollout>, secrets: Secrets) -> Result<Inputs> {
        Inputs::new()?.filled(fleet, hosts, rollout, secrets)
    }

    /// The same of now, to compare with.
    pub fn again(
        &self,
        fleet: &Fleet,
        hosts: &[String],
        rollout: Option<&Rollout>,
        secrets: Secrets,
    ) -> Result<Inputs> {
        Inputs { salt: self.salt.clone(), prints: IndexMap::new() }.filled(fleet, hosts, rollout, secrets)
    }

    fn filled(
        mut self,
        fleet: &Fleet,
        hosts: &[String],
        rollout: Option<&Rollout>,
        secrets: Secrets,
    ) -> Result<Inputs> {
        let mut packages: HashMap<&str, String> = HashMap::new();
        let mut add = |name: String, bytes: &[u8]| {
            let print = self.print(bytes);
            self.prints.insert(name, print);
        };
        for host in hosts {
            let vars = sorted(&serde_json::Value::Object(fleet.inventory.vars(host)));
            add(format!("the variables of {host} in the inventory"), vars.as_bytes());
        }
        for (name, value) in &fleet.extra_vars {
            add(format!("-e {name}"), sorted(value).as_bytes());
        }
        for host in rollout.iter().flat_map(|rollout| rollout.hosts.values()) {
            for service in &host.services {
                let package = fleet.catalogue.get(&service.id)?;
                add(
                    format!("the package {}", package.id),
                    packages.entry(&package.id).or_insert_with(|| package.hash()).as_bytes(),
                );
                // what is made up anew each time until it is stored says nothing
                let settings = if secrets == Secrets::MaybeNew && host.generates() {
                    "new secrets"
                } else {
                    service.digest.as_str()
                };
                add(format!("the settings of {} on {}", service.id, host.host), settings.as_bytes());
            }
        }
        add("the playbooks".to_owned(), &playbooks());
        Ok(self)
    }

    pub fn print(&self, bytes: &[u8]) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt.as_bytes());
        hash.update(bytes);
        hex(&hash.finalize())
    }

    /// What is not as it was, of that alone which is looked at now.
    pub fn moved_within(&self, now: &Inputs) -> Vec<String> {
        let prints = self.prints.iter().filter(|(name, _)| now.prints.contains_key(*name));
        let prints = prints.map(|(name, print)| (name.clone(), print.clone())).collect();
        Inputs { salt: self.salt.clone(), prints }.moved(now)
    }

    /// Beside a run's journal, for whoever takes it up again.
    pub fn write(&self, runs: &Path, run: &str) -> Result<()> {
        let path = runs.join(run).join(FILE);
        let text = serde_json::to_string(self).map_err(|error| Error::new(error.to_string()))?;
        std::fs::write(&path, text).map_err(|error| Error::new(format!("cannot write {}: {error}", path.display())))
    }

    pub fn read(runs: &Path, run: &str) -> Result<Option<Inputs>> {
        let path = runs.join(run).join(FILE);
        let Ok(text) = std::fs::read_to_string(&path) else { return Ok(None) };
        let read = serde_json::from_str(&text);
        read.map(Some).map_err(|error| Error::new(format!("{}: {error}", path.display())))
    }

    /// What is not as it was.
    pub fn moved(&self, now: &Inputs) -> Vec<String> {
        let names = self.prints.keys().chain(now.prints.keys().filter(|name| !self.prints.contains_key(*name)));
        let word = |name: &String| match (self.prints.get(name), now.prints.get(name)) {
            (Some(before), Some(now)) if before == now => None,
            (Some(_), None) => Some(format!("{name}: no longer there")),
            (None, _) => Some(format!("{name}: was not there")),
            (Some(_), Some(_)) => Some(format!("{name}: not as it was")),
        };
        names.filter_map(word).collect()
    }
}

/// The task files of the program and those of the project that win over them.
fn playbooks() -> Vec<u8> {
    let mut text = env!("CARGO_PKG_VERSION").as_bytes().to_vec();
    let own = Path::new("playbooks");
    let carried = shipped::locate(Path::new("/nonexistent"), "playbooks/rollout.yml");
    let carried = carried.as_deref().and_then(Path::parent);
    for dir in carried.into_iter().chain([own]) {
        for file in shipped::walk(dir) {
            text.extend(file.to_string_lossy().as_bytes());
            text.extend(shipped::read(&dir.join(file)).unwrap_or_default());
        }
    }
    text
}

/// Keys in the order of their names, whatever order they were written in.
fn sorted(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            let pairs = keys.into_iter().map(|key| format!("{key:?}:{}", sorted(&map[key])));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        Value::Array(list) => format!("[{}]", list.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_is_named() {
        let mut before = Inputs::new().unwrap();
        let mut now = before.clone();
        for (name, text) in [("a", "1"), ("b", "2"), ("c", "3")] {
            let print = before.print(text.as_bytes());
            before.prints.insert(name.to_owned(), print);
        }
        for (name, text) in [("a", "1"), ("b", "two"), ("d", "4")] {
            let print = now.print(text.as_bytes());
            now.prints.insert(name.to_owned(), print);
        }
        assert_eq!(before.moved(&now), ["b: not as it was", "c: no longer there", "d: was not there"]);
        assert_ne!(before.print(b"1"), Inputs::new().unwrap().print(b"1"), "each has its own salt");
    }

    #[test]
    fn the_order_of_keys_is_none_of_the_content() {
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(
            sorted(&value(r#"{"a": [1, {"c": 2, "b": 3}], "d": null}"#)),
            sorted(&value(r#"{"d": null, "a": [1, {"b": 3, "c": 2}]}"#))
        );
    }
}
