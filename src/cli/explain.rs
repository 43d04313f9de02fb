//! `provision explain KEY --host X`: which layer won, and what it beat.

use clap::Args;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Result};
use crate::report::style::{bold, dim};
use crate::services::settings::Setting;
use crate::services::{Rollout, Selection, declared};

#[derive(Args)]
#[command(after_help = "Examples:
  provision explain hub/FRAPPE_SITE_NAME --host clienteA
  provision explain FRAPPE_SITE_NAME --host clientes     the same setting on every client of a group
  provision explain --host clienteA                      all settings of a client
  provision explain domain --host clienteA               a variable of the inventory
  provision explain services --host clienteA             what the client runs, and by which profile

Secret values are shown as ********.")]
pub struct Flags {
    /// A setting (`service/KEY` or `KEY`) or a variable; without it all settings
    key: Option<String>,
    /// Clients
    #[arg(long, value_name = "PATTERN")]
    host: String,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    let (service, key) = match flags.key.as_deref().and_then(|key| key.split_once('/')) {
        Some((service, key)) => (Some(service.to_owned()), Some(key.to_owned())),
        None => (None, flags.key.clone()),
    };
    let sources = fleet.sources();
    let selection =
        Selection { services: service.map(|service| vec![service]), with_dependencies: false, ..Selection::default() };
    let mut found = false;
    for host in &hosts {
        found |= key.as_deref().is_some_and(|key| variable(&fleet, host, key));
        if key.as_deref().is_some_and(|key| ["services", "profile"].contains(&key)) {
            found |= services_of(&fleet, host)?;
        }
        let rollout = match Rollout::prepare(&sources, std::slice::from_ref(host), &selection) {
            Ok(rollout) => rollout,
            Err(_) if found => continue,
            Err(error) => return Err(error),
        };
        for services in rollout.hosts.values() {
            for service in &services.services {
                let Some(settings) = services.settings(&service.id) else { continue };
                for (name, setting) in
                    settings.values.iter().filter(|(name, _)| key.as_ref().is_none_or(|key| key == *name))
                {
                    found = true;
                    show(host, &service.id, name, setting);
                }
            }
        }
    }
    match &flags.key {
        Some(key) if !found => Err(Error::new(format!("nothing is called `{key}` on {}", hosts.join(", ")))
            .hint("`provision explain --host …` lists the settings, `provision inventory vars HOST` the variables")),
        _ => Ok(0),
    }
}

fn show(host: &str, service: &str, name: &str, setting: &Setting) {
    let value = if setting.secret { "********".to_owned() } else { format!("{:?}", setting.value) };
    println!("{} {name} = {value}", bold(&format!("{host} {service}")));
    println!("    from {}", setting.origin);
    for origin in setting.beaten.iter().rev() {
        println!("    {}", dim(&format!("over {origin}")));
    }
}

/// What a client runs in the end, and which profile each comes from.
fn services_of(fleet: &Fleet, host: &str) -> Result<bool> {
    let Some(declared) = declared::of_host(&fleet.catalogue, &fleet.inventory, host)? else { return Ok(false) };
    println!("{} runs {}", bold(host), declared.services.join(", "));
    println!("    from {}", declared.place.map(|place| place.to_string()).unwrap_or_default());
    for name in &declared.profiles {
        if let Some(profile) = fleet.catalogue.profile_called(&format!("@{name}"))? {
            let services = fleet.catalogue.unfolded(&[format!("@{name}")])?.join(", ");
            println!("    {}", dim(&format!("profile {name} ({}): {services}", profile.place)));
        }
    }
    Ok(true)
}

/// A plain variable of the inventory.
fn variable(fleet: &Fleet, host: &str, key: &str) -> bool {
    let layers = fleet.inventory.layers(host);
    let mut having = layers.iter().filter(|layer| layer.vars.contains_key(key)).rev();
    let Some(winner) = having.next() else { return false };
    let place = |layer: &crate::inventory::VarLayer| {
        layer.places.get(key).map(ToString::to_string).unwrap_or_else(|| layer.name.clone())
    };
    let value = winner.vars.get(key).map(ToString::to_string).unwrap_or_default();
    println!("{} {key} = {}", bold(host), fleet.redactor.text(&value));
    println!("    from {}", place(winner));
    for layer in having {
        println!("    {}", dim(&format!("over {}", place(layer))));
    }
    true
}
