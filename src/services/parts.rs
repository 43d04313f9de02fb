//! Parts of a service: `chat/worker` is the service `worker` of the stack of `chat`. A verb that takes parts works on
//! those containers, and on what they depend on inside of their stack; one that does not says so.

use indexmap::IndexMap;
use serde_json::{Value, json};

use super::catalogue::Catalogue;
use super::ports;
use super::render::Rendered;
use crate::error::{Error, Result};

/// What a verb works on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grain {
    /// Whole services.
    #[default]
    Services,
    /// Parts of them as well.
    Parts,
}

/// `chat/worker` taken apart: the services that are named, and of which only some parts are meant.
pub(super) fn split(catalogue: &Catalogue, names: &[String]) -> Result<(Vec<String>, IndexMap<String, Vec<String>>)> {
    let (mut services, mut parts, mut whole) = (Vec::new(), IndexMap::<String, Vec<String>>::new(), Vec::new());
    for name in names {
        let (service, part) = match name.split_once('/') {
            Some((service, part)) => (service, Some(part)),
            None => (name.as_str(), None),
        };
        if part.is_some() && service.starts_with('@') {
            return Err(Error::new(format!("`{name}`: a profile has services, not parts"))
                .hint("name the service: chat/worker"));
        }
        services.push(service.to_owned());
        match part {
            Some(part) => parts.entry(catalogue.instance(service)?.to_string()).or_default().push(part.to_owned()),
            None => whole.extend(catalogue.unfolded(&[service.to_owned()])?),
        }
    }
    // who names all of it as well means all of it
    for name in whole {
        parts.shift_remove(&catalogue.instance(&name)?.to_string());
    }
    Ok((services, parts))
}

/// A name with a `/` where only whole services are meant.
pub(super) fn refused(name: &str) -> Option<Error> {
    let (service, _) = name.split_once('/')?;
    Some(Error::new(format!("`{name}` is a part of a service, and this works on whole services")).hint(format!(
        "name `{service}`; `up`, `restart`, `down`, `scale`, `logs`, `ps`, `top`, `exec`, `shell` and `tunnel` take parts"
    )))
}

/// Leaves of a service only what is about these parts: containers with what they depend on, their ports, jobs inside
/// of them. The files of the service are those of all of it.
pub(super) fn narrow(rendered: &mut Rendered, parts: &[String]) -> Result<()> {
    let id = rendered.id.clone();
    let Some(service) = rendered.vars.get_mut("service").and_then(Value::as_object_mut) else { return Ok(()) };
    let text = service.get("stack").and_then(Value::as_str).unwrap_or_default();
    let mut stack: Value = serde_yaml::from_str(text).unwrap_or(Value::Null);
    let needs: IndexMap<String, Vec<String>> = stack
        .get("services")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(name, service)| (name.clone(), needed(service.get("depends_on"))))
        .collect();
    let mut meant: Vec<String> = Vec::new();
    let mut open: Vec<String> = parts.to_vec();
    while let Some(name) = open.pop() {
        let Some(others) = needs.get(&name) else {
            let names = || needs.keys().map(String::as_str);
            return Err(Error::new(format!("`{id}` has no part `{name}`"))
                .hint(format!("it has: {}", names().collect::<Vec<_>>().join(", ")))
                .did_you_mean(&name, names()));
        };
        if !meant.contains(&name) {
            open.extend(others.iter().cloned());
            meant.push(name);
        }
    }
    if let Some(services) = stack.get_mut("services").and_then(Value::as_object_mut) {
        services.retain(|name, _| meant.contains(name));
    }
    let containers = stack.get("services").and_then(Value::as_object).into_iter().flatten();
    let names: Vec<Value> = containers.filter_map(|(_, service)| service.get("container_name").cloned()).collect();
    let ports: Vec<Value> = ports::of_stack(&stack)
        .iter()
        .map(|port| json!({"address": port.address, "port": port.outside, "protocol": port.protocol}))
        .collect();
    let inside = |job: &Value| job["service"].as_str().is_some_and(|name| meant.iter().any(|part| part == name));
    let jobs: Vec<Value> = service
        .get("jobs")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|job| inside(job))
        .cloned()
        .collect();
    // databases of its own can only be asked where their server runs
    let server = |database: &&Value| {
        database["own"] != Value::Bool(true)
            || database["service"].as_str().is_some_and(|name| meant.iter().any(|part| part == name))
    };
    let databases: Vec<Value> =
        service.get("databases").and_then(Value::as_array).into_iter().flatten().filter(server).cloned().collect();
    for (key, value) in [
        ("parts", json!(parts)),
        ("container_names", json!(names)),
        ("ports", json!(ports)),
        ("jobs", json!(jobs)),
        ("databases", json!(databases)),
        // whether people reach the service is not a question about a part of it
        ("urls", json!([])),
        ("links", json!([])),
    ] {
        service.insert(key.to_owned(), value);
    }
    rendered.url = None;
    Ok(())
}

/// The names in `depends_on`, a list or a mapping.
fn needed(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::Object(names)) => names.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue() -> Catalogue {
        Catalogue::load(std::path::Path::new("/nonexistent"), &[]).unwrap()
    }

    #[test]
    fn parts_are_kept_with_their_service() {
        let names = ["chatwoot/web", "hub", "chat/worker", "chat/web", "hub/db"].map(str::to_owned);
        let (services, parts) = split(&catalogue(), &names).unwrap();
        assert_eq!(services, ["chatwoot", "hub", "chat", "chat", "hub"]);
        assert_eq!(parts["chat"], ["worker", "web"]);
        assert!(!parts.contains_key("hub"), "all of it was named as well");
        let error = split(&catalogue(), &["@erp/db".to_owned()]).unwrap_err();
        assert!(error.text.contains("a profile has services"), "{error}");
    }

    #[test]
    fn a_part_brings_what_it_depends_on() {
        let stack = "services:\n  web: {image: w, container_name: c-web, ports: [\"80:80\"], depends_on: {db: {condition: service_healthy}}}\n  \
                     db: {image: d, depends_on: [init]}\n  init: {image: i}\n  worker: {image: k, container_name: c-worker, ports: [\"81:81\"]}\n";
        let service = json!({"stack": stack, "jobs": [{"service": "db"}, {"service": "worker"}],
            "databases": [{"own": true, "service": "db"}, {"own": false, "service": "other"}], "urls": [{"url": "http://x/"}]});
        let vars = crate::plan::Object::from_iter([("service".to_owned(), service)]);
        let mut rendered = Rendered {
            id: "x".into(),
            version: "1".into(),
            vars,
            digest: "d".into(),
            url: None,
            requires: vec![],
            live_checks: vec![],
        };
        let error = narrow(&mut rendered.clone(), &["wroker".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("`x` has no part `wroker`") && error.contains("did you mean `worker`"), "{error}");
        narrow(&mut rendered, &["web".to_owned()]).unwrap();
        let service = &rendered.vars["service"];
        assert_eq!(service["parts"], json!(["web"]));
        assert_eq!(service["container_names"], json!(["c-web"]));
        assert_eq!(service["ports"].as_array().map(Vec::len), Some(1));
        assert_eq!(service["jobs"], json!([{"service": "db"}]));
        assert_eq!(service["databases"].as_array().map(Vec::len), Some(2));
        assert_eq!(service["urls"], json!([]));
    }
}
