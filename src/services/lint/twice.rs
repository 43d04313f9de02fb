//! What two instances of a package would fight over: names and ports that the template does not make its own.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::services::catalogue::Package;
use crate::services::ports;

/// Compares the stacks of two instances as they come out of the template.
pub(super) fn findings(package: &Package, runtime: &str, one: &Value, two: &Value, findings: &mut Vec<Error>) {
    let place = Place::file(package.stack_template(runtime));
    let (one, two) = (claims(one), claims(two));
    for (what, name) in one.intersection(&two) {
        let text = format!("two instances would have the same {what} `{name}`");
        let hint = "put {{ project }} or {{ service_slug }} into it, or say `\"single\": true` in the manifest";
        findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    }
}

/// What a stack takes for itself on a host: what it is, and its name.
fn claims(stack: &Value) -> BTreeSet<(&'static str, String)> {
    let mut claims = BTreeSet::new();
    let entries = |key: &str| stack.get(key).and_then(Value::as_object).into_iter().flatten();
    let external = |value: &Value| value.get("external").is_some_and(|external| *external != Value::Bool(false));
    for (what, key) in [("network", "networks"), ("volume", "volumes")] {
        for (_, own) in entries(key).filter(|(_, about)| !external(about)) {
            claims.extend(own.get("name").map(|name| (what, text(name))));
        }
    }
    let shared: BTreeSet<&String> =
        entries("networks").filter(|(_, about)| external(about)).map(|(name, _)| name).collect();
    for (_, service) in entries("services") {
        claims.extend(service.get("container_name").map(|name| ("container name", text(name))));
        claims.extend(ports::published(service).into_iter().map(|port| ("port", port.outside.to_string())));
        let networks = service.get("networks").and_then(Value::as_object).into_iter().flatten();
        for (_, joined) in networks.filter(|(name, _)| shared.contains(name)) {
            let aliases = joined.get("aliases").and_then(Value::as_array).into_iter().flatten();
            claims.extend(aliases.map(|alias| ("alias on a shared network", text(alias))));
        }
        let labels = [service.get("labels"), service.pointer("/deploy/labels")];
        for label in labels.into_iter().flatten().flat_map(label_pairs).map(|(name, _)| name) {
            let parts: Vec<&str> = label.split('.').collect();
            if let ["traefik", _, kind @ ("routers" | "services" | "middlewares"), name, ..] = parts.as_slice() {
                let what = match *kind {
                    "routers" => "router",
                    "services" => "service of the proxy",
                    _ => "middleware",
                };
                claims.insert((what, (*name).to_owned()));
            }
        }
    }
    claims
}

/// Labels, as a list of `name=value` or as a mapping.
pub(super) fn label_pairs(labels: &Value) -> Vec<(String, String)> {
    let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    match labels {
        Value::Array(list) => {
            let texts = list.iter().filter_map(Value::as_str);
            texts.map(|label| pair(label.split_once('=').unwrap_or((label, "")))).collect()
        }
        Value::Object(map) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        _ => Vec::new(),
    }
}

/// Text as it is, anything else as its JSON.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_taken_on_a_host_is_seen() {
        let stack = json!({
            "services": {"web": {
                "container_name": "c", "ports": ["127.0.0.1:8080:80", "90", {"published": 443, "target": 443}],
                "networks": {"web": {"aliases": ["a"]}, "own": {"aliases": ["b"]}},
                "labels": ["traefik.http.routers.r.rule=Host(`x`)", "traefik.enable=true"],
                "deploy": {"labels": {"traefik.http.services.s.loadbalancer.server.port": 80}},
            }},
            "networks": {"web": {"external": true, "name": "w"}, "own": {"name": "n"}, "other": null},
            "volumes": {"v": {"name": "v1"}, "w": {}},
        });
        let said: Vec<String> = claims(&stack).into_iter().map(|(what, name)| format!("{what} {name}")).collect();
        let wanted = [
            "alias on a shared network a",
            "container name c",
            "network n",
            "port 443",
            "port 8080",
            "router r",
            "service of the proxy s",
            "volume v1",
        ];
        assert_eq!(said, wanted);
    }
}
