//! `provision restart`: the containers of installed services start again.

use clap::Args;
use serde_json::Value;

use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision restart --host clienteA --services chat
  provision restart --host clienteA --services chat/worker        one part of it, and nothing else
  provision restart --host clienteA --services chat --recreate    containers that are made anew")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Make the containers anew instead of only restarting them
    #[arg(long)]
    recreate: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare_parts(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let book = Book {
        playbook: "playbooks/restart.yml",
        vars: Object::from_iter([("recreate".to_owned(), Value::from(flags.recreate))]),
        skip_tags: &[],
        question: "¿Reiniciar estos servicios?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
