//! `provision run`: a playbook on the hosts that it names.

use std::path::PathBuf;

use clap::Args;

use super::common::FleetFlags;
use super::execute::{RunFlags, execute};
use super::shard::Shard;
use super::slice::{needs_services, read_services_ahead};
use crate::error::Result;
use crate::playbook;
use crate::services::{Rollout, Selection};
use crate::shipped;

#[derive(Args)]
#[command(after_help = "Examples:
  provision run playbooks/bootstrap.yml -i inventory --limit clienteA --check --diff
  provision run site.yml -e version=1.2 -e @release.yml

The hosts are those that the playbook's plays name; --limit keeps some of them.")]
pub struct Flags {
    /// The playbook; a shipped one (playbooks/…) if there is no such file
    playbook: PathBuf,
    /// Keep only these hosts: names, groups, globs, `web:&prod:!old`, `@failed`
    #[arg(short, long, value_name = "PATTERN")]
    limit: Option<String>,
    /// One part of these hosts, as 2/3, for one of several controllers; see docs/schedules.md
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    #[command(flatten)]
    fleet: FleetFlags,
    #[command(flatten)]
    run: RunFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let mut limit = flags.limit.as_deref().map(|pattern| fleet.select(pattern)).transpose()?.unwrap_or_default();
    if let Some(shard) = flags.shard {
        limit = shard.of_hosts(&if limit.is_empty() { fleet.select("all")? } else { limit })?;
    }
    let path = shipped::locate(std::path::Path::new("."), &flags.playbook.to_string_lossy()).unwrap_or(flags.playbook);
    let plays = playbook::load(&path)?;
    read_services_ahead(&plays)?;
    let rollout = needs_services(&plays).then(|| {
        let hosts = if limit.is_empty() { fleet.select("all")? } else { limit.clone() };
        let sources = fleet.sources();
        let selection = Selection { services: None, with_dependencies: true, ..Selection::default() };
        Rollout::prepare(&sources, &hosts, &selection)
    });
    let rollout = rollout.transpose()?;
    execute(&fleet, &flags.run, plays, limit, rollout, None).await
}
