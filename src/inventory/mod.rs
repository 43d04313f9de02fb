//! Hosts, groups and their variables, read as Ansible reads them; patterns that select hosts.
//!
//! Leaves out: inventory plugins and scripts, `constructed` groups, vaulted values (settings that are secret live in
//! `vps_data/`, see [`crate::secrets`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::error::{Place, Result};
use crate::plan::Object;

pub mod connection;

/// Everything the inventory sources say.
#[derive(Debug)]
pub struct Inventory {
    hosts: IndexMap<String, Host>,
    groups: IndexMap<String, Vec<String>>,
    data_dir: PathBuf,
}

/// A host, and all groups it is in: ancestors included, `all` not, those that lose first and the one that wins last.
#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub groups: Vec<String>,
}

/// The variables of one file for one group or host.
#[derive(Clone, Debug)]
pub struct VarLayer {
    /// `group_vars/prod.yml`, or `hosts.yml: group prod`.
    pub name: String,
    pub vars: Arc<Object>,
    /// Where each top-level key stands.
    pub places: Arc<IndexMap<String, Place>>,
}

impl Inventory {
    /// Each source is a file (YAML or INI) or a directory of such files; `host_vars/` and `group_vars/` stand beside
    /// the file or in the directory. Later sources win.
    pub fn load(sources: &[PathBuf]) -> Result<Inventory> {
        let _ = sources;
        todo!()
    }

    /// All hosts, in the order of their definition.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.get(name)
    }

    /// Group → its hosts, those of its children included. Holds `all` and `ungrouped`.
    pub fn groups(&self) -> &IndexMap<String, Vec<String>> {
        &self.groups
    }

    /// The hosts that an Ansible pattern names, in the order of the inventory; `@failed` stands for the given list.
    pub fn select(&self, pattern: &str, failed: &[String]) -> Result<Vec<String>> {
        let _ = (pattern, failed);
        todo!()
    }

    /// A host's variables in layers, the one that wins last.
    pub fn layers(&self, host: &str) -> Vec<VarLayer> {
        let _ = host;
        todo!()
    }

    /// The folder of the last source, which holds `vps_data/` and `.age-recipients`.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What was legal but surely not meant, such as duplicate keys.
    pub fn warnings(&self) -> &[crate::error::Error] {
        &[]
    }
}
