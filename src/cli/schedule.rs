//! `provision schedule`: verbs that this machine starts by itself: a systemd timer (the user's own, or the system's for
//! root), or cron where systemd does not run. What is scheduled is a file in `schedules/`; the timer only says
//! `provision schedule run NAME`, which leaves out every client that is outside of its maintenance window.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::common::FleetFlags;
use super::schedule_unit::{self as unit, Starter};
use super::window::{When, Window};
use crate::error::{Error, Result};
use crate::plan::{Object, quote};
use crate::report::style::table;
use crate::services::world::host_scope;

/// Where schedules are kept, in the project's folder.
const FOLDER: &str = "schedules";

#[derive(Args)]
#[command(after_help = "Examples:
  provision schedule add nightly --verb update --on 'Sun 03:00' --host prod --window 02:00-05:00
  provision schedule add copies --verb backup --on 03:30 --all --timezone Europe/Madrid
  provision schedule add look --verb verify --on 'Mon-Fri 08:00' --all -- --security
  provision schedule list
  provision schedule run nightly --check        what it would start now, and who is left out
  provision schedule remove nightly

Run it in the project's folder. Clients outside of their variable `maintenance_window` ('02:00-05:00', 'Sat,Sun 22:00-04:00'; in
their `timezone`) are left out. Failures go where `notifications` says; runs that were missed are caught up (not by cron).")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// Schedule a verb, or change a schedule
    #[command(after_help = "Examples:
  provision schedule add nightly --verb update --on 'Sun 03:00' --host prod --window 02:00-05:00
  provision schedule add nightly --verb update --on 'Sun 04:00' --host prod -- --on-fail rollback")]
    Add {
        /// The schedule's name
        name: String,
        /// What to run: update, backup, verify, run …
        #[arg(long, value_name = "VERB")]
        verb: String,
        /// 'HH:MM', or days before it: 'Sun 03:00', 'Mon-Fri 08:00', 'Mon,Thu 22:30'
        #[arg(long, value_name = "WHEN")]
        on: String,
        /// Clients
        #[arg(long, value_name = "PATTERN", visible_alias = "limit")]
        host: Option<String>,
        /// Every client
        #[arg(long, conflicts_with = "host")]
        all: bool,
        /// Start nothing outside of these hours, whoever it is
        #[arg(long, value_name = "FROM-TO")]
        window: Option<String>,
        /// Of --on and --window [default: this machine's]
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
        /// Only say what would be written
        #[arg(short = 'C', long)]
        check: bool,
        /// More flags of the verb
        #[arg(last = true)]
        more: Vec<String>,
    },
    /// All schedules
    #[command(after_help = "Example:\n  provision schedule list")]
    List,
    /// One schedule and its timer
    #[command(after_help = "Example:\n  provision schedule show nightly")]
    Show {
        /// The schedule's name
        name: String,
    },
    /// Take a schedule away
    #[command(after_help = "Example:\n  provision schedule remove nightly")]
    Remove {
        /// The schedule's name
        name: String,
        /// Only say what would be removed
        #[arg(short = 'C', long)]
        check: bool,
    },
    /// Start it now, as the timer does
    #[command(after_help = "Examples:\n  provision schedule run nightly\n  provision schedule run nightly --check")]
    Run {
        /// The schedule's name
        name: String,
        /// Only say what would be started
        #[arg(short = 'C', long)]
        check: bool,
    },
}

/// What is scheduled.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedule {
    pub verb: String,
    pub on: String,
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Flags about the fleet, then those of the verb.
    #[serde(default)]
    pub args: Vec<String>,
}

pub fn main(flags: Flags) -> Result<u8> {
    match &flags.verb {
        Verb::Add { name, verb, on, host, all, window, timezone, check, more } => {
            let host = match (host, all) {
                (Some(host), _) => host.clone(),
                (None, true) => "all".to_owned(),
                (None, false) => return Err(Error::new("no client is named").hint("use --host PATTERN, or --all")),
            };
            let args = fleet_words(&flags.fleet).into_iter().chain(more.iter().cloned()).collect();
            let (verb, on) = (verb.clone(), on.clone());
            let schedule = Schedule { verb, on, host, window: window.clone(), timezone: timezone.clone(), args };
            add(&flags, name, &schedule, *check)
        }
        Verb::List => list(),
        Verb::Show { name } => {
            let schedule = read(name)?;
            println!("{}", serde_json::to_string_pretty(&schedule).map_err(|error| Error::new(error.to_string()))?);
            Starter::here()
                .files(name, &schedule)?
                .iter()
                .for_each(|(path, text)| println!("\n{}\n{text}", path.display()));
            Ok(0)
        }
        Verb::Remove { name, check } => {
            let schedule = read(name)?;
            let starter = Starter::here();
            for (path, _) in starter.files(name, &schedule)? {
                println!("{} {}", if *check { "would remove" } else { "removed" }, path.display());
            }
            if !check {
                starter.remove(name, &schedule)?;
                let path = file(name)?;
                std::fs::remove_file(&path)
                    .map_err(|error| Error::new(format!("cannot remove `{}`: {error}", path.display())))?;
            }
            Ok(0)
        }
        Verb::Run { name, check } => run(&flags, name, *check),
    }
}

/// The flags about the fleet, as words for the run that the timer starts. Secrets in `-e` would be in a file, so that
/// they are not taken along.
fn fleet_words(flags: &FleetFlags) -> Vec<String> {
    let mut words = Vec::new();
    let mut add = |flag: &str, path: &Path| words.extend([flag.to_owned(), path.display().to_string()]);
    flags.inventory.iter().filter(|path| path.as_os_str() != "inventory").for_each(|path| add("-i", path));
    flags.identity.iter().for_each(|path| add("--identity", path));
    flags.registry.iter().for_each(|path| add("--registry", path));
    if flags.runs_dir.as_os_str() != "runs" {
        add("--runs-dir", &flags.runs_dir);
    }
    words
}

fn file(name: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(Error::new(format!("`{name}` cannot name a schedule")).hint("lowercase letters, digits and `-`"));
    }
    Ok(Path::new(FOLDER).join(format!("{name}.json")))
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".json")?.to_owned())).collect();
    names.sort();
    names
}

fn read(name: &str) -> Result<Schedule> {
    let path = file(name)?;
    let text = std::fs::read_to_string(&path).map_err(|_| {
        let known = names();
        Error::new(format!("there is no schedule `{name}` in this folder"))
            .hint(if known.is_empty() { "it has none".to_owned() } else { format!("it has: {}", known.join(", ")) })
            .did_you_mean(name, known.iter().map(String::as_str))
    })?;
    serde_json::from_str(&text).map_err(|error| Error::new(format!("{}:{}: {error}", path.display(), error.line())))
}

/// The verb's command line for these clients, as the program itself would take it.
fn words(schedule: &Schedule, hosts: &str) -> Vec<String> {
    let mut words: Vec<String> = match schedule.verb.as_str() {
        // rolling out is what happens without a verb
        "rollout" => Vec::new(),
        verb => verb.split_whitespace().map(str::to_owned).collect(),
    };
    let command = super::command();
    let sub = command.find_subcommand(schedule.verb.split_whitespace().next().unwrap_or_default());
    let takes = |id: &str| sub.unwrap_or(&command).get_arguments().any(|arg| arg.get_id() == id);
    words.extend(schedule.args.iter().cloned());
    words.push(if takes("limit") && !takes("host") { "--limit" } else { "--host" }.to_owned());
    words.push(hosts.to_owned());
    if takes("yes") {
        words.push("--yes".to_owned());
    }
    words
}

fn add(flags: &Flags, name: &str, schedule: &Schedule, check: bool) -> Result<u8> {
    let path = file(name)?;
    schedule.on.parse::<When>()?;
    if let Some(window) = &schedule.window {
        window.parse::<Window>()?;
    }
    unit::zone(schedule.timezone.as_deref())?;
    flags.fleet.load()?.select(&schedule.host)?;
    let line = std::iter::once("provision".to_owned()).chain(words(schedule, &schedule.host));
    super::command().try_get_matches_from(line).map_err(|error| {
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
        Error::new(format!("`{}` would not start: {first}", schedule.verb))
            .hint(tip.unwrap_or("flags of the verb come last, behind `--`"))
    })?;
    let starter = Starter::here();
    let files = starter.files(name, schedule)?;
    let text = format!("{}\n", serde_json::to_string_pretty(schedule).map_err(|error| Error::new(error.to_string()))?);
    let same = |path: &Path, text: &str| std::fs::read_to_string(path).is_ok_and(|old| old == text);
    if same(&path, &text) && files.iter().all(|(path, text)| starter.has(path, text)) {
        println!("{name} is scheduled already");
        return Ok(0);
    }
    for (path, _) in &files {
        println!("{} {}", if check { "would write" } else { "wrote" }, path.display());
    }
    if check {
        return Ok(0);
    }
    std::fs::create_dir_all(FOLDER)
        .and_then(|()| unit::write(&path, &text))
        .map_err(|error| Error::new(format!("cannot write `{}`: {error}", path.display())))?;
    starter.add(name, schedule)?;
    println!("{name}: {} {}; {}", schedule.verb, schedule.on, starter.next(name));
    Ok(0)
}

fn list() -> Result<u8> {
    let starter = Starter::here();
    let mut rows = vec![["NAME", "WHAT", "ON", "CLIENTS", "WINDOW", "NEXT"].map(str::to_owned).to_vec()];
    for name in names() {
        let schedule = read(&name)?;
        let zone = schedule.timezone.iter().map(|zone| format!(" {zone}")).collect::<String>();
        let next = starter.next(&name);
        rows.push(vec![
            name,
            schedule.verb,
            schedule.on + &zone,
            schedule.host,
            schedule.window.unwrap_or_default(),
            next,
        ]);
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    Ok(0)
}

fn run(flags: &Flags, name: &str, check: bool) -> Result<u8> {
    let schedule = read(name)?;
    // two of one schedule at once would do everything twice
    let lock = std::fs::File::create(Path::new(FOLDER).join(format!(".{name}.lock")))
        .map_err(|error| Error::new(format!("cannot lock the schedule: {error}")))?;
    if lock.try_lock().is_err() {
        println!("schedule {name}: the run before is still going on; this one is left out");
        return Ok(0);
    }
    let fleet = flags.fleet.load()?;
    let now = jiff::Timestamp::now();
    if let Some(window) = &schedule.window {
        let zone = unit::zone(schedule.timezone.as_deref())?;
        if !window.parse::<Window>()?.holds(&now.to_zoned(zone.clone())) {
            println!(
                "schedule {name}: nothing is started outside of {window} ({})",
                zone.iana_name().unwrap_or("this machine's time")
            );
            return Ok(0);
        }
    }
    let mut hosts = Vec::new();
    for host in fleet.select(&schedule.host)? {
        match outside(&fleet, &host, now)? {
            Some(why) => println!("{host} is left out: {why}"),
            None => hosts.push(host),
        }
    }
    if hosts.is_empty() {
        println!("schedule {name}: no client is left");
        return Ok(0);
    }
    let words = words(&schedule, &hosts.join(","));
    println!("provision {}", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "));
    if check {
        return Ok(0);
    }
    let _ = std::io::stdout().flush();
    let program = std::env::current_exe().map_err(|error| Error::new(format!("cannot find this program: {error}")))?;
    let ended = Command::new(program)
        .args(&words)
        .env(super::notify::SCHEDULE, name)
        .stdin(Stdio::null())
        .status()
        .map_err(|error| Error::new(format!("cannot start: {error}")))?;
    let code = ended.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    // a run that never was one has told nobody
    // (3: `--detailed-exitcode`, which has told its own)
    if !matches!(code, 0 | 1 | 3 | 130) {
        super::notify::not_started(&fleet, &hosts, name, code);
    }
    Ok(code)
}

/// Why nothing may be done on a client now.
fn outside(fleet: &super::common::Fleet, host: &str, now: jiff::Timestamp) -> Result<Option<String>> {
    let scope = host_scope(&fleet.inventory, host, &Object::new());
    let text = |name: &str| -> Result<Option<String>> {
        let fault = |fault: crate::vars::Fault| Error::new(format!("host `{host}`: {}", fault.text));
        Ok(scope.get(name).map_err(fault)?.and_then(|value| value.as_str().map(str::to_owned)))
    };
    let Some(window) = text("maintenance_window")? else { return Ok(None) };
    let named = |error: Error| error.context(format!("host `{host}`: maintenance_window"));
    let (zone, parsed) =
        (unit::zone(text("timezone")?.as_deref()).map_err(named)?, window.parse::<Window>().map_err(named)?);
    let there = now.to_zoned(zone);
    let clock = there.strftime("%a %H:%M %Z").to_string();
    Ok((!parsed.holds(&there)).then(|| format!("its maintenance window is {window}, and it is {clock} there")))
}
