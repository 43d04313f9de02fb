//! The engine on this machine, through the real lane: playbook texts → event streams.

mod bench;
mod flow;
mod foresight;
mod hosts;
mod local;
