//! The Docker modules against a real engine: what they plan is carried out by a local `sh`, as a lane would.
//!
//! Needs what `tests/lab/prepare.sh` puts on a machine and nothing more: command lines, images and a swarm are made
//! from that (see `machine.rs`). Skipped without an engine, never under CI.

mod compose;
mod database;
#[path = "../common/docker.rs"]
mod docker;
mod env_file;
mod machine;
mod objects;
mod support;
mod swarm;
