//! Many hosts at once: a status, a rollout of a trivial package with a real container on each, the same again, and a
//! status of what came of it. Measures wall time, the program's processor time and memory, and counts what it printed.
//!
//! `cargo bench --bench fleet` · `FLEET_HOSTS=1000`
//!
//! All hosts are this machine: one sshd answers on as many addresses of 127.0.0.0/8, and gives each address its own
//! /opt/ATS and /var/lib/provision in a mount namespace. They share this machine's Docker engine, where each has an
//! instance of its own; the engine is where most of the time goes. Needs root and a Docker engine.
//!
//! This machine's engine may be older than what a client needs, so requirements are not looked at.
//!
//! Exits with 1 if a run fails, a second run changes something, or the program takes more than 64 MB and 0.4 MB per host.

#[path = "../tests/common/mod.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod common;
#[path = "../tests/common/docker.rs"]
mod docker;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::sshd::Sshd;

const PROVISION: &str = env!("CARGO_BIN_EXE_provision");
const IMAGE: &str = "provision-bench/tiny:1";

/// In KiB.
fn most_memory(hosts: usize) -> u64 {
    (64 << 10) + 410 * hosts as u64
}

/// What sshd runs for each login: folders of this address in place of the machine's.
const ENTER: &str = r#"#!/bin/sh
here=${SSH_CONNECTION% *}
here=BASE/${here##* }
mkdir -p "$here/opt" "$here/lib"
export PATH="TOOLS/bin:$PATH" DOCKER_CONFIG=TOOLS/config
exec unshare --mount -- sh -c '
    mount --bind "$1/opt" /opt/ATS && mount --bind "$1/lib" /var/lib/provision && exec sh -c "$SSH_ORIGINAL_COMMAND"
' sh "$here"
"#;

fn main() {
    let count: usize = std::env::var("FLEET_HOSTS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let tools = match ready() {
        Ok(tools) => tools,
        Err(missing) => return common::skip(&missing),
    };
    let base = tempfile::Builder::new().prefix("fleet").tempdir().expect("directory");
    let enter = base.path().join("enter");
    fs::write(
        &enter,
        ENTER.replace("BASE", &base.path().display().to_string()).replace("TOOLS", &tools.display().to_string()),
    )
    .expect("script");
    fs::set_permissions(&enter, fs::Permissions::from_mode(0o755)).expect("mode");
    let configuration =
        format!("ForceCommand {}\nMaxStartups {}\nMaxSessions 20", enter.display(), (4 * count).max(500));
    let Some(sshd) = Sshd::with(&configuration) else { return };
    let ground = Ground::new(base.path(), &sshd, count);
    println!("{count} hosts");
    println!("{:<26} {:>9} {:>9} {:>9} {:>9}", "", "wall", "cpu", "memory", "lines");
    let mut failures = Vec::new();
    for (what, words) in [
        ("status of empty hosts", &["status"][..]),
        ("first rollout", &["--all", "--yes", "--no-bootstrap", "--ignore-requirements"]),
        ("second rollout", &["--all", "--yes", "--no-bootstrap", "--ignore-requirements"]),
        ("status", &["status"]),
        ("rollout seen as --json", &["--all", "--yes", "--no-bootstrap", "--ignore-requirements", "--json"]),
    ] {
        let run = ground.provision(words);
        println!(
            "{what:<26} {:>7.1} s {:>7.1} s {:>6} MB {:>9}",
            run.wall.as_secs_f64(),
            run.cpu.as_secs_f64(),
            run.memory >> 10,
            run.stdout.lines().count(),
        );
        if std::env::var_os("FLEET_SHOW").is_some() {
            println!("{}", run.stdout);
        }
        if !run.well {
            let last: Vec<&str> = run.stdout.lines().rev().take(40).collect();
            let last: Vec<&str> = last.into_iter().rev().collect();
            failures.push(format!("{what} failed:\n{}\n{}", last.join("\n"), run.stderr));
        }
        if what == "second rollout" && !run.stdout.contains(" 0 changed") {
            failures.push("the second rollout changed something".to_owned());
        }
        if run.memory > most_memory(count) {
            failures.push(format!("{what} took {} MB", run.memory >> 10));
        }
    }
    for failure in &failures {
        println!("too much: {failure}");
    }
    drop(ground);
    drop(sshd);
    std::process::exit(i32::from(!failures.is_empty()));
}

/// Makes what has to be there: folders to mount upon, the image, a Docker with Compose. Err: what is missing.
fn ready() -> Result<PathBuf, String> {
    if !Command::new("id").arg("-u").output().is_ok_and(|said| said.stdout.trim_ascii() == b"0") {
        return Err("needs root".to_owned());
    }
    for folder in ["/opt/ATS", "/var/lib/provision"] {
        fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
    }
    docker::make_tiny_image(&[], IMAGE)?;
    docker::tools()
}

struct Ground {
    dir: PathBuf,
}

struct Run {
    wall: Duration,
    /// Of the program and the ssh clients that it waited for.
    cpu: Duration,
    /// The most that was resident, in KiB.
    memory: u64,
    stdout: String,
    stderr: String,
    well: bool,
}

impl Ground {
    fn new(base: &Path, sshd: &Sshd, count: usize) -> Ground {
        let target = sshd.target("127.0.1.1");
        let show = |path: Option<PathBuf>| path.unwrap_or_default().display().to_string();
        let (user, key, known) = (target.user.unwrap_or_default(), show(target.key_file), show(target.known_hosts));
        let mut inventory = format!(
            "all:\n  vars:\n    ansible_user: {user}\n    ansible_port: {}\n    ansible_ssh_private_key_file: {key}\n    \
             ansible_ssh_common_args: -F /dev/null -o UserKnownHostsFile={known}\n    domain: fleet.test\n  hosts:\n",
            sshd.port
        );
        for n in 0..count {
            inventory.push_str(&format!(
                "    client{n:04}: {{ansible_host: 127.0.{}.{}, services: [tiny@n{n:04}]}}\n",
                1 + n / 250,
                1 + n % 250
            ));
        }
        fs::create_dir(base.join("inventory")).expect("directory");
        fs::write(base.join("inventory/hosts.yml"), inventory).expect("inventory");
        Ground { dir: base.to_owned() }
    }

    fn provision(&self, words: &[&str]) -> Run {
        let mut command = Command::new(PROVISION);
        command.args(words).arg("-i").arg(self.dir.join("inventory"));
        command.arg("--registry").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/fleet/registry"));
        command.arg("--runs-dir").arg(self.dir.join("runs")).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.env("NO_COLOR", "1").env("HOME", &self.dir);
        let file = |name: &str| fs::File::create(self.dir.join(name)).expect("file");
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let begin = Instant::now();
        let mut child = command.spawn().expect("provision starts");
        let (cpu, memory, well) = watch(&mut child);
        let read = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        Run { wall: begin.elapsed(), cpu, memory, stdout: read("stdout"), stderr: read("stderr"), well }
    }
}

impl Drop for Ground {
    /// The containers of all hosts.
    fn drop(&mut self) {
        let script = r#"docker ps -aq --filter "ancestor=$1" | xargs -r docker rm -f >/dev/null"#;
        let _ = Command::new("sh").args(["-c", script, "sh", IMAGE]).status();
    }
}

/// Looks at the process until it ends. → its processor time with its children's, the most memory in KiB, whether it
/// ended with 0
fn watch(child: &mut Child) -> (Duration, u64, bool) {
    let path = |what: &str| format!("/proc/{}/{what}", child.id());
    let (stat, status) = (path("stat"), path("status"));
    let (mut ticks, mut most) = (0, 0);
    let well = loop {
        if let Some(ended) = child.try_wait().expect("provision's state") {
            break ended.success();
        }
        let text = fs::read_to_string(&stat).unwrap_or_default();
        // behind the name in brackets: state is the first field, user, system and the children's times the 12th to 15th
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let sum: u64 = fields.iter().skip(11).take(4).filter_map(|n| n.parse::<u64>().ok()).sum();
        ticks = ticks.max(sum);
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = most.max(line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(20));
    };
    // Linux counts these in hundredths of a second, whatever its own clock does
    (Duration::from_millis(10 * ticks), most, well)
}
