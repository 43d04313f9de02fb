//! `provision lock`: who works on a client, and what operators keep for a while. Holds are files on the hosts; every run
//! looks at them when it takes the host's lock.

use clap::{Args, Subcommand};
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::common::{Fleet, confirm};
use super::execute::execute;
use super::slice::{SliceFlags, load_book};
use super::status::ask;
use crate::engine::{Kept, owner};
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::report::style::{bold, table};

#[derive(Args)]
#[command(after_help = "Examples:
  provision lock status                                                        who works where, what is held
  provision lock hold --host clienteA --until 18:00 --reason 'demo at noon'    nobody changes it meanwhile
  provision lock hold --host clienteA --services chat --until 2h --reason 'migration by hand'
  provision lock release --host clienteA                                       what you hold there
  provision lock steal --host clienteA --reason 'Ana is on holiday'            ends another's run and hold

Every run locks all its clients before it touches one, or none of them. Without --services a hold is on the whole client.")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    slice: SliceFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// Who works on the clients, and what is held
    #[command(visible_alias = "estado", after_help = "Example:\n  provision lock status --host clienteA")]
    Status,
    /// No verb changes the clients, or their services, until then
    #[command(
        visible_alias = "retener",
        after_help = "Examples:
  provision lock hold --host clienteA --until 18:00 --reason 'demo at noon'
  provision lock hold --all --until 2026-12-24T08:00 --reason 'no changes before Christmas'

You yourself go on with --held. The hold ends by itself; the same again changes nothing."
    )]
    Hold {
        /// 18:00, 30m, 2h, 3d, 2026-12-24T08:00
        #[arg(long, value_name = "TIME")]
        until: String,
        /// Shown to whoever is refused
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// What you hold is free again
    #[command(
        visible_alias = "soltar",
        after_help = "Example:\n  provision lock release --host clienteA --services chat"
    )]
    Release,
    /// Another's run is ended, what another holds becomes yours
    #[command(
        visible_alias = "tomar",
        after_help = "Example:
  provision lock steal --host clienteA --reason 'Ana is on holiday' --until 1h

The task that the other run is doing right now is let come to its end, nothing of it begins after that."
    )]
    Steal {
        /// Until when you keep it yourself: as with hold
        #[arg(long, value_name = "TIME", default_value = "15m")]
        until: String,
        /// Shown to whoever comes next, the one it was taken from as well
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// How long the other's task of now may take to end, in seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 120)]
        wait: u64,
    },
}

pub async fn main(flags: Flags) -> Result<u8> {
    let mut slice = flags.slice;
    slice.stays("a lock is taken at once")?;
    if matches!(flags.verb, Verb::Status) {
        slice.all |= slice.host.is_none();
    }
    let (fleet, hosts) = slice.load()?;
    fleet.sudo_password(slice.run.ask_become_pass)?;
    let names = names(&fleet, slice.services.as_deref())?;
    match flags.verb {
        Verb::Status => status(&fleet, &hosts, slice.run.json).await,
        Verb::Hold { until, reason } => {
            let vars = hold_vars(&names, &until, &reason)?;
            slice.run.locks.kept = Kept::Own;
            let code = perform(fleet, &slice, &hosts, &names, vars, &["playbooks/lock_hold.yml"]).await?;
            if code != 0 && !slice.run.check && hosts.len() > 1 {
                eprintln!(
                    "not all clients could be held; `provision lock status` shows which are, `provision lock release` frees them"
                );
            }
            Ok(code)
        }
        Verb::Release => {
            let chosen = if slice.services.is_some() { names.clone() } else { Vec::new() };
            let vars = Object::from_iter([
                ("lock_names".to_owned(), Value::from(chosen)),
                ("lock_owner".to_owned(), Value::from(owner())),
            ]);
            slice.run.locks.kept = Kept::Anybodys;
            perform(fleet, &slice, &hosts, &names, vars, &["playbooks/lock_release.yml"]).await
        }
        Verb::Steal { until, reason, wait } => {
            let mut vars = hold_vars(&names, &until, &reason)?;
            vars.insert("lock_force".to_owned(), Value::from(true));
            status(&fleet, &hosts, false).await?;
            if !slice.run.check && !slice.yes && !confirm("¿Quitárselo a quien lo tiene?")? {
                eprintln!("nothing was touched");
                return Ok(0);
            }
            slice.run.locks.kept = Kept::Anybodys;
            slice.run.locks.steal = Some(wait.max(1));
            let books = ["playbooks/lock_release.yml", "playbooks/lock_hold.yml"];
            perform(fleet, &slice, &hosts, &names, vars, &books).await
        }
    }
}

/// The holds that are meant: the whole host, or services by their full names.
fn names(fleet: &Fleet, services: Option<&[String]>) -> Result<Vec<String>> {
    match services {
        None => Ok(vec!["host".to_owned()]),
        Some(services) => services.iter().map(|name| Ok(fleet.catalogue.instance(name)?.to_string())).collect(),
    }
}

fn hold_vars(names: &[String], until: &str, reason: &str) -> Result<Object> {
    let reason = reason.trim();
    if reason.is_empty() || reason.contains(['\n', '\r']) {
        return Err(Error::new("--reason: it must be one line of text").hint("say why, for whoever is refused"));
    }
    let until = moment(until, &Zoned::now())?;
    Ok(Object::from_iter([
        ("lock_names".to_owned(), Value::from(names.to_vec())),
        ("lock_owner".to_owned(), Value::from(owner())),
        ("lock_until".to_owned(), Value::from(until.as_second())),
        ("lock_reason".to_owned(), Value::from(reason)),
    ]))
}

async fn perform(
    mut fleet: Fleet,
    slice: &SliceFlags,
    hosts: &[String],
    names: &[String],
    vars: Object,
    books: &[&str],
) -> Result<u8> {
    let mut plays = Vec::new();
    for book in books {
        plays.extend(load_book(book)?);
    }
    fleet.extra_vars.extend(vars);
    let mut run = slice.run.clone();
    run.locks.before = true;
    // whoever wants the whole host meets every hold on it
    run.locks.names = Some(if names.iter().any(|name| name == "host") { vec!["*".to_owned()] } else { names.to_vec() });
    execute(&fleet, &run, plays, hosts.to_vec(), None, None).await
}

/// `18:00`, `2h`, `2026-12-24T08:00`: a time to come.
fn moment(text: &str, now: &Zoned) -> Result<Timestamp> {
    let wrong = |why: &str| {
        Error::new(format!("--until: `{text}` {why}")).hint("for example 18:00, 30m, 2h, 3d, 2026-12-24T08:00")
    };
    let text_ = text.trim();
    let unit = text_.chars().last().filter(|unit| "smhd".contains(*unit));
    let number = unit.and_then(|_| text_[..text_.len() - 1].parse::<i64>().ok());
    let then = if let (Some(unit), Some(number)) = (unit, number) {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => 86400,
        };
        let ahead = number.checked_mul(seconds).ok_or_else(|| wrong("is no time"))?;
        now.timestamp().checked_add(jiff::SignedDuration::from_secs(ahead)).map_err(|_| wrong("is no time"))?
    } else if let Some(time) = text_.parse::<jiff::civil::Time>().ok().filter(|_| text_.len() <= 8) {
        let today = now.with().time(time).build().map_err(|_| wrong("is no time"))?;
        let then = if today > *now { today } else { today.tomorrow().map_err(|_| wrong("is no time"))? };
        then.timestamp()
    } else if let Ok(then) = text_.parse::<Timestamp>() {
        then
    } else {
        let then: jiff::civil::DateTime = text_.replace(' ', "T").parse().map_err(|_| wrong("is no time"))?;
        then.to_zoned(now.time_zone().clone()).map_err(|_| wrong("is no time"))?.timestamp()
    };
    if then <= now.timestamp() { Err(wrong("has passed")) } else { Ok(then) }
}

/// One thing that is locked.
#[derive(Debug, Default, PartialEq)]
struct Locked {
    what: String,
    by: String,
    since: String,
    until: String,
    why: String,
}

async fn status(fleet: &Fleet, hosts: &[String], lines: bool) -> Result<u8> {
    let answers = ask(fleet, hosts, "playbooks/lock_status.yml", CancellationToken::new()).await?;
    let mut rows = vec![["CLIENT", "LOCKED", "BY", "SINCE", "UNTIL", "WHY"].map(str::to_owned).to_vec()];
    let mut code = 0;
    for host in hosts {
        let locked = match answers.get(host) {
            Some(Ok(text)) => read(text),
            Some(Err(trouble)) => {
                code = 1;
                vec![Locked { what: "?".to_owned(), why: trouble.clone(), ..Locked::default() }]
            }
            None => Vec::new(),
        };
        if locked.is_empty() && !lines {
            rows.push(vec![host.clone(), "free".to_owned()]);
        }
        for one in locked {
            if lines {
                println!(
                    "{}",
                    json!({"host": host, "locked": one.what, "by": one.by, "since": one.since, "until": one.until, "why": one.why})
                );
            } else {
                rows.push(vec![host.clone(), one.what, one.by, one.since, one.until, one.why]);
            }
        }
    }
    if !lines {
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { line });
        }
    }
    Ok(code)
}

/// What a host said: notes that begin with `@run` or `@hold`.
fn read(text: &str) -> Vec<Locked> {
    let mut found: Vec<Locked> = Vec::new();
    for line in text.lines() {
        match (line, line.split_once('='), found.last_mut()) {
            ("@run", ..) => found.push(Locked { what: "run".to_owned(), ..Locked::default() }),
            ("@hold", ..) => found.push(Locked::default()),
            (_, Some((key, value)), Some(last)) => match key {
                "what" => value.clone_into(&mut last.what),
                "owner" => value.clone_into(&mut last.by),
                "since" => value.clone_into(&mut last.since),
                "reason" => value.clone_into(&mut last.why),
                "run" => last.why = format!("run {value}"),
                "until" => {
                    let then = value.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
                    last.until = then.map(|then| then.to_string()).unwrap_or_default();
                }
                _ => {}
            },
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_come_is_written_in_several_ways() {
        let now: Zoned = "2026-11-25T17:30:00+00:00[UTC]".parse().unwrap();
        let at = |text: &str| moment(text, &now).map(|then| then.to_string());
        assert_eq!(at("18:00").unwrap(), "2026-11-25T18:00:00Z");
        assert_eq!(at("08:15").unwrap(), "2026-11-26T08:15:00Z");
        assert_eq!(at("2h").unwrap(), "2026-11-25T19:30:00Z");
        assert_eq!(at("3d").unwrap(), "2026-11-28T17:30:00Z");
        assert_eq!(at("2026-12-24T08:00").unwrap(), "2026-12-24T08:00:00Z");
        assert_eq!(at("2026-12-24T08:00:00+01:00").unwrap(), "2026-12-24T07:00:00Z");
        assert!(at("2026-01-01T00:00").unwrap_err().to_string().contains("has passed"));
        for wrong in ["", "soon", "-2h", "25:00", "99999999999999999d"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hosts_answer_is_read() {
        let text = "@run\nowner=ana@desk\nrun=r1\nsince=now\n@hold\nwhat=chat\nowner=eva@desk\nuntil=0\nreason=a=b\n";
        let found = read(text);
        assert_eq!((found[0].what.as_str(), found[0].why.as_str()), ("run", "run r1"));
        assert_eq!((found[1].what.as_str(), found[1].why.as_str(), found[1].by.as_str()), ("chat", "a=b", "eva@desk"));
        assert_eq!(found[1].until, "1970-01-01T00:00:00Z");
        assert!(read("").is_empty());
    }
}
