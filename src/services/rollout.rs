//! A fleet's selection, resolved and rendered completely before the first connection: whatever is missing or wrong
//! on any host is said at once, and nothing has been touched.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde_json::Value;

use super::backup::{self, Choices};
use super::declared::Pin;
use super::instance::Instance;
use super::parts::{self, Grain};
use super::render::{self, HostPlace, Rendered};
use super::settings::{self, Settings, Sources};
use super::world::host_scope;
use super::{Catalogue, Mode, Package, ServiceDeploy, Services, declared};
use crate::error::{Error, Result};
use crate::inventory::Inventory;
use crate::plan::{Failure, Object};
use crate::secrets::Identities;
use crate::vars::Scope;

/// Which services to deploy.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Ids or aliases; none: what each host declares under `services`.
    pub services: Option<Vec<String>>,
    /// false: only the named ones, not what they depend on.
    pub with_dependencies: bool,
    /// Whether `chat/worker` may be said.
    pub grain: Grain,
}

/// One host's services in the order of their deployment.
pub struct HostServices {
    pub host: String,
    pub services: Vec<Rendered>,
    settings: IndexMap<String, Settings>,
    backups: Choices,
}

impl HostServices {
    /// Which files (base, template, the mode's) each part of a service's compose file is from.
    pub fn origins(&self, catalogue: &Catalogue, name: &str) -> Result<Vec<(String, Vec<PathBuf>)>> {
        let rendered = self.services.iter().find(|rendered| rendered.id == name);
        let (Some(rendered), Some(settings)) = (rendered, self.settings.get(name)) else { return Ok(Vec::new()) };
        let said = |key: &str| rendered.vars["service"][key].as_str().unwrap_or_default();
        let mode = said("mode").parse().map_err(|_| Error::new(format!("host `{}`: unknown mode", self.host)))?;
        render::origins(catalogue, catalogue.get(name)?, said("runtime"), mode, &settings.scope)
    }
}

/// Everything that will be deployed, on every host.
pub struct Rollout {
    pub hosts: IndexMap<String, HostServices>,
}

impl Rollout {
    /// Resolves and renders the selection for all hosts, collecting every mistake of every host.
    pub fn prepare(sources: &Sources<'_>, hosts: &[String], selection: &Selection) -> Result<Rollout> {
        let (mut prepared, mut errors) = (IndexMap::new(), Vec::new());
        for host in hosts {
            match prepare_host(sources, host, selection) {
                Ok(services) => {
                    prepared.insert(host.clone(), services);
                }
                Err(error) => errors.extend(flatten(error)),
            }
        }
        // the same mistake in a package or group is one mistake, however many hosts it meets
        let mut seen = std::collections::HashSet::new();
        errors.retain(|error| seen.insert(error.to_string()));
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(Rollout { hosts: prepared }),
        }
    }

    /// Are there secrets that were made now and are not stored yet?
    pub fn generates(&self) -> bool {
        self.hosts.values().any(HostServices::generates)
    }

    /// Where a part of a service is named on a host that runs swarm: `host`, `chat`.
    pub fn part_under_swarm(&self) -> Option<(&str, &str)> {
        let of = |service: &Rendered, key: &str| service.vars.get("service").and_then(|vars| vars.get(key).cloned());
        self.hosts.values().find_map(|host| {
            let part = host.services.iter().find(|service| {
                of(service, "runtime") == Some(Value::from("swarm"))
                    && of(service, "parts").is_some_and(|parts| parts.as_array().is_some_and(|parts| !parts.is_empty()))
            });
            part.map(|service| (host.host.as_str(), service.id.as_str()))
        })
    }

    /// The same for a verb that brings nothing to a host: secrets that were made up for the templates are not kept.
    pub fn without_new_secrets(mut self) -> Rollout {
        let settings = self.hosts.values_mut().flat_map(|host| host.settings.values_mut());
        settings.for_each(|settings| settings.generated.clear());
        self
    }

    /// Writes the secrets that were generated into the hosts' age files; gives back `host/service` of each.
    pub fn store_secrets(&self, inventory: &Inventory, identities: &Identities) -> Result<Vec<String>> {
        let mut written = Vec::new();
        for host in self.hosts.values() {
            for (service, settings) in &host.settings {
                if settings::store(inventory, identities, &host.host, service, settings)? {
                    written.push(format!("{}/{service}", host.host));
                }
            }
            if host.backups.store(inventory, identities, &host.host)? {
                written.push(format!("{}/{}", host.host, backup::SECRETS));
            }
        }
        Ok(written)
    }
}

impl HostServices {
    /// Are there secrets of this host that were made now and are not stored yet?
    pub fn generates(&self) -> bool {
        self.settings.values().any(|settings| !settings.generated.is_empty()) || self.backups.generated()
    }

    /// Where the host's backups go, without what is secret in the address; empty where that is no repository.
    pub fn repository_shown(&self) -> String {
        self.backups.repository_shown()
    }

    pub fn settings(&self, service: &str) -> Option<&Settings> {
        self.settings.get(service)
    }
}

impl Services for Rollout {
    /// `host_services`: for each host what its services want of the server.
    fn vars(&self) -> Object {
        let of = |service: &Rendered| service.vars.get("service")?.get("needs").cloned();
        let hosts = self.hosts.values();
        let hosts =
            hosts.map(|host| (host.host.clone(), host.services.iter().filter_map(of).collect::<Value>())).collect();
        Object::from_iter([("host_services".to_owned(), hosts)])
    }

    fn expand(&self, host: &str, _: &Value, _: &Scope) -> std::result::Result<Vec<ServiceDeploy>, Failure> {
        let services = self.hosts.get(host).map(|host| host.services.as_slice()).unwrap_or_default();
        Ok(services.iter().map(Rendered::deploy).collect())
    }
}

fn flatten(mut error: Error) -> Vec<Error> {
    let also = std::mem::take(&mut error.also);
    std::iter::once(error).chain(also).collect()
}

fn prepare_host(sources: &Sources<'_>, host: &str, selection: &Selection) -> Result<HostServices> {
    let catalogue = sources.catalogue;
    let base = host_scope(sources.inventory, host, sources.extra_vars);
    if let Some(error) = Error::all(declared::mistakes(catalogue, sources.inventory, host)) {
        return Err(error);
    }
    let declared = declared::services(catalogue, sources.inventory, host)?;
    let there = declared.as_ref().map(|(names, _)| names.clone()).unwrap_or_default();
    let mut parts = IndexMap::new();
    let (chosen, place) = match &selection.services {
        Some(services) if services.iter().any(|service| service == "all") => declared.unwrap_or_default(),
        Some(services) if selection.grain == Grain::Parts => {
            let (services, named) = parts::split(catalogue, services)?;
            parts = named;
            (catalogue.unfolded(&services)?, None)
        }
        Some(services) => (catalogue.unfolded(services)?, None),
        None => declared.ok_or_else(|| {
            Error::new(format!("host `{host}` declares no services")).hint(format!(
                "add `services: [{}]` to host_vars/{host}.yml, or name them with --services",
                catalogue.ids().take(3).collect::<Vec<_>>().join(", ")
            ))
        })?,
    };
    for name in &chosen {
        catalogue.instance(name).map_err(|error| match (&place, error.place.is_some()) {
            (Some(place), false) => declared::placed(Some(place), error),
            _ => error,
        })?;
    }
    let order = catalogue.order_among(&chosen, &there, selection.with_dependencies)?;
    // what is not rolled out now may still be what others are wired to, also by a dependency that is not required
    let rest = there.iter().filter(|name| !chosen.contains(name));
    let wired: Vec<String> = chosen.iter().chain(rest).cloned().collect();
    let all = catalogue.order_among(&wired, &there, true).unwrap_or_else(|_| order.clone());
    let place = HostPlace {
        host: host.to_owned(),
        runtime: text_var(&base, "runtime", "compose", host)?,
        deploy_root: text_var(&base, "deploy_root", "/opt/ATS/VersatileHub", host)?,
        mode: Mode::of(&base, host)?,
        own_files: sources.inventory.data_dir().join("files").join(host),
    };
    if !["compose", "swarm"].contains(&place.runtime.as_str()) {
        return Err(
            Error::new(format!("host `{host}`: unknown runtime `{}`", place.runtime)).hint("it is compose or swarm")
        );
    }
    let backups = Choices::load(sources, host, &base)?;
    let (mut services, mut settings, mut errors) = (Vec::new(), IndexMap::new(), Vec::new());
    let (mut exports, mut made) = (Object::new(), IndexMap::new());
    for id in &all {
        let (package, instance) = (catalogue.get(id)?, catalogue.instance(id)?);
        let chosen = order.contains(id);
        if !chosen && package.manifest.exports.is_empty() {
            continue;
        }
        let pin = pin(&base, &instance, host)?;
        let version = pin.as_ref().map_or_else(|| package.manifest.version.clone(), |pin| pin.version.clone());
        let mut deploy = render::deploy_vars(package, &instance, &place, &version);
        let seen = exports_for(catalogue, package, &instance, &exports);
        deploy.insert("exports".to_owned(), Value::Object(seen));
        let scope = package_scope(&base, deploy, host)?;
        let requires: Vec<String> = package
            .manifest
            .dependencies
            .iter()
            .filter_map(|dependency| catalogue.provider(&dependency.service, &instance, &order))
            .map(|provider| provider.to_string())
            .filter(|provider| order.contains(provider))
            .collect();
        // nobody is asked about what is not rolled out
        let sources = Sources { questions: sources.questions.filter(|_| chosen), ..*sources };
        let rendered = sources.resolve(host, package, &instance, &scope, &mut made).and_then(|resolved| {
            let exported = resolved
                .scope
                .value(&Value::Object(package.manifest.exports.clone()))
                .map_err(|fault| fault.at(&package.place()))?;
            if chosen {
                let placed = render::Placed { package, instance: &instance, host: &place, version: &version };
                let mut rendered = render::render(catalogue, placed, &resolved, requires, &backups, sources.lock)?;
                rendered.pin = pin;
                if let Some(parts) = parts.get(id) {
                    parts::narrow(&mut rendered, parts)?;
                }
                services.push(rendered);
            }
            Ok((resolved, exported))
        });
        match rendered {
            Ok((resolved, exported)) => {
                exports.insert(id.clone(), exported);
                settings.insert(id.clone(), resolved);
            }
            Err(error) if chosen => errors.extend(flatten(error)),
            // whoever needs its exports will say that they are missing
            Err(_) => {}
        }
    }
    errors.extend(collisions(host, &services));
    errors.extend(foes(host, &services, &there));
    match Error::all(errors) {
        Some(error) => Err(error),
        None => Ok(HostServices { host: host.to_owned(), services, settings, backups }),
    }
}

/// What a package is rendered in: the host's variables over the suite's defaults, and over both the deploy variables.
fn package_scope(base: &Scope, deploy: Object, host: &str) -> Result<Scope> {
    let mut scope = base.clone();
    scope.push(crate::vars::Layer::written(defaults()));
    let mut own = Object::new();
    for name in defaults().keys() {
        if let Some(value) = base.get(name).map_err(|fault| host_fault(host, fault))? {
            own.insert(name.clone(), value);
        }
    }
    own.extend(deploy);
    scope.push(crate::vars::Layer::raw(own));
    Ok(scope)
}

/// Variables that packages may count on even if no inventory sets them.
fn defaults() -> Object {
    let values =
        [("docker_network", Value::from("web")), ("tls", Value::from("acme")), ("timezone", Value::from("UTC"))];
    values.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// What an instance sees as `exports`: everything by its full name, and by a package's id, or what it was depended on
/// as, that instance which is its own.
fn exports_for(catalogue: &Catalogue, package: &Package, instance: &Instance, exports: &Object) -> Object {
    let known: Vec<String> = exports.keys().cloned().collect();
    let mut seen = exports.clone();
    let dependencies = package.manifest.dependencies.iter().map(|dependency| dependency.service.as_str());
    let ids = known.iter().filter_map(|name| name.split('@').next());
    for name in ids.chain(dependencies) {
        let provider = catalogue.provider(name, instance, &known);
        if let Some(exported) = provider.and_then(|provider| exports.get(&provider.to_string())) {
            seen.insert(name.to_owned(), exported.clone());
        }
    }
    seen
}

/// Two services of a host that would take the same folder, or that answer to the same address.
fn collisions(host: &str, services: &[Rendered]) -> Vec<Error> {
    let root = |service: &Rendered| service.vars.get("service").and_then(|vars| vars.get("root")).cloned();
    let mut errors = Vec::new();
    for (index, service) in services.iter().enumerate() {
        for other in &services[..index] {
            let (one, two) = (&other.id, &service.id);
            if root(service) == root(other) {
                let text = format!("host `{host}`: `{one}` and `{two}` would be in the same folder");
                errors.push(Error::new(text).hint("give the instance another name"));
            }
            let same_package = one.split('@').next() == two.split('@').next();
            if let Some(url) = service.url.as_ref().filter(|url| same_package && Some(*url) == other.url.as_ref()) {
                let text = format!("host `{host}`: `{one}` and `{two}` would both answer at {url}");
                errors.push(
                    Error::new(text).hint(format!(
                        "give each its own domain: `settings: {{{two}: {{…}}}}` in host_vars/{host}.yml"
                    )),
                );
            }
        }
    }
    errors
}

/// Services that cannot be on one host, of those to be deployed and those that it declares.
fn foes(host: &str, services: &[Rendered], declared: &[String]) -> Vec<Error> {
    let mut errors = Vec::new();
    let named: Vec<&String> = services.iter().map(|service| &service.id).chain(declared).collect();
    for service in services {
        let of = |service: &Rendered| service.vars.get("service")?.pointer("/needs/conflicts")?.as_array().cloned();
        for foe in of(service).unwrap_or_default() {
            let Some(other) = named.iter().find(|name| name.split('@').next() == foe.as_str()) else { continue };
            let text = format!("host `{host}`: `{}` and `{other}` cannot be on one host", service.id);
            errors.push(Error::new(text).hint("leave one of them out, or give it another host"));
        }
    }
    errors
}

/// `versions: {hub: v15.1.0}` of the host pins a package to another version than its own, `hub@b: …` one instance.
fn pin(scope: &Scope, instance: &Instance, host: &str) -> Result<Option<Pin>> {
    let versions = scope.get("versions").map_err(|fault| host_fault(host, fault))?.unwrap_or_default();
    let names = [instance.to_string(), instance.package.clone()];
    let found = names.iter().find_map(|name| versions.get(name).map(|entry| Pin::of(name, entry)));
    found.transpose().map_err(|error| error.context(format!("host `{host}`: versions")))
}

fn text_var(scope: &Scope, name: &str, default: &str, host: &str) -> Result<String> {
    match scope.get(name).map_err(|fault| host_fault(host, fault))? {
        None | Some(Value::Null) => Ok(default.to_owned()),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Error::new(format!("host `{host}`: `{name}` must be text"))),
    }
}

fn host_fault(host: &str, fault: crate::vars::Fault) -> Error {
    let mut error = Error::new(format!("host `{host}`: {}", fault.text));
    error.hint = fault.hint;
    error
}
