//! `provision declare`: which services a client is to have, written into its file in `host_vars/`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Result};
use crate::inventory::edit;
use crate::services::declared;

#[derive(Args)]
#[command(after_help = "Examples:
  provision declare --host clienteA --services flow             from now on `provision --host clienteA` brings it too
  provision declare --host clienteA --services flow --remove    no longer; what runs goes on, `provision down` stops it

Writes `services:` of host_vars/<client>.yml, whose comments and order stay. No host is touched.")]
pub struct Flags {
    /// Clients: names, groups, globs
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: String,
    /// Services or instances of them
    #[arg(short, long, value_name = "LIST", value_delimiter = ',', required = true)]
    services: Vec<String>,
    /// Take them out instead
    #[arg(long, visible_alias = "quitar")]
    remove: bool,
    /// Say what would be written, and write nothing
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// A file as it is going to be.
struct Edited {
    path: PathBuf,
    text: String,
    services: Vec<String>,
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let mut wanted = Vec::new();
    for name in &flags.services {
        wanted.push(fleet.catalogue.instance(name)?.to_string());
    }
    let mut edits = Vec::new();
    // all of them are looked at before the first file changes
    for host in fleet.select(&flags.host)? {
        match edited(&fleet, &host, &wanted, flags.remove)? {
            Some(edit) => edits.push(edit),
            None => eprintln!("{host}: nothing to change"),
        }
    }
    let sign = if flags.remove { '-' } else { '+' };
    for Edited { path, text, services } in edits {
        if !flags.check {
            edit::write(&path, &text)?;
        }
        let would = if flags.check { "would write " } else { "" };
        eprintln!("{would}{}: services {sign} {}", path.display(), services.join(", "));
    }
    Ok(0)
}

fn edited(fleet: &Fleet, host: &str, wanted: &[String], remove: bool) -> Result<Option<Edited>> {
    let declared = declared::of_host(&fleet.catalogue, &fleet.inventory, host)?.unwrap_or_default();
    let named = |name: &String| fleet.catalogue.instance(name).map_or_else(|_| name.clone(), |found| found.to_string());
    let there = |name: &String| declared.services.iter().find(|known| named(known) == *name);
    // to be taken out in the words of the file: an alias perhaps
    let services: Vec<String> = match remove {
        true => wanted.iter().filter_map(|name| there(name).cloned()).collect(),
        false => wanted.iter().filter(|name| there(name).is_none()).cloned().collect(),
    };
    if services.is_empty() {
        return Ok(None);
    }
    let path = match &declared.place {
        None => edit::host_file(&fleet.inventory, host),
        Some(place) if is_own(&place.file, host) => place.file.to_path_buf(),
        Some(place) => {
            let text = format!("the services of {host} are not said in a file of its own");
            return Err(Error::at(place, text).hint(format!(
                "edit it there, for everyone whom it is about, or write a list of its own into {}",
                edit::host_file(&fleet.inventory, host).display()
            )));
        }
    };
    let mut text = edit::text_of(&path)?;
    for service in &services {
        text = match remove {
            true => edit::list_remove(&path, &text, "services", service),
            false => edit::list_add(&path, &text, "services", service),
        }?;
    }
    Ok(Some(Edited { path, text, services }))
}

/// `host_vars/<host>.yml`, or a file in `host_vars/<host>/`, beside whichever inventory.
fn is_own(file: &Path, host: &str) -> bool {
    let folder = file.parent();
    let within = |folder: Option<&Path>| folder.and_then(Path::file_name).is_some_and(|name| name == "host_vars");
    let names = ["", ".yml", ".yaml", ".json"].map(|ending| format!("{host}{ending}"));
    let alone = file.file_name().is_some_and(|name| names.iter().any(|own| name == own.as_str()));
    let among = folder.and_then(Path::file_name).is_some_and(|name| name == host);
    (within(folder) && alone) || (within(folder.and_then(Path::parent)) && among)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_files_of_its_own() {
        for own in
            ["inventory/host_vars/a.example.yml", "x/host_vars/a.example.yaml", "host_vars/a.example/services.yml"]
        {
            assert!(is_own(Path::new(own), "a.example"), "{own}");
        }
        for other in ["inventory/host_vars/b.yml", "inventory/group_vars/a.example.yml", "inventory/hosts.yml"] {
            assert!(!is_own(Path::new(other), "a.example"), "{other}");
        }
    }
}
