//! `provision verify`: every check that the packages bring, each with what it saw. Asks with `playbooks/verify.yml`.

use clap::Args;
use serde_json::{Value, json};

use super::live::Verdict;
use super::look::{Effects, LookFlags, is_check, trouble};
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Outcome, Status, TaskRef};
use crate::plan::Object;
use crate::report::style::{dim, green, red, yellow};

mod security;

#[derive(Args)]
#[command(after_help = "Examples:
  provision verify --host clienteA
  provision verify --host clienteA --services chat --fail-fast
  provision verify --host clienteA --full                           also what costs something or leaves traces
  provision verify --host clienteA --security                       the list before a client goes live
  provision verify --host dev --base-url http://localhost:8000      ask another address

Exit code 1 if a check failed; a failed check of severity `warning` is told and does not count.")]
pub struct Flags {
    #[command(flatten)]
    look: LookFlags,
    /// Also checks that have side effects
    #[arg(long)]
    full: bool,
    /// Instead of the services' checks: credentials, open ports, firewall, certificates, backups, logs …
    #[arg(long, conflicts_with_all = ["full", "fail_fast", "base_url"])]
    security: bool,
    /// Stop at the first check that fails
    #[arg(long)]
    fail_fast: bool,
    /// Make the requests to this address, from here
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// One JSON object per check
    #[arg(long)]
    json: bool,
    /// Do not ask those who gave API keys out whether the keys are valid
    #[arg(long)]
    no_live_check: bool,
}

/// How many of what.
#[derive(Default)]
struct Count {
    made: usize,
    failed: usize,
    warned: usize,
    /// Clients that could not be looked at.
    lost: usize,
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.security {
        return security::main(&flags).await;
    }
    let mut vars = Object::new();
    if let Some(base) = &flags.base_url {
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err(Error::new(format!("--base-url {base}: this is no URL"))
                .hint("it starts with http:// or https://, e.g. http://localhost:8000"));
        }
        vars.insert("base_url".to_owned(), Value::from(base.as_str()));
    }
    vars.insert("full".to_owned(), Value::from(flags.full));
    let looked = flags.look.load()?;
    let severities = looked.severities();
    let severity = |host: &str, task: &TaskRef| {
        let service = task.service.clone().unwrap_or_default();
        severities.get(&(host.to_owned(), service, task.name.clone())).cloned().unwrap_or_default()
    };
    let mut count = Count::default();
    let keys = if flags.no_live_check { Vec::new() } else { looked.keys().await };
    for asked in keys {
        let (tag, text) = match asked.verdict {
            Verdict::Taken => ("OK", "it is valid".to_owned()),
            Verdict::Refused(why) => ("FAIL", why),
            Verdict::Unknown(why) => ("WARN", why),
        };
        count.made += 1;
        count.warned += usize::from(tag == "WARN");
        count.failed += usize::from(tag == "FAIL");
        let name = format!("key {}", asked.key);
        let task = TaskRef { name, service: Some(asked.service), ..TaskRef::default() };
        tell(&flags, &asked.host, &task, tag, &text, &Outcome::default());
    }
    let effects = if flags.full { Effects::Wanted } else { Effects::None };
    let hear = |event: Event, token: &tokio_util::sync::CancellationToken| {
        let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
        if !is_check(&task) {
            if let Some(trouble) = trouble(&outcome).filter(|_| !token.is_cancelled()) {
                count.lost += 1;
                tell(&flags, &host, &task, "FAIL", &trouble, &outcome);
            }
            return;
        }
        let warning = severity(&host, &task) == "warning";
        let tag = match outcome.status {
            Status::Ok | Status::Changed => "OK",
            Status::Skipped | Status::Uncertain => return,
            Status::Failed | Status::Unreachable if token.is_cancelled() => return,
            Status::Failed | Status::Unreachable if warning => "WARN",
            Status::Failed | Status::Unreachable => "FAIL",
        };
        count.made += 1;
        match tag {
            "WARN" => count.warned += 1,
            "FAIL" => count.failed += 1,
            _ => {}
        }
        tell(&flags, &host, &task, tag, outcome.text("msg"), &outcome);
        if tag == "FAIL" && flags.fail_fast {
            token.cancel();
        }
    };
    looked.play(&flags.look, "playbooks/verify.yml", vars, effects, hear).await?;
    let line = conclusion(&count, flags.fail_fast);
    if flags.json {
        eprintln!("{line}")
    } else {
        println!("{line}")
    }
    Ok(u8::from(count.failed + count.lost > 0))
}

fn conclusion(count: &Count, fail_fast: bool) -> String {
    let warned = match count.warned {
        0 => String::new(),
        n => format!(", {n} with a warning"),
    };
    match (count.failed + count.lost, count.made) {
        (0, 0) => "nothing was checked".to_owned(),
        (0, made) => green(&format!("verified: {made} checks passed{warned}")),
        (_, _) if fail_fast => red("not verified: stopped at the first check that failed"),
        (_, made) if count.lost == 0 => red(&format!("not verified: {} of {made} checks failed{warned}", count.failed)),
        (_, made) => red(&format!(
            "not verified: {} of {made} checks failed{warned}, {} clients could not be looked at",
            count.failed, count.lost
        )),
    }
}

fn tell(flags: &Flags, host: &str, task: &TaskRef, tag: &str, text: &str, outcome: &Outcome) {
    let service = task.service.as_deref().unwrap_or("-");
    if flags.json {
        let mut seen = outcome.result.clone();
        for key in ["msg", "changed", "failed"] {
            seen.shift_remove(key);
        }
        println!(
            "{}",
            json!({"host": host, "service": service, "check": task.name, "result": tag.to_lowercase(), "msg": text,
                "hint": outcome.hint, "took_ms": outcome.took_ms, "seen": seen})
        );
        return;
    }
    let painted = match tag {
        "OK" => green("[OK]"),
        "WARN" => yellow("[WARN]"),
        _ => red("[FAIL]"),
    };
    println!("{painted} {host}/{service} {}: {text}", task.name);
    if let Some(hint) = outcome.hint.as_deref().filter(|_| tag != "OK") {
        println!("       {}", dim(hint));
    }
}
