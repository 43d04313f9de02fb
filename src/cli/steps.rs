//! `provision steps`: what only people can do for a service, and who has done it. The hosts remember it; every report
//! of a run and `provision status` say what is pending.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::common::Fleet;
use super::look::{Effects, LookFlags, trouble};
use super::slice::{Book, Dependencies, SliceFlags};
use crate::engine::owner;
use crate::error::{Error, Result};
use crate::event::{Event, Kind};
use crate::plan::Object;
use crate::report::steps::{self, Step};
use crate::report::style::{bold, table};

#[derive(Args)]
#[command(after_help = "Examples:
  provision steps list                                                        every client
  provision steps list --host clienteA --pending
  provision steps done nexus-orchestrator share-calendars --host clienteA --note 'Dr. Paz and Dr. Sol'
  provision steps reopen nexus-orchestrator share-calendars --host clienteA   it was not done after all

Who marked a step, and when, is kept on the host: /var/lib/provision/steps/<service>.json")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    slice: SliceFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// What is to be done by hand, and who has done it
    #[command(
        visible_alias = "listar",
        after_help = "Examples:
  provision steps list --host clienteA
  provision steps list --pending --json     one JSON object per step"
    )]
    List {
        /// Only what nobody has done
        #[arg(long)]
        pending: bool,
    },
    /// It is done: remembered with your name and the time
    #[command(
        visible_alias = "hecho",
        after_help = "Example:
  provision steps done nexus-orchestrator share-calendars --host clienteA --note 'Dr. Paz and Dr. Sol'

The same again changes nothing: who was first stays."
    )]
    Done {
        #[command(flatten)]
        which: Which,
        /// One line, for whoever looks later
        #[arg(long, value_name = "TEXT", default_value = "")]
        note: String,
    },
    /// It is to be done (again)
    #[command(
        visible_alias = "reabrir",
        after_help = "Example:
  provision steps reopen nexus-orchestrator share-calendars --host clienteA"
    )]
    Reopen {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Args)]
struct Which {
    /// A service, or an instance of one
    service: String,
    /// Steps by their names, see `provision steps list`
    #[arg(required = true, value_name = "STEP")]
    steps: Vec<String>,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let slice = flags.slice;
    match flags.verb {
        Verb::List { pending } => list(slice, pending).await,
        Verb::Done { which, note } => {
            if note.contains(['\n', '\r']) {
                return Err(Error::new("--note: it must be one line of text"));
            }
            let now = Timestamp::now().round(jiff::Unit::Second).map_err(|error| Error::new(error.to_string()))?;
            let more = [("steps_by", owner()), ("steps_at", now.to_string()), ("steps_note", note)];
            mark(slice, &which, "steps_done", &more).await
        }
        Verb::Reopen { which } => mark(slice, &which, "steps_reopen", &[]).await,
    }
}

async fn list(slice: SliceFlags, pending: bool) -> Result<u8> {
    let lines = slice.run.json;
    let look = LookFlags {
        host: slice.host.unwrap_or_else(|| "all".to_owned()),
        services: slice.services,
        mode: slice.mode,
        ask_become_pass: slice.run.ask_become_pass,
        fleet: slice.fleet,
    };
    let looked = look.load()?;
    let (mut found, mut troubles) = (Vec::new(), Vec::new());
    let hear = |event: Event, _: &tokio_util::sync::CancellationToken| {
        found.extend(steps::of(&event));
        if let Kind::TaskFinished { host, task, outcome } = &event.kind
            && let Some(why) = trouble(outcome)
        {
            let service = task.service.as_deref().map(|service| format!("/{service}")).unwrap_or_default();
            troubles.push(format!("{host}{service}: {why}"));
        }
    };
    looked.play(&look, "playbooks/steps.yml", Object::new(), Effects::None, hear).await?;
    let shown = found.iter().filter(|step: &&Step| !pending || step.done.is_none());
    if lines {
        for step in shown {
            let done = step.done.as_ref().map(|done| json!({"by": done.by, "at": done.at, "note": done.note}));
            println!(
                "{}",
                json!({"host": step.host, "service": step.service, "step": step.id, "critical": step.critical, "text": step.text, "done": done})
            );
        }
    } else {
        let mut rows = vec![["CLIENT", "SERVICE", "STEP", "STATE", ""].map(str::to_owned).to_vec()];
        rows.extend(shown.map(row));
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { line });
        }
    }
    troubles.iter().for_each(|trouble| eprintln!("{trouble}"));
    Ok(u8::from(!troubles.is_empty()))
}

fn row(step: &Step) -> Vec<String> {
    let state = match (&step.done, step.critical) {
        (Some(done), _) if done.note.is_empty() => format!("done by {} {}", done.by, done.at),
        (Some(done), _) => format!("done by {} {}: {}", done.by, done.at, done.note),
        (None, true) => "pending, critical".to_owned(),
        (None, false) => "pending".to_owned(),
    };
    vec![step.host.clone(), step.service.clone(), step.id.clone(), state, step.text.clone()]
}

async fn mark(mut slice: SliceFlags, which: &Which, key: &str, more: &[(&str, String)]) -> Result<u8> {
    if slice.services.is_some() {
        return Err(Error::new("a step is of one service").hint("name it in front of the step, without --services"));
    }
    slice.stays("it is done at once")?;
    let (fleet, hosts) = slice.load()?;
    known(&fleet, which)?;
    slice.services = Some(vec![which.service.clone()]);
    // nothing but a note is written
    slice.yes = true;
    let rollout = slice.prepare(&fleet, &hosts, Dependencies::Left)?.without_new_secrets();
    let mut vars = Object::from_iter([(key.to_owned(), Value::from(which.steps.clone()))]);
    vars.extend(more.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))));
    let book = Book { playbook: "playbooks/steps.yml", vars, skip_tags: &[], question: "" };
    slice.perform(fleet, hosts, rollout, &book).await
}

/// A name that the package does not have is a mistake, said before anybody is called.
fn known(fleet: &Fleet, which: &Which) -> Result<()> {
    let package = fleet.catalogue.get(&which.service)?;
    let names: Vec<String> = package.manifest.manual_steps.iter().map(|step| step.id.clone()).collect();
    match which.steps.iter().find(|step| !names.contains(step)) {
        None => Ok(()),
        Some(wrong) => {
            let error = Error::new(format!("service `{}` has no step `{wrong}`", package.id));
            let list =
                if names.is_empty() { "it has none".to_owned() } else { format!("it has: {}", names.join(", ")) };
            Err(error.hint(list).did_you_mean(wrong, names.iter().map(String::as_str)))
        }
    }
}
