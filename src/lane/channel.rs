//! One process at the other end, with its three streams: over an ssh master, or as a child of ours for the local host.

use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::process::Command;

use super::Trouble;
use crate::event::Cause;

/// What channels are opened over.
#[derive(Clone)]
pub enum Link {
    Ssh(Arc<Session>),
    Local,
}

pub struct Channel {
    /// None after it was closed.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Sync + Unpin>>,
    pub stdout: Box<dyn AsyncRead + Send + Sync + Unpin>,
    pub stderr: Box<dyn AsyncRead + Send + Sync + Unpin>,
    process: Process,
}

enum Process {
    Ssh(openssh::Child<Arc<Session>>),
    Local(tokio::process::Child),
}

/// How long opening a channel may take on a connection that stands.
const PATIENCE: Duration = Duration::from_secs(20);

impl Channel {
    /// Runs a command line of the login shell.
    pub async fn open(link: &Link, command: &str) -> Result<Self, Trouble> {
        match link {
            Link::Ssh(session) => match tokio::time::timeout(PATIENCE, open_ssh(session, command)).await {
                Ok(Ok(channel)) => Ok(channel),
                Ok(Err(error)) => {
                    Err(Trouble::new(Cause::Lost, format!("could not open a channel: {}", chain(&error)))
                        .hint("the connection is gone, or the host allows too few sessions (sshd's MaxSessions)"))
                }
                Err(_) => Err(Trouble::new(Cause::Timeout, "the host did not open a channel within 20 s")),
            },
            Link::Local => open_local(command).map_err(|error| {
                Trouble::new(Cause::Local, format!("could not start a shell on this machine: {error}"))
            }),
        }
    }

    /// Waits for the process to end. → its rc, as shells count; None if the connection went first
    pub async fn wait(self) -> Option<i32> {
        match self.process {
            Process::Ssh(child) => match child.wait().await {
                Ok(status) => status.code(),
                // the crate's word for rc 127
                Err(openssh::Error::Remote(_)) => Some(127),
                Err(_) => None,
            },
            Process::Local(mut child) => {
                child.wait().await.ok().and_then(|status| status.code().or(status.signal().map(|signal| 128 + signal)))
            }
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

async fn open_ssh(session: &Arc<Session>, command: &str) -> Result<Channel, openssh::Error> {
    let mut command = Arc::clone(session).arc_raw_command(command);
    command.stdin(openssh::Stdio::piped()).stdout(openssh::Stdio::piped()).stderr(openssh::Stdio::piped());
    let mut child = command.spawn().await?;
    let missing = || openssh::Error::ChildIo(std::io::ErrorKind::BrokenPipe.into());
    Ok(Channel {
        stdin: Some(Box::new(child.stdin().take().ok_or_else(missing)?)),
        stdout: Box::new(child.stdout().take().ok_or_else(missing)?),
        stderr: Box::new(child.stderr().take().ok_or_else(missing)?),
        process: Process::Ssh(child),
    })
}

/// In a process group of its own, so that ending what runs there does not end us. Not killed when it is dropped: the
/// shell ends with its input, after what it is doing, as it does on a host.
fn open_local(command: &str) -> std::io::Result<Channel> {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).process_group(0);
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.spawn()?;
    let missing = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    Ok(Channel {
        stdin: Some(Box::new(child.stdin.take().ok_or_else(missing)?)),
        stdout: Box::new(child.stdout.take().ok_or_else(missing)?),
        stderr: Box::new(child.stderr.take().ok_or_else(missing)?),
        process: Process::Local(child),
    })
}
