//! The stack's templates become one document: the package's own, the mode's over it, the base under both.

use std::path::Path;

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
    let mut stack = stack_value(scope, &path)?;
    for name in package.manifest.modes.of(host.mode).into_iter().flat_map(|variant| &variant.stack) {
        stack = merge(stack, stack_value(scope, &package.dir.join(name))?);
    }
    if let Some(name) = &package.manifest.extends
        && let Some(base) = catalogue.base(&format!("{name}.yml"))
    {
        stack = lay_under(stack_value(scope, &base)?, stack);
    }
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

/// Deep merge with `top` winning: mappings merge, everything else replaces. The key `*` in the base's `services` lies
/// under every service of the stack.
fn lay_under(mut base: Value, top: Value) -> Value {
    let star = base.get_mut("services").and_then(Value::as_object_mut).and_then(|services| services.shift_remove("*"));
    let mut merged = merge(base, top);
    if let (Some(star), Some(services)) = (star, merged.get_mut("services").and_then(Value::as_object_mut)) {
        for service in services.values_mut() {
            *service = merge(star.clone(), service.take());
        }
    }
    merged
}

fn merge(base: Value, top: Value) -> Value {
    match (base, top) {
        (Value::Object(mut base), Value::Object(top)) => {
            for (key, value) in top {
                let merged = match base.shift_remove(&key) {
                    Some(under) => merge(under, value),
                    None => value,
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

    #[test]
    fn the_base_lies_under_the_stack_and_the_star_under_every_service() {
        let base = json!({"networks": {"web": {"external": true}}, "services": {"*": {"restart": "always", "deploy": {"a": 1}}}});
        let top = json!({"services": {"x": {"image": "i", "deploy": {"b": 2}}, "once": {"restart": "no"}}});
        assert_eq!(
            lay_under(base, top),
            json!({
                "networks": {"web": {"external": true}},
                "services": {
                    "x": {"restart": "always", "deploy": {"a": 1, "b": 2}, "image": "i"},
                    "once": {"restart": "no", "deploy": {"a": 1}},
                }
            })
        );
    }
}
