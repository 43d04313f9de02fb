//! `registry lint`: what is wrong with a package before any client sees it. Each finding names the file, the line
//! where one can be named, and what to do.
//!
//! Whether docker accepts the rendered stack is asked by the tests (`tests/packages_*.rs`), not here: linting works
//! without docker.

use std::collections::BTreeSet;

use serde_json::Value;

use super::catalogue::{Catalogue, Package};
use crate::error::{Error, Place};
use crate::shipped;
use crate::vars::validate;

/// Findings about one package; an empty list is praise.
pub fn lint(catalogue: &Catalogue, package: &Package) -> Vec<Error> {
    let mut findings = Vec::new();
    manifest(catalogue, package, &mut findings);
    templates(package, &mut findings);
    for runtime in ["compose", "swarm"] {
        match super::render::sample(catalogue, package, runtime) {
            Ok(stack) => stack_findings(package, runtime, &stack, &mut findings),
            Err(error) => findings.push(error),
        }
    }
    findings
}

fn manifest(catalogue: &Catalogue, package: &Package, findings: &mut Vec<Error>) {
    let place = package.place();
    let manifest = &package.manifest;
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    if manifest.version == "latest" {
        say("the version `latest` floats: two clients get two programs".to_owned(), "pin a tag");
    }
    for dependency in &manifest.dependencies {
        if catalogue.resolve(&dependency.service, &[]).is_none() && dependency.check_command.is_none() {
            say(
                format!("no package provides the dependency `{}`", dependency.service),
                "add that package or a check_command",
            );
        }
    }
    for variable in &manifest.variables {
        if let Some(Value::String(kind)) = &variable.validation
            && let Err(problem) = kind.parse::<validate::Check>()
        {
            say(format!("variable `{}`: {problem}", variable.key), "see docs/registry.md for the kinds of validation");
        }
    }
    for secret in &manifest.secrets {
        if let Err(error) = secret.kind.parse::<crate::secrets::SecretKind>() {
            say(format!("secret `{}`: {}", secret.key, error.text), "see docs/registry.md for the kinds of secrets");
        }
    }
    let files = manifest.files.iter().map(|file| &file.src);
    let jobs = manifest.jobs.iter().flat_map(|job| [&job.check, &job.run]);
    for file in files.chain(jobs) {
        if !shipped::exists(&package.dir.join(file)) {
            say(format!("`{file}` is not in the package"), "add the file or take it out of the manifest");
        }
    }
    if let Some(name) = &manifest.extends
        && catalogue.base(&format!("{name}.yml")).is_none()
    {
        say(format!("extends `{name}`, but there is no _defaults/{name}.yml"), "name an existing base");
    }
    if let Err(error) = catalogue.order(std::slice::from_ref(&package.id), true) {
        findings.push(error);
    }
}

/// Variables that every template may use without declaring them.
const GIVEN: &[&str] = &[
    "service_id",
    "version",
    "project",
    "stack_name",
    "root",
    "data",
    "deploy_root",
    "runtime",
    "docker_network",
    "tls",
    "timezone",
    "exports",
    "domain",
    "inventory_hostname",
    "inventory_hostname_short",
    "group_names",
    "groups",
    "hostvars",
    "ansible_host",
];

fn templates(package: &Package, findings: &mut Vec<Error>) {
    let declared: BTreeSet<&str> = package
        .manifest
        .variables
        .iter()
        .map(|variable| variable.key.as_str())
        .chain(package.manifest.secrets.iter().map(|secret| secret.key.as_str()))
        .chain(
            package
                .manifest
                .databases
                .iter()
                .flat_map(|d| [d.db_name_var.as_str(), d.user_var.as_str(), d.password_var.as_str()]),
        )
        .chain(package.defaults.keys().map(String::as_str))
        .chain(GIVEN.iter().copied())
        .collect();
    let scope = crate::vars::Scope::new(std::sync::Arc::new(crate::vars::NoWorld));
    for file in shipped::walk(&package.dir).into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "j2")) {
        let path = package.dir.join(&file);
        let Ok(text) = shipped::read_to_string(&path) else { continue };
        for name in scope.names(&Value::from(text.clone())) {
            if declared.contains(name.as_str()) {
                continue;
            }
            let line = text.lines().position(|line| line.contains(&name)).map_or(0, |index| index + 1);
            let error = Error {
                place: Some(Place::new(path.clone(), line, 0)),
                source_line: line.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned),
                ..Error::new(format!("the template uses `{name}`, which nothing declares"))
            };
            findings.push(
                error
                    .hint("add it to `variables` of the manifest or to .env.example")
                    .did_you_mean(&name, declared.iter().copied()),
            );
        }
    }
    if !shipped::exists(&package.dir.join("stack.yml.j2")) && !shipped::exists(&package.dir.join("compose.yml.j2")) {
        findings.push(
            Error { place: Some(package.place()), ..Error::new("there is no stack.yml.j2") }
                .hint("a package is a manifest and a stack"),
        );
    }
}

/// Pinned images, a health check for what stays up, no port past the firewall.
fn stack_findings(package: &Package, runtime: &str, stack: &Value, findings: &mut Vec<Error>) {
    let place = Place::file(package.stack_template(runtime));
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    let services = stack.get("services").and_then(Value::as_object);
    for (name, service) in services.into_iter().flatten() {
        let image = service.get("image").and_then(Value::as_str).unwrap_or_default();
        let tag = image.rsplit('/').next().unwrap_or_default().split_once(':').map(|(_, tag)| tag);
        if !image.is_empty() && !image.contains('@') && tag.is_none_or(|tag| tag == "latest") {
            say(format!("{runtime}: service `{name}`: the image `{image}` is not pinned"), "name a version tag");
        }
        if is_long_running(service) && service.get("healthcheck").is_none() {
            say(
                format!("{runtime}: service `{name}` has no health check"),
                "without one nobody knows when it is up, or that it is down",
            );
        }
        for port in service.get("ports").and_then(Value::as_array).into_iter().flatten() {
            if let Some(published) = published_past_firewall(port)
                && !["80", "443"].contains(&published.as_str())
            {
                say(
                    format!(
                        "{runtime}: service `{name}` publishes port {published} on every address, past the firewall"
                    ),
                    "bind it to 127.0.0.1, or let the proxy route to it",
                );
            }
        }
    }
}

fn is_long_running(service: &Value) -> bool {
    let restart = service.get("restart").and_then(Value::as_str).unwrap_or("always");
    let mode = service.pointer("/deploy/mode").and_then(Value::as_str).unwrap_or("replicated");
    restart != "no" && !restart.starts_with("on-failure") && !mode.ends_with("-job")
}

/// The published port if it is not bound to a loopback address.
fn published_past_firewall(port: &Value) -> Option<String> {
    match port {
        Value::String(text) => {
            let text = text.split('/').next().unwrap_or_default();
            let parts: Vec<&str> = text.split(':').collect();
            match parts.as_slice() {
                [_container] => None,
                [published, _] => Some((*published).to_owned()),
                [address, published, _] if !address.starts_with("127.") => Some((*published).to_owned()),
                _ => None,
            }
        }
        Value::Object(map) => {
            let address = map.get("host_ip").and_then(Value::as_str).unwrap_or_default();
            let published = map.get("published")?;
            (!address.starts_with("127."))
                .then(|| published.as_str().map_or_else(|| published.to_string(), str::to_owned))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_past_the_firewall_are_seen() {
        assert_eq!(published_past_firewall(&json!("5432:5432")), Some("5432".to_owned()));
        assert_eq!(published_past_firewall(&json!("127.0.0.1:5432:5432")), None);
        assert_eq!(published_past_firewall(&json!("0.0.0.0:81:80/tcp")), Some("81".to_owned()));
        assert_eq!(published_past_firewall(&json!({"target": 80, "published": 8081})), Some("8081".to_owned()));
        assert_eq!(published_past_firewall(&json!("8000")), None);
    }

    #[test]
    fn one_shots_need_no_health_check() {
        assert!(!is_long_running(&json!({"restart": "no"})));
        assert!(!is_long_running(&json!({"deploy": {"mode": "replicated-job"}})));
        assert!(is_long_running(&json!({"restart": "unless-stopped"})));
    }
}
