//! The lane, proven on what it will meet: real shells (`truth`) and a real sshd (`ssh`).

#[path = "../common/mod.rs"]
mod common;
mod ssh;
mod truth;
