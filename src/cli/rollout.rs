//! `provision --host clienteA --services hub,chat`: asks for what is missing, shows what is going to be rolled out, asks,
//! does it.

use clap::Args;

use super::ask::{Asked, Begin, ask};
use super::common::{Fleet, FleetFlags, answer};
use super::resume::Wish;
use super::screen;
use super::slice::{BeforehandFlags, Book, Dependencies, SliceFlags};
use crate::error::Result;
use crate::services::{Selection, declared};

#[derive(Args)]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Also what the named services depend on, without asking
    #[arg(long, conflicts_with = "no_deps")]
    with_deps: bool,
    /// Only the named services, not what they depend on
    #[arg(long)]
    no_deps: bool,
    /// Leave out the preparation of the server (packages, Docker, firewall)
    #[arg(long)]
    no_bootstrap: bool,
    #[command(flatten)]
    beforehand: BeforehandFlags,
    /// Take up a run that did not come to its end (its id, or `last`): its command for what is left
    #[arg(long, value_name = "RUN", conflicts_with_all = ["host", "all", "services", "check"])]
    resume: Option<String>,
    /// With --resume: also if settings, packages or playbooks are not what they were
    #[arg(long, requires = "resume")]
    even_if_changed: bool,
}

impl Flags {
    /// Nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.slice.host.is_none() && !self.slice.all && self.slice.services.is_none()
    }

    /// The run that is to be taken up.
    pub fn resumes(&self) -> Option<Wish<'_>> {
        self.resume.as_deref().map(|run| Wish {
            run,
            runs: &self.slice.fleet.runs_dir,
            yes: self.slice.yes,
            even_if_changed: self.even_if_changed,
        })
    }

    /// Where the fleet is described.
    pub fn fleet(self) -> FleetFlags {
        self.slice.fleet
    }

    /// Somebody is there and wants to be asked.
    fn may_ask(&self) -> bool {
        !self.slice.yes && !self.slice.run.check && !self.slice.run.json && screen::is_possible()
    }

    /// Whether what the services depend on comes along; none if the operator would rather stop.
    fn dependencies(&self, fleet: &Fleet, hosts: &[String]) -> Result<Option<Dependencies>> {
        if self.no_deps {
            return Ok(Some(Dependencies::Left));
        }
        let missing = match (&self.slice.services, self.with_deps || !self.may_ask()) {
            (Some(services), false) => not_chosen(fleet, hosts, services)?,
            _ => Vec::new(),
        };
        if missing.is_empty() {
            return Ok(Some(Dependencies::Included));
        }
        eprintln!("Hace falta también: {}", missing.join(", "));
        let question = "¿Instalarlo? s = sí (Intro), n = no, dejarlo todo, solo = únicamente lo elegido:";
        Ok(match answer(question)?.as_str() {
            "" | "s" | "si" | "sí" | "y" | "yes" => Some(Dependencies::Included),
            "solo" | "sólo" => Some(Dependencies::Left),
            _ => None,
        })
    }
}

/// What the services depend on and nobody named: neither now nor in a client's declaration.
fn not_chosen(fleet: &Fleet, hosts: &[String], services: &[String]) -> Result<Vec<String>> {
    let named: Vec<String> = services.iter().filter(|name| *name != "all").cloned().collect();
    let chosen = fleet.catalogue.order(&named, false)?;
    let mut missing = fleet.catalogue.order(&named, true)?;
    let mut declared_everywhere = Vec::new();
    for (index, host) in hosts.iter().enumerate() {
        let (declared, _) = declared::services(&fleet.catalogue, &fleet.inventory, host)?.unwrap_or_default();
        match index {
            0 => declared_everywhere = declared,
            _ => declared_everywhere.retain(|name| declared.contains(name)),
        }
    }
    missing.retain(|id| !chosen.contains(id) && !declared_everywhere.contains(id));
    Ok(missing)
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (mut fleet, mut hosts) = flags.slice.load()?;
    let Some(dependencies) = flags.dependencies(&fleet, &hosts)? else {
        eprintln!("nothing was touched");
        return Ok(0);
    };
    let selection = Selection {
        services: flags.slice.services.clone(),
        with_dependencies: dependencies == Dependencies::Included,
        ..Selection::default()
    };
    // an answer may lead to the next question, as a setting that others are made from
    while flags.may_ask() {
        match ask(&fleet, &hosts, &selection, Begin::IfNeeded)? {
            Asked::Nothing => break,
            Asked::Written => (fleet, hosts) = flags.slice.load()?,
            Asked::GivenUp => {
                eprintln!("nothing was touched");
                return Ok(0);
            }
        }
    }
    let rollout = flags.slice.prepare(&fleet, &hosts, dependencies)?;
    flags.beforehand.ask(&rollout).await?;
    let book = Book {
        playbook: "playbooks/rollout.yml",
        vars: flags.beforehand.vars(),
        skip_tags: if flags.no_bootstrap { &["bootstrap"] } else { &[] },
        question: "¿Continuar?",
    };
    flags.slice.perform(fleet, hosts, rollout, &book).await
}
