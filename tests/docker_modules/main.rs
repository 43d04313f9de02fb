//! The Docker modules against a real engine: what they plan is carried out by a local `sh`, as a lane would.
//!
//! Needs `docker`, an engine, `docker compose` and busybox (for an image made on the spot); skipped otherwise.

mod compose;
mod database;
mod env_file;
mod objects;
mod support;
mod swarm;
