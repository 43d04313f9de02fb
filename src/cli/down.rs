//! `provision down`: services of a client stop, and their containers and networks go. With `--purge` so does their data.

use clap::Args;
use serde_json::Value;

use super::consent::Consent;
use super::slice::{Book, Dependencies, SliceFlags, no_parts_under_swarm};
use crate::error::{Error, Result};
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision down --host clienteA                    all services that the client declares, after a backup
  provision down --host clienteA --services chat    one of them; what it needs stays up
  provision down --host clienteA --services chat/worker      a part of it; data is not touched, so no backup
  provision down --host clienteA --services chat --no-backup
  provision down --host clienteA --services chat --purge    its volumes and its folder too; its backups stay

With --purge the host's name has to be typed, or --yes-really given.")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Do not take a backup first
    #[arg(long, visible_alias = "sin-backup")]
    no_backup: bool,
    /// Delete volumes, settings and data as well; not the backups
    #[arg(long, visible_alias = "limpiar-completo")]
    purge: bool,
    #[command(flatten)]
    consent: Consent,
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.purge && !flags.slice.run.check {
        flags.consent.is_possible(flags.slice.yes)?;
    }
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare_parts(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    no_parts_under_swarm(&rollout, "down")?;
    if let Some(part) = flags.slice.services.iter().flatten().find(|name| flags.purge && name.contains('/')) {
        return Err(Error::new(format!("--purge deletes a whole service, and `{part}` is a part of one"))
            .hint("name the service, or leave --purge out"));
    }
    let vars = [("no_backup", flags.no_backup), ("purge", flags.purge)];
    let book = Book {
        playbook: "playbooks/down.yml",
        vars: Object::from_iter(vars.map(|(name, value)| (name.to_owned(), Value::from(value)))),
        skip_tags: &[],
        question: "¿Detener estos servicios?",
    };
    if flags.purge {
        let what = "Se detendrán estos servicios y se borrarán sus datos.";
        return flags.slice.destroy(fleet, hosts, rollout, &book, &flags.consent, what).await;
    }
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
