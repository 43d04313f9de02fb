//! The engine on this machine, through the real lane: playbook texts → event streams.

mod bench;
mod flow;
mod local;
