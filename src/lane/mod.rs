//! The wire: what may be asked of a host and done to it, carried over one persistent POSIX shell per host and user.
//!
//! ```text
//! Connections ── limits how many connect at once, owns the control sockets' directory
//!   └ Connection ── one ssh master (or nothing, for the controller itself)
//!       └ Lane ── one `sh -s` per user; requests are framed, batched, and each costs one round trip
//! ```
//!
//! | file | what it knows |
//! |---|---|
//! | `connection` | the public face: `hello`, `ask`, `act`, both in one request, lanes on demand, reconnecting |
//! | `master` | starting and stopping `ssh -M`, sockets, passwords for ssh |
//! | `trouble` | ssh's log → a cause, a message and what to do |
//! | `channel` | one process at the other end, over ssh or as a local child |
//! | `elevate` | sudo and friends: the command, the prompt, the conversation |
//! | `frame` | pure: steps → request text, streams → outputs |
//! | `shell` | one lane: a shell behind a channel; deadlines |
//! | `hello` | the handshake: who and where we are |
//! | `questions`, `deeds` | pure: queries and operations → shell, outputs → answers |
//! | `stream` | output while it runs, and the terminal's `ssh` |
//! | `transfer` | bulk data on a second channel |
//! | `remote.sh` | the shell functions at the other end |
//!
//! Left out: agents on the host, any knowledge of modules.

mod channel;
mod connection;
mod deeds;
mod elevate;
mod frame;
mod hello;
mod master;
mod questions;
mod shell;
pub mod stream;
mod transfer;
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

pub use connection::{Acted, Connection, Connections};
pub use hello::{Dialect, Hello};
pub use trouble::{ActError, Trouble, is_disk_full};

use crate::plan::{Secret, quote};

/// How to reach a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Ssh,
    /// The controller itself, by a child process.
    Local,
}

/// Where a host is and how to log in. What is `None` is left to the user's ssh configuration.
#[derive(Clone, Debug)]
pub struct Target {
    /// The inventory's name, for messages.
    pub name: String,
    pub method: Method,
    /// Address or alias as `ssh` takes it.
    pub address: String,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub key_file: Option<PathBuf>,
    pub password: Option<Secret>,
    /// The POSIX shell to work in, `sh` if nothing else is known (`ansible_shell_executable`).
    pub shell: String,
    /// Further arguments for `ssh`, in front of ours, so that they win.
    pub ssh_args: Vec<String>,
    /// Instead of `~/.ssh/config`.
    pub config_file: Option<PathBuf>,
    /// Instead of `~/.ssh/known_hosts`.
    pub known_hosts: Option<PathBuf>,
    pub host_key_checking: bool,
    pub connect_timeout: Duration,
}

impl Default for Target {
    fn default() -> Self {
        Target {
            name: String::new(),
            method: Method::Ssh,
            address: String::new(),
            port: None,
            user: None,
            key_file: None,
            password: None,
            shell: "sh".to_owned(),
            ssh_args: Vec::new(),
            config_file: None,
            known_hosts: None,
            host_key_checking: true,
            connect_timeout: Duration::from_secs(10),
        }
    }
}

impl Target {
    /// This machine, by a child process.
    pub fn local(name: impl Into<String>) -> Self {
        Target { name: name.into(), method: Method::Local, address: "localhost".to_owned(), ..Target::default() }
    }

    /// `user@address`, as `ssh` takes it.
    fn login(&self) -> String {
        let address = quote(&self.address);
        self.user.as_ref().map_or(address.clone(), |user| format!("{}@{address}", quote(user)))
    }

    /// For messages: `user@address port 2222`.
    fn shown(&self) -> String {
        match (self.method, self.port) {
            (Method::Local, _) => "this machine".to_owned(),
            (Method::Ssh, Some(port)) => format!("{} port {port}", self.login()),
            (Method::Ssh, None) => self.login(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BecomeMethod {
    #[default]
    Sudo,
    /// Without a password only: doas reads passwords from a terminal.
    Doas,
    Su,
}

/// Another user to work as. Nothing is elevated if the login is that user already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Become {
    pub method: BecomeMethod,
    pub user: String,
    pub password: Option<Secret>,
}

impl Become {
    /// sudo to this user.
    pub fn sudo(user: impl Into<String>, password: Option<Secret>) -> Self {
        Become { method: BecomeMethod::Sudo, user: user.into(), password }
    }
}
