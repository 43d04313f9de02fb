//! Playbooks: YAML → [`Play`], [`Block`], [`Task`], every one with its place in the file.
//!
//! Everything that can be known without a host is checked here, and all mistakes of a playbook are reported together:
//! unknown keywords, modules and arguments, missing files, keywords of Ansible's that are not supported. What a block
//! says about its children (`when`, `become`, `vars` …) is copied to them, so a [`Task`] is complete by itself.
//! Leaves out: templating (the engine's, per host) and inventory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::Object;

mod arguments;
mod catalogue;
mod files;
mod play;
mod roles;
mod tasks;
mod types;
mod value;
mod words;

pub use catalogue::short as short_name;
pub use files::{find_file, resolve, service_tasks};
pub use roles::Parts;
pub use types::*;
pub use words::split as split_words;

/// Collects every mistake of a playbook before any of them is reported.
#[derive(Default)]
struct Loader {
    errors: Vec<Error>,
    /// Task files being read, to notice one that includes itself.
    open: Vec<PathBuf>,
    /// Roles that were imported: their variables are visible in the whole play.
    roles: Vec<Arc<Role>>,
    /// Roles that run once, each with how it was listed.
    seen: Vec<(PathBuf, Value)>,
    /// Handlers that roles brought in.
    handlers: Vec<Arc<Task>>,
}

impl Loader {
    fn finish<T>(mut self, value: T) -> Result<T> {
        self.errors.sort_by(|a, b| a.place.cmp(&b.place));
        self.errors.dedup_by(|a, b| a.place == b.place && a.text == b.text);
        match Error::all(self.errors) {
            None => Ok(value),
            Some(error) => Err(error),
        }
    }
}

/// All plays of a playbook file, imported playbooks included.
pub fn load(path: &Path) -> Result<Vec<Play>> {
    let mut loader = Loader::default();
    let plays = loader.playbook(path);
    loader.finish(plays)
}

/// All plays of a playbook's text; `path` is where its relative paths start.
pub fn parse(text: &str, path: &Path) -> Result<Vec<Play>> {
    let mut loader = Loader::default();
    let plays = loader.playbook_text(text, path);
    loader.finish(plays)
}

/// The tasks of a file, for `include_tasks`.
pub fn load_tasks(path: &Path, around: &Around) -> Result<Vec<Item>> {
    let mut loader = Loader::default();
    let items = loader.task_file(path, around);
    loader.finish(items)
}

/// A role, for `include_role`. `seen` are the roles that ran already and run once; those that run now are added.
pub fn load_role(name: &str, parts: &Parts, around: &Around, seen: &mut Vec<(PathBuf, Value)>) -> Result<LoadedRole> {
    let mut loader = Loader { seen: std::mem::take(seen), ..Loader::default() };
    let place = crate::error::Place::file(around.dir.clone());
    let loaded = loader.role(name, parts, around, &place);
    let handlers = std::mem::take(&mut loader.handlers);
    *seen = std::mem::take(&mut loader.seen);
    match loaded {
        Some((role, tasks)) => loader.finish(LoadedRole { role, tasks, handlers }),
        None => match Error::all(loader.errors) {
            Some(error) => Err(error),
            None => Err(Error::new(format!("role `{name}` could not be read"))),
        },
    }
}

/// A file of variables, for `vars_files` and `include_vars`.
pub fn load_vars(path: &Path) -> Result<Object> {
    let mut loader = Loader::default();
    let vars = loader.vars_file(path);
    loader.finish(vars)
}

/// What `apply` of an include says about the included tasks: keywords as on a block, already templated.
pub fn apply(around: &mut Around, more: &Object) {
    let strings = |value: &Value| -> Vec<String> {
        match value {
            Value::String(text) => text.split(',').map(|tag| tag.trim().to_owned()).collect(),
            Value::Array(list) => list.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        }
    };
    for (word, value) in more {
        let keywords = &mut around.keywords;
        match word.as_str() {
            "tags" => around.tags.extend(strings(value)),
            "when" => around.when.push(value.clone()),
            "vars" => around.vars.extend(value.as_object().map(|vars| Arc::new(vars.clone()))),
            "environment" => keywords.environment.push(value.clone()),
            other => {
                if let Some(place) = tasks::keyword(keywords, other) {
                    *place = Some(value.clone());
                }
            }
        }
    }
}
