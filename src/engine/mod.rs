//! The engine: plays on many hosts, each task settled by probe → plan → act.
//!
//! [`run`] is the whole interface. Check mode is one `if`, in `settle`. Everything anyone sees is an
//! [`Event`]; every string of it is redacted where it is born. Leaves out: how bytes travel (`lane`), what a module
//! wants (`modules`), how anything is shown (`report`).

mod ahead;
mod control;
mod done;
mod emit;
mod host;
mod include;
mod local;
mod lock;
mod locked;
mod loops;
pub mod outside;
pub mod outside_check;
mod overlay;
mod pace;
mod policy;
pub mod route;
mod run;
mod scope;
mod settle;
mod steps;
mod task;
mod walk;
mod wire;
mod work;

use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::event::{Counts, Event, RunStatus};
use crate::plan::Object;
use crate::playbook::Play;
pub use crate::services::{ServiceDeploy, Services};
pub use lock::{Kept, Locks, PATIENCE, is_kept_by};
pub use run::owner;

/// Everything a run needs to know.
pub struct Job {
    /// Names the run, also its folder under `runs/`.
    pub run: String,
    pub plays: Vec<Play>,
    pub inventory: Arc<crate::inventory::Inventory>,
    /// Knows the secrets; every string of every event goes through it.
    pub redactor: crate::secrets::Redactor,
    /// What `include_services` expands to; without it that action is refused.
    pub services: Option<Arc<dyn Services>>,
    /// `-e`: win over everything else.
    pub extra_vars: Object,
    /// Hosts to keep (`--limit`, already selected); empty means all.
    pub limit: Vec<String>,
    pub check: bool,
    pub diff: bool,
    /// How many hosts are worked on at once.
    pub forks: usize,
    /// How many connections are opened at once.
    pub connects_at_once: usize,
    pub tags: Vec<String>,
    pub skip_tags: Vec<String>,
    /// The command line as typed, for the journal.
    pub command: Vec<String>,
    pub become_password: Option<crate::plan::Secret>,
    /// How many tasks are asked about ahead of time at most; changes only the clock.
    pub window: usize,
    /// After Ctrl-C, what runs on a host has this long to come to its end before it is left alone.
    pub grace: Duration,
    pub locks: Locks,
}

/// For [`Job::grace`] where nobody says otherwise.
pub const GRACE: Duration = Duration::from_secs(30);

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Summary {
    pub status: RunStatus,
    /// 0 all well, 1 a host failed or was unreachable, 130 interrupted.
    pub exit_code: i32,
    pub hosts: IndexMap<String, Counts>,
    /// Hosts that failed or were unreachable, for `@failed`.
    pub failed: Vec<String>,
    /// Round trips per host after connecting.
    pub round_trips: IndexMap<String, u64>,
    pub took_ms: u64,
}

/// Everything about a job that can be wrong before a host is asked: patterns of plays, variables to be given.
pub fn verify(job: &Job) -> Result<()> {
    run::verify(job)
}

/// Runs a job. `Err` only if nothing was touched.
pub async fn run(job: Job, events: UnboundedSender<Event>, cancel: CancellationToken) -> Result<Summary> {
    run::run(job, events, cancel).await
}
