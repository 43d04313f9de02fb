//! Hosts, groups and their variables, read as Ansible reads them; patterns that select hosts.
//!
//! A source is a YAML or INI file, a directory of such files, or a list such as `a.example,b.example`. Beside it may
//! stand `group_vars/` and `host_vars/`. Leaves out: inventory plugins and scripts, and vaulted values (what is secret
//! lives in `vps_data/`, see [`crate::secrets`]).

pub mod connection;
pub mod edit;
mod ini;
mod literal;
mod names;
mod pattern;
mod source;
mod tree;
mod var_files;
mod yaml;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

use crate::error::{Error, Place, Result};
use crate::plan::Object;
use tree::Tree;
use var_files::VarFiles;

/// Everything the inventory sources say.
#[derive(Clone, Debug)]
pub struct Inventory {
    hosts: IndexMap<String, Host>,
    groups: IndexMap<String, Vec<String>>,
    host_vars: IndexMap<String, Vec<VarLayer>>,
    group_vars: IndexMap<String, Vec<VarLayer>>,
    /// Beside the sources, in their order, and beside playbooks.
    files: Vec<VarFiles>,
    playbook_files: Vec<VarFiles>,
    implicit_localhost: Host,
    data_dir: PathBuf,
    warnings: Vec<Error>,
}

/// A host, and all groups it is in: ancestors included, `all` not, those that lose first and the one that wins last.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    pub name: String,
    pub groups: Vec<String>,
}

/// The variables of one file for one group or host.
#[derive(Clone, Debug)]
pub struct VarLayer {
    /// `group_vars/prod.yml`, or `hosts.yml, group prod`.
    pub name: String,
    pub vars: Arc<Object>,
    /// Where each top-level key stands.
    pub places: Arc<IndexMap<String, Place>>,
    /// Where the keys of mappings inside of the values stand.
    nested: Arc<NestedPlaces>,
}

/// Path of keys → place.
type NestedPlaces = HashMap<Vec<String>, Place>;

impl VarLayer {
    /// Where a key inside of a variable stands, such as `["settings", "hub", "FRAPPE_TIMEZONE"]`, or else the
    /// nearest key around it.
    pub fn place(&self, path: &[&str]) -> Option<&Place> {
        let top = self.places.get(*path.first()?)?;
        let within = (2..=path.len()).rev().find_map(|end| {
            let path: Vec<String> = path[..end].iter().map(|key| (*key).to_owned()).collect();
            self.nested.get(&path)
        });
        Some(within.unwrap_or(top))
    }
}

impl Inventory {
    /// Each source is a file (YAML or INI) or a directory of such files; `host_vars/` and `group_vars/` stand beside
    /// the file or in the directory. Later sources win.
    pub fn load(sources: &[PathBuf]) -> Result<Inventory> {
        let mut tree = Tree::default();
        let mut folders: Vec<PathBuf> = Vec::new();
        for source in sources {
            let folder = source::read(source, &mut tree)?;
            // A folder that comes twice counts where it comes last.
            folders.retain(|earlier| *earlier != folder);
            folders.push(folder);
        }
        let data_dir = folders.last().cloned().unwrap_or_else(|| PathBuf::from("."));
        let finished = tree.finish()?;
        let mut inventory = Inventory {
            hosts: finished.hosts,
            groups: finished.groups,
            host_vars: finished.host_vars,
            group_vars: finished.group_vars,
            files: Vec::new(),
            playbook_files: Vec::new(),
            implicit_localhost: Host { name: "localhost".into(), groups: Vec::new() },
            data_dir,
            warnings: finished.warnings,
        };
        for folder in &folders {
            let files = VarFiles::load(folder, &inventory.hosts, &inventory.groups, &mut inventory.warnings)?;
            inventory.files.push(files);
        }
        Ok(inventory)
    }

    /// Adds `group_vars/` and `host_vars/` of a playbook's folder; each wins over the sources' own of the same kind.
    pub fn beside_playbook(&mut self, folder: &Path) -> Result<()> {
        let folder = source::normal(folder);
        if self.files.iter().chain(&self.playbook_files).any(|files| files.folder == folder) {
            return Ok(());
        }
        let files = VarFiles::load(&folder, &self.hosts, &self.groups, &mut self.warnings)?;
        self.playbook_files.push(files);
        Ok(())
    }

    /// All hosts, in the order of their definition.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// A host by its name. `localhost` is always there, even if no source mentions it.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name).or_else(|| (name == "localhost").then_some(&self.implicit_localhost))
    }

    /// Group → its hosts, those of its children included. Holds `all` and `ungrouped`.
    pub fn groups(&self) -> &IndexMap<String, Vec<String>> {
        &self.groups
    }

    /// The hosts that an Ansible pattern names: `web:&prod:!old`, `a,b`, `web[0:2]`, `*.example`, `~^web\d`, `@file`.
    /// `@failed` stands for the given list. An unknown name is an error, a glob that matches nothing is not.
    pub fn select(&self, pattern: &str, failed: &[String]) -> Result<Vec<String>> {
        pattern::select(self, pattern, failed)
    }

    /// A host's variables in layers, the one that wins last.
    pub fn layers(&self, host: &str) -> Vec<VarLayer> {
        let mut layers: Vec<VarLayer> = Vec::new();
        let mut add = |found: Option<&Vec<VarLayer>>| layers.extend(found.into_iter().flatten().cloned());
        let no_groups = Vec::new();
        let groups = self.hosts.get(host).map_or(&no_groups, |host| &host.groups);
        add(self.group_vars.get("all"));
        for group in groups {
            add(self.group_vars.get(group));
        }
        for files in self.files.iter().chain(&self.playbook_files) {
            add(files.groups.get("all"));
        }
        for files in self.files.iter().chain(&self.playbook_files) {
            for group in groups {
                add(files.groups.get(group));
            }
        }
        add(self.host_vars.get(host));
        for files in self.files.iter().chain(&self.playbook_files) {
            add(files.hosts.get(host));
        }
        if !self.hosts.contains_key(host) && host == self.implicit_localhost.name {
            let vars = Object::from_iter([("ansible_connection".to_owned(), Value::from("local"))]);
            let name = "implicit localhost".to_owned();
            layers.insert(0, VarLayer { name, vars: Arc::new(vars), places: Arc::default(), nested: Arc::default() });
        }
        layers
    }

    /// A host's variables, merged: of two layers with the same key the later one wins, mappings are not mixed.
    pub fn vars(&self, host: &str) -> Object {
        let mut merged = Object::new();
        for layer in self.layers(host) {
            for (key, value) in layer.vars.iter() {
                merged.insert(key.clone(), value.clone());
            }
        }
        merged
    }

    /// The folder of the last source, which holds `vps_data/` and `.age-recipients`.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What was legal but surely not meant: duplicate keys, variable files of unknown groups and hosts.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }
}
