//! The handshake: the first answer of every lane says who and where we are, so that nothing has to be asked for it.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::plan::Object;

/// Whose `stat`, `head` and friends the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Gnu,
    Busybox,
}

/// What the handshake brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// All groups of the process, with their names.
    pub groups: Vec<(u32, String)>,
    pub home: String,
    /// `uname -s`, `-n`, `-r`, `-m`.
    pub kernel: String,
    pub nodename: String,
    pub kernel_release: String,
    pub machine: String,
    /// `/etc/os-release`, unquoted.
    pub os_release: IndexMap<String, String>,
    /// `bash`, `zsh`, `mksh`, or `sh` (dash, busybox ash).
    pub shell: String,
    pub dialect: Dialect,
    pub systemd: bool,
    /// Ansible's name of the package manager: `apt`, `dnf`, `apk` …
    pub pkg_mgr: Option<String>,
    /// Which of a fixed list of programs are there: `python3`, `sudo`, `docker`, `systemctl`, `timeout` …
    pub tools: BTreeSet<String>,
    /// Process id of the lane's shell and its process group.
    pub pid: u32,
    pub pgid: u32,
}

impl Hello {
    /// The handshake as Ansible's facts, without the `ansible_` prefix.
    pub fn facts(&self) -> Object {
        todo!()
    }
}
