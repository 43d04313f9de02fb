//! Ansible's connection variables, typed and checked.
//!
//! Leaves out connecting: [`crate::lane`] takes these settings.

use std::path::PathBuf;

use crate::error::Result;
use crate::plan::{Object, Secret};

/// How a host is reached, and as whom tasks run there.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub method: Method,
    /// `ansible_host`; none means: the host's own name.
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub key_file: Option<PathBuf>,
    /// `ansible_ssh_common_args` and `ansible_ssh_extra_args`, split into words.
    pub ssh_args: Vec<String>,
    pub known_hosts: Option<PathBuf>,
    pub host_key_checking: Option<bool>,
    /// Seconds.
    pub timeout: Option<u64>,
    pub escalate: Option<bool>,
    pub become_user: Option<String>,
    pub become_method: Option<String>,
    pub become_password: Option<Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Ssh,
    Local,
}

impl Settings {
    /// From a host's variables, already templated.
    pub fn of(vars: &Object) -> Result<Settings> {
        let _ = vars;
        todo!()
    }
}
