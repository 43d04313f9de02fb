//! A stack of variable layers and what can be asked of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::json::{is_omit, to_json};
use super::lazy::{Eval, Whole};
use super::{Fault, engine};
use crate::plan::Object;

/// A stack of variable layers, low → high. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    layers: Vec<Layer>,
    world: Arc<dyn World>,
}

/// One layer of variables.
#[derive(Clone)]
pub struct Layer {
    pub vars: Arc<Object>,
    /// Values are data from hosts or files (facts, registered results): never templated again.
    pub raw: bool,
}

/// Where a lookup or an include reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupKind {
    /// `lookup('file', …)`, `lookup('first_found', …)`: along `files/`.
    File,
    /// `lookup('template', …)`, `include`, `import`, `extends`: along `templates/`.
    Template,
}

/// What a scope cannot know by itself.
pub trait World: Send + Sync {
    /// The scope in which another host's variables are templated.
    fn hostvars(&self, host: &str) -> Option<Scope>;
    /// All hosts of the inventory, in its order.
    fn hosts(&self) -> Vec<String>;
    /// A file of the controller along the task's search path: where it was found, and its bytes.
    fn read(&self, kind: LookupKind, name: &str) -> Result<(PathBuf, Vec<u8>), Fault>;
}

/// A world without other hosts and files.
pub struct NoWorld;

impl World for NoWorld {
    fn hostvars(&self, _: &str) -> Option<Scope> {
        None
    }
    fn hosts(&self) -> Vec<String> {
        Vec::new()
    }
    fn read(&self, _: LookupKind, name: &str) -> Result<(PathBuf, Vec<u8>), Fault> {
        Err(Fault::new(format!("file `{name}` not found")))
    }
}

impl Layer {
    /// Variables written by people: may hold templates.
    pub fn written(vars: impl Into<Arc<Object>>) -> Self {
        Layer { vars: vars.into(), raw: false }
    }
    /// Data: never templated.
    pub fn raw(vars: impl Into<Arc<Object>>) -> Self {
        Layer { vars: vars.into(), raw: true }
    }
}

impl Scope {
    pub fn new(world: Arc<dyn World>) -> Scope {
        Scope { layers: Vec::new(), world }
    }

    /// The same layers with another search path.
    pub fn in_world(&self, world: Arc<dyn World>) -> Scope {
        Scope { layers: self.layers.clone(), world }
    }

    pub fn push(&mut self, layer: Layer) {
        self.layers.push(layer);
    }

    /// This scope with one more layer on top.
    pub fn with(&self, vars: Object, raw: bool) -> Scope {
        let mut scope = self.clone();
        scope.push(Layer { vars: Arc::new(vars), raw });
        scope
    }

    /// A value with every template in it evaluated, at any depth; what is `omit` is left out. Keys of mappings are not
    /// templates.
    pub fn value(&self, value: &Value) -> Result<Value, Fault> {
        if !engine::has_template_inside(value) {
            return Ok(value.clone());
        }
        deep(&Whole::new(self), value)
    }

    /// A variable, templated; None if it is not defined.
    pub fn get(&self, name: &str) -> Result<Option<Value>, Fault> {
        if !self.has(name) {
            return Ok(None);
        }
        let eval = Whole::new(self);
        match eval.variable(name) {
            Some(value) => to_json(&value).map(Some),
            None => Err(eval.why(name).unwrap_or_else(|| Fault::undefined(name))),
        }
    }

    /// Is there a variable of this name (whether it can be templated or not)?
    pub fn has(&self, name: &str) -> bool {
        self.layer_of(name).is_some()
    }

    /// A variable as it was written.
    pub fn written(&self, name: &str) -> Option<&Value> {
        self.layer_of(name)?.vars.get(name)
    }

    /// A condition: a bool, an expression, or a list of them, all of which must hold.
    pub fn condition(&self, condition: &Value) -> Result<bool, Fault> {
        match condition {
            Value::Bool(holds) => Ok(*holds),
            Value::Array(all) => {
                for one in all {
                    if !self.condition(one)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Value::String(text) if text.trim().is_empty() => Err(Fault::new("the condition is empty")),
            Value::String(text) => self.judge(text),
            Value::Null => Err(Fault::new("the condition is empty")),
            other => Err(Fault::new(format!("a condition cannot be {}", describe(other)))),
        }
    }

    fn judge(&self, text: &str) -> Result<bool, Fault> {
        let eval = Whole::new(self);
        let result = match unbraced(text) {
            None => engine::expression(&eval, text)?,
            // `when: "{{ x }}"`: what is inside says the condition, or is it
            Some(Braces::All) => match engine::template(&eval, text)? {
                value if value.as_str().is_some_and(|text| !engine::has_template(text)) => {
                    engine::expression(&eval, value.as_str().unwrap_or_default())?
                }
                value => value,
            },
            Some(Braces::Some(text)) => engine::expression(&eval, &text)?,
            Some(Braces::Quoted) => {
                return Err(Fault::new("the condition has `{{ }}` inside quotes, where it is only text")
                    .hint("a condition is an expression already: leave out the quotes and the braces"));
            }
        };
        match to_json(&result)? {
            Value::Bool(holds) => Ok(holds),
            Value::String(_) => {
                Err(not_bool("a string").hint("use `| bool` for yes and no, `| length > 0` for not empty"))
            }
            other => Err(not_bool(describe(&other)).hint(match other {
                Value::Array(_) | Value::Object(_) => "use `| length > 0`",
                Value::Number(_) => "compare it, as in `!= 0`, or use `| bool`",
                _ => "use `is defined`, `is not none` or `| bool`",
            })),
        }
    }

    /// A bare expression, as in `when`, `until` and `debug: var=`.
    pub fn expression(&self, expression: &str) -> Result<Value, Fault> {
        to_json(&engine::expression(&Whole::new(self), expression)?)
    }

    /// A template file's text: block newlines trimmed, the final newline kept, a `#jinja2:` header obeyed.
    pub fn text(&self, template: &str, file: &Path) -> Result<String, Fault> {
        engine::text(&Whole::new(self), template, file)
    }

    /// The names of all variables that a value's templates use, directly or through other variables' templates.
    /// `hostvars`, `vars`, `lookup`, `query` and `q` are among them if used: who asks ahead cannot see through those.
    pub fn names(&self, value: &Value) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.collect(value, &mut names);
        names
    }

    /// The same for a condition or another bare expression.
    pub fn condition_names(&self, condition: &Value) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        match condition {
            Value::Array(all) => all.iter().for_each(|one| names.extend(self.condition_names(one))),
            Value::String(text) => {
                self.follow(engine::free_names(text, !engine::has_template(text)), &mut names);
            }
            _ => {}
        }
        names
    }

    fn collect(&self, value: &Value, names: &mut BTreeSet<String>) {
        match value {
            Value::String(text) if engine::has_template(text) => self.follow(engine::free_names(text, false), names),
            Value::Array(items) => items.iter().for_each(|item| self.collect(item, names)),
            Value::Object(map) => {
                map.values().for_each(|item| self.collect(item, names));
            }
            _ => {}
        }
    }

    fn follow(&self, found: Vec<String>, names: &mut BTreeSet<String>) {
        for name in found {
            let opaque = matches!(name.as_str(), "lookup" | "query" | "q");
            if (engine::is_function(&name) && !opaque) || !names.insert(name.clone()) {
                continue;
            }
            if let Some(layer) = self.layer_of(&name).filter(|layer| !layer.raw)
                && let Some(value) = layer.vars.get(&name)
            {
                self.collect(value, names);
            }
        }
    }

    pub(super) fn layer_of(&self, name: &str) -> Option<&Layer> {
        self.layers.iter().rev().find(|layer| layer.vars.contains_key(name))
    }

    pub(super) fn world(&self) -> &Arc<dyn World> {
        &self.world
    }

    /// Every variable's name, in the order of definition.
    pub fn all_names(&self) -> Vec<String> {
        let mut seen = BTreeSet::new();
        self.layers.iter().flat_map(|layer| layer.vars.keys()).filter(|name| seen.insert(*name)).cloned().collect()
    }
}

fn not_bool(what: &str) -> Fault {
    Fault::new(format!("the condition's result is {what}, not true or false"))
}

fn describe(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing (none)",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn deep(eval: &Arc<Eval>, value: &Value) -> Result<Value, Fault> {
    Ok(match value {
        Value::String(text) if engine::has_template(text) => to_json(&engine::template(eval, text)?)?,
        Value::Array(items) => {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                let item = deep(eval, item)?;
                if !is_omit(&item) {
                    out.push(item);
                }
            }
            Value::Array(out)
        }
        Value::Object(map) => {
            let mut out = Map::with_capacity(map.len());
            for (key, item) in map {
                let item = deep(eval, item)?;
                if !is_omit(&item) {
                    out.insert(key.clone(), item);
                }
            }
            Value::Object(out)
        }
        other => other.clone(),
    })
}

enum Braces {
    /// The whole condition is one `{{ … }}`.
    All,
    /// Some of it was; this is the condition without them.
    Some(String),
    /// They stand inside a string.
    Quoted,
}

/// Braces in a condition are a habit of old: `{{ x }} == 1` means `(x) == 1`.
fn unbraced(text: &str) -> Option<Braces> {
    let trimmed = text.trim();
    if trimmed.starts_with("{{") && trimmed.find("}}") == Some(trimmed.len() - 2) || trimmed.starts_with("{%") {
        return Some(Braces::All);
    }
    let mut out = String::with_capacity(text.len());
    let (mut quote, mut changed) = (None, false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut step = c.len_utf8();
        match quote {
            Some(open) if c == open => quote = None,
            Some(open) if rest.starts_with("{{") => {
                let inside = rest.find(open).map_or(rest, |end| &rest[..end]);
                if inside.contains("}}") {
                    return Some(Braces::Quoted);
                }
            }
            Some(_) => {}
            None if c == '\'' || c == '"' => quote = Some(c),
            None if rest.starts_with("{{") => {
                if let Some(close) = rest.find("}}") {
                    out.push('(');
                    out.push_str(rest[2..close].trim().trim_start_matches('-').trim_end_matches('-'));
                    out.push(')');
                    (step, changed) = (close + 2, true);
                }
            }
            None => {}
        }
        if step == c.len_utf8() {
            out.push(c);
        }
        rest = &rest[step..];
    }
    changed.then_some(Braces::Some(out))
}
