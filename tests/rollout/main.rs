//! The proof that counts: the real program rolls the repository's own example out to real hosts, which then fail, and
//! it is killed and interrupted, and everything it leaves behind is searched for secrets.
//!
//! One lab serves all tests of this file; each test has hosts of its own in it, and one runs at a time. Left out: what
//! single modules and packages do; their own tests say that.

mod failures;
mod fleet;
mod interruptions;
mod leaks;
mod lost;
#[path = "../common/processes.rs"]
mod processes;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;

use std::sync::MutexGuard;

/// Two clients of the example, four hosts that fail, one on which the program is killed, one on which it is interrupted.
static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-test",
    hosts: &["clienteA", "clienteB", "c", "d", "e", "f", "k", "i"],
    system: provision::lab::System::Fresh,
    inventory: "inventory",
    images: &[],
};

fn enter(test: &str) -> Option<(MutexGuard<'static, ()>, &'static stage::Stage)> {
    stage::enter(&SCENE, test)
}
