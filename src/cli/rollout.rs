//! `provision --host clienteA --services hub,chat`: shows what is going to be rolled out, asks, does it.

use clap::Args;

use super::common::FleetFlags;
use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::plan::Object;

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Only the named services, not what they depend on
    #[arg(long)]
    no_deps: bool,
    /// Leave out the preparation of the server (packages, Docker, firewall)
    #[arg(long)]
    no_bootstrap: bool,
}

impl Flags {
    /// Nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.slice.host.is_none() && !self.slice.all && self.slice.services.is_none()
    }

    /// Where the fleet is described.
    pub fn fleet(self) -> FleetFlags {
        self.slice.fleet
    }
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, hosts) = flags.slice.load()?;
    let dependencies = if flags.no_deps { Dependencies::Left } else { Dependencies::Included };
    let rollout = flags.slice.prepare(&fleet, &hosts, dependencies)?;
    let book = Book {
        playbook: "playbooks/rollout.yml",
        vars: Object::new(),
        skip_tags: if flags.no_bootstrap { &["bootstrap"] } else { &[] },
        question: "¿Continuar?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
