//! `provision configure`: all settings of services on clients in one form.

use clap::Args;

use super::ask::{Asked, Begin, ask};
use super::common::FleetFlags;
use super::screen;
use crate::error::{Error, Result};
use crate::services::Selection;

#[derive(Args)]
#[command(after_help = "Examples:
  provision configure --host clienteA                    everything that the client declares
  provision configure --host clienteA --services chat

Answers go into host_vars/<client>.yml, whose comments and order stay, and secrets into vps_data/, encrypted. Nothing is
written before you say yes, and no host is touched.")]
pub struct Flags {
    /// Clients: names, groups, globs
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: String,
    /// Services; without it each client's declared ones
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<String>>,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    if !screen::is_possible() {
        return Err(Error::new("settings are asked for on a terminal, and there is none").hint(
            "write them into host_vars/, or use `provision secrets set`; `provision explain` shows what counts",
        ));
    }
    let named: Vec<String> = flags.services.iter().flatten().filter(|name| *name != "all").cloned().collect();
    for name in fleet.catalogue.unfolded(&named)? {
        fleet.catalogue.get(&name)?;
    }
    let selection = Selection { services: flags.services, with_dependencies: false, ..Selection::default() };
    match ask(&fleet, &hosts, &selection, Begin::WithAll)? {
        Asked::Written => {}
        Asked::Nothing => eprintln!("nothing to change"),
        Asked::GivenUp => eprintln!("nothing was written"),
    }
    Ok(0)
}
