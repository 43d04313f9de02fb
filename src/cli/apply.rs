//! `provision apply`: does what a plan says, or refuses because the world has moved since. Everything is looked at again
//! first: what the plan was made from, and what each host would do now.

use std::path::PathBuf;

use clap::Args;

use super::common::FleetFlags;
use super::consent::Consent;
use super::execute::RunFlags;
use super::inputs::Secrets;
use super::plan::{Document, Of, steps};
use super::slice::SliceFlags;
use crate::error::{Error, Result};

#[derive(Args)]
#[command(after_help = "Examples:
  provision plan --host clienteA --of update -o update.plan
  provision apply update.plan                    asks, then does exactly that
  provision apply update.plan --yes --detach     the hosts do it alone

What was given to `provision plan` with -i, --registry and -e has to be given again: a plan keeps no values.")]
pub struct Flags {
    /// Written by `provision plan -o`
    plan: PathBuf,
    /// Do not ask before touching anything
    #[arg(short, long)]
    yes: bool,
    /// Let the hosts do it alone: this machine may sleep, `provision attach` fetches the result
    #[arg(long, conflicts_with_all = ["check", "json"])]
    detach: bool,
    #[command(flatten)]
    consent: Consent,
    #[command(flatten)]
    fleet: FleetFlags,
    #[command(flatten)]
    run: RunFlags,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let document = Document::read(&flags.plan)?;
    if document.of == Of::Purge && !flags.run.check {
        flags.consent.is_possible(flags.yes)?;
    }
    let mut run = flags.run;
    run.skip_tags = document.skip_tags.clone();
    if !run.tags.is_empty() {
        return Err(Error::new("--tags: a plan is carried out as a whole").hint("make another plan"));
    }
    let slice = SliceFlags {
        host: Some(document.hosts.join(",")),
        all: false,
        shard: None,
        services: document.services.clone(),
        mode: document.mode.clone(),
        yes: flags.yes,
        detach: flags.detach,
        fleet: flags.fleet,
        run,
    };
    let refuse = |moved: Vec<String>| {
        let lines = moved.iter().map(|line| format!("\n  {line}")).collect::<String>();
        Error::new(format!("the world has moved since {}:{lines}", document.made))
            .hint("nothing was touched; make the plan anew with `provision plan`, read it, apply that")
    };
    let (mut fleet, hosts) = slice.load()?;
    let rollout = document.of.prepare(&slice, &mut fleet, &hosts)?;
    let moved = document.inputs.moved(&document.inputs.again(&fleet, &hosts, Some(&rollout), Secrets::MaybeNew)?);
    if !moved.is_empty() {
        return Err(refuse(moved));
    }
    let looked = steps(&slice, &mut fleet, &hosts, rollout, document.of, &document.skip_tags, &document.inputs);
    let looked = looked.await?;
    if !looked.trouble.is_empty() {
        return Err(Error::new(format!("not every host could be looked at:\n  {}", looked.trouble.join("\n  ")))
            .hint("nothing was touched"));
    }
    let moved = document.moved(&looked.steps);
    if !moved.is_empty() {
        return Err(refuse(moved));
    }
    if looked.steps.is_empty() {
        eprintln!("the plan has nothing to do");
        return Ok(0);
    }
    let rollout = document.of.prepare(&slice, &mut fleet, &hosts)?;
    let book = document.of.book();
    match document.of {
        Of::Purge => {
            let what = "Se detendrán estos servicios y se borrarán sus datos.";
            slice.destroy(fleet, hosts, rollout, &book, &flags.consent, what).await
        }
        Of::Rollout | Of::Up | Of::Update | Of::Restart | Of::Down => slice.perform(fleet, hosts, rollout, &book).await,
    }
}
