//! `provision up`: services of a client start as they are declared. Unlike the rollout it leaves the server itself alone.

use clap::Args;
use serde_json::Value;

use super::slice::{BeforehandFlags, Book, Dependencies, SliceFlags, no_parts_under_swarm};
use crate::error::Result;

#[derive(Args)]
#[command(after_help = "Examples:
  provision up --host clienteA                       all services that the client declares
  provision up --host clienteA --services hub,chat   two of them, and what they need
  provision up --host clienteA --services chat/web,hub/frontend   parts of them, and what those need
  provision up --host clienteA --rebuild             with images built and pulled anew
  provision up --host clienteA --stop-conflicts      whoever holds a needed port is stopped
  provision up --host clienteA --mode debug          as its packages describe it for debugging
  provision up --all --check --diff                  say what would change, touch nothing")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Only the named services, not what they depend on
    #[arg(long)]
    no_deps: bool,
    /// Build images anew, and look whether there are newer ones
    #[arg(long)]
    rebuild: bool,
    /// Stop what holds the ports, whoever it belongs to
    #[arg(long)]
    stop_conflicts: bool,
    #[command(flatten)]
    beforehand: BeforehandFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, hosts) = flags.slice.load()?;
    let dependencies = if flags.no_deps { Dependencies::Left } else { Dependencies::Included };
    let rollout = flags.slice.prepare_parts(&fleet, &hosts, dependencies)?;
    no_parts_under_swarm(&rollout, "up")?;
    flags.beforehand.ask(&rollout).await?;
    let mut vars = flags.beforehand.vars();
    vars.insert("rebuild".to_owned(), Value::from(flags.rebuild));
    vars.insert("stop_conflicts".to_owned(), Value::from(flags.stop_conflicts));
    let book = Book { playbook: "playbooks/up.yml", vars, skip_tags: &[], question: "¿Iniciar estos servicios?" };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
