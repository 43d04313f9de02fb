//! What is wrong with a stack as it comes out of the template, on an imagined host.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::services::catalogue::Package;
use crate::services::manifest::Backup;
use crate::services::render::sample_secret;
use crate::services::settings::{known_keys, secret_names};
use crate::services::{Mode, ports, wires};

/// Pinned images, a health check for what stays up, no port past the firewall.
pub(super) fn findings(package: &Package, runtime: &str, mode: Mode, stack: &Value, findings: &mut Vec<Error>) {
    let place = Place::file(package.stack_template(runtime));
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    let services = stack.get("services").and_then(Value::as_object);
    let names: Vec<&str> = services.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let manifest = &package.manifest;
    let jobs = manifest.jobs.iter().map(|job| (format!("job `{}`", job.name), &job.service));
    let databases =
        manifest.databases.iter().filter_map(|d| Some((format!("database `{}`", d.engine), d.service.as_ref()?)));
    let builds = manifest.builds.iter().map(|build| (format!("image `{}`", build.image), &build.service));
    let service = |item: &'_ Backup| item.kind.service().map(str::to_owned);
    let backups: Vec<(String, String)> =
        manifest.backup.iter().filter_map(|item| Some((format!("backup `{}`", item.name()), service(item)?))).collect();
    let backups = backups.iter().map(|(who, wanted)| (who.clone(), wanted));
    let actions = manifest.actions.iter().filter_map(|a| Some((format!("action `{}`", a.name), a.service.as_ref()?)));
    let wanted = jobs.chain(actions).chain(databases).chain(backups).chain(builds);
    for (who, wanted) in wanted.filter(|(_, wanted)| !names.contains(&wanted.as_str())) {
        say(
            format!("{who} is for the service `{wanted}`, which the stack does not have"),
            &format!("it has: {}", names.join(", ")),
        );
    }
    let known: Vec<String> = known_keys(package).collect();
    let mut texts = Vec::new();
    strings(stack, &mut texts);
    let wanted: BTreeSet<String> = texts.iter().flat_map(|text| references(text)).map(|(name, _)| name).collect();
    for name in wanted.iter().filter(|name| !known.contains(name)) {
        say(
            format!("the stack takes `${{{name}}}` from the environment, but the package has no setting `{name}`"),
            "declare it in the manifest or in .env.example; a dollar sign of its own is written $$",
        );
    }
    for key in secret_names(package).filter(|key| texts.iter().any(|text| text.contains(&sample_secret(key)))) {
        say(
            format!("the secret `{key}` is rendered into the stack, where everybody on the host can read it"),
            &format!("write \"${{{key}}}\" in `environment` instead of {{{{ {key} }}}}"),
        );
    }
    let taken = wires::environment(stack);
    let mounted = manifest.variables.iter().filter(|v| v.mount.is_some()).map(|v| &v.key);
    let mounted = mounted.chain(manifest.secrets.iter().filter(|s| s.mount.is_some()).map(|s| &s.key));
    for key in mounted.filter(|key| !taken.iter().any(|(.., value)| *value == format!("${{{key}}}"))) {
        say(
            format!("`{key}` is to be mounted, and no service takes it as it is"),
            &format!("write \"${{{key}}}\" in `environment`; it becomes the file of the variable with `_FILE`"),
        );
    }
    for (name, service) in services.into_iter().flatten() {
        let image = service.get("image").and_then(Value::as_str).unwrap_or_default();
        let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
        if !image.is_empty() && !image.contains('@') && tag.is_none_or(|tag| tag == "latest") {
            say(format!("service `{name}`: the image `{image}` is not pinned"), "name a version tag");
        }
        if is_long_running(service) && service.get("healthcheck").is_none() {
            say(
                format!("service `{name}` has no health check"),
                "without one nobody knows when it is up, or that it is down",
            );
        }
        for port in ports::published(service) {
            if !port.is_on_loopback() && ![80, 443].contains(&port.outside) {
                say(
                    format!("service `{name}` publishes port {} on every address, past the firewall", port.outside),
                    "bind it to 127.0.0.1, or let the proxy route to it",
                );
            }
            if mode == Mode::Produccion && DEBUGGERS.contains(&port.inside) {
                say(
                    format!("service `{name}` publishes port {}, on which debuggers listen", port.outside),
                    "publish it in the mode `debug` only",
                );
            }
        }
    }
}

/// Ports on which debuggers listen by custom: debugpy, Node's inspector, the JVM's, delve.
const DEBUGGERS: &[u16] = &[5678, 9229, 5005, 2345];

/// Meant to stay up: no one-shot.
pub(in crate::services) fn is_long_running(service: &Value) -> bool {
    let restart = service.get("restart").and_then(Value::as_str).unwrap_or("always");
    let mode = service.pointer("/deploy/mode").and_then(Value::as_str).unwrap_or("replicated");
    restart != "no" && !restart.starts_with("on-failure") && !mode.ends_with("-job")
}

/// All texts in a value, keys left out.
fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(map) => map.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// What docker would put in: `$NAME`, `${NAME}`, `${NAME:-default}`, each with its default; `$$` is a dollar sign.
pub(in crate::services) fn references(text: &str) -> Vec<(String, Option<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        if let Some(escaped) = after.strip_prefix('$') {
            rest = escaped;
            continue;
        }
        let braced = after.strip_prefix('{').unwrap_or(after);
        let end = braced.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(braced.len());
        let (name, behind) = braced.split_at(end);
        if name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let default = behind.strip_prefix(":-").or_else(|| behind.strip_prefix('-'));
            let default = default.filter(|_| after.starts_with('{')).and_then(|text| text.split('}').next());
            found.push((name.to_owned(), default.map(str::to_owned)));
        }
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_of_docker_are_found() {
        let found = references("a ${A} $B-x ${C:-d}/$$D $${E} $ 5 $1");
        assert_eq!(found, [("A".into(), None), ("B".into(), None), ("C".into(), Some("d".into()))]);
    }

    #[test]
    fn one_shots_need_no_health_check() {
        assert!(!is_long_running(&json!({"restart": "no"})));
        assert!(!is_long_running(&json!({"deploy": {"mode": "replicated-job"}})));
        assert!(is_long_running(&json!({"restart": "unless-stopped"})));
    }
}
