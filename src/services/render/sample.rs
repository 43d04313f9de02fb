//! A package as it would be for an imagined host on which every setting has a made-up value; for lint.

use std::path::PathBuf;

use serde_json::Value;

use super::stack::stack;
use super::{HostPlace, deploy_vars};
use crate::error::Result;
use crate::plan::Object;
use crate::services::catalogue::{Catalogue, Package};
use crate::services::instance::Instance;
use crate::services::mode::Mode;
use crate::services::settings::{known_keys, secret_names};
use crate::services::world::PackageWorld;
use crate::vars::{Layer, Scope};

/// The stack.
pub fn sample(catalogue: &Catalogue, package: &Package, runtime: &str) -> Result<Value> {
    sample_in(catalogue, package, runtime, Mode::Produccion).map(|(stack, _)| stack)
}

/// The same in a mode, and the scope that it was rendered in.
pub fn sample_in(catalogue: &Catalogue, package: &Package, runtime: &str, mode: Mode) -> Result<(Value, Scope)> {
    sample_of(catalogue, package, &Instance::plain(&package.id), runtime, mode)
}

/// The same for an instance with a suffix.
pub(in crate::services) fn sample_of(
    catalogue: &Catalogue,
    package: &Package,
    instance: &Instance,
    runtime: &str,
    mode: Mode,
) -> Result<(Value, Scope)> {
    let host = HostPlace {
        host: "sample".to_owned(),
        runtime: runtime.to_owned(),
        deploy_root: "/opt/sample".to_owned(),
        mode,
        own_files: PathBuf::new(),
    };
    let mut vars = deploy_vars(package, instance, &host, &package.manifest.version);
    for (key, value) in [
        ("docker_network", "web"),
        ("tls", "acme"),
        ("timezone", "UTC"),
        ("domain", "sample.example"),
        ("inventory_hostname", "sample"),
    ] {
        vars.insert(key.to_owned(), Value::from(value));
    }
    for key in secret_names(package) {
        vars.insert(key.clone(), Value::from(sample_secret(&key)));
    }
    vars.insert("exports".to_owned(), Value::Object(sample_exports(catalogue, package, instance)));
    for (key, value) in package.manifest.modes.of(mode).into_iter().flat_map(|variant| &variant.settings) {
        vars.insert(key.clone(), value.clone());
    }
    let variables = package.manifest.variables.iter();
    let defaults = variables.filter_map(|variable| Some((variable.key.clone(), variable.default.clone()?)));
    let examples = package.defaults.iter().map(|(key, default)| (key.clone(), Value::from(default.value.clone())));
    let numbers = package.manifest.variables.iter().filter(|variable| {
        variable.validation.as_ref().and_then(Value::as_str).is_some_and(|kind| ["port", "int"].contains(&kind))
    });
    let numbers = numbers.map(|variable| (variable.key.clone(), Value::from("1")));
    let others = numbers.chain(known_keys(package).map(|key| (key, Value::from("sample"))));
    for (key, value) in defaults.chain(examples).chain(others) {
        vars.entry(key).or_insert(value);
    }
    let mut scope = Scope::new(std::sync::Arc::new(PackageWorld::alone(catalogue, package)));
    scope.push(Layer::written(vars));
    let stack = stack(catalogue, package, &host, &scope, &instance.project())?;
    Ok((stack, scope))
}

/// What dependencies would export, by their ids and by the names under which they are depended on.
fn sample_exports(catalogue: &Catalogue, package: &Package, instance: &Instance) -> Object {
    let mut exports = Object::new();
    for dependency in &package.manifest.dependencies {
        let Some(provider) = catalogue.provider(&dependency.service, instance, &[]) else { continue };
        let Ok(provided) = catalogue.get(&provider.package) else { continue };
        let keys = provided.manifest.exports.keys();
        let values: Object = keys.map(|key| (key.clone(), Value::from(format!("{key}-of-{provider}")))).collect();
        exports.insert(dependency.service.clone(), Value::Object(values.clone()));
        exports.insert(provider.package, Value::Object(values));
    }
    exports
}

/// What stands for a secret in [`sample`], so that it can be found where it must not be.
pub(in crate::services) fn sample_secret(key: &str) -> String {
    format!("secret-of-{key}.")
}
