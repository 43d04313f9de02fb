//! Bulk data on a second, short-lived channel of the same connection, streamed: never whole in memory, never inside
//! a request.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::channel::{Channel, Link};
use super::{Become, Trouble, elevate, frame};
use crate::event::Cause;
use crate::plan::{Freight, Output};

/// How long a transfer may stand still.
const STANDSTILL: Duration = Duration::from_secs(60);

/// $1 destination, $2 name of the temporary file, $3 SHA-256. One line without quotes that login shells differ about.
const RECEIVE: &str = "d=$1; if [ -L \"$d\" ]; then d=$(readlink -f -- \"$d\"); fi; \
    case $d in */*) t=${d%/*}/$2;; *) t=$2;; esac; trap \"exit 143\" TERM HUP INT; umask 077; set -C; \
    cat >\"$t\" || { rm -f -- \"$t\"; exit 94; }; s=$(sha256sum <\"$t\"); \
    if [ \"${s%% *}\" = \"$3\" ]; then exit 0; fi; rm -f -- \"$t\"; echo \"what arrived is not what was sent\" >&2; exit 95";

/// $1 path
const SEND: &str = "if [ -d \"$1\" ]; then echo \"$1 is a directory\" >&2; exit 1; fi; exec cat -- \"$1\"";

/// Streams bytes into a temporary file beside the destination. → what the other end said; rc 0 if all arrived
pub async fn upload(
    link: &Link,
    who: Option<&Become>,
    (destination, temporary, checksum): (&str, &str, &str),
    source: &mut (impl AsyncRead + Unpin),
    spent: &(dyn Fn(u64) + Sync),
) -> Result<Output, Trouble> {
    let (mut channel, _) = open(link, who, RECEIVE, &[destination, temporary, checksum], Wait::IfAsked, spent).await?;
    spent(1);
    let Some(mut stdin) = channel.stdin.take() else {
        return Err(Trouble::new(Cause::Lost, "the channel is closed"));
    };
    let send = async move {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let count = source.read(&mut buffer).await.map_err(Sent::Unread)?;
            if count == 0 {
                // dropping the stream is the end of the file at the other end
                return stdin.flush().await.map_err(Sent::Broken);
            }
            match tokio::time::timeout(STANDSTILL, stdin.write_all(&buffer[..count])).await {
                Ok(written) => written.map_err(Sent::Broken)?,
                Err(_) => return Err(Sent::Stuck),
            }
        }
    };
    let (sent, output) = tokio::join!(send, collect(channel, |_| Ok(())));
    let output = output?;
    match sent {
        Err(Sent::Unread(error)) => Err(Trouble::new(Cause::Local, format!("could not read what to upload: {error}"))),
        Err(Sent::Stuck) => Err(Trouble::new(Cause::Timeout, "an upload stood still for 60 s")),
        // a full disk ends the other end first; it says why
        Err(Sent::Broken(error)) if output.rc == 0 => {
            Err(Trouble::new(Cause::Lost, format!("the upload broke off: {error}")))
        }
        _ => Ok(output),
    }
}

/// Opens what is to be sent. A folder becomes a tar in a nameless file of the controller first, for it may be large.
pub async fn load(freight: &Freight) -> Result<tokio::fs::File, String> {
    match freight {
        Freight::File(path) => {
            tokio::fs::File::open(path).await.map_err(|error| format!("could not read {}: {error}", path.display()))
        }
        Freight::Folder(context) => {
            let context = context.clone();
            let written = tokio::task::spawn_blocking(move || {
                let mut file = tempfile::tempfile()?;
                let mut buffer = std::io::BufWriter::new(&mut file);
                context.write(&mut buffer)?;
                std::io::Write::flush(&mut buffer)?;
                drop(buffer);
                std::io::Seek::rewind(&mut file)?;
                std::io::Result::Ok(file)
            });
            match written.await {
                Ok(Ok(file)) => Ok(tokio::fs::File::from_std(file)),
                Ok(Err(error)) => Err(format!("could not pack the folder: {error}")),
                Err(error) => Err(format!("could not pack the folder: {error}")),
            }
        }
    }
}

enum Sent {
    Unread(std::io::Error),
    Broken(std::io::Error),
    Stuck,
}

/// Streams a file of the host into a local one, which appears whole or not at all.
pub async fn download(
    link: &Link,
    who: Option<&Become>,
    path: &str,
    to: &Path,
    spent: &(dyn Fn(u64) + Sync),
) -> Result<Output, Trouble> {
    let tell = |error: std::io::Error| Trouble::new(Cause::Local, format!("could not write {}: {error}", to.display()));
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(tell)?;
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(tell)?;
    let (mut channel, first) = open(link, who, SEND, &[path], Wait::Always, spent).await?;
    channel.stdin = None;
    std::io::Write::write_all(&mut file, &first).map_err(tell)?;
    let output = collect(channel, |bytes| std::io::Write::write_all(&mut file, bytes)).await?;
    if output.rc == 0 {
        file.persist(to).map_err(|error| tell(error.error))?;
    }
    Ok(output)
}

/// Whether to wait until the script has begun.
#[derive(PartialEq)]
enum Wait {
    /// What the login prints before it is not the file.
    Always,
    /// For a password's prompt only.
    IfAsked,
}

/// The same for what is not a transfer: past what the login prints.
pub(super) async fn open_and_wait(
    link: &Link,
    who: Option<&Become>,
    script: &str,
    args: &[&str],
) -> Result<(Channel, Vec<u8>), Trouble> {
    open(link, who, script, args, Wait::Always, &|_| {}).await
}

/// → the channel, and what stands on its stdout already
async fn open(
    link: &Link,
    who: Option<&Become>,
    script: &str,
    args: &[&str],
    wait: Wait,
    spent: &(dyn Fn(u64) + Sync),
) -> Result<(Channel, Vec<u8>), Trouble> {
    elevate::check(who)?;
    let token = frame::token()?;
    let mut channel = Channel::open(link, &elevate::command(who, script, args, &token)).await?;
    spent(frame::OPENING);
    let mut first = Vec::new();
    if elevate::must_converse(who) {
        spent(1);
    }
    if wait == Wait::Always || elevate::must_converse(who) {
        first = elevate::converse(&mut channel, who, &token).await?;
    }
    Ok((channel, first))
}

/// Reads both streams to their ends; stdout goes to the sink.
async fn collect(mut channel: Channel, mut sink: impl FnMut(&[u8]) -> std::io::Result<()>) -> Result<Output, Trouble> {
    let (mut out_buffer, mut err_buffer) = (vec![0u8; 64 << 10], vec![0u8; 4 << 10]);
    let (mut out_open, mut err_open) = (true, true);
    let mut stderr = Vec::new();
    while out_open || err_open {
        tokio::select! {
            read = channel.stdout.read(&mut out_buffer), if out_open => match read {
                Ok(count) if count > 0 => sink(&out_buffer[..count])
                    .map_err(|error| Trouble::new(Cause::Local, format!("could not keep what was fetched: {error}")))?,
                _ => out_open = false,
            },
            read = channel.stderr.read(&mut err_buffer), if err_open => match read {
                Ok(count) if count > 0 && stderr.len() < frame::KEPT => stderr.extend_from_slice(&err_buffer[..count]),
                Ok(count) if count > 0 => {}
                _ => err_open = false,
            },
            () = tokio::time::sleep(STANDSTILL * 10) => {
                return Err(Trouble::new(Cause::Timeout, "a transfer stood still for 10 minutes"));
            }
        }
    }
    match channel.wait().await {
        Some(rc) => Ok(Output { rc, stdout: Vec::new(), stderr }),
        None => Err(Trouble::new(Cause::Lost, "the connection was lost during a transfer")),
    }
}
