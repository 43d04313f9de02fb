//! What streams: a script whose output is read while it runs, and programs of this machine that are given the terminal
//! (`ssh -t`, `ssh -L`). Nothing is framed or kept.

use std::ffi::OsString;
use std::process::Command;

use tokio::io::{AsyncRead, AsyncReadExt};

use super::channel::Channel;
use super::connection::Connection;
use super::{Become, Method, Target, Trouble, master, transfer};

/// A script that runs at the other end. It ends when this is dropped.
pub struct Stream {
    channel: Channel,
    /// What came with the beginning.
    first: Vec<u8>,
}

/// `$1` is the script. Its standard input is our channel, which closes when we go; then what it started goes as well.
const WATCHED: &str = "s=; command -v setsid >/dev/null && s=setsid; exec 3<&0; $s sh -c \"$1\" </dev/null 3<&- & p=$!; \
    { cat <&3; kill -- -$p || kill $p; } >/dev/null 2>&1 & w=$!; wait $p; rc=$?; kill $w 2>/dev/null; exit $rc";

impl Connection {
    /// Runs a script of which the output is wanted as it comes; both of its streams are one.
    pub async fn stream(&self, who: Option<&Become>, script: &str) -> Result<Stream, Trouble> {
        let link = self.link().await?;
        let script = format!("{{ {script}\n}} 2>&1");
        let (channel, first) = transfer::open_and_wait(&link, who, WATCHED, &[&script]).await?;
        Ok(Stream { channel, first })
    }
}

impl Stream {
    /// The next bytes; none when it has ended.
    pub async fn read(&mut self) -> Vec<u8> {
        if !self.first.is_empty() {
            return std::mem::take(&mut self.first);
        }
        let mut buffer = vec![0; 64 << 10];
        let stdout: &mut (dyn AsyncRead + Send + Sync + Unpin) = &mut *self.channel.stdout;
        let count = stdout.read(&mut buffer).await.unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    /// Its exit code; `None` if the connection went first.
    pub async fn end(mut self) -> Option<i32> {
        self.channel.stdin = None;
        self.channel.wait().await
    }
}

/// `ssh` with the inventory's way to the host, for a person at a terminal: it may ask for a password itself. `flags`
/// stand before the address, `command` is one line for the login shell.
pub fn ssh(target: &Target, flags: &[&str], command: Option<&str>) -> Command {
    let mut ssh = Command::new("ssh");
    ssh.args(flags);
    let mut options = master::options(target);
    if target.password.is_some() {
        // there is somebody to ask
        options.retain(|option| option != "NumberOfPasswordPrompts=1");
    }
    ssh.args(spread(options, target));
    ssh.arg("--").arg(&target.address);
    ssh.args(command);
    ssh
}

fn spread(options: Vec<String>, target: &Target) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    if let Some(file) = &target.config_file {
        args.extend(["-F".into(), file.into()]);
    }
    args.extend(target.ssh_args.iter().map(Into::into));
    for option in options {
        // a person is there, so questions may be asked
        if option != "BatchMode=yes" && option != "ClearAllForwardings=yes" {
            args.extend(["-o".into(), option.into()]);
        }
    }
    args
}

/// The same for this machine or another one: a line of shell with the terminal.
pub fn terminal(target: &Target, line: &str) -> Command {
    match target.method {
        Method::Ssh => ssh(target, &["-t", "-q"], Some(line)),
        Method::Local => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_gets_a_terminal_and_may_be_asked() {
        let target = Target {
            address: "h".into(),
            user: Some("op".into()),
            port: Some(2222),
            known_hosts: Some("/k".into()),
            ..Target::default()
        };
        let command = terminal(&target, "exec docker ps");
        let args: Vec<String> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(args[..2], ["-t", "-q"]);
        assert!(args.contains(&"User=op".to_owned()) && args.contains(&"Port=2222".to_owned()), "{args:?}");
        assert!(args.contains(&"UserKnownHostsFile=\"/k\"".to_owned()) && !args.contains(&"BatchMode=yes".to_owned()));
        assert_eq!(args[args.len() - 3..], ["--", "h", "exec docker ps"]);
        let local = terminal(&Target::local("x"), "exit 3").status().unwrap();
        assert_eq!(local.code(), Some(3));
    }
}
