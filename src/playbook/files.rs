//! Finding and reading the files that a playbook names, along Ansible's search path.

use std::path::{Path, PathBuf};

use super::Loader;
use super::types::Around;
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::shipped;
use crate::yaml::{self, Node};

impl Loader {
    /// A file's one document; `None` after a mistake was noted.
    pub(super) fn document(&mut self, path: &Path) -> Option<Node> {
        let text = match shipped::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                self.errors.push(Error::new(format!("{}: cannot be read: {error}", path.display())));
                return None;
            }
        };
        match yaml::parse(&text, path) {
            Ok(mut documents) if documents.len() <= 1 => documents.pop().or_else(|| Some(nothing(path))),
            Ok(_) => {
                self.errors.push(Error::at(&Place::file(path), "only one YAML document may be in this file"));
                None
            }
            Err(error) => {
                self.errors.push(error);
                None
            }
        }
    }

    pub(super) fn vars_file(&mut self, path: &Path) -> Object {
        match self.document(path) {
            Some(node) => self.mapping(&node, "a file of variables"),
            None => Object::new(),
        }
    }
}

fn nothing(path: &Path) -> Node {
    Node { kind: yaml::Kind::Null, place: Place::new(path, 0, 0), tag: None, quoted: false }
}

/// `name` as seen from `dir`: absolute names and names inside the binary stay as they are.
pub fn resolve(dir: &Path, name: &str) -> PathBuf {
    match name.strip_prefix("~/").zip(std::env::var_os("HOME")) {
        Some((rest, home)) => Path::new(&home).join(rest),
        None if Path::new(name).starts_with(shipped::ROOT) => PathBuf::from(name),
        None => dir.join(name),
    }
}

/// Looks a name up as Ansible does: in the role's `subdir`, the role, the roles that brought it in, beside the task
/// file, beside the playbook; each with and without `subdir`.
pub fn find_file(around: &Around, subdir: &str, name: &str) -> Result<PathBuf> {
    let mut dirs: Vec<PathBuf> = Vec::new();
    if let Some(role) = &around.role {
        for role in std::iter::once(role).chain(&role.parents) {
            dirs.push(role.path.clone());
            dirs.push(role.path.join("tasks"));
        }
    }
    dirs.push(around.dir.clone());
    dirs.push(around.play_dir.clone());
    let candidates = dirs.iter().flat_map(|dir| [resolve(&dir.join(subdir), name), resolve(dir, name)]);
    let mut tried = Vec::new();
    for path in candidates {
        if shipped::exists(&path) {
            return Ok(path);
        }
        if !tried.contains(&path) {
            tried.push(path);
        }
    }
    let tried: Vec<String> = tried.iter().map(|path| path.display().to_string()).collect();
    Err(Error::new(format!("file `{name}` not found")).hint(format!("looked at {}", tried.join(", "))))
}

/// The task file of an `include_services`; without a name, the one that deploys. Looked up like any other file, but a
/// shipped playbook takes the project's own one first, and an operator's own playbook may use the shipped ones.
pub fn service_tasks(around: &Around, name: Option<&str>) -> Result<PathBuf> {
    let name = name.unwrap_or("services/deploy.yml").trim();
    let shelf = || shipped::locate(Path::new("."), &format!("playbooks/{name}"));
    let found = || find_file(around, "tasks", name);
    match around.play_dir.starts_with(shipped::ROOT) {
        true => shelf().map_or_else(found, Ok),
        false => found().or_else(|error| shelf().ok_or(error)),
    }
}
