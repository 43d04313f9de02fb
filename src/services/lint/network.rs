//! What is wrong with how the services of a stack are reached: by the proxy, by each other, by more than one of them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::twice::label_pairs;
use crate::error::{Error, Place};
use crate::modules::DRAIN;
use crate::plan::Object;
use crate::services::catalogue::Package;
use crate::services::settings::known_keys;
use crate::services::{Mode, ports, wires};
use crate::vars::Scope;

/// The network behind the proxy in a sample.
const PROXY: &str = "web";

pub(super) fn findings(
    package: &Package,
    runtime: &str,
    mode: Mode,
    (stack, scope): (&Value, &Scope),
    findings: &mut Vec<Error>,
) {
    let place = Place::file(package.stack_template(runtime));
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    for text in one_of_many(stack, runtime) {
        say(text, "take the name or the port away, and let the proxy route to them");
    }
    for (name, service) in stack.get("services").and_then(Value::as_object).into_iter().flatten() {
        let labels = [service.get("labels"), service.pointer("/deploy/labels")];
        let labels: Vec<(String, String)> = labels.into_iter().flatten().flat_map(label_pairs).collect();
        let label = |key: &str| labels.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        if runtime == "swarm" && label(DRAIN).is_some() {
            say(
                format!(
                    "service `{name}`: `{DRAIN}` does nothing in a swarm, which would end a task whose health check fails"
                ),
                "write the label for Compose only: {% if runtime == 'compose' %} … {% endif %}; docs/updates.md says what a swarm does instead",
            );
        }
        if label("traefik.enable") != Some("true") || service.get("network_mode").is_some() {
            continue;
        }
        let joined = joined(stack, service);
        let named = label("traefik.docker.network").or_else(|| label("traefik.swarm.network"));
        let wanted = named.unwrap_or(PROXY);
        if !joined.contains(wanted) {
            say(
                format!("service `{name}` has a route of the proxy, but is not on its network `{wanted}`"),
                "add `networks: [\"{{ docker_network }}\"]` to the service; nobody can reach it otherwise",
            );
        } else if named.is_none() && joined.len() > 1 {
            say(
                format!(
                    "service `{name}` is on {} networks, and its route does not say on which it is asked",
                    joined.len()
                ),
                "add the label traefik.docker.network (traefik.swarm.network under swarm): {{ docker_network }}",
            );
        }
    }
    let value = |key: &String| scope.value(&Value::from(format!("{{{{ {key} }}}}"))).ok();
    let env: Object = known_keys(package).filter_map(|key| Some((key.clone(), value(&key)?))).collect();
    let known = names(stack, package);
    let published: Vec<u16> = ports::of_stack(stack).into_iter().map(|port| port.outside).collect();
    for (service, key, written) in wires::environment(stack) {
        let filled = wires::filled(&written, &env);
        let Some((_, host, port)) = wires::address(&filled) else { continue };
        if ["localhost", "127.0.0.1", "0.0.0.0"].contains(&host.as_str()) {
            // a port that the host itself has is for its own people
            if mode == Mode::Produccion && !published.contains(&port) {
                say(
                    format!("service `{service}`: `{key}` leads to {host}, which is the container itself"),
                    "name the service that is meant; for work on this machine there is the mode `debug`",
                );
            }
        } else if !host.contains('.') && written.contains(&host) && !known.contains(&host) {
            say(
                format!(
                    "service `{service}`: `{key}` leads to `{host}`, which is neither in the stack nor a dependency"
                ),
                "name a service of the stack, or declare the dependency and take its `exports`",
            );
        }
    }
    let manifest = &package.manifest;
    let public = manifest.urls.iter().map(|url| &url.url).chain(manifest.links.iter().map(|link| &link.url));
    for url in public {
        let rendered = scope.value(&Value::from(url.as_str())).ok();
        let host = rendered.as_ref().and_then(Value::as_str).and_then(wires::address).map(|(_, host, _)| host);
        if let Some(host) = host.filter(|host| host.contains('_')) {
            say(
                format!("`{host}` has a `_`, which no host name may have"),
                "write `-`; browsers and certificates refuse it",
            );
        }
    }
}

/// Services that are to run more than once and hold what can be held only once. Only what Compose runs: a swarm names
/// its containers itself, and spreads a port.
pub(in crate::services) fn one_of_many(stack: &Value, runtime: &str) -> Vec<String> {
    let mut said = Vec::new();
    for (name, service) in stack.get("services").and_then(Value::as_object).into_iter().flatten() {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let count = [service.pointer("/deploy/replicas"), service.get("scale")].into_iter().flatten().find_map(number);
        let Some(count) = count.filter(|count| *count > 1 && runtime == "compose") else { continue };
        if let Some(only) = service.get("container_name").and_then(Value::as_str) {
            said.push(format!("service `{name}`: {count} replicas cannot all be named `{only}`"));
        }
        for port in ports::published(service) {
            said.push(format!("service `{name}`: {count} replicas cannot all hold port {}", port.outside));
        }
    }
    said
}

/// The names under which Docker knows the networks of a service.
fn joined(stack: &Value, service: &Value) -> BTreeSet<String> {
    let keys: Vec<&str> = match service.get("networks") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        Some(Value::Object(map)) => map.keys().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let name = |key: &str| {
        let named = stack.get("networks").and_then(|all| all.get(key)?.get("name")?.as_str());
        named.unwrap_or(key).to_owned()
    };
    keys.into_iter().map(name).collect()
}

/// Everything that a container of the stack may call another by, without a dot in it.
fn names(stack: &Value, package: &Package) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (name, service) in stack.get("services").and_then(Value::as_object).into_iter().flatten() {
        let text = |key: &str| service.get(key).and_then(Value::as_str).map(str::to_owned);
        names.insert(name.clone());
        names.extend(text("container_name").into_iter().chain(text("hostname")));
        let networks = service.get("networks").and_then(Value::as_object).into_iter().flatten();
        for (_, joined) in networks {
            let aliases = joined.get("aliases").and_then(Value::as_array).into_iter().flatten();
            names.extend(aliases.filter_map(Value::as_str).map(str::to_owned));
        }
        let hosts =
            service.get("extra_hosts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        names.extend(hosts.filter_map(|host| Some(host.split([':', '=']).next()?.to_owned())));
    }
    names.extend(package.manifest.dependencies.iter().map(|dependency| dependency.service.clone()));
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_one_can_hold_is_not_for_many() {
        let stack = |service: Value| json!({"services": {"web": service}});
        let both = stack(json!({"deploy": {"replicas": 3}, "container_name": "x", "ports": ["80:80"]}));
        assert_eq!(
            one_of_many(&both, "compose"),
            ["service `web`: 3 replicas cannot all be named `x`", "service `web`: 3 replicas cannot all hold port 80"]
        );
        assert!(one_of_many(&both, "swarm").is_empty());
        assert!(one_of_many(&stack(json!({"deploy": {"replicas": "1"}, "container_name": "x"})), "compose").is_empty());
        assert_eq!(one_of_many(&stack(json!({"scale": "2", "container_name": "x"})), "compose").len(), 1);
        assert!(one_of_many(&stack(json!({"scale": 2, "ports": ["80"]})), "compose").is_empty());
    }
}
