//! Looking at services: every kind of check on real things, once right and once wrong.

mod certificates;
mod diagnose;
mod doctor;
mod drift;
mod front;
#[path = "../common/processes.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod processes;
mod security;
mod shell;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;
#[path = "../menu/terminal.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod terminal;
mod verify;
mod watch;

use std::sync::{MutexGuard, OnceLock};

use stage::Stage;

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-checks-test",
    hosts: &["a"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/checks/inventory",
    images: &["provision-lab-python:trixie", "postgres:17", "redis:8.0"],
};

/// Where the package is on which the kinds are tried.
const REGISTRY: &[&str] = &["--registry", "tests/checks/registry"];

/// The host with the package on it.
fn enter(test: &str) -> Option<(MutexGuard<'static, ()>, &'static Stage)> {
    static DEPLOYED: OnceLock<()> = OnceLock::new();
    let (turn, stage) = stage::enter(&SCENE, test)?;
    DEPLOYED.get_or_init(|| {
        // what is only looked at by the first deployment ends it, and is looked at again by the next one
        let deploy = |more: &[&str], code| {
            stage.must(&stage.runs("deploy"), &[&["--host", "a", "--yes"], REGISTRY, more].concat(), code).stderr
        };
        let refused = deploy(&["-e", "FIRST_RC=7"], 1);
        assert!(refused.contains("first exec") && refused.contains("exit code 7 instead of 0"), "{refused}");
        let record = "/var/lib/provision/services/lookout.json";
        assert_eq!(
            stage.inside("a", &format!("ls {record} 2>&1 || true")).split(": ").last(),
            Some("No such file or directory")
        );
        deploy(&[], 0);
    });
    Some((turn, stage))
}

/// Starts a container of the package again, and waits until it is healthy.
fn revive(stage: &Stage, service: &str) {
    let script = "docker start versatile-lookout-NAME-1 >/dev/null; \
        until docker inspect -f '{{.State.Health.Status}}' versatile-lookout-NAME-1 | grep -qx healthy; do sleep 0.3; done";
    stage.inside("a", &script.replace("NAME", service));
}

/// A verb that looks, on the host: it must end with this code.
fn look(stage: &Stage, args: &[&str], code: i32) -> stage::Ran {
    stage.must(&stage.runs("look"), &[args, &["--host", "a"], REGISTRY].concat(), code)
}
