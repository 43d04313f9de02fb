//! What the files of a stack say, and which of its services may have two tasks at once for a moment.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::args;
use super::compose_beside::{DRAIN, START_FIRST};
use crate::plan::Failure;

/// What the stack's files say, as far as it matters here.
#[derive(Default)]
pub(super) struct Files {
    /// Of the first file; the file that is added must say the same.
    pub version: Option<Value>,
    pub services: BTreeSet<String>,
    /// Images that are named without a variable.
    pub images: BTreeSet<String>,
    /// Files that become configs, secrets or environment.
    pub referred: BTreeSet<String>,
    pub orders: BTreeMap<String, Order>,
    /// Services with a command that was to drain them.
    pub drained: BTreeSet<String>,
}

/// How a service's tasks may be replaced, where its file says no `order`.
pub(super) struct Order {
    /// Why not two at once; None if they may.
    pub gap: Option<String>,
    /// What its file says about updates.
    pub rules: Value,
}

impl Files {
    pub fn read(texts: &[&[u8]], directory: &str) -> Result<Files, Failure> {
        let mut files = Files::default();
        let mut whole: BTreeMap<String, Value> = BTreeMap::new();
        for (at, text) in texts.iter().enumerate() {
            let stack: Value = serde_yaml::from_slice::<serde_yaml::Value>(text)
                .and_then(serde_yaml::from_value)
                .map_err(|error| Failure::new(format!("the stack file is not YAML: {error}")))?;
            if at == 0 {
                files.version = stack.get("version").cloned();
            }
            let entries = |key: &str| stack[key].as_object().into_iter().flatten().collect::<Vec<_>>();
            for (name, service) in entries("services") {
                files.services.insert(name.clone());
                join(whole.entry(name.clone()).or_default(), service);
                match &service["env_file"] {
                    Value::String(file) => files.refer(file, directory),
                    Value::Array(list) => list.iter().filter_map(Value::as_str).for_each(|f| files.refer(f, directory)),
                    _ => {}
                }
            }
            for (_, item) in entries("configs").into_iter().chain(entries("secrets")) {
                if let Some(file) = item["file"].as_str() {
                    files.refer(file, directory);
                }
            }
        }
        for (name, service) in whole {
            // a later file's image is the one that counts
            if let Some(image) = service["image"].as_str().filter(|image| !image.contains('$')) {
                files.images.insert(image.to_owned());
            }
            if said(&service, DRAIN).is_some() {
                files.drained.insert(name.clone());
            }
            let rules = &service["deploy"]["update_config"];
            let mode = service["deploy"]["mode"].as_str().unwrap_or("replicated");
            if rules.get("order").is_none() && mode == "replicated" {
                files.orders.insert(name, Order { gap: gap(&service), rules: rules.clone() });
            }
        }
        match files.services.is_empty() {
            true => Err(Failure::new("the stack file has no services")),
            false => Ok(files),
        }
    }

    fn refer(&mut self, file: &str, directory: &str) {
        match file {
            // only docker knows what the variable will be
            file if file.contains('$') => {}
            file if file.starts_with('/') => drop(self.referred.insert(file.to_owned())),
            file => drop(self.referred.insert(format!("{directory}/{}", file.trim_start_matches("./")))),
        }
    }
}

/// As docker joins the files of a stack.
fn join(into: &mut Value, more: &Value) {
    match (into, more) {
        (Value::Object(into), Value::Object(more)) => {
            for (key, value) in more {
                join(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(more)) => into.extend(more.iter().cloned()),
        (into, more) => *into = more.clone(),
    }
}

/// Why two tasks of a service may not run at once; None if they may. A port in the swarm's own network is nobody's.
fn gap(service: &Value) -> Option<String> {
    let said = said(service, START_FIRST);
    if said == Some("no") || said == Some("false") {
        return Some(format!("its label {START_FIRST} says so"));
    }
    let list = |key: &str| service[key].as_array().into_iter().flatten();
    if let Some(port) = list("ports").find(|port| port["mode"] == "host") {
        return Some(format!("it holds port {} of the host", args::as_text(&port["published"])));
    }
    if let Some(volume) = list("volumes").find_map(written).filter(|_| said.is_none()) {
        return Some(format!("it writes to {volume}"));
    }
    let checked = service["healthcheck"].as_object().is_some_and(|check| check.get("disable") != Some(&json!(true)));
    (!checked).then(|| "it has no health check that says when the new one is ready".to_owned())
}

/// A label of the containers or of the service.
fn said<'s>(service: &'s Value, key: &str) -> Option<&'s str> {
    [&service["labels"], &service["deploy"]["labels"]].into_iter().find_map(|labels| label(labels, key))
}

fn label<'s>(labels: &'s Value, key: &str) -> Option<&'s str> {
    match labels {
        Value::Object(map) => {
            map.get(key)?.as_str().or(map.get(key)?.as_bool().map(|yes| if yes { "yes" } else { "no" }))
        }
        Value::Array(list) => {
            list.iter().filter_map(Value::as_str).find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        }
        _ => None,
    }
}

/// The volume or folder of the host that a service may write to.
fn written(volume: &Value) -> Option<String> {
    if let Some(text) = volume.as_str() {
        let mut parts = text.split(':');
        let source = parts.next().unwrap_or_default();
        let options = parts.nth(1).unwrap_or_default();
        return (!options.split(',').any(|word| word == "ro")).then(|| source.to_owned());
    }
    let writes = matches!(volume["type"].as_str(), Some("volume" | "bind")) && volume["read_only"] != true;
    let named = volume["source"].as_str().or(volume["target"].as_str()).unwrap_or_default();
    writes.then(|| named.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_files_refer_to() {
        let first = b"version: '3.8'\nservices:\n  web: {image: 'a:1', env_file: [./w.env]}\n  job: {image: '$X', labels: [provision.drain=touch /d]}\nconfigs:\n  c: {file: conf/c.conf}\nsecrets:\n  s: {external: true}\n".as_slice();
        let second =
            b"services:\n  db: {image: 'b:2'}\n  web: {image: 'a:1@sha256:0'}\nsecrets:\n  t: {file: /etc/t}\n"
                .as_slice();
        let files = Files::read(&[first, second], "/srv").unwrap();
        let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(list(&files.services), "db job web");
        assert_eq!(list(&files.images), "a:1@sha256:0 b:2");
        assert_eq!(list(&files.referred), "/etc/t /srv/conf/c.conf /srv/w.env");
        assert_eq!(list(&files.drained), "job");
        assert_eq!(files.version, Some(json!("3.8")));
        assert!(Files::read(&[b"services: {}"], "/srv").is_err());
        assert!(Files::read(&[b"services: ["], "/srv").is_err());
    }

    #[test]
    fn where_two_may_run_at_once() {
        let check = "healthcheck: {test: [CMD, ok]}";
        for (service, wanted) in [
            (check.to_owned(), None),
            (format!("{check}, ports: ['80:80']"), None),
            (format!("{check}, volumes: ['./c:/c:ro', {{type: tmpfs, target: /t}}]"), None),
            (format!("{check}, volumes: ['data:/data'], labels: [provision.start-first=yes]"), None),
            ("ports: ['80:80']".to_owned(), Some("it has no health check that says when the new one is ready")),
            (
                format!("{check}, ports: [{{target: 80, published: 8080, mode: host}}]"),
                Some("it holds port 8080 of the host"),
            ),
            (format!("{check}, volumes: ['data:/data']"), Some("it writes to data")),
            (format!("{check}, volumes: [{{type: volume, source: v, target: /v}}]"), Some("it writes to v")),
            (
                format!("{check}, deploy: {{labels: {{provision.start-first: 'no'}}}}"),
                Some("its label provision.start-first says so"),
            ),
        ] {
            let value: Value = serde_yaml::from_str(&format!("{{{service}}}")).unwrap();
            assert_eq!(gap(&value).as_deref(), wanted, "{service}");
        }
    }
}
