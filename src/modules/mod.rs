//! Modules: pure functions from templated arguments and observed state to a [`Plan`](crate::plan::Plan).
//!
//! One file per family. A family exports `pub const FAMILY: &[Spec]`; the table below is the whole catalogue. Control
//! actions (`assert`, `debug`, `set_fact`, `include_*`, `meta` …) are the engine's, not modules.

use std::path::PathBuf;

use serde_json::Value;

use crate::plan::{Failure, Module, Object};

mod args;

/// One module as the catalogue knows it.
pub struct Spec {
    /// Short name, e.g. `copy`.
    pub name: &'static str,
    /// Other accepted names, e.g. `community.docker.docker_network`. `ansible.builtin.` and `ansible.legacy.` in front of
    /// the short name are always accepted.
    pub aliases: &'static [&'static str],
    /// All argument names with their aliases, for messages and for refusing unknown ones before a host is touched.
    pub args: &'static [&'static str],
    /// The argument that a free-form string goes to (`command: ls -l` → `_raw_params`), if there may be one.
    pub free_form: Option<&'static str>,
    /// Builds the task's work for one host from templated arguments.
    pub build: fn(Object, &Build<'_>) -> Result<Box<dyn Module>, Failure>,
}

/// What a module may use while it is built, besides its arguments.
pub struct Build<'a> {
    pub local: &'a dyn Local,
    /// The host's facts, without the `ansible_` prefix (`os_family`, `pkg_mgr`, `service_mgr`, `user_id` …): at least
    /// what the handshake brought, all of `setup` if that ran.
    pub facts: &'a Object,
    pub check: bool,
}

/// The controller's files and templates, as the task sees them.
pub trait Local {
    /// The path of a file along Ansible's search path (`files/` or `templates/` of the role, the task file's
    /// directory, the play's).
    fn find(&self, kind: LocalKind, name: &str) -> Result<PathBuf, Failure>;
    /// Reads a file found by `find`. Paths may lie inside the binary (the shipped registry), so never use `std::fs`.
    fn read(&self, path: &std::path::Path) -> Result<Vec<u8>, Failure>;
    /// Files below a directory found by `find`, as paths relative to it, sorted; with permission bits.
    fn walk(&self, dir: &std::path::Path) -> Result<Vec<(PathBuf, u32)>, Failure>;
    /// Renders a Jinja2 template with the task's variables.
    fn render(&self, text: &str, path: &std::path::Path) -> Result<String, Failure>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalKind {
    Files,
    Templates,
}

/// Every family's modules.
const FAMILIES: &[&[Spec]] = &[];

/// The module of this name, by any of its spellings.
pub fn find(name: &str) -> Option<&'static Spec> {
    let short = name.strip_prefix("ansible.builtin.").or_else(|| name.strip_prefix("ansible.legacy.")).unwrap_or(name);
    all().find(|spec| spec.name == short || spec.aliases.contains(&name))
}

/// The whole catalogue.
pub fn all() -> impl Iterator<Item = &'static Spec> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// A helper for families: arguments into a typed struct, with "did you mean" for unknown ones.
pub fn typed<T: serde::de::DeserializeOwned>(spec_args: &[&str], args: Object) -> Result<T, Failure> {
    if let Some(unknown) = args.keys().find(|key| !spec_args.contains(&key.as_str())) {
        let failure = Failure::new(format!("unknown argument `{unknown}`"));
        return Err(match crate::error::nearest(unknown, spec_args.iter().copied()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("it takes: {}", spec_args.join(", "))),
        });
    }
    serde_json::from_value(Value::Object(args)).map_err(|error| Failure::new(format!("arguments: {error}")))
}
