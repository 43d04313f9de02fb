//! What goes wrong with real servers, on purpose: for tests of a rollout, and for trying out what it then says.

use super::docker::docker;
use super::{Host, Options, hosts};
use crate::error::{Error, Result};

/// One way in which a host fails. [`heal`] undoes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Hangs: connections stand, nothing answers.
    Paused,
    /// Gone without a word, as by a power cut.
    Killed,
    /// Its cable is pulled.
    CutOff,
    /// The file system at this folder is full (one of 64 kB is put over it).
    DiskFull(String),
    /// sudo asks for a password that nobody has.
    SudoBroken,
}

/// Makes a host fail.
pub async fn inject(options: &Options, name: &str, fault: &Fault) -> Result<()> {
    let host = find(options, name).await?;
    match fault {
        Fault::Paused => docker(&["pause", &host.container]).await.map(drop),
        Fault::Killed => docker(&["kill", &host.container]).await.map(drop),
        Fault::CutOff => docker(&["network", "disconnect", &options.prefix, &host.container]).await.map(drop),
        Fault::DiskFull(path) => {
            let script = "mkdir -p \"$1\" && mount -t tmpfs -o size=64k lab-full \"$1\" && \
                { head -c 1000000 /dev/zero >\"$1/.full\"; [ $? -ne 0 ]; } 2>/dev/null";
            inside(&host, script, path).await
        }
        Fault::SudoBroken => inside(&host, "mv /etc/sudoers.d/operator /root/sudoers-operator", "").await,
    }
}

/// Takes a fault away again. A host that was killed boots anew.
pub async fn heal(options: &Options, name: &str, fault: &Fault) -> Result<()> {
    let host = find(options, name).await?;
    match fault {
        Fault::Paused => docker(&["unpause", &host.container]).await.map(drop),
        Fault::Killed => docker(&["start", &host.container]).await.map(drop),
        Fault::CutOff => hosts::connect(&options.prefix, &host).await,
        Fault::DiskFull(path) => inside(&host, "umount -l \"$1\"", path).await,
        Fault::SudoBroken => inside(&host, "mv /root/sudoers-operator /etc/sudoers.d/operator", "").await,
    }
}

async fn find(options: &Options, name: &str) -> Result<Host> {
    let found = hosts::find(&options.prefix).await?;
    let names: Vec<String> = found.hosts.iter().map(|host| host.name.clone()).collect();
    found.hosts.into_iter().find(|host| host.name == name).ok_or_else(|| {
        Error::new(format!("the lab has no host `{name}`")).did_you_mean(name, names.iter().map(String::as_str))
    })
}

/// Runs a script in the container, past ssh and sudo.
async fn inside(host: &Host, script: &str, argument: &str) -> Result<()> {
    docker(&["exec", &host.container, "sh", "-c", script, "lab", argument]).await.map(drop)
}
