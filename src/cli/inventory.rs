//! `provision inventory`: hosts, groups and variables as the tool sees them.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::common::FleetFlags;
use crate::error::Result;
use crate::plan::Object;
use crate::report::style::{bold, table};
use crate::services::declared;
use crate::services::world::host_scope;
use crate::yaml;

#[derive(Args)]
#[command(after_help = "Examples:
  provision inventory list 'prod:!old'
  provision inventory graph
  provision inventory vars clienteA
  provision inventory list --json")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// Hosts of a pattern
    #[command(after_help = "Examples:
  provision inventory list
  provision inventory list 'prod:!old' --json")]
    List {
        /// Names, groups, globs, `web:&prod:!old`, `@failed`
        #[arg(default_value = "all")]
        pattern: String,
        /// One JSON list
        #[arg(long)]
        json: bool,
    },
    /// Groups and their hosts
    #[command(after_help = "Example:\n  provision inventory graph -i inventory")]
    Graph,
    /// A host's variables, after all layers
    #[command(after_help = "Example:\n  provision inventory vars clienteA")]
    Vars {
        /// A host or a pattern
        #[arg(value_name = "PATTERN")]
        host: String,
    },
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    match flags.verb {
        Verb::List { pattern, json } => {
            let mut rows = vec![["HOST", "ADDRESS", "GROUPS", "SERVICES", "PROFILE"].map(str::to_owned).to_vec()];
            let mut values = Vec::new();
            for name in fleet.select(&pattern)? {
                let scope = host_scope(&fleet.inventory, &name, &fleet.extra_vars);
                let address =
                    scope.get("ansible_host").ok().flatten().and_then(|value| value.as_str().map(str::to_owned));
                let groups = fleet.inventory.host(&name).map(|host| host.groups.clone()).unwrap_or_default();
                let declared = declared::of_host(&fleet.catalogue, &fleet.inventory, &name)?.unwrap_or_default();
                let (profiles, services) = (declared.profiles, declared.services);
                let groups_shown = groups.join(", ");
                values.push(serde_json::json!({"host": name, "address": address, "groups": groups,
                    "profiles": profiles, "services": services}));
                let address = address.unwrap_or_default();
                rows.push(vec![name, address, groups_shown, services.join(", "), profiles.join(", ")]);
            }
            if json {
                println!("{}", Value::from(values));
            } else {
                table(&rows).iter().for_each(|line| println!("{line}"));
            }
        }
        Verb::Graph => {
            for (group, hosts) in fleet.inventory.groups() {
                println!("{} {}", bold(group), hosts.join(", "));
            }
        }
        Verb::Vars { host } => {
            for name in fleet.select(&host)? {
                let mut merged = Object::new();
                for layer in fleet.inventory.layers(&name) {
                    merged.extend(layer.vars.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
                println!("# {name}\n{}", fleet.redactor.text(&yaml::emit(&Value::Object(merged))));
            }
        }
    }
    Ok(0)
}
