//! `provision notify`: where messages about runs go, and whether they arrive; and the telling itself, after each run.
//!
//! Destinations are the hosts' variable `notifications`; what is secret about them is in
//! `vps_data/controller/notifications.env.age` and reached as `{{ secrets.NAME }}`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Place, Result};
use crate::plan::Object;
use crate::report::Tally;
use crate::report::notify::{Destination, Message, Occasion, Told, news, send};
use crate::report::style::{self, table};
use crate::secrets::EnvFile;
use crate::services::settings::env_path;
use crate::services::world::host_scope;
use crate::vars::Layer;

/// In place of a client's name: secrets of the operator's side.
pub(super) const CONTROLLER: &str = "controller";
/// The file of secrets that destinations may use.
pub(super) const SECRETS: &str = "notifications";
/// Set by a schedule for the run that it starts.
pub(super) const SCHEDULE: &str = "PROVISION_SCHEDULE";

#[derive(Args)]
#[command(after_help = "Examples:
  provision notify list                      where messages go, and about which clients
  provision notify test                      one message to each of them
  provision notify test --name ops
  printf %s \"$URL\" | provision secrets set notifications/SLACK_URL --host controller

In group_vars/all.yml, or for some clients only:
  notifications:
    - {name: ops, kind: slack, url: \"{{ secrets.SLACK_URL }}\", events: [failure, recovery]}
Kinds: webhook, slack, discord, telegram, ntfy, email. See docs/notifications.md.")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// Where messages go
    #[command(after_help = "Example:\n  provision notify list --host prod")]
    List {
        /// Clients
        #[arg(long, value_name = "PATTERN", default_value = "all")]
        host: String,
    },
    /// Send one message to each destination
    #[command(after_help = "Examples:\n  provision notify test\n  provision notify test --name ops")]
    Test {
        /// Clients
        #[arg(long, value_name = "PATTERN", default_value = "all")]
        host: String,
        /// Only the destination of this name
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
}

/// A destination and the clients it hears about.
struct Listener {
    destination: Destination,
    hosts: BTreeSet<String>,
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    match &flags.verb {
        Verb::List { host } => {
            let mut rows = vec![["NAME", "KIND", "EVENTS", "CLIENTS"].map(str::to_owned).to_vec()];
            for Listener { destination, hosts } in listeners(&fleet, &fleet.select(host)?)? {
                let on = serde_json::to_value(&destination.events).unwrap_or_default();
                let on: Vec<&str> = on.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                rows.push(vec![
                    destination.name.clone(),
                    destination.kind.word().to_owned(),
                    on.join(", "),
                    hosts.join(", "),
                ]);
            }
            table(&rows).iter().for_each(|line| println!("{line}"));
            Ok(0)
        }
        Verb::Test { host, name } => test(&fleet, host, name.as_deref()),
    }
}

fn test(fleet: &Fleet, pattern: &str, name: Option<&str>) -> Result<u8> {
    let mut all = listeners(fleet, &fleet.select(pattern)?)?;
    let names: Vec<String> = all.iter().map(|one| one.destination.name.clone()).collect();
    all.retain(|one| name.is_none_or(|name| one.destination.name == name));
    if all.is_empty() {
        return Err(match name {
            Some(name) => Error::new(format!("no destination is called `{name}`"))
                .did_you_mean(name, names.iter().map(String::as_str)),
            None => Error::new("these clients have no `notifications`")
                .hint("`provision notify --help` shows how they are written into group_vars/all.yml"),
        });
    }
    let messages: Vec<(Destination, Vec<Message>)> = all
        .into_iter()
        .map(|Listener { destination, hosts }| {
            let title = format!("provision: a test, about {} clients", hosts.len());
            let text = "If you can read this, messages arrive.".to_owned();
            (destination, vec![Message { occasion: Occasion::Test, title, text, facts: json!({"hosts": hosts}) }])
        })
        .collect();
    let mut code = 0;
    for (destination, came_of_it) in deliver(messages) {
        match came_of_it {
            Ok(()) => println!("{}: delivered", destination.shown()),
            Err(why) => {
                code = 1;
                println!("{}: not delivered: {}", destination.shown(), fleet.redactor.text(&why));
            }
        }
    }
    Ok(code)
}

/// Lets the redactor know the secrets of destinations before a run can show one of them.
pub(super) fn hide(fleet: &Fleet) {
    if let Err(error) = stored(fleet) {
        tracing::warn!("notifications: {error}");
    }
}

/// Tells what is new after a run. Nothing here changes how the run ended: what goes wrong is a line on stderr.
pub(super) fn after(fleet: &Fleet, tally: &Tally) {
    let hosts: Vec<String> = tally.hosts.keys().cloned().collect();
    let warn = |text: &str| eprintln!("{}", style::yellow(&format!("notifications: {}", fleet.redactor.text(text))));
    let all = match listeners(fleet, &hosts) {
        Ok(all) if all.is_empty() => return,
        Ok(all) => all,
        Err(error) => return warn(&error.to_string()),
    };
    let file = fleet.runs.join(".told.json");
    let before: Told =
        std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let schedule = std::env::var(SCHEDULE).ok().filter(|name| !name.is_empty());
    let mut told = before.clone();
    let (mut due, mut versions) = (Vec::new(), Vec::new());
    for Listener { destination, hosts } in all {
        let old = told.clone();
        let mut messages = news(tally, &destination, &hosts, schedule.as_deref(), &mut told);
        for message in &mut messages {
            message.title = fleet.redactor.text(&message.title).into_owned();
            message.text = fleet.redactor.text(&message.text).into_owned();
            fleet.redactor.value(&mut message.facts);
        }
        versions.push(old);
        due.push((destination, messages));
    }
    for ((destination, came_of_it), old) in deliver(due).into_iter().zip(versions) {
        if let Err(why) = came_of_it {
            warn(&format!("{}: not delivered: {why}; it is told with the next run", destination.shown()));
            told.forget(&old, &destination);
        }
    }
    if told != before
        && let Err(error) = write(&file, &told)
    {
        warn(&format!("cannot note what was told in `{}`: {error}", file.display()));
    }
}

/// Tells what newer images a schedule found, by host and line; the same is told once.
pub(super) fn newer(fleet: &Fleet, found: &[(String, String)]) {
    let Some(schedule) = std::env::var(SCHEDULE).ok().filter(|name| !name.is_empty()) else { return };
    let warn = |text: &str| eprintln!("{}", style::yellow(&format!("notifications: {}", fleet.redactor.text(text))));
    let file = fleet.runs.join(".newer.json");
    let read = |text: Vec<u8>| serde_json::from_slice::<BTreeMap<String, BTreeSet<String>>>(&text).ok();
    let mut told = std::fs::read(&file).ok().and_then(read).unwrap_or_default();
    let hosts: BTreeSet<String> = found.iter().map(|(host, _)| host.clone()).collect();
    let all = match listeners(fleet, &hosts.into_iter().collect::<Vec<_>>()) {
        Ok(all) => all,
        Err(error) => return warn(&error.to_string()),
    };
    let mut due = Vec::new();
    for Listener { destination, hosts } in all {
        let lines: BTreeSet<String> =
            found.iter().filter(|(host, _)| hosts.contains(host)).map(|(_, line)| line.clone()).collect();
        let known = told.get(&destination.shown()).is_some_and(|before| lines.is_subset(before));
        if destination.events.contains(&Occasion::Schedule) && !known {
            let title = format!("schedule {schedule}: newer images for {} services", lines.len());
            let text = lines.iter().cloned().collect::<Vec<_>>().join("\n");
            let facts = json!({"schedule": schedule, "newer": lines});
            told.insert(destination.shown(), lines);
            due.push((destination, vec![Message { occasion: Occasion::Schedule, title, text, facts }]));
        }
    }
    for (destination, came_of_it) in deliver(due) {
        if let Err(why) = came_of_it {
            warn(&format!("{}: not delivered: {why}; it is told with the next look", destination.shown()));
            told.remove(&destination.shown());
        }
    }
    let written = serde_json::to_vec(&told).map_err(std::io::Error::from);
    let written = written.and_then(|text| {
        std::fs::create_dir_all(&fleet.runs)?;
        std::fs::write(&file, text)
    });
    if let Err(error) = written {
        warn(&format!("cannot note what was told in `{}`: {error}", file.display()));
    }
}

/// Tells that a schedule's run did not even begin.
pub(super) fn not_started(fleet: &Fleet, hosts: &[String], schedule: &str, code: u8) {
    let warn = |text: &str| eprintln!("notifications: {}", fleet.redactor.text(text));
    let all = match listeners(fleet, hosts) {
        Ok(all) => all,
        Err(error) => return warn(&error.to_string()),
    };
    let message = Message {
        occasion: Occasion::Failure,
        title: format!("schedule {schedule} could not start"),
        text: format!(
            "provision ended with {code} before any client was touched; its log on the operator's machine says why"
        ),
        facts: json!({"schedule": schedule, "exit_code": code, "hosts": hosts}),
    };
    let wants = |listener: &Listener| listener.destination.events.contains(&Occasion::Failure);
    let due = all.into_iter().filter(wants).map(|one| (one.destination, vec![message.clone()])).collect();
    for (destination, came_of_it) in deliver(due) {
        if let Err(why) = came_of_it {
            warn(&format!("{}: not delivered: {why}", destination.shown()));
        }
    }
}

fn write(file: &Path, told: &Told) -> std::io::Result<()> {
    let folder = file.parent().map(PathBuf::from).unwrap_or_default();
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer(&mut temporary, told)?;
    temporary.persist(file).map(drop).map_err(|error| error.error)
}

/// All at once; each destination's in their order, up to the first that does not arrive.
fn deliver(due: Vec<(Destination, Vec<Message>)>) -> Vec<(Destination, std::result::Result<(), String>)> {
    let one = |(destination, messages): (Destination, Vec<Message>)| {
        let came_of_it = messages.iter().try_for_each(|message| send::send(&destination, message));
        (destination, came_of_it)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = due.into_iter().map(|due| scope.spawn(move || one(due))).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

/// Everybody who hears about these hosts.
fn listeners(fleet: &Fleet, hosts: &[String]) -> Result<Vec<Listener>> {
    let mut found: BTreeMap<String, Listener> = BTreeMap::new();
    let mut secrets: Option<Object> = None;
    for host in hosts {
        let mut scope = host_scope(&fleet.inventory, host, &fleet.extra_vars);
        if !scope.has("notifications") {
            continue;
        }
        let secrets = match &secrets {
            Some(secrets) => secrets.clone(),
            None => secrets.insert(stored(fleet)?).clone(),
        };
        scope.push(Layer::raw(Object::from_iter([("secrets".to_owned(), Value::Object(secrets))])));
        let place = || place(fleet, host);
        let located = |text: String| Error { place: place(), ..Error::new(text) };
        let value = scope
            .get("notifications")
            .map_err(|fault| Error { hint: fault.hint, ..located(format!("notifications: {}", fault.text)) })?;
        let Some(Value::Array(list)) = value else {
            return Err(located("`notifications` is a list of destinations".to_owned()));
        };
        for (index, one) in list.into_iter().enumerate() {
            let key = one.to_string();
            let destination: Destination =
                serde_json::from_value(one).map_err(|error| located(format!("notifications[{index}]: {error}")))?;
            if let Some(missing) = destination.missing() {
                let text = format!("notifications[{index}]: {} needs `{missing}`", destination.kind.word());
                return Err(located(text));
            }
            found
                .entry(key)
                .or_insert_with(|| Listener { destination, hosts: BTreeSet::new() })
                .hosts
                .insert(host.clone());
        }
    }
    Ok(found.into_values().collect())
}

fn place(fleet: &Fleet, host: &str) -> Option<Place> {
    fleet.inventory.layers(host).iter().rev().find_map(|layer| layer.place(&["notifications"]).cloned())
}

fn stored(fleet: &Fleet) -> Result<Object> {
    let file = EnvFile::load(&env_path(&fleet.inventory, CONTROLLER, SECRETS), &fleet.identities)?;
    file.iter().for_each(|(_, value)| fleet.redactor.add(value.reveal()));
    Ok(file.iter().map(|(key, value)| (key.to_owned(), Value::from(value.reveal()))).collect())
}
