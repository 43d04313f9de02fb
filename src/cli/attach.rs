//! `provision attach`: output and result of a run that hosts do alone. Any machine with a key may ask; when all is said,
//! nothing of the run stays on the hosts.

use std::time::Duration;

use clap::Args;
use indexmap::IndexMap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, FleetFlags};
use super::status::ask;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Level, RunStatus};
use crate::report::{Desk, Reporter, journal, json, plain, summary};

#[derive(Args)]
#[command(after_help = "Examples:
  provision attach                                          runs that hosts do alone
  provision attach 20261123-120342517-7f3a                  output and result, until it ends
  provision attach 20261123-120342517-7f3a --host clienteA -K

Such a run is started by --detach. Ctrl-C ends the looking, not the run.")]
pub struct Flags {
    /// The run's id; without it all of them are listed
    run: Option<String>,
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all")]
    host: String,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    json: bool,
    /// Show also what was ok or skipped
    #[arg(short, long, visible_alias = "verboso")]
    verbose: bool,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// How far one host's story was heard.
#[derive(Default)]
struct Heard {
    bytes: usize,
    there: bool,
    ended: bool,
    failed: bool,
    /// It ended without a last word.
    silent: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let mut fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    if flags
        .run
        .as_deref()
        .is_some_and(|run| run.is_empty() || !run.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'))
    {
        return Err(
            Error::new(format!("`{}` is no run", flags.run.unwrap_or_default())).hint("`provision attach` lists them")
        );
    }
    fleet.sudo_password(flags.ask_become_pass)?;
    let Some(run) = flags.run.clone() else { return list(&mut fleet, &hosts).await };
    let mut heard: IndexMap<String, Heard> = hosts.iter().map(|host| (host.clone(), Heard::default())).collect();
    let mut desk: Option<Desk> = None;
    let mut seq = 0;
    let mut tell = |desk: &mut Option<Desk>, at: String, kind: Kind| -> Result<()> {
        let desk = match desk {
            Some(desk) => desk,
            None => desk.insert(open(&flags, &fleet.runs, &run)?),
        };
        seq += 1;
        desk.event(&Event { at, run: run.clone(), seq, kind });
        Ok(())
    };
    let (mut began, mut last, mut misses) = (None, jiff::Timestamp::now().to_string(), 0);
    loop {
        let from = heard.iter().map(|(host, heard)| (host.clone(), Value::from(heard.bytes + 1)));
        fleet.extra_vars.insert("detach_from".to_owned(), Value::Object(from.collect()));
        fleet.extra_vars.insert("detach_run".to_owned(), Value::from(run.as_str()));
        let open: Vec<String> = heard.iter().filter(|(_, heard)| !heard.ended).map(|(host, _)| host.clone()).collect();
        let answers = ask(&fleet, &open, "playbooks/detach_read.yml", CancellationToken::new()).await?;
        let mut stories: Vec<(String, Event)> = Vec::new();
        for (host, answer) in answers {
            let Some(heard) = heard.get_mut(&host) else { continue };
            match answer {
                Ok(text) => stories.extend(read(heard, &text).into_iter().map(|event| (host.clone(), event))),
                Err(trouble) => {
                    misses += 1;
                    if misses > 20 {
                        return Err(Error::new(format!("{host}: {trouble}"))
                            .hint("the run goes on there; attach again when the client can be reached"));
                    }
                }
            }
        }
        let there: Vec<String> = heard.iter().filter(|(_, heard)| heard.there).map(|(host, _)| host.clone()).collect();
        if there.is_empty() && misses == 0 {
            return Err(Error::new(format!("no client has a run {run}")).hint(
                "its result may have been fetched: `provision history` shows it there; `provision attach` lists the others",
            ));
        }
        stories.sort_by(|(_, a), (_, b)| a.at.cmp(&b.at));
        for (_, event) in stories {
            last.clone_from(&event.at);
            match event.kind {
                // one beginning and one end for all of them
                Kind::RunStarted { version, command, check, user, inventory, .. } => {
                    if began.is_none() {
                        began = Some(event.at.clone());
                        let kind = Kind::RunStarted { version, command, hosts: there.clone(), check, user, inventory };
                        tell(&mut desk, event.at, kind)?;
                    }
                }
                Kind::RunFinished { .. } => {}
                kind => tell(&mut desk, event.at, kind)?,
            }
        }
        if heard.values().all(|heard| heard.ended || (!heard.there && misses == 0)) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    for (host, _) in heard.iter().filter(|(_, heard)| heard.silent) {
        let text = format!("ended without a last word; on the host: journalctl -u provision-{run}");
        tell(&mut desk, last.clone(), Kind::Note { host: Some(host.clone()), level: Level::Warning, text })?;
    }
    let failed = heard.values().any(|heard| heard.failed);
    let (status, exit_code) = if failed { (RunStatus::Failed, 1) } else { (RunStatus::Ok, 0) };
    let took_ms = took(began.as_deref(), &last);
    tell(&mut desk, last.clone(), Kind::RunFinished { status, exit_code, took_ms })?;
    let ended: Vec<String> = heard.iter().filter(|(_, heard)| heard.there).map(|(host, _)| host.clone()).collect();
    ask(&fleet, &ended, "playbooks/detach_end.yml", CancellationToken::new()).await?;
    if let Some(desk) = desk {
        for line in summary::lines(&desk.finish()) {
            if flags.json { eprintln!("{line}") } else { println!("{line}") }
        }
    }
    Ok(u8::try_from(exit_code).unwrap_or(1))
}

/// The run's journal here, and what is shown.
fn open(flags: &Flags, runs: &std::path::Path, run: &str) -> Result<Desk> {
    // an earlier look that was ended in the middle
    let _ = std::fs::remove_file(runs.join(run).join("events.jsonl"));
    let mut reporters: Vec<Box<dyn Reporter>> = vec![Box::new(journal::Journal::create(runs, run)?)];
    match flags.json {
        true => reporters.push(Box::new(json::Json)),
        false => reporters.push(Box::new(plain::Plain { verbose: flags.verbose, diff: true })),
    }
    Ok(Desk::new(reporters))
}

/// The whole lines that a host had to say, and how it stands.
fn read(heard: &mut Heard, text: &str) -> Vec<Event> {
    let Some(at) = text.rfind("@state ") else { return Vec::new() };
    let state = text[at + "@state ".len()..].trim();
    heard.there = state != "none";
    let told = text[..at].strip_suffix('\n').unwrap_or(&text[..at]);
    let whole = told.rfind('\n').map_or("", |end| &told[..=end]);
    heard.bytes += whole.len();
    let events: Vec<Event> = whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for event in &events {
        if let Kind::RunFinished { exit_code, .. } = event.kind {
            heard.ended = true;
            heard.failed = exit_code != 0;
        }
    }
    // it ended without a last word: killed, or never begun
    if !heard.ended && heard.there && !["active", "activating"].contains(&state) && whole.is_empty() {
        heard.ended = true;
        heard.failed = true;
        heard.silent = true;
    }
    events
}

fn took(began: Option<&str>, ended: &str) -> u64 {
    let at = |text: &str| text.parse::<jiff::Timestamp>().ok();
    let (Some(began), Some(ended)) = (began.and_then(at), at(ended)) else { return 0 };
    u64::try_from(ended.as_millisecond() - began.as_millisecond()).unwrap_or(0)
}

async fn list(fleet: &mut Fleet, hosts: &[String]) -> Result<u8> {
    fleet.extra_vars.insert("detach_run".to_owned(), Value::from(""));
    let mut code = 0;
    for (host, answer) in ask(fleet, hosts, "playbooks/detach_read.yml", CancellationToken::new()).await? {
        match answer {
            Ok(text) => text.lines().filter(|line| !line.is_empty()).for_each(|line| println!("{host}  {line}")),
            Err(trouble) => {
                code = 1;
                eprintln!("{host}: {trouble}");
            }
        }
    }
    Ok(code)
}
