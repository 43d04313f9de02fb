//! A service's settings on one host, layer over layer, each with the place that won.
//!
//! Low → high: the manifest's default, `.env.example`, `_global/.env.example` of the registry, the mode's value, the inventory's layers (there a `settings:` mapping by service,
//! or a plain variable of the key's name), the host's `global.env.age`, the service's `<service>.env.age`, `-e`.
//! Values of the inventory and the package may be templates; values of age files and `-e` are taken as they are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use super::FleetLock;
use super::catalogue::{Catalogue, Package};
use super::instance::Instance;
use super::mode::Mode;
use super::questions::{Asked, Question};
use super::world::PackageWorld;
use crate::error::{Error, Place, Result};
use crate::inventory::Inventory;
use crate::plan::{Object, Secret};
use crate::secrets::{EnvFile, Identities, Recipients, Redactor, SecretKind, generate};
use crate::vars::{Fault, Layer, Scope, validate};

/// One setting's winner.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Plaintext, also of secrets: never print without looking at `secret`.
    pub value: String,
    pub secret: bool,
    pub origin: Origin,
    /// What lost against it, low → high.
    pub beaten: Vec<Origin>,
}

/// Where a setting came from.
#[derive(Clone, Debug)]
pub struct Origin {
    /// e.g. `host_vars/clienteA.yml`, `default of the manifest`.
    pub layer: String,
    pub place: Option<Place>,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place} ({})", self.layer),
            None => f.write_str(&self.layer),
        }
    }
}

/// Everything that settings are made from.
pub struct Sources<'a> {
    pub catalogue: &'a Catalogue,
    pub inventory: &'a Arc<Inventory>,
    pub identities: &'a Identities,
    pub extra_vars: &'a Object,
    pub redactor: &'a Redactor,
    /// Hears of everything that an operator may be asked, whatever comes of the rest.
    pub questions: Option<&'a dyn Fn(Question)>,
    /// Values that are looked at in place of stored ones, or as if they were stored.
    pub replaced: Option<&'a Replaced>,
    /// What the images' names mean.
    pub lock: Option<&'a FleetLock>,
}

/// Values by host, file (a service, or `global`) and key.
pub type Replaced = BTreeMap<(String, String, String), Secret>;

/// A service's settings on a host.
#[derive(Clone)]
pub struct Settings {
    pub values: IndexMap<String, Setting>,
    /// In which stack templates and everything else of the package is rendered: the host's variables, the deploy
    /// variables and the settings.
    pub scope: Scope,
    /// Secrets that were generated now and are not yet in the host's age file.
    pub generated: Vec<String>,
    /// Secrets that the client's services have in common.
    pub shared: Vec<String>,
}

/// A value on its way up the layers.
struct Candidate {
    value: Value,
    raw: bool,
    secret: bool,
    origin: Origin,
    beaten: Vec<Origin>,
}

impl Sources<'_> {
    /// Resolves one service on one host. `base` is the host's scope with the deploy variables. Generates missing
    /// secrets in memory; [`store`] writes them. All problems at once: missing settings, values of the wrong kind.
    /// `made` are the shared secrets that were generated for the host's other services.
    pub fn resolve(
        &self,
        host: &str,
        package: &Package,
        instance: &Instance,
        base: &Scope,
        made: &mut IndexMap<String, String>,
    ) -> Result<Settings> {
        let mut layers = self.layers(host, package, instance, Mode::of(base, host)?)?;
        let generated = generate_missing(package, &mut layers, made)?;
        let written = |raw: bool| -> Object {
            let chosen = layers.iter().filter(|(_, candidate)| candidate.raw == raw && !candidate.value.is_null());
            chosen.map(|(key, candidate)| (key.clone(), candidate.value.clone())).collect()
        };
        let world = PackageWorld::of(self.catalogue, package, self.inventory);
        let mut scope = base.in_world(Arc::new(world));
        scope.push(Layer::written(written(false)));
        scope.push(Layer::raw(written(true)));
        let (mut values, mut errors, mut texts) = (IndexMap::new(), Vec::new(), Object::new());
        let mut undefined = Vec::new();
        for (key, candidate) in layers {
            match setting_text(&scope, &key, &candidate) {
                Ok(value) => {
                    if candidate.secret {
                        self.redactor.add(&value);
                    }
                    texts.insert(key.clone(), Value::String(value.clone()));
                    let setting =
                        Setting { value, secret: candidate.secret, origin: candidate.origin, beaten: candidate.beaten };
                    values.insert(key, setting);
                }
                Err(unclear) => {
                    undefined.extend(unclear.undefined.map(|name| (key.clone(), name)));
                    let place = format!("host `{host}`: service `{instance}`: setting `{key}`");
                    errors.push(unclear.error.context(place));
                }
            }
        }
        if let Some(hear) = self.questions {
            let name = instance.to_string();
            let asked = Asked { sources: self, host, service: &name, package };
            asked.all(&values, &undefined).into_iter().for_each(hear);
        }
        errors.extend(self.complaints(host, package, instance, &values));
        match Error::all(errors) {
            Some(error) => Err(error),
            None => {
                scope.push(Layer::raw(texts));
                Ok(Settings { values, scope, generated, shared: shared_keys(package) })
            }
        }
    }

    fn layers(
        &self,
        host: &str,
        package: &Package,
        instance: &Instance,
        mode: Mode,
    ) -> Result<IndexMap<String, Candidate>> {
        let mut layers = Layers { package, values: IndexMap::new() };
        let manifest = &package.manifest;
        for variable in &manifest.variables {
            let place = Some(package.place_of(&variable.key));
            let origin = Origin { layer: "default of the package".to_owned(), place };
            layers.put(&variable.key, variable.default.clone().unwrap_or(Value::Null), false, origin);
        }
        for database in &manifest.databases {
            for key in [&database.db_name_var, &database.user_var] {
                if !layers.values.contains_key(key) {
                    let origin = Origin { layer: "the service's name".to_owned(), place: Some(package.place_of(key)) };
                    layers.put(key, Value::String(instance.slug().replace('-', "_")), false, origin);
                }
            }
        }
        for (key, default) in &package.defaults {
            if !default.value.is_empty() {
                let origin = Origin { layer: "default of the package".to_owned(), place: Some(default.place.clone()) };
                layers.put(key, Value::String(default.value.clone()), false, origin);
            } else if !layers.values.contains_key(key) {
                let origin = Origin { layer: "required by the package".to_owned(), place: Some(default.place.clone()) };
                layers.put(key, Value::Null, false, origin);
            }
        }
        for (key, default) in &self.catalogue.globals {
            let known = layers.values.get(key).is_some_and(|candidate| !candidate.secret);
            if known && !default.value.is_empty() {
                let origin = Origin { layer: "default of the registry".to_owned(), place: Some(default.place.clone()) };
                layers.put(key, Value::String(default.value.clone()), false, origin);
            }
        }
        for (key, value) in manifest.modes.of(mode).into_iter().flat_map(|variant| &variant.settings) {
            let layer = format!("mode {} of the package", mode.word());
            layers.put(key, value.clone(), false, Origin { layer, place: Some(package.place_of(key)) });
        }
        for secret in secret_keys(package) {
            if !layers.values.contains_key(&secret) {
                let origin = Origin { layer: "generated".to_owned(), place: None };
                layers.put(&secret, Value::Null, true, origin);
            }
        }
        let known: Vec<String> = layers.values.keys().cloned().collect();
        let (scopes, name) = (scopes(package, instance), instance.to_string());
        for layer in self.inventory.layers(host) {
            let origin = |path: &[&str]| Origin { layer: layer.name.clone(), place: layer.place(path).cloned() };
            for key in &known {
                if let Some(value) = layer.vars.get(key) {
                    layers.put(key, value.clone(), false, origin(&[key.as_str()]));
                }
            }
            for scope in &scopes {
                let settings = layer.vars.get("settings").and_then(|all| all.get(scope)).and_then(Value::as_object);
                for (key, value) in settings.into_iter().flatten() {
                    if known.contains(key) {
                        layers.put(key, value.clone(), false, origin(&["settings", scope.as_str(), key.as_str()]));
                    }
                }
            }
        }
        for file in ["global", name.as_str()] {
            let path = env_path(self.inventory, host, file);
            let layer = format!("vps_data/{host}/{file}.env.age");
            for (key, value, line) in self.stored(host, file)? {
                if !known.contains(&key) {
                    continue;
                }
                let origin = Origin { layer: layer.clone(), place: Some(Place::new(path.clone(), line, 0)) };
                layers.put(&key, Value::String(value.reveal().to_owned()), true, origin);
                if let Some(candidate) = layers.values.get_mut(&key) {
                    candidate.secret = true;
                }
            }
        }
        for key in &known {
            if let Some(value) = self.extra_vars.get(key) {
                layers.put(key, value.clone(), true, Origin { layer: "-e".to_owned(), place: None });
            }
        }
        Ok(layers.values)
    }

    /// What a file of the host holds, or is looked at as if it held it, with the lines.
    pub(super) fn stored(&self, host: &str, file: &str) -> Result<Vec<(String, Secret, usize)>> {
        let stored = EnvFile::load(&env_path(self.inventory, host, file), self.identities)?;
        let line = |key: &str| stored.line_of(key).unwrap_or(0);
        let mut all: IndexMap<String, Secret> =
            stored.iter().map(|(key, value)| (key.to_owned(), value.clone())).collect();
        let here = self.replaced.into_iter().flatten().filter(|((of, name, _), _)| of == host && name == file);
        all.extend(here.map(|((_, _, key), value)| (key.clone(), value.clone())));
        all.values().for_each(|value| self.redactor.add(value.reveal()));
        Ok(all
            .into_iter()
            .map(|(key, value)| (line(&key), key, value))
            .map(|(line, key, value)| (key, value, line))
            .collect())
    }

    /// What is missing or of the wrong kind.
    fn complaints(
        &self,
        host: &str,
        package: &Package,
        instance: &Instance,
        values: &IndexMap<String, Setting>,
    ) -> Vec<Error> {
        let mut errors = Vec::new();
        let value = |key: &str| values.get(key).map(|setting| setting.value.as_str()).unwrap_or_default();
        for key in shared_keys(package) {
            let own = format!("vps_data/{host}/{instance}.env.age");
            if values.get(&key).is_some_and(|setting| setting.origin.layer == own) {
                let text = format!(
                    "host `{host}`: `{key}` is one secret for several services, but {own} has a value of its own"
                );
                errors.push(Error::new(text).hint(format!(
                    "`provision secrets set global/{key} --host {host}` stores the common one; take the line out with `provision secrets edit {instance} --host {host}`"
                )));
            }
        }
        let mut missing = |key: &str, help: &str| {
            let text = format!("host `{host}`: service `{instance}` needs `{key}`");
            let what = if help.is_empty() { String::new() } else { format!(" ({help})") };
            let hint = format!(
                "set it under `settings: {{{instance}: {{{key}: …}}}}` in host_vars/{host}.yml{what}, or with `provision secrets set {instance}/{key} --host {host}` if it is secret"
            );
            errors.push(Error::new(text).hint(hint));
        };
        // one that could not be worked out is not missing
        let empty = |key: &str| values.get(key).is_some_and(|setting| setting.value.is_empty());
        for variable in package.manifest.variables.iter().filter(|variable| variable.required) {
            if empty(&variable.key) {
                missing(&variable.key, &variable.prompt);
            }
        }
        for (key, default) in package.defaults.iter().filter(|(_, default)| default.value.is_empty()) {
            let declared = package.manifest.variables.iter().any(|variable| variable.key == *key);
            if !declared && empty(key) {
                missing(key, &default.help);
            }
        }
        for variable in &package.manifest.variables {
            let Some(kind) = validation_text(variable.validation.as_ref()) else { continue };
            let text = value(&variable.key);
            if text.is_empty() {
                continue;
            }
            if let Err(problem) = validate::check(&kind, text) {
                let place = values.get(&variable.key).and_then(|setting| setting.origin.place.as_ref());
                let text = format!("host `{host}`: service `{instance}`: `{}`: {problem}", variable.key);
                errors.push(match place {
                    // the line of an encrypted value says nothing, and that of a secret one too much
                    Some(place) if values.get(&variable.key).is_some_and(|setting| setting.secret) => {
                        Error { place: Some(place.clone()), ..Error::new(text) }
                    }
                    Some(place) => Error::at(place, text),
                    None => Error::new(text),
                });
            }
        }
        errors
    }
}

/// Under which names of `settings:` an instance looks, low → high: what is said of the package holds for all of it.
fn scopes(package: &Package, instance: &Instance) -> Vec<String> {
    let names = || package.manifest.aliases.iter().chain([&package.id]);
    let own = instance.suffix.iter().flat_map(|suffix| names().map(move |name| format!("{name}@{suffix}")));
    std::iter::once("all".to_owned()).chain(names().cloned()).chain(own).collect()
}

/// Where a host's secrets of a service are.
pub fn env_path(inventory: &Inventory, host: &str, service: &str) -> PathBuf {
    inventory.data_dir().join("vps_data").join(host).join(format!("{service}.env.age"))
}

/// Who may read a host's secrets.
pub fn recipients(inventory: &Inventory) -> Result<Recipients> {
    let path = inventory.data_dir().join(".age-recipients");
    Recipients::load(&path).map_err(|error| {
        if path.exists() {
            return error;
        }
        Error::new(format!("there is no `{}`, so secrets cannot be encrypted", path.display()))
            .hint("create it with `provision secrets init`")
    })
}

/// Writes freshly generated secrets into the host's age file, so that the next run finds them.
pub fn store(
    inventory: &Inventory,
    identities: &Identities,
    host: &str,
    service: &str,
    settings: &Settings,
) -> Result<bool> {
    if settings.generated.is_empty() {
        return Ok(false);
    }
    let (common, own): (Vec<&String>, Vec<&String>) =
        settings.generated.iter().partition(|key| settings.shared.contains(key));
    let mut written = false;
    for (name, keys) in [("global", common), (service, own)] {
        if keys.is_empty() {
            continue;
        }
        let path = env_path(inventory, host, name);
        let mut file = EnvFile::load(&path, identities)?;
        for key in keys {
            if let Some(setting) = settings.values.get(key) {
                file.set(key, Secret::new(setting.value.clone()))?;
            }
        }
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::new(format!("cannot create `{}`: {error}", folder.display())))?;
        }
        written |= file.save(&path, &recipients(inventory)?)?;
    }
    Ok(written)
}

struct Layers<'a> {
    package: &'a Package,
    values: IndexMap<String, Candidate>,
}

impl Layers<'_> {
    fn put(&mut self, key: &str, value: Value, raw: bool, origin: Origin) {
        let manifest = &self.package.manifest;
        let declared_secret = manifest.variables.iter().any(|variable| variable.key == key && variable.secret);
        let secret = declared_secret || secret_keys(self.package).any(|name| name == key);
        let mut beaten = Vec::new();
        if let Some(old) = self.values.get(key) {
            beaten.clone_from(&old.beaten);
            if !old.value.is_null() {
                beaten.push(old.origin.clone());
            }
        }
        self.values.insert(key.to_owned(), Candidate { value, raw, secret, origin, beaten });
    }
}

/// Settings that nobody but the container may see: made ones and the operator's own.
pub(super) fn secret_names(package: &Package) -> impl Iterator<Item = String> {
    let own = package.manifest.variables.iter().filter(|variable| variable.secret);
    own.map(|variable| variable.key.clone()).chain(secret_keys(package))
}

/// All settings that a package has.
pub(super) fn known_keys(package: &Package) -> impl Iterator<Item = String> {
    let manifest = &package.manifest;
    let variables = manifest.variables.iter().map(|variable| variable.key.clone());
    let databases = manifest.databases.iter().flat_map(|database| [&database.db_name_var, &database.user_var]);
    variables.chain(databases.cloned()).chain(package.defaults.keys().cloned()).chain(secret_keys(package))
}

/// Declared secrets, and the passwords of declared databases.
fn secret_keys(package: &Package) -> impl Iterator<Item = String> {
    let declared = package.manifest.secrets.iter().map(|secret| secret.key.clone());
    declared.chain(package.manifest.databases.iter().map(|database| database.password_var.clone()))
}

/// Secrets that are one for all services of a client.
pub(super) fn shared_keys(package: &Package) -> Vec<String> {
    let shared = package.manifest.secrets.iter().filter(|secret| secret.shared);
    shared.map(|secret| secret.key.clone()).collect()
}

fn generate_missing(
    package: &Package,
    layers: &mut IndexMap<String, Candidate>,
    made: &mut IndexMap<String, String>,
) -> Result<Vec<String>> {
    let mut generated = Vec::new();
    for key in secret_keys(package) {
        let Some(candidate) = layers.get_mut(&key).filter(|candidate| candidate.value.is_null()) else { continue };
        let spec = package.manifest.secrets.iter().find(|secret| secret.key == key);
        let kind: SecretKind = match spec {
            Some(spec) => spec.kind.parse().map_err(|error: Error| Error { place: Some(package.place()), ..error })?,
            None => SecretKind::default(),
        };
        let shared = spec.is_some_and(|spec| spec.shared);
        let value = match made.get(&key).filter(|_| shared) {
            Some(value) => value.clone(),
            None => generate(&kind, spec.map_or(32, |spec| spec.length))?.reveal().to_owned(),
        };
        if shared {
            made.insert(key.clone(), value.clone());
        }
        candidate.value = Value::String(value);
        candidate.raw = true;
        candidate.origin = Origin { layer: "generated".to_owned(), place: None };
        generated.push(key);
    }
    Ok(generated)
}

/// Why a setting has no value.
struct Unclear {
    error: Error,
    /// The variable that its template needs and nobody defines.
    undefined: Option<String>,
}

impl From<Error> for Unclear {
    fn from(error: Error) -> Unclear {
        Unclear { error, undefined: None }
    }
}

/// A setting as the text that a container will see.
fn setting_text(scope: &Scope, key: &str, candidate: &Candidate) -> Result<String, Unclear> {
    if candidate.value.is_null() {
        return Ok(String::new());
    }
    let rendered = if candidate.raw {
        candidate.value.clone()
    } else {
        let fault = |fault: Fault| {
            let hint =
                fault.undefined.as_ref().map(|name| format!("define `{name}` for the host, or set `{key}` itself"));
            let mut error = Error::new(fault.text);
            error.hint = fault.hint.or(hint);
            error.place = candidate.origin.place.clone();
            Unclear { error, undefined: fault.undefined }
        };
        scope.value(&candidate.value).map_err(fault)?
    };
    match rendered {
        Value::Null => Ok(String::new()),
        Value::String(text) if text.contains('\0') => {
            Err(Error::new("a NUL byte cannot be in an environment variable").into())
        }
        Value::String(text) => Ok(text),
        Value::Bool(_) | Value::Number(_) => Ok(rendered.to_string()),
        Value::Array(_) | Value::Object(_) => Err(Error {
            place: candidate.origin.place.clone(),
            ..Error::new("a list or mapping cannot be an environment variable")
        }
        .hint("write it as text, e.g. with the to_json filter")
        .into()),
    }
}

/// `"domain"`, `{"enum": ["a", "b"]}`, `{"regex": "^…$"}` as the validator's text.
pub(super) fn validation_text(validation: Option<&Value>) -> Option<String> {
    match validation? {
        Value::String(kind) => Some(kind.clone()),
        Value::Object(map) => {
            let (kind, argument) = map.iter().next()?;
            let argument = match argument {
                Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Some(format!("{kind}:{argument}"))
        }
        _ => None,
    }
}
