//! `registry lint`: what is wrong with a package before any client sees it. Each finding names the file, the line
//! where one can be named, and what to do.
//!
//! Whether docker accepts the rendered stack is asked by the tests (`tests/packages_*.rs`), not here: linting works
//! without docker.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::Value;

use super::catalogue::{Catalogue, Package};
use super::instance::Instance;
use super::manifest::{Confirm, JobWhen};
use super::mode::Mode;
use super::settings::{known_keys, secret_names};
use super::traps;
use crate::error::{Error, Place};
use crate::shipped;
use crate::vars::{NoWorld, Scope, validate};

mod backup;
mod network;
mod stack;
pub mod text;
mod twice;

pub(super) use network::one_of_many;
pub(super) use stack::{is_long_running, references};

/// Findings about one package; an empty list is praise.
pub fn lint(catalogue: &Catalogue, package: &Package) -> Vec<Error> {
    let mut findings = Vec::new();
    manifest(catalogue, package, &mut findings);
    backup::findings(package, &mut findings);
    templates(package, &mut findings);
    text::findings(package, &mut findings);
    findings.extend(stacks(catalogue, package));
    let mut seen = BTreeSet::new();
    findings.retain(|finding| seen.insert(finding.to_string()));
    findings
}

/// Findings in what the package renders to: for both runtimes, and for both modes if it tells them apart. What holds
/// for all is said once, what holds for some says for which.
fn stacks(catalogue: &Catalogue, package: &Package) -> Vec<Error> {
    let modes = package.manifest.modes.named();
    let tells_apart = !modes.is_empty();
    let modes = if tells_apart { Mode::ALL.to_vec() } else { vec![Mode::Produccion] };
    let kinds: Vec<(&str, Mode)> =
        modes.iter().flat_map(|mode| ["compose", "swarm"].map(|runtime| (runtime, *mode))).collect();
    let mut met: IndexMap<String, (Error, Vec<(&str, Mode)>)> = IndexMap::new();
    for (runtime, mode) in &kinds {
        let mut findings = Vec::new();
        match super::render::sample_in(catalogue, package, runtime, *mode) {
            Ok((rendered, scope)) => {
                stack::findings(package, runtime, *mode, &rendered, &mut findings);
                network::findings(package, runtime, *mode, (&rendered, &scope), &mut findings);
                let second = Instance { package: package.id.clone(), suffix: Some("second".to_owned()) };
                if !package.manifest.single
                    && let Ok((second, _)) = super::render::sample_of(catalogue, package, &second, runtime, *mode)
                {
                    twice::findings(package, runtime, &rendered, &second, &mut findings);
                }
                findings.extend(traps::caught(catalogue.traps.iter(), &rendered, package.stack_template(runtime)));
                checks(package, *mode, &rendered, &scope, &mut findings);
            }
            Err(error) => findings.push(error),
        }
        for finding in findings {
            let (_, in_kinds) = met.entry(finding.text.clone()).or_insert((finding, Vec::new()));
            if !in_kinds.contains(&(*runtime, *mode)) {
                in_kinds.push((*runtime, *mode));
            }
        }
    }
    let told = |(finding, in_kinds): (Error, Vec<(&str, Mode)>)| {
        let every = |of: fn(&(&str, Mode)) -> String| {
            let words: BTreeSet<String> = in_kinds.iter().map(of).collect();
            let all: BTreeSet<String> = kinds.iter().map(of).collect();
            if words == all { String::new() } else { words.into_iter().collect::<Vec<_>>().join(", ") }
        };
        let words = [every(|(runtime, _)| (*runtime).to_owned()), every(|(_, mode)| mode.word().to_owned())];
        match words.iter().filter(|word| !word.is_empty()).cloned().collect::<Vec<_>>().join(" in ") {
            none if none.is_empty() => finding,
            words => finding.context(words),
        }
    };
    met.into_values().map(told).collect()
}

fn manifest(catalogue: &Catalogue, package: &Package, findings: &mut Vec<Error>) {
    let place = package.place();
    let manifest = &package.manifest;
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    if manifest.version == "latest" {
        say("the version `latest` floats: two clients get two programs".to_owned(), "pin a tag");
    }
    for foe in manifest.conflicts.iter().filter(|foe| catalogue.providers(foe).is_empty()) {
        say(format!("it conflicts with `{foe}`, which no package is or provides"), "take it out, or mend the name");
    }
    // a required one is found by ordering, below
    for dependency in manifest.dependencies.iter().filter(|dependency| !dependency.required) {
        if catalogue.provider(&dependency.service, &Instance::plain(&package.id), &[]).is_none()
            && dependency.check_command.is_none()
        {
            say(
                format!("no package provides the dependency `{}`", dependency.service),
                "add that package or a check_command",
            );
        }
    }
    for variable in &manifest.variables {
        if let Some(kind) = super::settings::validation_text(variable.validation.as_ref())
            && let Err(problem) = kind.parse::<validate::Check>()
        {
            say(format!("variable `{}`: {problem}", variable.key), "see docs/registry.md for the kinds of validation");
        }
    }
    let secrets: Vec<String> = secret_names(package).collect();
    let plain = Scope::new(std::sync::Arc::new(NoWorld));
    for (variable, live) in manifest.variables.iter().filter_map(|v| Some((v, v.live_check.as_ref()?))) {
        for key in plain.names(&Value::from(live.url.as_str())).iter().filter(|name| secrets.contains(name)) {
            let text = format!("variable `{}`: the secret `{key}` is in the address of its live check", variable.key);
            say(text, "put it into a header; addresses are logged");
        }
        if !live.url.starts_with("https://") && !live.url.starts_with("{{") {
            say(
                format!("variable `{}`: `{}` would carry the key in the open", variable.key, live.url),
                "ask by https://",
            );
        }
    }
    for (at, step) in manifest.manual_steps.iter().enumerate() {
        if manifest.manual_steps[..at].iter().any(|other| other.id == step.id) {
            say(format!("two manual steps have the id `{}`", step.id), "whoever marks one as done must say which");
        }
    }
    for secret in &manifest.secrets {
        if let Err(error) = secret.kind.parse::<crate::secrets::SecretKind>() {
            say(format!("secret `{}`: {}", secret.key, error.text), "see docs/registry.md for the kinds of secrets");
        }
    }
    let files = manifest.files.iter().map(|file| &file.src);
    for job in manifest.jobs.iter().filter(|job| job.when == JobWhen::Check && job.check.is_none()) {
        let text = format!("nothing says when job `{}` is due", job.name);
        say(text, "give it a `check`, or `when`: first, image-changed, each");
    }
    if let Some(job) = manifest.jobs.iter().find(|job| job.backup_before && manifest.backup.is_empty()) {
        say(format!("job `{}` wants a backup before it, and the package has none", job.name), "add `backup`");
    }
    for action in &manifest.actions {
        if action.confirm == Confirm::HostName && !action.backup_first {
            let text = format!("action `{}` deletes data and takes no backup before", action.name);
            say(text, "add `\"backup_first\": true`");
        }
        if action.backup_first && manifest.backup.is_empty() {
            say(format!("action `{}` wants a backup before it, and the package has none", action.name), "add `backup`");
        }
    }
    let jobs = manifest.jobs.iter().flat_map(|job| job.check.iter().chain([&job.run]));
    let rules = manifest.doctor.iter().flat_map(|rule| std::iter::once(&rule.check).chain(&rule.fix));
    let dockerfiles = manifest.builds.iter().filter_map(|build| build.default_dockerfile.as_ref());
    let actions = manifest.actions.iter().map(|action| &action.run);
    for file in files.chain(jobs).chain(rules).chain(dockerfiles).chain(actions) {
        if !shipped::exists(&package.dir.join(file)) {
            say(format!("`{file}` is not in the package"), "add the file or take it out of the manifest");
        }
    }
    for build in &manifest.builds {
        let args = build.args.values().map(|value| plain.names(&Value::from(value.as_str())));
        for key in args.flatten().filter(|name| secrets.contains(name)) {
            let text = format!(
                "the secret `{key}` is a build argument of `{}`; whoever has the image can read it",
                build.image
            );
            say(text, "hand it to the container in `environment` instead");
        }
    }
    let known: Vec<String> = known_keys(package).collect();
    let exported = manifest.jobs.iter().flat_map(|job| job.env.iter().map(|key| (format!("job `{}`", job.name), key)));
    let admins = manifest.databases.iter().flat_map(|database| {
        let keys = database.admin_user_var.iter().chain(&database.admin_password_var);
        keys.map(|key| (format!("database `{}`", database.engine), key))
    });
    let acted = manifest.actions.iter();
    let acted = acted.flat_map(|action| action.env.iter().map(|key| (format!("action `{}`", action.name), key)));
    for (who, key) in exported.chain(acted).chain(admins).filter(|(_, key)| !known.contains(key)) {
        say(format!("{who} wants `{key}`, which is no setting of the package"), "declare it, or take it out there");
    }
    for mode in manifest.modes.named() {
        let settings = manifest.modes.of(mode).into_iter().flat_map(|variant| variant.settings.keys());
        for key in settings.filter(|key| !known.contains(key)) {
            let text = format!("mode `{}` sets `{key}`, which is no setting of the package", mode.word());
            say(text, "declare it in `variables` or .env.example");
        }
    }
    let of_modes = manifest.modes.named().into_iter().filter_map(|mode| manifest.modes.of(mode));
    for link in manifest.links.iter().chain(of_modes.flat_map(|variant| &variant.links)) {
        if !["http://", "https://", "tcp://", "{{"].iter().any(|scheme| link.url.starts_with(scheme)) {
            say(
                format!("link `{}`: `{}` is no address", link.name, link.url),
                "it starts with http://, https:// or tcp://",
            );
        }
    }
    let inside = manifest.directories.iter().map(|folder| &folder.path).chain(manifest.files.iter().map(|f| &f.dest));
    for path in inside.filter(|path| path.starts_with('/') || path.split('/').any(|part| part == "..")) {
        say(format!("`{path}` leads out of the service's folder"), "write a path below it");
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

/// Every check can be read, and is about a service of the stack.
fn checks(package: &Package, mode: Mode, stack: &Value, scope: &Scope, findings: &mut Vec<Error>) {
    let env = known_keys(package).map(|key| (key, Value::from("sample"))).collect();
    let rendered = match super::checks::render(package, scope, stack, &[], &env) {
        Ok(rendered) => rendered,
        Err(error) => return findings.push(error),
    };
    if let Err(error) = super::checks::rules(package, scope, &env) {
        findings.push(error);
    }
    let services: Vec<&String> =
        stack.get("services").and_then(Value::as_object).into_iter().flat_map(|s| s.keys()).collect();
    for (check, service) in super::checks::named_services(&rendered, mode) {
        if !services.iter().any(|known| *known == service) {
            let place = Some(package.place_of(check));
            let error =
                Error::new(format!("check `{check}` is for the service `{service}`, which the stack does not have"));
            findings.push(Error { place, ..error }.did_you_mean(service, services.iter().map(|name| name.as_str())));
        }
    }
}

/// Variables that every template may use without declaring them.
const GIVEN: &[&str] = &[
    "service_id",
    "service_slug",
    "instance",
    "version",
    "project",
    "stack_name",
    "root",
    "data",
    "deploy_root",
    "runtime",
    "mode",
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

/// Every variable that a template of the package uses is declared or given.
fn templates(package: &Package, findings: &mut Vec<Error>) {
    let known: Vec<String> = known_keys(package).collect();
    let declared: BTreeSet<&str> = known.iter().map(String::as_str).chain(GIVEN.iter().copied()).collect();
    let scope = Scope::new(std::sync::Arc::new(NoWorld));
    let mut undeclared = |template: &Value, path: std::path::PathBuf, text: &str| {
        for name in scope.names(template).iter().filter(|name| !declared.contains(name.as_str())) {
            let line = text.lines().position(|line| line.contains(name)).map_or(0, |index| index + 1);
            let error = Error {
                place: Some(Place::new(path.clone(), line, 0)),
                source_line: line.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned),
                ..Error::new(format!("the template uses `{name}`, which nothing declares"))
            };
            findings.push(
                error
                    .hint("add it to `variables` of the manifest or to .env.example")
                    .did_you_mean(name, declared.iter().copied()),
            );
        }
    };
    for file in shipped::walk(&package.dir).into_iter().filter(|file| file.extension().is_some_and(|ext| ext == "j2")) {
        let path = package.dir.join(&file);
        if let Ok(text) = shipped::read_to_string(&path) {
            undeclared(&Value::from(text.clone()), path, &text);
        }
    }
    let manifest = &package.manifest;
    let strings = manifest.networks.iter().map(|network| &network.name);
    let strings = strings.chain(manifest.urls.iter().flat_map(|url| std::iter::once(&url.url).chain(&url.contains)));
    let sources = manifest
        .builds
        .iter()
        .flat_map(|build| std::iter::once(&build.source).chain(&build.tag).chain(build.args.values()));
    let of_modes: Vec<_> = manifest.modes.named().into_iter().filter_map(|mode| manifest.modes.of(mode)).collect();
    let links = manifest.links.iter().chain(of_modes.iter().flat_map(|variant| &variant.links));
    let strings = strings
        .chain(links.map(|link| &link.url))
        .chain(manifest.manual_steps.iter().map(|step| &step.text))
        .chain(sources);
    let live = manifest.variables.iter().filter_map(|variable| variable.live_check.as_ref());
    let strings = strings.chain(live.flat_map(|live| std::iter::once(&live.url).chain(live.headers.values())));
    let strings = strings.map(|text| Value::from(text.as_str()));
    let defaults = manifest.variables.iter().filter_map(|variable| variable.default.clone());
    let of_modes = of_modes.iter().flat_map(|variant| variant.settings.values().cloned());
    let templated: Vec<Value> = strings
        .chain(defaults)
        .chain(of_modes)
        .chain([Value::Object(manifest.exports.clone())])
        .chain(manifest.checks.clone())
        .collect();
    undeclared(&Value::from(templated), package.dir.join("manifest.json"), &package.text);
    let examples: Vec<Value> = package.defaults.values().map(|default| Value::from(default.value.as_str())).collect();
    let example = package.dir.join(".env.example");
    let text = shipped::read_to_string(&example).unwrap_or_default();
    undeclared(&Value::from(examples), example, &text);
    if !shipped::exists(&package.dir.join("stack.yml.j2")) && !shipped::exists(&package.dir.join("compose.yml.j2")) {
        findings.push(
            Error { place: Some(package.place()), ..Error::new("there is no stack.yml.j2") }
                .hint("a package is a manifest and a stack"),
        );
    }
}

/// Lines of `_global/.env.example` that reach nobody.
pub fn globals(catalogue: &Catalogue) -> Vec<Error> {
    let packages = || catalogue.packages.values();
    let keys: Vec<String> = packages().flat_map(super::settings::known_keys).collect();
    let secrets: Vec<String> = packages().flat_map(super::settings::secret_names).collect();
    let complaint = |(key, default): (&String, &super::catalogue::EnvDefault)| {
        if secrets.contains(key) {
            let text = format!("`{key}` is a secret, and this file is in clear");
            return Some(
                Error::at(&default.place, text).hint(format!("`provision secrets set global/{key} --host CLIENT`")),
            );
        }
        let unknown =
            (!keys.contains(key)).then(|| Error::at(&default.place, format!("no package has a setting `{key}`")));
        unknown.map(|error| error.did_you_mean(key, keys.iter().map(String::as_str)))
    };
    catalogue.globals.iter().filter_map(complaint).collect()
}
