//! `provision action chat mail-test --host clienteA`: runs a named piece of maintenance that a package brings along.

use clap::Args;
use serde_json::Value;

use super::common::Fleet;
use super::consent::Consent;
use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::report::style::table;
use crate::services::manifest::{Action, Confirm};
use crate::services::render::Rendered;
use crate::services::{Package, Rollout};

#[derive(Args)]
#[command(after_help = "Examples:
  provision action --list                                 what there is
  provision action chat mail-test --host clienteA
  provision action hub clear-cache --host 'clientes:!clienteB' --yes
  provision action chat@tienda2 mail-test --host clienteA
  provision action nexus-orchestrator reset-db --host local      deletes data: only in the mode debug, after a backup

One that deletes data asks for the host's name, or wants --yes-really.")]
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
    #[command(flatten)]
    consent: Consent,
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
    let what = format!("«{}»: {}.", action.name, action.description);
    let question = format!("¿Ejecutar «{}»? {}", action.name, action.description);
    let vars = Object::from_iter([("service_action".to_owned(), Value::from(name.as_str()))]);
    flags.slice.services = Some(vec![service.clone()]);
    let rollout = flags.slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    in_its_mode(&action, &rollout)?;
    let book = Book { playbook: "playbooks/action.yml", vars, skip_tags: &[], question: &question };
    match action.confirm {
        Confirm::HostName => {
            if !flags.slice.run.check {
                flags.consent.is_possible(flags.slice.yes)?;
            }
            flags.slice.destroy(fleet, hosts, rollout, &book, &flags.consent, &what).await
        }
        // one that only looks, or does nothing that could hurt, is not asked about
        Confirm::Nothing | Confirm::Question => {
            flags.slice.yes |= action.confirm == Confirm::Nothing || flags.consent.yes_really;
            flags.slice.perform(fleet, hosts, rollout, &book).await
        }
    }
}

/// Some are only for where a service is worked on. What the host itself says of its mode is looked at by the play.
fn in_its_mode(action: &Action, rollout: &Rollout) -> Result<()> {
    let Some(mode) = action.mode else { return Ok(()) };
    let in_it = |service: &Rendered| service.vars.get("service").is_some_and(|it| it["mode"] == mode.word());
    let others = rollout.hosts.values().filter(|host| !host.services.iter().all(in_it));
    let others: Vec<&str> = others.map(|host| host.host.as_str()).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(Error::new(format!(
            "action `{}` is only for the mode {}, in which {} is not",
            action.name,
            mode.word(),
            others.join(", ")
        ))
        .hint("the variable `mode` says in which mode a client is; nothing was touched")),
    }
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
