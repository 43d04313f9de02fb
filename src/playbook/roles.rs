//! Roles: `tasks`, `handlers`, `defaults`, `vars`, `meta`, dependencies first.
//!
//! Leaves out argument specifications (`meta/argument_specs.yml` is ignored) and collections.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::types::{Around, Item, Role};
use super::value::key_text;
use super::{Loader, catalogue};
use crate::error::{Error, Place};
use crate::plan::Object;
use crate::shipped;
use crate::yaml::{Kind, Node};

/// Which of a role's files are used instead of `main`.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    pub tasks: Option<String>,
    pub vars: Option<String>,
    pub defaults: Option<String>,
    pub handlers: Option<String>,
}

impl Loader {
    /// The `roles:` of a play, or the dependencies of a role. A role that is listed twice in the same way runs once.
    pub(super) fn role_list(&mut self, node: &Node, around: &Around) -> Vec<Item> {
        let mut items = Vec::new();
        if !matches!(node.kind, Kind::List(_) | Kind::Null) {
            self.mistake(node, format!("`roles` must be a list, not {}", node.describe()));
        }
        for entry in node.as_list().unwrap_or_default() {
            let Some((name, around, identity)) = self.role_entry(entry, around) else { continue };
            let Some(path) = self.role_path(&name, &around, &entry.place) else { continue };
            let meta = self.role_file(&path, "meta", None).and_then(|file| self.document(&file));
            let allowed = meta.as_ref().and_then(|meta| meta.get("allow_duplicates"));
            let allowed = allowed.is_some_and(|node| matches!(node.kind, Kind::Bool(true)));
            if !allowed && self.seen.contains(&(path.clone(), identity.clone())) {
                continue;
            }
            self.seen.push((path, identity));
            if let Some((_, tasks)) = self.role(&name, &Parts::default(), &around, &entry.place) {
                items.extend(tasks);
            }
        }
        items
    }

    fn role_entry(&mut self, entry: &Node, around: &Around) -> Option<(String, Around, Value)> {
        match &entry.kind {
            Kind::String(name) => Some((name.clone(), around.clone(), Value::Null)),
            Kind::Map(_) => {
                let Some(name) = entry.get("role").or_else(|| entry.get("name")).and_then(Node::as_str) else {
                    self.mistake(entry, "a role needs a name: `role: …`");
                    return None;
                };
                let mut around = self.surroundings(entry, around);
                let mut params = Object::new();
                for (key, value) in entry.entries() {
                    let word = key_text(key);
                    if !catalogue::ROLE.contains(&word.as_str()) && !catalogue::COMMON.contains(&word.as_str()) {
                        let value = self.value(value);
                        params.insert(word, value);
                    }
                }
                // `vars:` of a role entry is a parameter too
                if let Some(vars) = entry.get("vars") {
                    let vars = self.mapping(vars, "vars");
                    params.extend(vars);
                }
                if !params.is_empty() {
                    around.params.push(Arc::new(params));
                }
                let identity = self.value(entry);
                Some((name.to_owned(), around, identity))
            }
            _ => {
                self.mistake(entry, format!("a role must be a name or a mapping, not {}", entry.describe()));
                None
            }
        }
    }

    /// A role and its tasks, those of its dependencies in front. Handlers are added to the loader's.
    pub(super) fn role(
        &mut self,
        name: &str,
        parts: &Parts,
        around: &Around,
        place: &Place,
    ) -> Option<(Arc<Role>, Vec<Item>)> {
        let path = self.role_path(name, around, place)?;
        if self.open.contains(&path) && parts.tasks.is_none() {
            self.errors.push(Error::at(place, format!("role `{name}` brings itself in")));
            return None;
        }
        self.open.push(path.clone());
        let defaults = self.role_vars(&path, "defaults", parts.defaults.as_deref(), place);
        let vars = self.role_vars(&path, "vars", parts.vars.as_deref(), place);
        let parents: Vec<Arc<Role>> =
            around.role.iter().flat_map(|role| std::iter::once(role).chain(&role.parents)).cloned().collect();
        let short = path.file_name().map_or_else(|| name.to_owned(), |name| name.to_string_lossy().into_owned());
        let role = Arc::new(Role {
            name: short,
            path: path.clone(),
            defaults: Arc::new(defaults),
            vars: Arc::new(vars),
            parents,
        });
        self.roles.push(role.clone());
        let mut around = around.clone();
        around.role = Some(role.clone());
        around.dir = path.join("tasks");

        let mut items = Vec::new();
        if let Some(meta) = self.role_file(&path, "meta", None).and_then(|file| self.document(&file))
            && let Some(dependencies) = meta.get("dependencies")
        {
            items.extend(self.role_list(dependencies, &around));
        }
        match (self.role_file(&path, "tasks", parts.tasks.as_deref()), &parts.tasks) {
            (Some(file), _) => items.extend(self.task_file(&file, &around)),
            (None, Some(wanted)) => {
                self.errors.push(Error::at(place, format!("role `{name}` has no tasks file `{wanted}`")));
            }
            (None, None) => {}
        }
        match (self.role_file(&path, "handlers", parts.handlers.as_deref()), &parts.handlers) {
            (Some(file), _) => {
                let around = Around { dir: path.join("handlers"), ..around };
                let handlers = self.task_file(&file, &around);
                self.add_handlers(handlers);
            }
            (None, Some(wanted)) => {
                self.errors.push(Error::at(place, format!("role `{name}` has no handlers file `{wanted}`")));
            }
            (None, None) => {}
        }
        self.open.pop();
        Some((role, items))
    }

    fn role_path(&mut self, name: &str, around: &Around, place: &Place) -> Option<PathBuf> {
        let mut dirs = vec![around.play_dir.join("roles")];
        if let Some(role) = &around.role {
            dirs.push(role.path.join("roles"));
            dirs.extend(role.path.parent().map(Path::to_owned));
        }
        dirs.push(around.play_dir.clone());
        dirs.push(around.dir.clone());
        dirs.push(PathBuf::from("roles"));
        dirs.push(Path::new(shipped::ROOT).join("playbooks/roles"));
        let found = dirs.iter().map(|dir| super::resolve(dir, name)).find(|path| shipped::exists(path));
        if found.is_none() {
            let mut dirs: Vec<String> = dirs.iter().map(|dir| dir.display().to_string()).collect();
            dirs.dedup();
            let hint = format!("looked in {}", dirs.join(", "));
            self.errors.push(Error::at(place, format!("role `{name}` not found")).hint(hint));
        }
        found
    }

    /// `tasks/main.yml` and the like, or the file that was asked for instead of `main`.
    fn role_file(&self, role: &Path, part: &str, wanted: Option<&str>) -> Option<PathBuf> {
        let dir = role.join(part);
        let wanted = wanted.unwrap_or("main");
        ["", ".yml", ".yaml", ".json"]
            .iter()
            .map(|ending| dir.join(format!("{wanted}{ending}")))
            .find(|path| shipped::exists(path) && !is_dir(path))
    }

    /// `defaults/main.yml`, or all files of `defaults/main/`.
    fn role_vars(&mut self, role: &Path, part: &str, wanted: Option<&str>, place: &Place) -> Object {
        if let Some(file) = self.role_file(role, part, wanted) {
            return self.vars_file(&file);
        }
        let dir = role.join(part).join(wanted.unwrap_or("main"));
        let files = shipped::walk(&dir);
        if files.is_empty() && wanted.is_some() {
            self.errors.push(Error::at(place, format!("role {} has no {part} file of that name", role.display())));
        }
        let mut vars = Object::new();
        for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending != "md")) {
            vars.extend(self.vars_file(&dir.join(file)));
        }
        vars
    }
}

fn is_dir(path: &Path) -> bool {
    if path.starts_with(shipped::ROOT) { shipped::read(path).is_err() } else { path.is_dir() }
}
