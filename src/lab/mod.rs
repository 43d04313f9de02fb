//! Throw-away VPSes on this machine: try a rollout on them before touching a client.
//!
//! [`up`] makes a small fleet out of Docker containers that boot systemd and sshd and, like a fresh VPS, have no
//! Docker yet. They sit on a network of their own together with a registry that serves images under their Docker Hub
//! names. Everything that reaches them (key, known hosts, inventory, age identity) is written into one folder, so
//! `provision … -i inventory -i lab` runs the real inventory against them and its secrets stay apart.
//!
//! Left out: printing (the cli's), virtual machines, hosts on other operating systems than Linux.

pub mod docker;
pub mod faults;
mod folder;
mod hosts;
pub mod images;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub use faults::Fault;

use crate::error::{Error, Result};
use folder::Folder;

/// The hosts of a lab that was not told any names.
pub const DEFAULT_NAMES: [&str; 2] = ["clienteA", "clienteB"];
/// How long a host may take to let the operator in. Three seconds are usual.
const BOOT_TIME: Duration = Duration::from_secs(90);

/// Which lab, and what `up` is to make of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the lab's key, inventory and identity live. Default `lab`.
    pub dir: PathBuf,
    /// What every container, volume and network is named after: `<prefix>-<host>`. Two labs on one machine need two.
    pub prefix: String,
    /// The hosts. Empty: those that exist, else `clienteA` and `clienteB`.
    pub names: Vec<String>,
    /// What is on new hosts.
    pub system: System,
    /// Whether a registry for the hosts runs beside them.
    pub registry: Registry,
    /// A folder whose `build.sh` makes images that the registry is to serve.
    pub images: Option<PathBuf>,
    /// Where downloaded systems are kept. Default `~/.cache/provision/lab`.
    pub cache: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// What a fresh VPS has: no Docker, which a rollout installs first.
    Fresh,
    /// Docker and what else a rollout would install first, not started yet.
    WithDocker,
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
    /// Docker's word: `running`, `paused`, `exited` …; `cut off` if it is on no network.
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
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_else(std::env::temp_dir);
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).unwrap_or_else(|| home.join(".cache"));
        Options {
            dir: PathBuf::from("lab"),
            prefix: "provision-lab".into(),
            names: Vec::new(),
            system: System::Fresh,
            registry: Registry::Run,
            images: None,
            cache: cache.join("provision/lab"),
        }
    }
}

/// Brings the lab up, or completes what is there. A second call takes seconds.
pub async fn up(options: &Options, progress: Progress<'_>) -> Result<Lab> {
    for name in &options.names {
        hosts::check_name(name)?;
    }
    if options.images.is_some() && options.registry == Registry::Leave {
        return Err(Error::new("images need the lab's registry").hint("leave out one of the two options"));
    }
    let engine = docker::engine().await?;
    let folder = Folder::new(&options.dir)?;
    let found = hosts::find(&options.prefix).await?;
    refuse_foreign(options, &folder, found.dir.as_deref())?;
    let public_key = folder.prepare()?;
    let network = hosts::network(&options.prefix).await?;

    let registry = match (options.registry, found.registry) {
        (Registry::Leave, there) => there,
        (Registry::Run, Some(there)) => {
            hosts::wake(&options.prefix, &there).await?;
            Some(there)
        }
        (Registry::Run, None) => {
            let image = images::registry(&options.cache, progress).await?;
            progress("starting the registry");
            Some(hosts::start_registry(&options.prefix, &folder.root, network, &image).await?)
        }
    };

    let mut fleet = found.hosts;
    for host in &fleet {
        if host.state != "running" {
            progress(&format!("{}: was {}, starting it again", host.name, host.state));
            hosts::wake(&options.prefix, host).await?;
        }
    }
    for name in missing(&options.names, &fleet) {
        let image = images::host(options.system, &options.cache, progress).await?;
        let address = hosts::free_address(network, &fleet)?;
        progress(&format!("{name}: booting at {address}"));
        fleet.push(hosts::start(&options.prefix, &folder.root, &engine, &image, &name, address).await?);
    }

    let registry = registry.map(|registry| registry.address);
    let mut keys = BTreeMap::new();
    for host in &mut fleet {
        host.state = "running".into();
        keys.insert(host.name.clone(), hosts::let_in(host, &public_key).await?);
    }
    folder.describe(&fleet, &keys, registry)?;
    futures::future::try_join_all(fleet.iter().map(|host| wait_for_login(options, host))).await?;
    if let Some(dir) = &options.images {
        images::bare(&options.cache, progress).await?;
        let names = images::build(dir, progress).await?;
        push(options, &names, progress).await?;
    }
    Ok(Lab { dir: folder.root, prefix: options.prefix.clone(), hosts: fleet, registry })
}

/// What there is of the lab.
pub async fn status(options: &Options) -> Result<Lab> {
    docker::engine().await?;
    let found = hosts::find(&options.prefix).await?;
    let dir = found.dir.map(PathBuf::from).unwrap_or(Folder::new(&options.dir)?.root);
    let registry = found.registry.filter(|registry| registry.state == "running").map(|registry| registry.address);
    Ok(Lab { dir, prefix: options.prefix.clone(), hosts: found.hosts, registry })
}

/// The command that logs in to a host of the lab, or runs `command` there by its shell.
pub fn ssh(options: &Options, name: &str, command: &[String]) -> Result<std::process::Command> {
    let folder = Folder::new(&options.dir)?;
    let config = std::fs::read_to_string(folder.ssh_config()).unwrap_or_default();
    let known: Vec<&str> = config.lines().filter_map(|line| line.strip_prefix("Host ")).collect();
    if known.is_empty() {
        return Err(
            Error::new(format!("there is no lab in {}", folder.root.display())).hint("start one: `provision lab up`")
        );
    }
    if !known.contains(&name) {
        let error = Error::new(format!("the lab has no host `{name}`; it has {}", known.join(", ")));
        return Err(error.did_you_mean(name, known));
    }
    let mut ssh = std::process::Command::new("ssh");
    ssh.arg("-F").arg(folder.ssh_config()).arg(name);
    if !command.is_empty() {
        ssh.arg("--").args(command);
    }
    Ok(ssh)
}

/// Removes the lab; says what went.
pub async fn down(options: &Options, how: Down) -> Result<Vec<String>> {
    docker::engine().await?;
    let folder = Folder::new(&options.dir)?;
    refuse_foreign(options, &folder, hosts::find(&options.prefix).await?.dir.as_deref())?;
    let mut removed = hosts::remove(&options.prefix).await?;
    if folder.remove()? {
        removed.push(format!("folder {}", folder.root.display()));
    }
    if how == Down::Everything {
        removed.extend(hosts::remove_kept(&options.prefix).await?);
        removed.extend(images::remove(&options.cache).await?);
    }
    Ok(removed)
}

/// Puts images of this machine's Docker into the lab's registry, under their Docker Hub names.
pub async fn push(options: &Options, images: &[String], progress: Progress<'_>) -> Result<()> {
    let paths = images.iter().map(|image| hub_path(image)).collect::<Result<Vec<_>>>()?;
    let port = hosts::push_port(&options.prefix).await?;
    for (image, path) in images.iter().zip(paths) {
        progress(&format!("registry: {image}"));
        let target = format!("localhost:{port}/{path}");
        docker::docker(&["tag", image, &target]).await?;
        let pushed = docker::docker(&["push", "--quiet", &target]).await;
        docker::docker(&["rmi", "--no-prune", &target]).await?;
        pushed?;
    }
    Ok(())
}

/// Where Docker looks for an image in a mirror of Docker Hub: `postgres:17` is `library/postgres:17`.
fn hub_path(image: &str) -> Result<String> {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    match image.split_once('/') {
        None => Ok(format!("library/{image}")),
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => {
            Err(Error::new(format!("`{image}` is not an image of Docker Hub, and a mirror can only serve those")))
        }
        Some(_) => Ok(image.to_owned()),
    }
}

/// The names that `up` has to make hosts for.
fn missing(names: &[String], there: &[Host]) -> Vec<String> {
    let mut wanted: Vec<String> = match (names, there) {
        ([], []) => DEFAULT_NAMES.map(str::to_owned).to_vec(),
        _ => names.to_vec(),
    };
    let mut seen = BTreeSet::new();
    wanted.retain(|name| seen.insert(name.clone()) && there.iter().all(|host| host.name != *name));
    wanted
}

/// Two folders with one prefix would take each other's containers away.
fn refuse_foreign(options: &Options, folder: &Folder, made_from: Option<&str>) -> Result<()> {
    match made_from {
        Some(other) if Path::new(other) != folder.root => Err(Error::new(format!(
            "the lab `{}` of this machine belongs to {other}, not to {}",
            options.prefix,
            folder.root.display()
        ))
        .hint(format!("use that one (`--dir {other}`), or give yours a name of its own with `--prefix`"))),
        _ => Ok(()),
    }
}

/// `up` promises that the hosts can be worked with, so it does what the first task will do.
async fn wait_for_login(options: &Options, host: &Host) -> Result<()> {
    let probe: Vec<String> = ["sudo -n true && systemctl is-system-running --wait || true".to_owned()].into();
    let started = Instant::now();
    loop {
        let mut command = tokio::process::Command::from(ssh(options, &host.name, &probe)?);
        command.stdin(Stdio::null()).kill_on_drop(true);
        let said = tokio::time::timeout(BOOT_TIME, command.output()).await;
        let trouble = match said {
            Ok(Ok(output)) if output.status.success() => return Ok(()),
            Ok(Ok(output)) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Ok(Err(e)) => {
                return Err(Error::new(format!("ssh: {e}")).hint("install it: `sudo apt-get install openssh-client`"));
            }
            Err(_) => "its systemd does not finish to boot".to_owned(),
        };
        if started.elapsed() > BOOT_TIME {
            return Err(Error::new(format!("{} does not let anybody in: {trouble}", host.name)).hint(format!(
                "look inside: `docker logs {0}; docker exec {0} journalctl -b`; then start anew: `provision lab down`",
                host.container
            )));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_get_the_path_that_a_mirror_is_asked_for() {
        let table = [
            ("postgres:17", Some("library/postgres:17")),
            ("frappe/erpnext:v16.32.3", Some("frappe/erpnext:v16.32.3")),
            ("docker.io/traefik:v3.7.9", Some("library/traefik:v3.7.9")),
            ("ghcr.io/a/b:1", None),
            ("localhost/a:1", None),
            ("registry:5000/a:1", None),
        ];
        for (image, path) in table {
            assert_eq!(hub_path(image).ok().as_deref(), path, "{image}");
        }
    }

    #[test]
    fn up_makes_only_what_is_not_there() {
        let there = [Host {
            name: "a".into(),
            address: std::net::Ipv4Addr::new(198, 18, 0, 10),
            container: "x-a".into(),
            state: "running".into(),
        }];
        let names = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(missing(&[], &[]), names(&["clienteA", "clienteB"]));
        assert_eq!(missing(&[], &there), names(&[]));
        assert_eq!(missing(&names(&["b", "a", "b"]), &there), names(&["b"]));
    }

    #[test]
    fn ssh_to_a_host_that_is_not_there_names_those_that_are() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { dir: dir.path().to_owned(), ..Options::default() };
        assert!(ssh(&options, "a", &[]).unwrap_err().text.contains("there is no lab"));
        std::fs::write(dir.path().join("ssh.cfg"), "Host clienteA\n  User operator\n").unwrap();
        let error = ssh(&options, "clientA", &[]).unwrap_err();
        assert!(error.to_string().contains("did you mean `clienteA`?"), "{error}");
        let command = ssh(&options, "clienteA", &["uptime".into()]).unwrap();
        let args: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert_eq!(args[2..], ["clienteA", "--", "uptime"]);
    }
}
