//! `provision rollback`: services go back to an earlier release, which their host has kept.

use clap::Args;
use serde_json::Value;

use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision rollback --host clienteA --services chat                          to the last good release
  provision rollback --host clienteA --services chat --to 20261120-031502-9f3a2c10
  provision rollback --host clienteA --services chat --check                  says which releases there are

A release is what ran before it was replaced: compose file, environment, configuration files and images; the last five of
each service stay on the host. Data is not touched: what a newer version has migrated is undone only by a restore.")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// The release's name
    #[arg(long, value_name = "RELEASE")]
    to: Option<String>,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let single = flags.slice.services.as_ref().is_some_and(|services| services.len() == 1);
    if flags.to.is_some() && !single {
        return Err(Error::new("--to names a release of one service").hint("say which with --services NAME"));
    }
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let to = flags.to.as_deref().unwrap_or_default();
    let book = Book {
        playbook: "playbooks/rollback.yml",
        vars: Object::from_iter([("rollback_to".to_owned(), Value::from(to))]),
        skip_tags: &[],
        question: "¿Volver a la versión anterior?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
