//! Runs as things that are locked, planned, taken up again and left alone, on two hosts with a small service.

#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

mod detached;
mod locks;
mod plans;
mod resume;

use std::path::PathBuf;
use std::process::Command;
use std::sync::MutexGuard;
use std::time::{Duration, Instant};

use stage::{Going, Ran, Stage};

static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-runs",
    hosts: &["r1", "r2"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/runs/inventory",
    images: &["redis:8.0"],
};

const REGISTRY: [&str; 2] = ["--registry", "tests/update/registry"];

/// The lab with the service on both hosts, and a folder for journals.
struct Fleet {
    stage: &'static Stage,
    runs: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

fn enter(test: &str) -> Option<Fleet> {
    let (turn, stage) = stage::enter(&SCENE, test)?;
    let fleet = Fleet { stage, runs: stage.runs(test), _turn: turn };
    fleet.must("ana", &["--all", "--yes", "-e", &version("1")], 0);
    Some(fleet)
}

fn version(version: &str) -> String {
    format!("{{versions: {{app: '{version}'}}}}")
}

impl Fleet {
    fn start(&self, who: &str, words: &[&str]) -> Going {
        self.start_with(words, |command| {
            command.env("USER", who);
        })
    }

    fn start_with(&self, words: &[&str], adjust: impl FnOnce(&mut Command)) -> Going {
        let looks = matches!(words[0], "history");
        let words = if looks { words.to_vec() } else { [words, &REGISTRY].concat() };
        self.stage.start_with(&self.runs, &words, adjust)
    }

    fn must(&self, who: &str, words: &[&str], code: i32) -> Ran {
        let ran = self.start(who, words).end();
        ran.expect(code);
        ran
    }

    /// What the service's configuration says on a host.
    fn app(&self, host: &str) -> String {
        self.stage.inside(host, "cat /opt/ATS/VersatileHub/services/app/conf/app.conf")
    }

    fn both(&self) -> (String, String) {
        (self.app("r1"), self.app("r2"))
    }
}

/// Waits until it is so.
fn until(what: &str, most: u64, so: impl Fn() -> bool) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < Duration::from_secs(most), "not within {most} s: {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
