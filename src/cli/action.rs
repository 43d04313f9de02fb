//! `provision action chat mail-test --host clienteA`: runs a named piece of maintenance that a package brings along.

use clap::Args;
use serde_json::Value;

use super::common::Fleet;
use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::report::style::table;
use crate::services::Package;
use crate::services::manifest::Action;

#[derive(Args)]
#[command(after_help = "Examples:
  provision action --list                                 what there is
  provision action chat mail-test --host clienteA
  provision action hub clear-cache --host 'clientes:!clienteB' --yes
  provision action chat@tienda2 mail-test --host clienteA")]
pub struct Flags {
    /// A service, or an instance of one
    #[arg(required_unless_present = "list")]
    service: Option<String>,
    /// The action's name
    #[arg(required_unless_present = "list")]
    action: Option<String>,
    /// Show the actions of all packages, or of the service
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    slice: SliceFlags,
}

pub async fn main(mut flags: Flags) -> Result<u8> {
    let (Some(service), Some(name), false) = (&flags.service, &flags.action, flags.list) else {
        return list(&flags.slice.fleet.load()?, flags.service.as_deref());
    };
    if flags.slice.services.is_some() {
        return Err(
            Error::new("an action is of one service").hint("name it in front of the action, without --services")
        );
    }
    let (fleet, hosts) = flags.slice.load()?;
    let action = find(fleet.catalogue.get(service)?, name)?;
    let question = format!("¿Ejecutar «{}»? {}", action.name, action.description);
    // one that only looks, or does nothing that could hurt, is not asked about
    flags.slice.yes |= !action.confirm;
    let vars = Object::from_iter([("service_action".to_owned(), Value::from(name.as_str()))]);
    flags.slice.services = Some(vec![service.clone()]);
    let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let book = Book { playbook: "playbooks/action.yml", vars, skip_tags: &[], question: &question };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}

fn find(package: &Package, name: &str) -> Result<Action> {
    let actions = &package.manifest.actions;
    let names = || actions.iter().map(|action| action.name.as_str());
    actions.iter().find(|action| action.name == name).cloned().ok_or_else(|| {
        let error = Error::new(format!("service `{}` has no action `{name}`", package.id));
        match actions.is_empty() {
            true => error.hint("`provision action --list` shows those that there are"),
            false => {
                error.hint(format!("it has: {}", names().collect::<Vec<_>>().join(", "))).did_you_mean(name, names())
            }
        }
    })
}

fn list(fleet: &Fleet, service: Option<&str>) -> Result<u8> {
    let packages: Vec<&Package> = match service {
        Some(service) => vec![fleet.catalogue.get(service)?],
        None => fleet.catalogue.packages.values().collect(),
    };
    let mut rows = vec![["SERVICE", "ACTION", "WHERE", "WHAT"].map(str::to_owned).to_vec()];
    for package in packages {
        for action in &package.manifest.actions {
            let place = action.service.clone().unwrap_or_else(|| "the host".to_owned());
            rows.push(vec![package.id.clone(), action.name.clone(), place, action.description.clone()]);
        }
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    Ok(0)
}
