//! `provision doctor`: known trouble as rules, each with what it saw and what to do. The rules are tasks of
//! `playbooks/doctor.yml`, `playbooks/services/doctor.yml` and of the packages; here they are only told.

use clap::Args;

use super::common::confirm;
use super::findings::{Finding, Verdict};
use super::look::{Effects, LookFlags, trouble};
use crate::error::Result;
use crate::event::Kind;
use crate::plan::Object;
use crate::report::style::{green, red};

#[derive(Args)]
#[command(after_help = "Examples:
  provision doctor --host clienteA
  provision doctor --host clienteA --services chat --verbose
  provision doctor --host clienteA --fix         mend what can be mended without losing anything, and look again

Mended are: an engine that does not run, networks that are missing, owners of the packages' own folders, and what a
package brings a remedy for. Exit code 1 if there is trouble left.")]
pub struct Flags {
    #[command(flatten)]
    look: LookFlags,
    /// Mend what can be mended, then look again
    #[arg(long)]
    fix: bool,
    /// Do not ask before mending
    #[arg(short, long)]
    yes: bool,
    /// One JSON object per rule
    #[arg(long)]
    json: bool,
    /// Show also the rules that hold
    #[arg(short, long, visible_alias = "verboso")]
    verbose: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.fix {
        let looked = flags.look.load()?;
        if !flags.yes && !confirm(&format!("¿Reparar lo que se pueda en {}?", looked.hosts.join(", ")))? {
            eprintln!("nothing was touched");
            return Ok(0);
        }
        let vars = Object::from_iter([("fix".to_owned(), true.into())]);
        looked
            .play(&flags.look, "playbooks/doctor.yml", vars, Effects::Wanted, |event, _| {
                let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
                if outcome.status == crate::event::Status::Changed && Finding::of(&host, &task, &outcome).is_none() {
                    eprintln!("{} {host}: {}", green("mended"), task.name);
                }
            })
            .await?;
    }
    let (mut wrong, mut rules, mut lost) = (0, 0, 0);
    let mut hear = |finding: Finding| {
        rules += 1;
        wrong += usize::from(finding.verdict == Verdict::Fail);
        if flags.json {
            println!("{}", finding.json());
        } else if flags.verbose || finding.verdict == Verdict::Fail {
            finding.tell();
        }
    };
    flags
        .look
        .load()?
        .play(&flags.look, "playbooks/doctor.yml", Object::new(), Effects::None, |event, _| {
            let heard = match &event.kind {
                Kind::ItemFinished { host, task, outcome } => Finding::of(host, task, outcome),
                // the findings of a loop are those of its items
                Kind::TaskFinished { outcome, .. } if outcome.result.contains_key("results") => None,
                Kind::TaskFinished { host, task, outcome } => Finding::of(host, task, outcome),
                _ => return,
            };
            match (heard, &event.kind) {
                (Some(finding), _) => hear(finding),
                (None, Kind::TaskFinished { host, outcome, .. }) => {
                    if let Some(trouble) = trouble(outcome) {
                        lost += 1;
                        println!("{} {host}: {trouble}", red("[FAIL]"));
                    }
                }
                (None, _) => {}
            }
        })
        .await?;
    let line = match wrong + lost {
        0 => green(&format!("{rules} rules looked at, no trouble")),
        n => red(&format!("{rules} rules looked at, {n} in trouble")),
    };
    if flags.json {
        eprintln!("{line}")
    } else {
        println!("{line}")
    }
    Ok(u8::from(wrong + lost > 0))
}
