//! A stack of variable layers and what can be asked of it.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Place};
use crate::plan::{Failure, Object};

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

/// Why a template could not be evaluated. Names variables, never their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fault {
    pub text: String,
    /// The variable that was not defined, if that was the trouble.
    pub undefined: Option<String>,
    /// The line within the template; counts from 1.
    pub line: Option<usize>,
    pub hint: Option<String>,
}

/// Where a lookup or an include reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupKind {
    /// `lookup('file', …)`: along `files/`.
    File,
    /// `lookup('template', …)`, `include`, `import`, `extends`: along `templates/`.
    Template,
    /// A variables file (`lookup('first_found', …)` in `include_vars`): along `vars/`.
    Vars,
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

    /// A value with every template in it evaluated, at any depth.
    pub fn value(&self, value: &Value) -> Result<Value, Fault> {
        let _ = value;
        todo!()
    }

    /// A variable, templated; None if it is not defined.
    pub fn get(&self, name: &str) -> Result<Option<Value>, Fault> {
        let _ = name;
        todo!()
    }

    /// Is there a variable of this name (templated or not)?
    pub fn has(&self, name: &str) -> bool {
        self.layers.iter().any(|layer| layer.vars.contains_key(name))
    }

    /// A condition: a bool, an expression, or a list of them, all of which must hold.
    pub fn condition(&self, condition: &Value) -> Result<bool, Fault> {
        let _ = condition;
        todo!()
    }

    /// A bare expression, as in `when`, `until` and `debug: var=`.
    pub fn expression(&self, expression: &str) -> Result<Value, Fault> {
        let _ = expression;
        todo!()
    }

    /// A template file's text: block newlines trimmed, the final newline kept, a `#jinja2:` header obeyed.
    pub fn text(&self, template: &str, file: &Path) -> Result<String, Fault> {
        let _ = (template, file);
        todo!()
    }

    /// The names of all variables that a value uses, directly or through other variables' templates.
    pub fn names(&self, value: &Value) -> BTreeSet<String> {
        let _ = value;
        todo!()
    }
}

impl Fault {
    pub fn new(text: impl Into<String>) -> Self {
        Fault { text: text.into(), ..Fault::default() }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// As a mistake in a file: `place` is where the template begins.
    pub fn at(self, place: &Place) -> Error {
        let line = place.line + self.line.map_or(0, |line| line.saturating_sub(1));
        let error = Error::at(&Place::new(place.file.clone(), line, 0), self.text);
        Error { hint: self.hint, ..error }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Failure { msg: fault.text, hint: fault.hint, ..Failure::default() }
    }
}
