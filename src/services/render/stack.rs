//! The stack's templates become one document: the package's own, the mode's over it, the base under both.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::HostPlace;
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::services::catalogue::{Catalogue, Package};
use crate::services::health_checks;
use crate::shipped;
use crate::vars::{Fault, Scope};

/// The rendered template over its base.
pub(super) fn stack(
    catalogue: &Catalogue,
    package: &Package,
    host: &HostPlace,
    scope: &Scope,
    project: &str,
) -> Result<Value> {
    let path = package.stack_template(&host.runtime);
    let mut stack = folded(layers(catalogue, package, &host.runtime, host.mode, scope)?);
    if host.runtime == "compose" {
        let setting = |name: &str| {
            let text = scope.text(&format!("{{{{ {name} | default('') }}}}"), &path);
            text.map_err(|fault| template_error(fault, &path))
        };
        health_checks::hasten(&mut stack, &setting(health_checks::FIRST)?)?;
        health_checks::slacken(&mut stack, &setting(health_checks::LATER)?)?;
    }
    if host.runtime == "compose"
        && let Value::Object(map) = &mut stack
    {
        map.shift_insert(0, "name".to_owned(), Value::from(project));
    }
    Ok(stack)
}

/// Each file of the stack with what it says, the lowest first: the base, the package's template, the mode's. What the base
/// says of the service `*` it says of every service.
fn layers(
    catalogue: &Catalogue,
    package: &Package,
    runtime: &str,
    mode: crate::services::Mode,
    scope: &Scope,
) -> Result<Vec<(PathBuf, Value)>> {
    let base = package.manifest.extends.as_ref().and_then(|name| catalogue.base(&format!("{name}.yml")));
    let of_mode = package.manifest.modes.of(mode).into_iter().flat_map(|variant| &variant.stack);
    let templates = std::iter::once(package.stack_template(runtime)).chain(of_mode.map(|name| package.dir.join(name)));
    let (based, mut layers) = (base.is_some(), Vec::new());
    for path in base.into_iter().chain(templates) {
        let value = stack_value(scope, &path)?;
        layers.push((path, value));
    }
    if based {
        spread(&mut layers);
    }
    Ok(layers)
}

/// Which file each part of the stack is from; a part that is of one file whole is told once.
pub(in crate::services) fn origins(
    catalogue: &Catalogue,
    package: &Package,
    runtime: &str,
    mode: crate::services::Mode,
    scope: &Scope,
) -> Result<Vec<(String, Vec<PathBuf>)>> {
    let layers = layers(catalogue, package, runtime, mode, scope)?;
    let under: Vec<Said> = layers.iter().map(|(path, value)| Said { path, value, adds: false }).collect();
    let mut told = Vec::new();
    tell(&folded(layers.clone()), &under, "", &mut told);
    Ok(told)
}

/// What a file says at one place of the stack.
struct Said<'a> {
    path: &'a Path,
    value: &'a Value,
    /// To the list of the files below.
    adds: bool,
}

/// `under` is what the files say at this place, the lowest first.
fn tell(value: &Value, under: &[Said<'_>], at: &str, told: &mut Vec<(String, Vec<PathBuf>)>) {
    if let (Value::Object(map), [_, _, ..]) = (value, under) {
        for (key, value) in map {
            let mut inner = Vec::new();
            for Said { path, value, .. } in under {
                let said = |name: &str, adds| value.get(name).map(|value| Said { path, value, adds });
                inner.extend(said(key, false).filter(|said| !said.value.is_null()));
                inner.extend(said(&format!("+{key}"), true));
            }
            let dot = if at.is_empty() { "" } else { "." };
            tell(value, &inner, &format!("{at}{dot}{key}"), told);
        }
        return;
    }
    let whole = match value {
        Value::Array(_) => under.iter().rposition(|said| !said.adds).unwrap_or(0),
        _ => under.len().saturating_sub(1),
    };
    told.push((at.to_owned(), under.iter().skip(whole).map(|said| said.path.to_owned()).collect()));
}

fn stack_value(scope: &Scope, path: &Path) -> Result<Value> {
    let template = shipped::read_to_string(path).map_err(|error| {
        Error::at(&Place::file(path.to_owned()), format!("cannot read the stack template: {error}"))
    })?;
    let text = scope.text(&template, path).map_err(|fault| template_error(fault, path))?;
    serde_yaml::from_str::<Option<Value>>(&text).map(|value| value.unwrap_or_else(|| json!({}))).map_err(|error| {
        let line = error.location().map_or(0, |location| location.line());
        let source = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().to_owned();
        Error {
            source_line: Some(source),
            place: Some(Place::new(path.to_owned(), line, 0)),
            ..Error::new(format!("the rendered stack is not YAML: {error}"))
        }
        .hint("the line is counted in the rendered text")
    })
}

/// The key `*` in the lowest file's `services` goes under every service of the stack.
fn spread(layers: &mut [(PathBuf, Value)]) {
    let names: Vec<String> = layers
        .iter()
        .filter_map(|(_, value)| value.get("services")?.as_object())
        .flat_map(|services| services.keys().filter(|name| *name != "*").cloned())
        .collect();
    let services = layers.first_mut().and_then(|(_, base)| base.get_mut("services")?.as_object_mut());
    if let Some(services) = services
        && let Some(star) = services.shift_remove("*")
    {
        for name in names {
            let own = services.shift_remove(&name).unwrap_or_default();
            services.insert(name, merge(star.clone(), own));
        }
    }
}

fn folded(layers: Vec<(PathBuf, Value)>) -> Value {
    layers.into_iter().fold(json!({}), |under, (_, value)| merge(under, value))
}

/// Deep merge with `top` winning: mappings merge, everything else replaces, but a list under `+name` is added to the one
/// under `name`.
fn merge(base: Value, top: Value) -> Value {
    match (base, top) {
        (Value::Object(mut base), Value::Object(top)) => {
            for (key, value) in top {
                let (key, merged) = match (key.strip_prefix('+'), value) {
                    (Some(name), Value::Array(more)) => {
                        let list =
                            base.shift_remove(name).and_then(|list| list.as_array().cloned()).unwrap_or_default();
                        (name.to_owned(), Value::Array([list, more].concat()))
                    }
                    (_, value @ Value::Object(_)) => {
                        let under = base.shift_remove(&key).filter(Value::is_object).unwrap_or_else(|| json!({}));
                        (key, merge(under, value))
                    }
                    (_, value) => match base.shift_remove(&key) {
                        Some(under) => (key, merge(under, value)),
                        None => (key, value),
                    },
                };
                base.insert(key, merged);
            }
            Value::Object(base)
        }
        (base, Value::Null) => base,
        (_, top) => top,
    }
}

/// The stack as it is written to the host.
pub(super) fn stack_text(package: &Package, stack: &Value) -> String {
    format!(
        "# Rendered by provision from the package `{}`; edit the package or the client's settings instead.\n{}",
        package.id,
        crate::yaml::emit(stack)
    )
}

pub(super) fn images_by_service(stack: &Value) -> Object {
    let services = stack.get("services").and_then(Value::as_object).into_iter().flatten();
    services.filter_map(|(name, service)| Some((name.clone(), service.get("image")?.clone()))).collect()
}

/// A fault inside a template file: template:line, the variable, what to do.
pub(super) fn template_error(fault: Fault, path: &Path) -> Error {
    let line = fault.line.unwrap_or(0);
    let mut error = Error { place: Some(Place::new(path.to_owned(), line, 0)), ..Error::new(fault.text) };
    error.source_line =
        shipped::read_to_string(path).ok().and_then(|text| text.lines().nth(line.checked_sub(1)?).map(str::to_owned));
    error.hint = fault.hint.or_else(|| {
        fault.undefined.map(|name| {
            format!("declare `{name}` in the package's manifest or .env.example, or define it for the host")
        })
    });
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: [Value; 2]) -> Vec<(PathBuf, Value)> {
        let mut layers: Vec<_> = ["base", "stack"].map(PathBuf::from).into_iter().zip(files).collect();
        spread(&mut layers);
        layers
    }

    #[test]
    fn the_base_lies_under_the_stack_and_the_star_under_every_service() {
        let base = json!({"networks": {"web": {"external": true}}, "services": {"*": {"restart": "always", "deploy": {"a": 1}}}});
        let top = json!({"services": {"x": {"image": "i", "deploy": {"b": 2}}, "once": {"restart": "no"}}});
        assert_eq!(
            folded(of([base, top])),
            json!({
                "networks": {"web": {"external": true}},
                "services": {
                    "x": {"restart": "always", "deploy": {"a": 1, "b": 2}, "image": "i"},
                    "once": {"restart": "no", "deploy": {"a": 1}},
                }
            })
        );
    }

    #[test]
    fn lists_replace_or_are_added_to_and_each_key_knows_its_file() {
        let base =
            json!({"services": {"*": {"dns": ["1.1.1.1"], "labels": ["a"], "logging": {"driver": "json-file"}}}});
        let top = json!({"services": {"x": {"image": "i", "dns": ["9.9.9.9"], "+labels": ["b"], "+tmpfs": ["/t"],
            "logging": {"options": {"max-size": "1m"}}}}});
        let layers = of([base, top]);
        let stack = folded(layers.clone());
        assert_eq!(
            stack["services"]["x"],
            json!({"image": "i", "dns": ["9.9.9.9"], "labels": ["a", "b"], "tmpfs": ["/t"],
                "logging": {"driver": "json-file", "options": {"max-size": "1m"}}})
        );
        let under: Vec<Said> = layers.iter().map(|(path, value)| Said { path, value, adds: false }).collect();
        let mut told = Vec::new();
        tell(&stack, &under, "", &mut told);
        let told: Vec<String> = told
            .into_iter()
            .map(|(key, files)| {
                format!("{key} {}", files.iter().map(|f| f.to_string_lossy()).collect::<Vec<_>>().join("+"))
            })
            .collect();
        let mut wanted = [
            "dns stack",
            "image stack",
            "labels base+stack",
            "logging.driver base",
            "logging.options stack",
            "tmpfs stack",
        ]
        .map(|line| format!("services.x.{line}"));
        wanted.sort();
        let mut sorted = told;
        sorted.sort();
        assert_eq!(sorted, wanted);
    }
}
