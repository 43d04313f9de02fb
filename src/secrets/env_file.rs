//! One service's secrets for one host: `inventory/vps_data/<host>/<service>.env.age`.

use std::path::Path;

use indexmap::IndexMap;

use super::{Identities, Recipients};
use crate::error::Result;
use crate::plan::Secret;

/// Settings with readable key names and values encrypted one by one.
#[derive(Clone)]
pub struct EnvFile {
    values: IndexMap<String, Secret>,
}

impl EnvFile {
    /// A missing file is an empty one.
    pub fn load(path: &Path, identities: &Identities) -> Result<EnvFile> {
        let _ = (path, identities);
        todo!()
    }

    /// The key names, without any identity.
    pub fn keys_of(path: &Path) -> Result<Vec<String>> {
        let _ = path;
        todo!()
    }

    pub fn get(&self, key: &str) -> Option<&Secret> {
        self.values.get(key)
    }

    /// Key names are `[A-Za-z_][A-Za-z0-9_]*`; values any text without NUL.
    pub fn set(&mut self, key: &str, value: Secret) -> Result<()> {
        let _ = (key, value);
        todo!()
    }

    /// Was there such a key?
    pub fn remove(&mut self, key: &str) -> bool {
        self.values.shift_remove(key).is_some()
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.values.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Writes the file whole or not at all. Unchanged values keep their ciphertext; nothing changed, nothing written.
    /// Says whether the file was written.
    pub fn save(&mut self, path: &Path, recipients: &Recipients) -> Result<bool> {
        let _ = (path, recipients);
        todo!()
    }
}
