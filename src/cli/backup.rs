//! `provision backup`: takes what the packages declare, on the clients' own hosts; lists, checks and prunes what was
//! taken; puts the daily backup on the hosts.

use clap::{Args, Subcommand};
use indexmap::IndexMap;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use super::execute::drive;
use super::slice::{Book, SliceFlags, load_book};
use crate::engine::Job;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Status};
use crate::plan::Object;
use crate::report::style::{self, bold, table};
use crate::services::Rollout;

#[derive(Args)]
#[command(after_help = "Examples:
  provision backup --host clienteA                      every declared service and what they need
  provision backup --host clienteA --services hub,chat
  provision backup --all --yes                          every client
  provision backup --host clienteA --pull               and bring an encrypted copy here
  provision backup list --host clienteA
  provision backup schedule --all                       daily, without this machine

What a service's backup is made of stands in its package, where it goes in the client's variables: docs/backup.md.")]
pub struct Flags {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    slice: SliceFlags,
    /// Also fetch a copy, encrypted for those who may read the inventory's secrets, into this folder
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "backups")]
    pull: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// What backups there are
    #[command(
        visible_alias = "listar",
        after_help = "Example:\n  provision backup list --host clienteA --services hub"
    )]
    List {
        /// One JSON object per backup
        #[arg(long = "lines")]
        lines: bool,
    },
    /// Remove old backups: what the retention does not keep, or what is older than a day
    #[command(
        visible_alias = "limpiar",
        after_help = "Examples:
  provision backup prune --host clienteA
  provision backup prune --host clienteA --before 2026-01-01"
    )]
    Prune {
        /// A day, e.g. 2026-01-01; the newest backup stays in any case
        #[arg(long, value_name = "DAY", value_parser = day)]
        before: Option<String>,
    },
    /// Read backups back: archives wholly, repositories in part
    #[command(
        visible_alias = "comprobar",
        after_help = "Example:\n  provision backup check --host clienteA --part 10%"
    )]
    Check {
        /// How much of a repository's data is read: 5%, 1/7, 2G
        #[arg(long, value_name = "PART", default_value = "5%", value_parser = part)]
        part: String,
    },
    /// Let the hosts take the declared backups daily by themselves
    #[command(
        visible_alias = "programar",
        after_help = "Examples:
  provision backup schedule --all
  provision backup schedule --host clienteA --rehearse Sun
  provision backup schedule --host clienteA --off"
    )]
    Schedule {
        /// Take the schedule away
        #[arg(long)]
        off: bool,
        /// Also rehearse restoring, after the backup of this weekday
        #[arg(long, value_name = "DAY", value_parser = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"], conflicts_with = "off")]
        rehearse: Option<String>,
    },
}

fn day(text: &str) -> std::result::Result<String, String> {
    let parts: Vec<&str> = text.split('-').collect();
    let shape = parts.iter().map(|part| part.len()).collect::<Vec<_>>() == [4, 2, 2];
    let digits = text.chars().all(|c| c.is_ascii_digit() || c == '-');
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    match shape && digits && (1..=12).contains(&number(1)) && (1..=31).contains(&number(2)) {
        true => Ok(text.to_owned()),
        false => Err("write a day as 2026-01-31".to_owned()),
    }
}

fn part(text: &str) -> std::result::Result<String, String> {
    let known = text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_digit() || "%/.KMGT".contains(c));
    if known { Ok(text.to_owned()) } else { Err("write it as 5%, 1/7 or 2G".to_owned()) }
}

pub async fn main(flags: Flags) -> Result<u8> {
    if flags.pull.is_some() || flags.verb.is_some() {
        flags.slice.stays("this brings something to this machine")?;
    }
    let (fleet, hosts) = flags.slice.load()?;
    let rollout = flags.slice.prepare_data(&fleet, &hosts)?.without_new_secrets();
    let (playbook, vars, question) = match &flags.verb {
        Some(Verb::List { lines }) => return list(&fleet, hosts, rollout, *lines).await,
        None => {
            let pull = flags.pull.iter().map(|folder| ("backup_copies".to_owned(), Value::from(folder.as_str())));
            ("playbooks/backup.yml", pull.collect(), "¿Hacer la copia de seguridad?")
        }
        Some(Verb::Prune { before }) => {
            let before = before.iter().map(|day| ("backup_before".to_owned(), Value::from(day.as_str())));
            ("playbooks/backup_prune.yml", before.collect(), "¿Eliminar copias antiguas?")
        }
        Some(Verb::Check { part }) => {
            let part = ("backup_part".to_owned(), Value::from(part.as_str()));
            ("playbooks/backup_check.yml", Object::from_iter([part]), "¿Comprobar las copias?")
        }
        Some(Verb::Schedule { off, rehearse }) => {
            let state = if *off { "absent" } else { "present" };
            let mut vars = Object::from_iter([("backup_schedule".to_owned(), Value::from(state))]);
            vars.extend(rehearse.iter().map(|day| ("backup_rehearse".to_owned(), Value::from(day.as_str()))));
            ("playbooks/backup_schedule.yml", vars, "¿Programar la copia diaria?")
        }
    };
    say_where(&rollout);
    let mut slice = flags.slice.clone();
    // looking needs no leave
    slice.yes |= matches!(flags.verb, Some(Verb::Check { .. }));
    let book = Book { playbook, vars, skip_tags: &[], question };
    slice.perform(fleet, hosts, rollout, &book).await
}

/// Destinations and retention, before anybody is asked to confirm.
fn say_where(rollout: &Rollout) {
    for host in rollout.hosts.values() {
        for service in &host.services {
            let plan = service.vars.get("service").and_then(|vars| vars.pointer("/backup/plan")?.as_array());
            let said = match plan.filter(|plan| !plan.is_empty()) {
                Some(plan) => plan.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
                None => "its package declares no backup".to_owned(),
            };
            eprintln!("{}", style::dim(&format!("{}/{}: {said}", host.host, service.id)));
        }
    }
}

/// One backup that there is.
struct Kept {
    host: String,
    service: String,
    place: &'static str,
    id: String,
    at: String,
    size: u64,
    reason: String,
}

async fn list(fleet: &Fleet, hosts: Vec<String>, rollout: Rollout, lines: bool) -> Result<u8> {
    let mut kept = Vec::new();
    let mut code = 0;
    for ((host, service), said) in look(fleet, hosts, rollout, "playbooks/backup_list.yml").await? {
        match said {
            Ok(text) => kept.extend(read(&host, &service, &text)),
            Err(trouble) => {
                code = 1;
                eprintln!("{host} {service}: {trouble}");
            }
        }
    }
    kept.sort_by(|a, b| (&a.host, &a.service, &a.at).cmp(&(&b.host, &b.service, &b.at)));
    let mut rows =
        vec![["CLIENT", "SERVICE", "WHERE", "ID", "TAKEN (UTC)", "BYTES", "WHY"].map(str::to_owned).to_vec()];
    for one in kept {
        if lines {
            println!(
                "{}",
                serde_json::json!({"host": one.host, "service": one.service, "where": one.place, "id": one.id, "at": one.at, "size": one.size, "reason": one.reason})
            );
        } else {
            rows.push(vec![
                one.host,
                one.service,
                one.place.to_owned(),
                one.id,
                one.at,
                one.size.to_string(),
                one.reason,
            ]);
        }
    }
    if !lines {
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { line });
        }
    }
    Ok(code)
}

/// What the script's `list` says of one service.
fn read(host: &str, service: &str, text: &str) -> Vec<Kept> {
    let mut found = Vec::new();
    let mut add = |place, id: &str, at: String, size, reason: &str| {
        let (host, service, id, reason) = (host.to_owned(), service.to_owned(), id.to_owned(), reason.to_owned());
        found.push(Kept { host, service, place, id, at, size, reason });
    };
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("@local ") {
            let mut words = words.splitn(3, ' ');
            let (name, size) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let taken = name.strip_prefix("backup_").and_then(|rest| rest.get(..15)).map(written).unwrap_or_default();
            add("local", name, taken, size.parse().unwrap_or(0), words.next().unwrap_or_default().trim());
        } else if let Some(json) = line.strip_prefix("@restic ") {
            let snapshots: Vec<Value> = serde_json::from_str(json).unwrap_or_default();
            for snapshot in snapshots {
                let word = |key: &str| snapshot.get(key).and_then(Value::as_str).unwrap_or_default();
                let at = word("time").get(..19).unwrap_or_default().replace('T', " ");
                let size = snapshot.pointer("/summary/total_bytes_processed").and_then(Value::as_u64).unwrap_or(0);
                add("restic", word("short_id"), at, size, "");
            }
        }
    }
    found
}

/// `20261125_031500` → `2026-11-25 03:15:00`
fn written(stamp: &str) -> String {
    let piece = |from: usize, to: usize| stamp.get(from..to).unwrap_or_default();
    format!("{}-{}-{} {}:{}:{}", piece(0, 4), piece(4, 6), piece(6, 8), piece(9, 11), piece(11, 13), piece(13, 15))
}

pub(super) type Said = IndexMap<(String, String), std::result::Result<String, String>>;

/// Runs a playbook that only looks; what the task of each service said, or why it said nothing.
pub(super) async fn look(fleet: &Fleet, hosts: Vec<String>, rollout: Rollout, playbook: &str) -> Result<Said> {
    let job = Job {
        run: "backup".to_owned(),
        plays: load_book(playbook)?,
        inventory: fleet.inventory.clone(),
        redactor: fleet.redactor.clone(),
        services: Some(std::sync::Arc::new(rollout)),
        extra_vars: fleet.extra_vars.clone(),
        limit: hosts,
        check: true,
        diff: false,
        forks: 50,
        connects_at_once: 4 * std::thread::available_parallelism().map_or(2, usize::from),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        command: Vec::new(),
        become_password: None,
        window: 0,
        grace: crate::engine::GRACE,
        locks: crate::engine::Locks::default(),
    };
    let mut said = IndexMap::new();
    let hear = |event: Event| {
        let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
        let service = task.service.unwrap_or_default();
        match outcome.status {
            Status::Ok | Status::Changed if !service.is_empty() => {
                said.insert((host, service), Ok(outcome.text("stdout").to_owned()));
            }
            Status::Ok | Status::Changed | Status::Skipped => {}
            _ => {
                said.insert((host, service), Err(super::look::why(&outcome)));
            }
        }
    };
    drive(job, CancellationToken::new(), hear).await?;
    if said.is_empty() {
        return Err(Error::new("none of the chosen services declares a backup"));
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_lists_is_read() {
        let text = "@local backup_20261125_031500.sql.zip 123 before restoring restic 1234\n@local backup_20261126_031500.zip 5 \n\
            @restic [{\"time\":\"2026-11-25T03:15:02.5Z\",\"short_id\":\"ab12cd34\",\"summary\":{\"total_bytes_processed\":77}}]\n";
        let rows: Vec<_> =
            read("a", "hub", text).into_iter().map(|k| (k.place, k.id, k.at, k.size, k.reason)).collect();
        let row = |place, id: &str, at: &str, size, reason: &str| {
            (place, id.to_owned(), at.to_owned(), size, reason.to_owned())
        };
        assert_eq!(
            rows,
            [
                row(
                    "local",
                    "backup_20261125_031500.sql.zip",
                    "2026-11-25 03:15:00",
                    123,
                    "before restoring restic 1234"
                ),
                row("local", "backup_20261126_031500.zip", "2026-11-26 03:15:00", 5, ""),
                row("restic", "ab12cd34", "2026-11-25 03:15:02", 77, ""),
            ]
        );
    }

    #[test]
    fn days_and_parts_are_looked_at() {
        assert!(day("2026-01-31").is_ok() && part("5%").is_ok() && part("1/7").is_ok());
        for wrong in ["yesterday", "2026-1-1", "2026-13-01", "20260101", "2026-01-0x"] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
        assert!(part("all").is_err() && part("--x").is_err());
    }
}
