//! Who may read (recipients) and who is reading (identities).

use std::path::{Path, PathBuf};

use crate::error::Result;

/// Private keys: age identities and SSH keys.
pub struct Identities {
    files: Vec<PathBuf>,
}

/// Public keys that a settings file is encrypted to.
#[derive(Clone)]
pub struct Recipients {
    lines: Vec<String>,
}

impl Identities {
    /// Every file must exist and hold identities.
    pub fn load(files: &[PathBuf]) -> Result<Identities> {
        let _ = files;
        todo!()
    }

    /// The given files, else `$PROVISION_IDENTITY`, `~/.config/provision/identity.txt` and `~/.ssh/id_ed25519`,
    /// `~/.ssh/id_rsa`, as far as they exist. May be empty: complaints come when something is to be decrypted.
    pub fn discover(extra: &[PathBuf]) -> Result<Identities> {
        let _ = extra;
        todo!()
    }

    /// Where the identities came from, for messages.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }
}

impl Recipients {
    /// `.age-recipients`: `age1…`, `ssh-ed25519 …`, `ssh-rsa …`, one per line; `#` begins a comment.
    pub fn load(file: &Path) -> Result<Recipients> {
        let _ = file;
        todo!()
    }

    /// The public keys, without SSH comments.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}
