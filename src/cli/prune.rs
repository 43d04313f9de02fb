//! `provision prune`: images that nobody needs any more go. Never volumes, never what runs or can be gone back to.

use clap::Args;
use serde_json::Value;

use super::common::confirm;
use super::execute::execute;
use super::slice::{SliceFlags, load_book};
use crate::error::{Error, Result};

#[derive(Args)]
#[command(after_help = "Examples:
  provision prune --host clienteA             layers without a name, and the build cache
  provision prune --host clienteA --unused    images of no container and no kept release too
  provision prune --all --check               what would go")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Also images that no container, no installed service and no kept release uses
    #[arg(long)]
    unused: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.slice.services.is_some() {
        return Err(Error::new("images belong to a host, not to a service").hint("leave --services out"));
    }
    let (mut fleet, hosts) = flags.slice.load()?;
    let plays = load_book("playbooks/prune.yml")?;
    eprintln!("{}", hosts.join(", "));
    if !flags.slice.run.check && !flags.slice.yes && !confirm("¿Borrar las imágenes que no se usan?")? {
        eprintln!("nothing was touched");
        return Ok(0);
    }
    fleet.extra_vars.insert("prune_unused".to_owned(), Value::from(flags.unused));
    execute(&fleet, &flags.slice.run, plays, hosts, None, None).await
}
