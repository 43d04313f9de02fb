//! `provision regen` and `provision clean`: services of a client are deleted with their data, after a backup, and made
//! anew. `clean` also throws their images away.

use clap::Args;
use serde_json::Value;

use super::consent::Consent;
use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::plan::Object;

#[derive(Args)]
#[command(after_help = "Examples:
  provision regen --host clienteA --services chat    backup, down with volumes, images anew, up, checks
  provision regen --host clienteA --services chat --yes-really    without typing the host's name")]
pub struct Regen {
    #[command(flatten)]
    anew: Anew,
}

#[derive(Args)]
#[command(after_help = "Examples:
  provision clean --host clienteA --services chat    as regen, and its images are fetched again
  provision clean --host clienteA --services chat --check")]
pub struct Clean {
    #[command(flatten)]
    anew: Anew,
}

#[derive(Args)]
struct Anew {
    #[command(flatten)]
    slice: SliceFlags,
    /// Do not take a backup first
    #[arg(long, visible_alias = "sin-backup")]
    no_backup: bool,
    /// Stop what holds the ports, whoever it belongs to
    #[arg(long)]
    stop_conflicts: bool,
    #[command(flatten)]
    consent: Consent,
}

pub async fn regen(flags: Regen) -> Result<u8> {
    flags.anew.run(&[]).await
}

pub async fn clean(flags: Clean) -> Result<u8> {
    flags.anew.run(&["purge_images"]).await
}

impl Anew {
    async fn run(self, more: &[&str]) -> Result<u8> {
        if !self.slice.run.check {
            self.consent.is_possible(self.slice.yes)?;
        }
        let (fleet, hosts) = self.slice.load()?;
        // what they need is somebody else's data as well
        let rollout = self.slice.prepare(&fleet, &hosts, Dependencies::Left)?;
        let vars = [("purge", true), ("rebuild", true)]
            .into_iter()
            .chain([("no_backup", self.no_backup), ("stop_conflicts", self.stop_conflicts)])
            .chain(more.iter().map(|name| (*name, true)));
        let book = Book {
            playbook: "playbooks/regen.yml",
            vars: Object::from_iter(vars.map(|(name, value)| (name.to_owned(), Value::from(value)))),
            skip_tags: &[],
            question: "",
        };
        let what = "Se borrarán los datos de estos servicios y se crearán de nuevo.";
        self.slice.destroy(fleet, hosts, rollout, &book, &self.consent, what).await
    }
}
