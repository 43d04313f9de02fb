//! `provision status`: what each client should run, what it runs, whether it is well.

use clap::Args;

use super::common::FleetFlags;
use crate::error::{Error, Result};

#[derive(Args)]
#[command(after_help = "Examples:
  provision status                    every client
  provision status --host clienteA")]
pub struct Flags {
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all")]
    host: String,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    Err(Error::new(format!("not yet: {}", hosts.len())))
}
