//! A package and its settings become what the deploy playbook works on: the stack's text, the environment, folders,
//! files, jobs and URLs. A pure function: the same input gives the same bytes.

mod listed;
mod sample;
mod stack;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::backup::{self, Choices};
use super::catalogue::{Catalogue, Package, hex};
use super::declared::Pin;
use super::instance::Instance;
use super::mode::Mode;
use super::settings::Settings;
use super::{FleetLock, ServiceDeploy, checks, fleet_lock, mounted, ports, secret_files, traps, wires};
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::vars::Scope;

pub use listed::LiveCheck;
pub(super) use listed::{exports, script};
pub(super) use stack::origins;

pub use sample::{sample, sample_in};
pub(super) use sample::{sample_of, sample_secret};

use listed::{Listed, render_text};
use stack::{images_by_service, stack, stack_text};

/// A service ready to be deployed on a host.
#[derive(Clone)]
pub struct Rendered {
    /// The instance's name: `chat`, `chat@tienda2`.
    pub id: String,
    pub version: String,
    /// The variable `service` of the deploy playbook.
    pub vars: Object,
    /// SHA-256 over the stack, the environment and the files.
    pub digest: String,
    /// The first URL, for the matrix.
    pub url: Option<String>,
    pub requires: Vec<String>,
    /// Names of images that a registry can say a digest for.
    pub names: BTreeSet<String>,
    /// What the inventory says under `versions`, if it does.
    pub pin: Option<Pin>,
    /// Beside `vars`, for no template has to see them.
    pub live_checks: Vec<LiveCheck>,
}

impl Rendered {
    /// As `include_services` hands it to a task file.
    pub(super) fn deploy(&self) -> ServiceDeploy {
        let Rendered { id, version, vars, url, .. } = self.clone();
        ServiceDeploy { service: id, version, url, vars }
    }
}

/// What is common to all services of a host.
#[derive(Clone, Debug)]
pub struct HostPlace {
    pub host: String,
    pub runtime: String,
    pub deploy_root: String,
    pub mode: Mode,
    /// The operator's folder with this client's own versions of packages' files: `files/<host>/<service>/…`.
    pub own_files: PathBuf,
}

/// Variables that every template of a package may use besides its settings.
pub fn deploy_vars(package: &Package, instance: &Instance, host: &HostPlace, version: &str) -> Object {
    let root = root(package, instance, host);
    let project = instance.project();
    let vars = json!({
        "service_id": package.id,
        "service_slug": instance.slug(),
        "instance": instance.suffix.as_deref().unwrap_or_default(),
        "version": version,
        "project": project,
        "stack_name": project,
        "root": root,
        "data": format!("{root}/data"),
        "deploy_root": host.deploy_root,
        "runtime": host.runtime,
        "mode": host.mode.word(),
    });
    vars.as_object().cloned().unwrap_or_default()
}

fn root(package: &Package, instance: &Instance, host: &HostPlace) -> String {
    let below = package.manifest.root.clone().unwrap_or_else(|| format!("services/{}", package.id));
    let suffix = instance.suffix.as_ref().map(|suffix| format!("-{suffix}")).unwrap_or_default();
    format!("{}/{below}{suffix}", host.deploy_root.trim_end_matches('/'))
}

/// An instance of a package, in the version that a host gets.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub package: &'a Package,
    pub instance: &'a Instance,
    pub host: &'a HostPlace,
    pub version: &'a str,
}

/// Renders everything of one service.
pub fn render(
    catalogue: &Catalogue,
    placed: Placed<'_>,
    settings: &Settings,
    requires: Vec<String>,
    choices: &Choices,
    lock: Option<&FleetLock>,
) -> Result<Rendered> {
    let Placed { package, instance, host, version } = placed;
    let manifest = &package.manifest;
    let scope = &settings.scope;
    let root = root(package, instance, host);
    let (name, project) = (instance.to_string(), instance.project());
    let broken =
        broken(package, scope)?.into_iter().map(|error| error.context(format!("host `{}`: `{name}`", host.host)));
    if let Some(error) = Error::all(broken.collect()) {
        return Err(error);
    }
    let mut stack = stack(catalogue, package, host, scope, &project)?;
    let env: Object =
        settings.values.iter().map(|(key, setting)| (key.clone(), Value::from(setting.value.clone()))).collect();

    let listed = Listed { placed, scope, env: &env, root: &root, project: &project };
    let files = listed.files()?;
    let mut builds = Vec::new();
    for build in &manifest.builds {
        builds.extend(super::build::prepare(package, build, version, |template| listed.text(template))?);
    }
    super::build::name_images(&mut stack, &builds, &host.runtime);
    mounted::label(&mut stack, &root, &files);
    let (keys, unmounted) = listed.mounts()?;
    let at = secret_files::At { root: &root, project: &project, runtime: &host.runtime };
    let secret_files = secret_files::mount(&mut stack, &keys, &env, &at);
    let no_files: Vec<String> = unmounted.iter().map(|key| secret_files::path(&root, key)).collect();
    let refused = catalogue.traps.iter().filter(|trap| trap.refuse);
    let refused = traps::caught(refused, &stack, package.stack_template(&host.runtime));
    if let Some(error) = Error::all(refused.map(|error| error.context(format!("host `{}`", host.host))).collect()) {
        return Err(error);
    }
    let many = super::lint::one_of_many(&stack, &host.runtime).into_iter().map(|text| {
        let error = Error { place: Some(Place::file(package.stack_template(&host.runtime))), ..Error::new(text) };
        error.context(format!("host `{}`", host.host)).hint("one of them, or a package that names neither")
    });
    if let Some(error) = Error::all(many.collect()) {
        return Err(error);
    }
    let ports: Vec<Value> = ports::of_stack(&stack)
        .iter()
        .map(|port| json!({"address": port.address, "port": port.outside, "protocol": port.protocol}))
        .collect();
    let containers = stack;
    let services = || containers.get("services").and_then(Value::as_object).into_iter().flatten();
    let names: Vec<Value> = services().filter_map(|(_, service)| service.get("container_name").cloned()).collect();
    // what is deployed; what is said about the images goes by their names
    let locked = lock.map_or_else(|| containers.clone(), |lock| lock.applied(&containers));
    let record_images = images_by_service(&locked);
    let images: BTreeSet<&str> = record_images.values().filter_map(Value::as_str).collect();
    let stack = stack_text(package, &locked);
    let urls = listed.urls()?;
    let checks = checks::render(package, scope, &containers, &urls, &env)?;
    let doctor = checks::rules(package, scope, &env)?;
    let secrets: Vec<&String> =
        settings.values.iter().filter(|(_, setting)| setting.secret).map(|(key, _)| key).collect();
    let databases = listed.databases(catalogue, &requires);
    // without their texts: the record is for whoever looks at the host
    let to_do = manifest.manual_steps.iter().map(|step| json!({"id": step.id, "critical": step.critical}));
    // what is written into `.env`
    let env_file: Object = env.iter().chain(&secret_files.digests).map(|(k, v)| (k.clone(), v.clone())).collect();
    let digest = digest(&stack, &env_file, &files);
    let backup = backup::render(placed, &root, &env, &databases, choices)?;
    let label = match host.runtime.as_str() {
        "swarm" => "com.docker.stack.namespace",
        _ => "com.docker.compose.project",
    };
    let url = urls.first().and_then(|url| url["url"].as_str()).map(origin_of);
    let needs = needs(catalogue, placed, &containers);
    // for the verbs that look
    let looks = json!({
        "checks": checks, "doctor": doctor, "secrets": secrets,
        "wires": wires::wires(&containers, &env), "upstreams": wires::upstreams(&containers, &env, &urls),
    });
    let record = json!({
        "service": name, "version": version, "digest": digest, "project": project, "root": root,
        "runtime": host.runtime, "mode": host.mode.word(), "urls": urls, "package": package.hash(),
        // for those who come later
        "min": needs["min"], "recommended": needs["recommended"], "conflicts": needs["conflicts"],
        "images": record_images, "steps": to_do.collect::<Vec<_>>(),
    });
    let mut service = json!({
        "id": name, "package": package.id, "name": manifest.name, "version": version, "project": project, "runtime": host.runtime,
        // what docker says is the project's carries it
        "label": format!("{label}={project}"),
        "root": root, "stack": stack, "env": env_file, "networks": listed.networks()?, "directories": listed.directories(), "files": files, "builds": builds,
        "databases": databases, "jobs": listed.jobs()?, "actions": listed.actions()?, "urls": urls, "links": listed.links()?, "ports": ports, "container_names": names, "images": images,
        // empty: all of it
        "parts": [],
        "secret_files": secret_files.files, "no_secret_files": no_files,
        "mode": host.mode.word(), "health_timeout": manifest.health.timeout,
        "requires": requires, "manual_steps": listed.steps()?,
        "backup": backup,
        "dependency_checks": dependency_checks(catalogue, package, instance, &requires),
    });
    if let (Value::Object(service), Value::Object(looks)) = (&mut service, looks) {
        service.extend(looks);
        service.extend([("record".to_owned(), record), ("needs".to_owned(), needs)]);
    }
    let vars = Map::from_iter([("service".to_owned(), service)]);
    Ok(Rendered {
        id: name,
        version: version.to_owned(),
        vars,
        digest,
        url,
        requires,
        live_checks: listed.live_checks()?,
        names: fleet_lock::names(&containers),
        pin: None,
    })
}

/// What a package asserts of its settings and is not so.
pub(super) fn broken(package: &Package, scope: &Scope) -> Result<Vec<Error>> {
    let mut errors = Vec::new();
    for assertion in &package.manifest.asserts {
        let place = package.place_of(&assertion.that);
        if !scope.condition(&Value::from(assertion.that.as_str())).map_err(|fault| fault.at(&place))? {
            let text = render_text(scope, &assertion.fail_msg, package)?;
            errors.push(Error { place: Some(place), ..Error::new(text) });
        }
    }
    Ok(errors)
}

/// What `host_requirements` compares with the server before anything is touched.
fn needs(catalogue: &Catalogue, placed: Placed<'_>, stack: &Value) -> Value {
    let Placed { package, instance, .. } = placed;
    let wants = &package.manifest.requirements;
    let foes: BTreeSet<&String> = package
        .manifest
        .conflicts
        .iter()
        .flat_map(|name| catalogue.providers(name))
        .map(|other| &other.id)
        .filter(|id| **id != package.id)
        .collect();
    json!({
        "service": instance.to_string(), "project": instance.project(),
        "min": wants.minimum(), "recommended": wants.recommended(),
        "docker": wants.docker, "compose": wants.compose, "commands": wants.commands, "conflicts": foes,
        "bound": traps::bound_to_a_version(&catalogue.traps, stack),
    })
}

/// Commands that say whether a dependency is met which is not part of the run.
fn dependency_checks(catalogue: &Catalogue, package: &Package, instance: &Instance, requires: &[String]) -> Vec<Value> {
    let in_run = |service: &str| {
        let provider = catalogue.provider(service, instance, requires);
        provider.is_some_and(|provider| requires.contains(&provider.to_string()))
    };
    let outside = package.manifest.dependencies.iter().filter(|dependency| !in_run(&dependency.service));
    outside
        .filter_map(|d| {
            let command = d.check_command.as_ref()?;
            Some(json!({"service": d.service, "required": d.required, "command": command}))
        })
        .collect()
}

fn digest(stack: &str, env: &Object, files: &[Value]) -> String {
    let mut hash = Sha256::new();
    hash.update(stack.as_bytes());
    for (key, value) in env {
        hash.update(format!("\0{key}={value}").as_bytes());
    }
    for file in files {
        hash.update(format!("\0{file}").as_bytes());
    }
    hex(&hash.finalize())
}

/// `https://x.example` of `https://x.example/api/ping?y`.
fn origin_of(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default()),
        None => url.to_owned(),
    }
}
