//! Containers of the lab's images on this machine's Docker, for tests of what the packages bring: jobs, probes, routes.
//!
//! Images are built by `tests/images/build.sh` if they are not there yet. Everything a [`Stage`] started goes away with it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A private network with containers on it.
pub struct Stage {
    pub network: String,
    containers: Vec<String>,
    volumes: Vec<String>,
}

/// What a job left behind.
#[derive(Debug)]
pub struct Ran {
    pub rc: i32,
    pub text: String,
}

impl Stage {
    /// None, with the reason printed, where there is no Docker or an image cannot be built.
    pub fn open(images: &[&str]) -> Option<Stage> {
        if let Err(why) = build(images) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
            println!("skipped: {why}");
            return None;
        }
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let network = format!("provision-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        docker(&["network", "create", &network]);
        Some(Stage { network, containers: Vec::new(), volumes: Vec::new() })
    }

    /// Starts a container that is reached as `alias`; `more` are options of `docker run`, the rest image and command.
    pub fn run(&mut self, alias: &str, env: &[(&str, &str)], more: &[&str], image: &[&str]) -> String {
        let name = format!("{}-{alias}", self.network);
        self.containers.push(name.clone());
        let mut args = vec!["run", "-d", "--name", &name, "--network", &self.network, "--network-alias", alias];
        args.extend(more);
        let env: Vec<String> = env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        for pair in &env {
            args.extend(["-e", pair]);
        }
        args.extend(image);
        docker(&args);
        name
    }

    pub fn volume(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.network);
        docker(&["volume", "create", &name]);
        self.volumes.push(name.clone());
        name
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for container in &self.containers {
            try_docker(&["rm", "-fv", container]);
        }
        for volume in &self.volumes {
            try_docker(&["volume", "rm", "-f", volume]);
        }
        try_docker(&["network", "rm", &self.network]);
    }
}

fn build(images: &[&str]) -> Result<(), String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/build.sh");
    let info = try_docker(&["info", "--format", "{{.ServerVersion}}"]);
    if !info.status.success() {
        return Err(format!("docker: {}", text(&info)));
    }
    let built = Command::new(script).args(images).output().map_err(|error| format!("{script}: {error}"))?;
    if built.status.success() { Ok(()) } else { Err(format!("{script}: {}", text(&built))) }
}

pub fn try_docker(args: &[&str]) -> Output {
    match Command::new("docker").args(args).stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("docker: {error}"),
    }
}

/// Its standard output; a failure fails the test.
pub fn docker(args: &[&str]) -> String {
    let output = try_docker(args);
    assert!(output.status.success(), "docker {}: {}", args.join(" "), text(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A package's script in a container, as the deploy playbook runs it: settings and script over standard input.
pub fn job(container: &str, user: Option<&str>, package: &str, script: &str, env: &BTreeMap<&str, &str>) -> Ran {
    let path = format!("{}/registry/{package}/{script}", env!("CARGO_MANIFEST_DIR"));
    let body = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let quote = |value: &str| format!("'{}'", value.replace('\'', "'\\''"));
    let exports: String = env.iter().map(|(key, value)| format!("{key}={}; export {key}\n", quote(value))).collect();
    let mut args = vec!["exec", "-i"];
    args.extend(user.iter().flat_map(|user| ["-u", user]));
    args.extend([container, "sh", "-s"]);
    let mut child = Command::new("docker")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{exports}{{\n{body}\n}} </dev/null\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran { rc: output.status.code().unwrap_or(-1), text: text(&output) }
}

/// Waits until it holds.
pub fn eventually(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !holds() {
        assert!(Instant::now() < end, "after {seconds} s still not: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
