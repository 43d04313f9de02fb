//! Playbooks: YAML → [`Play`], [`Block`], [`Task`], every one with its place in the file.
//!
//! Everything that can be known without a host is checked here, and all mistakes of a playbook are reported together:
//! unknown keywords, modules and arguments, missing files, keywords of Ansible's that are not supported. What a block
//! says about its children (`when`, `become`, `vars` …) is copied to them, so a [`Task`] is complete by itself.
//! Leaves out: templating (the engine's, per host) and inventory.

use std::path::Path;

use crate::error::{Error, Result};

mod shipped;
mod types;

pub use shipped::{INSIDE, Shipped};
pub use types::*;

/// All plays of a playbook file, imported playbooks included.
pub fn load(path: &Path, shipped: &Shipped) -> Result<Vec<Play>> {
    let _ = shipped;
    Err(Error::new(format!("{}: playbooks cannot be read yet", path.display())))
}
