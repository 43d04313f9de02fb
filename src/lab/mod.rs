//! Throw-away VPSes on this machine: try a rollout on them before touching a client.
//!
//! [`up`] makes a small fleet out of Docker containers that boot systemd and sshd and, like a fresh VPS, have no
//! Docker yet. They sit on a network of their own together with a registry that serves images under their Docker Hub
//! names. Everything that reaches them (key, known hosts, inventory, age identity) is written into one folder, so
//! `provision … -i inventory -i lab` runs the real inventory against them and its secrets stay apart.
//!
//! Left out: printing (the cli's), virtual machines, hosts on other operating systems than Linux.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use crate::error::Result;

/// Which lab, and what `up` is to make of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the lab's key, inventory and identity live. Default `lab`.
    pub dir: PathBuf,
    /// What every container, volume and network is named after: `<prefix>-<host>`. Two labs on one machine need two.
    pub prefix: String,
    /// The hosts. Empty: those that exist, else `clienteA` and `clienteB`.
    pub names: Vec<String>,
    /// Whether a registry for the hosts runs beside them.
    pub registry: Registry,
    /// Where downloaded systems are kept. Default `~/.cache/provision/lab`.
    pub cache: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registry {
    Run,
    Leave,
}

/// A lab as it stands.
#[derive(Clone, Debug)]
pub struct Lab {
    pub dir: PathBuf,
    pub prefix: String,
    pub hosts: Vec<Host>,
    /// Where the hosts reach the registry: port 5000 of this address.
    pub registry: Option<Ipv4Addr>,
}

#[derive(Clone, Debug)]
pub struct Host {
    pub name: String,
    pub address: Ipv4Addr,
    pub container: String,
    /// Docker's word: `running`, `paused`, `exited` …
    pub state: String,
}

/// How much `down` removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// Hosts, network, state folder. The registry's images stay for the next lab.
    Hosts,
    /// Also the registry's images, the host image and the cached system.
    Everything,
}

/// How progress is told: one short line per step.
pub type Progress<'a> = &'a mut (dyn FnMut(&str) + Send);

impl Default for Options {
    fn default() -> Self {
        todo!()
    }
}

/// Brings the lab up, or completes what is there. A second call takes seconds.
pub async fn up(_options: &Options, _progress: Progress<'_>) -> Result<Lab> {
    todo!()
}

/// What runs.
pub async fn status(_options: &Options) -> Result<Lab> {
    todo!()
}

/// The command that logs in to a host of the lab, or runs `command` there.
pub fn ssh(_options: &Options, _name: &str, _command: &[String]) -> Result<std::process::Command> {
    todo!()
}

/// Removes the lab; says what went.
pub async fn down(_options: &Options, _how: Down) -> Result<Vec<String>> {
    todo!()
}

/// Puts images of this machine's Docker into the lab's registry, under their Docker Hub names.
pub async fn push(_options: &Options, _images: &[String], _progress: Progress<'_>) -> Result<()> {
    todo!()
}
