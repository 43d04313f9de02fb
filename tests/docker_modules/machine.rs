//! The engines that these tests talk to, and the programs that they talk with.
//!
//! `docker` and `docker compose` are those of `tests/common/docker.rs`. Swarm gets an engine of its
//! own inside a lab host, because the machine's is not ours to turn into a manager. Left out: the tests' own containers.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use provision::lab;
use serde_json::Value;

use crate::docker::{build, make_tiny_image, runtime, said, tools};
use crate::support::{Settled, settle};

const TINY: &str = "provision-test/busybox:2";

/// An engine and the programs to use it with.
pub struct Engine {
    tools: PathBuf,
    env: Vec<(&'static str, OsString)>,
    /// While this process lives, so do these: the tunnel to the engine, the engine's host.
    _leashes: Vec<ChildStdin>,
}

/// The engine of this machine; None, with the reason printed, if the tests cannot run here.
pub fn engine() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    or_skip(ENGINE.get_or_init(local))
}

/// A throw-away engine that may become a swarm; it goes when this process ends, however it does.
pub fn engine_of_its_own() -> Option<&'static Engine> {
    static ENGINE: OnceLock<Result<Engine, String>> = OnceLock::new();
    engine()?;
    or_skip(ENGINE.get_or_init(in_a_lab))
}

/// An image of `tests/images`, built if it is not there: its folder and its name.
pub fn image(folder: &str, name: &'static str) -> Option<&'static str> {
    or_skip(&build(folder)).map(|()| name)
}

fn or_skip<T>(found: &Result<T, String>) -> Option<&T> {
    match found {
        Ok(found) => Some(found),
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
            println!("skipped: {why}");
            None
        }
    }
}

impl Engine {
    pub fn image(&self) -> &'static str {
        TINY
    }

    pub fn docker(&self) -> Command {
        let mut command = Command::new(self.tools.join("bin/docker"));
        command.envs(self.env.iter().cloned());
        command
    }

    /// Probe, plan and act until the module says that all is as wanted.
    pub fn settle(&self, name: &str, args: Value) -> Result<Settled, provision::plan::Failure> {
        settle(&self.env, name, args)
    }

    pub fn unique(&self, what: &str) -> String {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        format!("pvtest-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn at(tools: PathBuf, address: &str, leashes: Vec<ChildStdin>) -> Result<Engine, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(tools.join("bin")).chain(std::env::split_paths(&path)));
        let env = vec![
            ("PATH", path.map_err(|error| error.to_string())?),
            ("DOCKER_CONFIG", tools.join("config").into()),
            ("DOCKER_HOST", address.into()),
        ];
        Ok(Engine { tools, env, _leashes: leashes })
    }
}

fn local() -> Result<Engine, String> {
    said(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]))?;
    // asked before DOCKER_CONFIG hides the operator's own settings
    let address = said(Command::new("docker").args(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]))?;
    let engine = Engine::at(tools()?, &address, Vec::new())?;
    said(engine.docker().args(["compose", "version", "--short"]))?;
    make_tiny_image(&engine.env, TINY)?;
    Ok(engine)
}

/// Docker as the bootstrap installs it, in a fresh host of the lab, reached through a socket of ours.
fn in_a_lab() -> Result<Engine, String> {
    let folder = tempfile::Builder::new().prefix("pvt-swarm-").tempdir().map_err(|error| error.to_string())?.keep();
    let options = lab::Options {
        dir: folder.join("lab"),
        prefix: format!("pvt-swarm-{}", std::process::id()),
        names: vec!["manager".to_owned()],
        registry: lab::Registry::Leave,
        ..lab::Options::default()
    };
    let remove = "cat; docker ps -aq --filter \"label=provision.lab=$1\" | xargs -r docker rm -fv
        for kind in volume network; do docker $kind ls -q --filter \"label=provision.lab=$1\" | xargs -r docker $kind rm; done
        rm -rf \"$2\"";
    let mut arguments = Command::new("sh");
    arguments.args(["-c", remove, "sh", &options.prefix]).arg(&folder);
    let removal = leash(arguments)?;

    let up = async { lab::up(&options, &mut |_| ()).await.map(drop).map_err(|error| error.to_string()) };
    runtime()?.block_on(up)?;
    let install = "sudo sh -c 'apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -q \
                   --no-install-recommends docker.io && systemctl start docker'";
    said(&mut lab::ssh(&options, "manager", &[install.to_owned()]).map_err(|error| error.to_string())?)?;

    let socket = folder.join("docker.sock");
    let mut tunnel = Command::new("sh");
    tunnel.args([
        "-c",
        "\"$@\" & cat; kill $!",
        "sh",
        "ssh",
        "-N",
        "-l",
        "root",
        "-o",
        "ExitOnForwardFailure=yes",
        "-F",
    ]);
    tunnel.arg(options.dir.join("ssh.cfg")).arg("-L").arg(format!("{}:/run/docker.sock", socket.display()));
    tunnel.arg("manager");
    let leashes = vec![leash(tunnel)?, removal];
    let engine = Engine::at(tools()?, &format!("unix://{}", socket.display()), leashes)?;
    let begin = Instant::now();
    while let Err(why) = said(engine.docker().args(["version", "--format", "{{.Server.Version}}"])) {
        if begin.elapsed() > Duration::from_secs(120) {
            return Err(format!("the engine in the lab host does not answer: {why}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    make_tiny_image(&engine.env, TINY)?;
    Ok(engine)
}

/// Starts a script that waits (`cat`) for this process to end, also by a signal or a panic, and only then goes on.
fn leash(mut script: Command) -> Result<ChildStdin, String> {
    // out of the terminal's group: Ctrl-C must not end the one that tidies up
    script.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = script.spawn().map_err(|error| format!("{script:?}: {error}"))?;
    child.stdin.take().ok_or("a pipe that was asked for is there".to_owned())
}
