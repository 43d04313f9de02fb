//! `provision` brings fleets of client servers to a declared state over plain SSH.
//!
//! The floors, top-down. A module imports only from lower floors; `tests/floors.rs` enforces it.
//!
//! | floor | module | what it knows |
//! |---|---|---|
//! | 7 | [`cli`] | flags → a job; one file per verb |
//! | 6 | [`report`] | progress, plain and JSON output, the journal |
//! | 6 | [`lab`] | throw-away hosts in Docker |
//! | 5 | [`engine`] | a play on many hosts: probe → plan → act |
//! | 4 | [`lane`] | the wire: one persistent shell per host and user |
//! | 4 | [`services`] | registry packages + a client's settings → what to deploy |
//! | 3 | [`playbook`] | YAML → plays, blocks and tasks with their places |
//! | 2 | [`modules`] | pure: arguments + observed state → plan |
//! | 2 | [`inventory`] | hosts, groups, patterns |
//! | 1 | [`vars`], [`secrets`] | templates and scopes; age files and redaction |
//! | 0 | [`plan`], [`event`], [`yaml`], [`shipped`], [`context`], [`error`] | the vocabulary, the files that the binary carries, what images are built from |
//!
//! What holds everywhere:
//! - Modules never see the lane; they share [`plan`]. Reports never see the engine; they share [`event`].
//! - Check mode is one `if`, in `engine::settle`.
//! - A host's failure is an [`event::Outcome`]; an [`error::Error`] means that nothing was touched.
//! - No service has a name in this crate: packages under `registry/` are data.
//!
//! Deliberately absent: an agent on the target, Python on the target, telemetry.

/// In place of the standard ones, which panic when nobody reads any more: see [`report::say`].
macro_rules! println {
    () => { $crate::report::say::out(format_args!("\n")) };
    ($($text:tt)*) => { $crate::report::say::out(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprintln {
    () => { $crate::report::say::err(format_args!("\n")) };
    ($($text:tt)*) => { $crate::report::say::err(format_args!("{}\n", format_args!($($text)*))) };
}
macro_rules! eprint {
    ($($text:tt)*) => { $crate::report::say::err(format_args!($($text)*)) };
}

pub mod cli;
pub mod context;
pub mod engine;
pub mod error;
pub mod event;
pub mod inventory;
pub mod lab;
pub mod lane;
pub mod modules;
pub mod plan;
pub mod playbook;
pub mod report;
pub mod secrets;
pub mod services;
pub mod shipped;
pub mod vars;
pub mod yaml;
