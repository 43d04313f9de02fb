//! `provision exec`, `shell` and `tunnel`: a person's terminal, or a port, goes to one host or one of its containers.

use std::io::IsTerminal;
use std::process::ExitStatus;

use clap::Args;

use super::common::{Fleet, FleetFlags};
use super::containers::{Reached, Which, the_one};
use crate::error::{Error, Result};
use crate::lane::{Connections, Method, stream};
use crate::plan::{Script, quote};

#[derive(Args)]
#[command(after_help = "Examples:
  provision exec clienteA postgres -- psql -U vnm -c 'select 1'
  provision exec clienteA hub/worker -- bench doctor
  echo 'select 1' | provision exec clienteA postgres -- psql -U vnm

Its exit code is the command's.")]
pub struct Exec {
    /// The client
    host: String,
    /// A package, a service of a stack, or both as package/service
    service: String,
    /// What to run in the container
    #[arg(last = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Args)]
#[command(after_help = "Examples:
  provision shell clienteA             on the server itself
  provision shell clienteA backend     in a container: bash if it has one, else sh")]
pub struct Shell {
    /// The client
    host: String,
    /// A package, a service of a stack, or both as package/service
    service: Option<String>,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Args)]
#[command(after_help = "Examples:
  provision tunnel clienteA 5678                   localhost:5678 here is localhost:5678 there: a debugger, for example
  provision tunnel clienteA backend:8000           a container's port that is not published
  provision tunnel clienteA 8000 --local 18000     under another number here

Goes on until Ctrl-C.")]
pub struct Tunnel {
    /// The client
    host: String,
    /// A port of the server, or service:port of a container
    port: String,
    /// The port here; the same number if not given
    #[arg(long, value_name = "PORT")]
    local: Option<u16>,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub async fn exec(flags: Exec) -> Result<u8> {
    let reached = reach(&flags.fleet.load()?, &flags.host).await?;
    let words: Vec<String> = flags.command.iter().map(|word| quote(word)).collect();
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    in_container(reached, &flags.service, &words.join(" "), terminal).await
}

pub async fn shell(flags: Shell) -> Result<u8> {
    let reached = reach(&flags.fleet.load()?, &flags.host).await?;
    if !std::io::stdin().is_terminal() {
        return Err(Error::new("a shell needs a terminal").hint("`provision exec` runs a command without one"));
    }
    match &flags.service {
        None => finish(reached, "exec \"${SHELL:-/bin/sh}\" -l", true).await,
        Some(service) => {
            let shell = "sh -c 'if command -v bash >/dev/null; then exec bash; else exec sh; fi'";
            in_container(reached, service, shell, true).await
        }
    }
}

async fn in_container(reached: Reached, service: &str, command: &str, terminal: bool) -> Result<u8> {
    let containers = reached.containers(Which::Running).await.map_err(|why| told(&reached.host, why))?;
    let id = the_one(&containers, service, &reached.host)?.id.clone();
    let flags = if terminal { "-it" } else { "-i" };
    let docker = format!("docker exec {flags} {} {command}", quote(&id));
    let line = match &reached.who {
        None => format!("exec {docker}"),
        // sudo may ask, there is somebody at the terminal
        Some(_) => format!("if [ \"$(id -u)\" = 0 ]; then exec {docker}; else exec sudo -- {docker}; fi"),
    };
    finish(reached, &format!("sh -c {}", quote(&line)), terminal).await
}

/// Gives the terminal away; the code is that of what ran.
async fn finish(reached: Reached, line: &str, terminal: bool) -> Result<u8> {
    let target = reached.target.clone();
    reached.connection.close().await;
    let mut command = match (target.method, terminal) {
        (Method::Ssh, false) => stream::ssh(&target, &["-T", "-q"], Some(line)),
        _ => stream::terminal(&target, line),
    };
    // Ctrl-C is for what runs there
    let ignored = tokio::spawn(async { while tokio::signal::ctrl_c().await.is_ok() {} });
    let status = tokio::task::spawn_blocking(move || command.status()).await;
    ignored.abort();
    let status = status.map_err(|error| Error::new(format!("the terminal was lost: {error}")))?;
    Ok(code(status.map_err(|error| Error::new(format!("could not start `ssh`: {error}")))?))
}

fn code(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code).unwrap_or(1)
}

pub async fn tunnel(flags: Tunnel) -> Result<u8> {
    let (service, port) = match flags.port.rsplit_once(':') {
        Some((service, port)) => (Some(service), port),
        None => (None, flags.port.as_str()),
    };
    let port: u16 = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        Error::new(format!("`{}` is no port", flags.port)).hint("write 5678, or backend:8000 for a container's")
    })?;
    let fleet = flags.fleet.load()?;
    let reached = reach(&fleet, &flags.host).await?;
    let address = match service {
        None if reached.target.method == Method::Local => {
            return Err(Error::new(format!("{} is this machine", reached.host)).hint(format!("open localhost:{port}")));
        }
        None => "127.0.0.1".to_owned(),
        Some(service) => address_of(&reached, service).await?,
    };
    if reached.target.method == Method::Local {
        return Err(Error::new(format!("{} is this machine", reached.host)).hint(format!("open {address}:{port}")));
    }
    let (target, host) = (reached.target.clone(), reached.host.clone());
    reached.connection.close().await;
    let local = flags.local.unwrap_or(port);
    let forward = format!("127.0.0.1:{local}:{address}:{port}");
    let mut command = tokio::process::Command::from(stream::ssh(
        &target,
        &["-N", "-T", "-o", "ExitOnForwardFailure=yes", "-L", &forward],
        None,
    ));
    let mut child = command
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::new(format!("could not start `ssh`: {error}")))?;
    eprintln!("localhost:{local} is {} of {host}; Ctrl-C ends it", flags.port);
    tokio::select! {
        ended = child.wait() => {
            let status = ended.map_err(|error| Error::new(format!("could not wait for `ssh`: {error}")))?;
            Ok(if status.success() { 0 } else { 1 })
        }
        _ = tokio::signal::ctrl_c() => {
            let _ = child.kill().await;
            Ok(130)
        }
    }
}

/// Where the server reaches a container.
async fn address_of(reached: &Reached, service: &str) -> Result<String> {
    let containers = reached.containers(Which::Running).await.map_err(|why| told(&reached.host, why))?;
    let container = the_one(&containers, service, &reached.host)?;
    let script = Script::new()
        .raw("docker inspect --format '{{range .NetworkSettings.Networks}}{{println .IPAddress}}{{end}}'")
        .arg(&container.id);
    let said = reached.says(script).await.map_err(|why| told(&reached.host, why))?;
    let first = said.lines().map(str::trim).find(|line| !line.is_empty());
    first.map(str::to_owned).ok_or_else(|| Error::new(format!("the container {} has no address", container.name)))
}

/// Exactly one host, connected to.
async fn reach(fleet: &Fleet, pattern: &str) -> Result<Reached> {
    let hosts = fleet.select(pattern)?;
    let [host] = hosts.as_slice() else {
        return Err(Error::new(format!("`{pattern}` is {} hosts", hosts.len())).hint("name one"));
    };
    let connections = Connections::new(1).map_err(|trouble| told(host, trouble.msg))?;
    Reached::new(fleet, &connections, host).await?.map_err(|trouble| {
        let error = told(host, trouble.msg);
        match trouble.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    })
}

fn told(host: &str, why: String) -> Error {
    Error::new(format!("{host}: {why}"))
}
