//! `provision backup --host clienteA --services hub`: takes what the packages declare, on the clients' own hosts.

use clap::Args;

use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision backup --host clienteA                      every declared service
  provision backup --host clienteA --services hub,chat
  provision backup --all --yes                          every client")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let book = Book {
        playbook: "playbooks/backup.yml",
        vars: Object::new(),
        skip_tags: &[],
        question: "¿Hacer la copia de seguridad?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
