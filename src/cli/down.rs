//! `provision down`: services of a client stop, and their containers and networks go. Data stays.

use clap::Args;

use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision down --host clienteA                    all services that the client declares
  provision down --host clienteA --services chat    one of them; what it needs stays up")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let book = Book {
        playbook: "playbooks/down.yml",
        vars: Object::new(),
        skip_tags: &[],
        question: "¿Detener estos servicios?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
