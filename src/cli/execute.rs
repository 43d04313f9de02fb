//! Runs a job with its reporters, listens for Ctrl-C, closes with the summary.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, command_line};
use super::digests::Promotion;
use super::inputs::{Inputs, Secrets};
use super::resume;
use crate::engine::{self, Job, Kept, Locks};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::plan::Secret;
use crate::playbook::Play;
use crate::report::{Desk, Reporter, journal, json, plain, progress, style, summary};
use crate::services::settings::recipients;
use crate::services::{Rollout, Services};

/// How to run, whatever is run.
#[derive(Args, Clone)]
pub struct RunFlags {
    /// Say what would change, touch nothing
    #[arg(short = 'C', long)]
    pub check: bool,
    /// Show before and after of what changes
    #[arg(short = 'D', long)]
    pub diff: bool,
    /// Hosts worked on at once
    #[arg(short, long, value_name = "N", default_value_t = 50)]
    pub forks: usize,
    /// Connections opened at once [default: 4 per processor]
    #[arg(long, value_name = "N")]
    pub connects: Option<usize>,
    /// Only tasks with these tags
    #[arg(short, long, value_name = "TAGS", value_delimiter = ',')]
    pub tags: Vec<String>,
    /// No tasks with these tags
    #[arg(long, value_name = "TAGS", value_delimiter = ',')]
    pub skip_tags: Vec<String>,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    pub ask_become_pass: bool,
    /// Print events as JSON lines on standard output
    #[arg(long)]
    pub json: bool,
    /// Show also what was ok or skipped
    #[arg(short, long, visible_alias = "verboso")]
    pub verbose: bool,
    /// How many tasks are asked about ahead of time; changes only the clock
    #[arg(long, value_name = "N", default_value_t = 32, hide = true)]
    pub window: usize,
    /// Work also on what you hold yourself (`provision lock hold`)
    #[arg(long)]
    pub held: bool,
    /// When the hosts are locked; the verb says so.
    #[arg(skip)]
    pub locks: Locks,
}

/// Runs plays on hosts and gives the exit code. Secrets that were made for the services are stored once everything
/// that can be wrong beforehand has been looked at, and before any host gets them. `promotion` hears the run.
pub async fn execute(
    fleet: &Fleet,
    flags: &RunFlags,
    plays: Vec<Play>,
    limit: Vec<String>,
    services: Option<Rollout>,
    promotion: Option<Promotion>,
) -> Result<u8> {
    let hosts = match limit.is_empty() {
        true => fleet.inventory.hosts().map(|host| host.name.clone()).collect(),
        false => limit.clone(),
    };
    resume::inputs_are_the_same(fleet, &hosts, services.as_ref())?;
    let services = services.map(Arc::new);
    let ready = |run: &str| {
        if flags.check {
            return Ok(());
        }
        if let Some(rollout) = &services {
            store_secrets(fleet, rollout)?;
        }
        if let (Some(lock), true) = (&fleet.lock, services.is_some()) {
            lock.write(&resume::digests_path(&fleet.runs, run))?;
        }
        Inputs::of(fleet, &hosts, services.as_deref(), Secrets::Stored)?.write(&fleet.runs, run)
    };
    let reporters = promotion.into_iter().map(|promotion| Box::new(promotion) as Box<dyn Reporter>).collect();
    let extent = Extent { services: services.clone().map(|rollout| rollout as _), reporters };
    execute_with(fleet, flags, plays, limit, extent, ready).await
}

/// What a run is about besides hosts and plays.
#[derive(Default)]
pub(super) struct Extent {
    /// What `include_services` means.
    pub services: Option<Arc<dyn Services>>,
    /// Who else wants to hear.
    pub reporters: Vec<Box<dyn Reporter>>,
}

/// The same with more to hear, and with `ready` as the last step before the first host is touched.
pub(super) async fn execute_with(
    fleet: &Fleet,
    flags: &RunFlags,
    plays: Vec<Play>,
    limit: Vec<String>,
    extent: Extent,
    ready: impl FnOnce(&str) -> Result<()>,
) -> Result<u8> {
    let run = journal::new_run_id(&fleet.runs);
    let job = job(fleet, flags, run.clone(), plays, limit, extent.services)?;
    engine::verify(&job)?;
    super::notify::hide(fleet);
    let journal = journal::Journal::create(&fleet.runs, &run)?;
    ready(&run).inspect_err(|_| journal::discard(&fleet.runs, &run))?;
    let mut reporters: Vec<Box<dyn Reporter>> = vec![Box::new(journal)];
    if flags.json {
        reporters.push(Box::new(json::Json));
    } else if std::io::stderr().is_terminal() && std::env::var_os("CI").is_none() {
        reporters.push(Box::new(progress::Progress::new(flags.verbose, flags.diff)));
    } else {
        reporters.push(Box::new(plain::Plain { verbose: flags.verbose, diff: flags.diff }));
    }
    reporters.extend(extent.reporters);
    let cancel = CancellationToken::new();
    let listening = tokio::spawn(listen_for_interrupts(cancel.clone()));
    let mut desk = Desk::new(reporters);
    let outcome = drive(job, cancel, |event| desk.event(&event)).await;
    let tally = desk.finish();
    listening.abort();
    let outcome = outcome.inspect_err(|_| journal::discard(&fleet.runs, &run))?;
    for line in summary::lines(&tally) {
        match flags.json {
            true => eprintln!("{line}"),
            false => println!("{line}"),
        }
    }
    if !flags.check {
        super::notify::after(fleet, &tally);
    }
    Ok(u8::try_from(outcome.exit_code).unwrap_or(1))
}

/// What the engine is given.
pub(super) fn job(
    fleet: &Fleet,
    flags: &RunFlags,
    run: String,
    plays: Vec<Play>,
    limit: Vec<String>,
    services: Option<Arc<dyn Services>>,
) -> Result<Job> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let mut extra_vars = fleet.extra_vars.clone();
    extra_vars.extend(services.iter().flat_map(|services| services.vars()));
    Ok(Job {
        run,
        plays,
        inventory: fleet.inventory.clone(),
        redactor: fleet.redactor.clone(),
        services,
        extra_vars,
        limit,
        check: flags.check,
        diff: flags.diff,
        forks: flags.forks.max(1),
        connects_at_once: flags.connects.unwrap_or(4 * cores).max(1),
        tags: flags.tags.clone(),
        skip_tags: flags.skip_tags.clone(),
        command: command_line(),
        become_password: fleet.sudo_password(flags.ask_become_pass)?,
        window: flags.window,
        grace: engine::GRACE,
        locks: Locks { kept: if flags.held { Kept::Own } else { flags.locks.kept }, ..flags.locks.clone() },
    })
}

pub(super) fn store_secrets(fleet: &Fleet, rollout: &Rollout) -> Result<()> {
    for file in rollout.store_secrets(&fleet.inventory, &fleet.identities)? {
        eprintln!("{}", style::dim(&format!("secrets of {file} generated and stored")));
    }
    Ok(())
}

/// Secrets that are going to be made need readers; said before anybody is asked to confirm.
pub(super) fn readers_are_known(fleet: &Fleet, rollout: &Rollout) -> Result<()> {
    if rollout.generates() { recipients(&fleet.inventory).map(drop) } else { Ok(()) }
}

/// Runs a job and hands every event of it on, to the last one.
pub(super) async fn drive(job: Job, cancel: CancellationToken, mut hear: impl FnMut(Event)) -> Result<engine::Summary> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut run = std::pin::pin!(engine::run(job, sender, cancel));
    let summary = loop {
        tokio::select! {
            biased;
            Some(event) = receiver.recv() => hear(event),
            summary = &mut run => break summary,
        }
    };
    while let Ok(event) = receiver.try_recv() {
        hear(event);
    }
    summary
}

/// The first Ctrl-C (or SIGTERM) lets what runs end; the second does not wait.
async fn listen_for_interrupts(cancel: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    for times in 1.. {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        if times == 1 {
            eprintln!("interrupted: what runs now is let end, nothing new starts (once more to leave at once)");
            cancel.cancel();
        } else {
            std::process::exit(130);
        }
    }
}

/// Reads a secret from the terminal without echo.
pub(super) fn ask_hidden(prompt: &str) -> Result<Secret> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(|_| {
        Error::new("there is no terminal to ask on")
            .hint("a sudo password may be the host's variable ansible_become_password")
    })?;
    let trouble = |error| Error::new(format!("cannot switch the terminal's echo off: {error}"));
    let before = tcgetattr(&terminal).map_err(trouble)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Now, &silent).map_err(trouble)?;
    eprint!("{prompt}: ");
    let mut line = String::new();
    let read = std::io::BufRead::read_line(&mut std::io::BufReader::new(&terminal), &mut line);
    tcsetattr(&terminal, OptionalActions::Now, &before).map_err(trouble)?;
    eprintln!();
    read.map_err(|error| Error::new(format!("cannot read it: {error}")))?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}
