//! `provision logs`: the logs of many hosts' containers as one, each line with where it comes from. Lines pass through
//! the redactor; lines in JSON are understood (`log_line`).

use clap::Args;
use tokio::sync::mpsc;

use super::common::{Fleet, FleetFlags};
use super::containers::{Container, Reached, Which};
use super::log_line::{Filter, Level, Line};
use crate::error::{Error, Result};
use crate::lane::Connections;
use crate::modules::pattern;
use crate::plan::quote;
use crate::report::{say, style};
use crate::secrets::EnvFile;
use crate::services::{Rollout, Selection};

#[derive(Args)]
#[command(after_help = "Examples:
  provision logs --host clienteA                        every service of the client
  provision logs --host clienteA backend                one of them: a package, a service of a stack, or hub/worker
  provision logs --all -f --level ERROR                 errors of the whole fleet, as they come
  provision logs --host clienteA backend --since 1h --grep 'timeout|refused'
  provision logs --host clienteA backend --field session_id=42

Lines that are JSON are shown as time, level, logger, message and fields; --raw shows them as they are.")]
pub struct Flags {
    /// What to show: packages, services of stacks, or both as package/service
    services: Vec<String>,
    /// Clients
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: Option<String>,
    /// Every client of the inventory
    #[arg(long, conflicts_with = "host")]
    all: bool,
    /// Go on with what comes, until Ctrl-C
    #[arg(short = 'f', long)]
    follow: bool,
    /// From then on: 10m, 2h, or a time stamp
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// So many lines of each container before now, or all [default: 100; with --since all]
    #[arg(long, value_name = "N")]
    tail: Option<String>,
    /// Only lines in which this regular expression matches
    #[arg(long, value_name = "REGEX")]
    grep: Option<String>,
    /// Only lines of this level or above: DEBUG, INFO, WARNING, ERROR, CRITICAL
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Only JSON lines in which a field has this value; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    field: Vec<String>,
    /// Lines as they are, also those in JSON
    #[arg(long)]
    raw: bool,
    /// One JSON object per line, for programs
    #[arg(long, conflicts_with = "raw")]
    json: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// How a line is shown.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    People,
    Raw,
    Json,
}

/// A line on its way to the screen.
struct Heard {
    host: String,
    service: String,
    line: Line,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let filter = flags.filter()?;
    let fleet = flags.fleet.load()?;
    let hosts = hosts(&fleet, flags.host.as_deref(), flags.all)?;
    if let Some(tail) = flags.tail.as_deref().filter(|tail| *tail != "all" && tail.parse::<u64>().is_err()) {
        return Err(Error::new(format!("--tail {tail}: neither a number nor `all`")));
    }
    learn_secrets(&fleet, &hosts);
    let shape = if flags.json {
        Shape::Json
    } else if flags.raw {
        Shape::Raw
    } else {
        Shape::People
    };
    let connections = Connections::new(8).map_err(|trouble| Error::new(trouble.msg))?;
    let (sender, mut receiver) = mpsc::channel(1024);
    let mut work = tokio::task::JoinSet::new();
    for host in &hosts {
        let reached = Reached::new(&fleet, &connections, host).await?;
        let (words, script) = (flags.services.clone(), flags.docker_logs());
        let (sender, filter, host, follow) = (sender.clone(), filter.clone(), host.clone(), flags.follow);
        work.spawn(async move {
            let reached = reached.map_err(|trouble| format!("{host}: {}", trouble.msg))?;
            of_host(reached, &words, &script, &filter, follow, &sender).await.map_err(|why| format!("{host}: {why}"))
        });
    }
    drop(sender);
    let wide = hosts.iter().map(String::len).max().unwrap_or_default();
    let mut kept: Vec<Heard> = Vec::new();
    let interrupted = loop {
        tokio::select! {
            heard = receiver.recv() => match heard {
                Some(heard) if flags.follow => show(&fleet, &heard, shape, wide),
                Some(heard) => kept.push(heard),
                None => break false,
            },
            _ = tokio::signal::ctrl_c() => break true,
        }
        if say::nobody_reads() {
            work.shutdown().await;
            return Ok(0);
        }
    };
    // several containers and hosts, one clock
    kept.sort_by(|a, b| a.line.at.cmp(&b.line.at));
    kept.iter().for_each(|heard| show(&fleet, heard, shape, wide));
    if interrupted {
        work.shutdown().await;
        return Ok(130);
    }
    let (mut code, mut found) = (0, false);
    while let Some(ended) = work.join_next().await {
        match ended {
            Ok(Ok(count)) => found |= count > 0,
            Ok(Err(why)) => {
                eprintln!("{} {}", style::red("error:"), fleet.redactor.text(&why));
                code = 1;
            }
            Err(error) => return Err(Error::new(format!("a reader was lost: {error}"))),
        }
    }
    if !found && code == 0 {
        let what = if flags.services.is_empty() {
            "no container".to_owned()
        } else {
            format!("nothing called {}", flags.services.join(" or "))
        };
        return Err(
            Error::new(format!("there is {what} on {}", hosts.join(", "))).hint("`provision ps` lists the containers")
        );
    }
    Ok(code)
}

/// The hosts that are named, or the only one that there is.
pub fn hosts(fleet: &Fleet, pattern: Option<&str>, all: bool) -> Result<Vec<String>> {
    match pattern {
        Some(pattern) => fleet.select(pattern),
        None if all || fleet.inventory.hosts().count() == 1 => fleet.select("all"),
        None => {
            Err(Error::new("no client is named").hint("use --host NAME, or --all for every client of the inventory"))
        }
    }
}

/// What a run would redact is redacted here as well: whatever is stored for these hosts, declared or not, and what their
/// settings are made of.
fn learn_secrets(fleet: &Fleet, hosts: &[String]) {
    let selection = Selection { services: None, with_dependencies: true, ..Selection::default() };
    for host in hosts {
        let folder = fleet.inventory.data_dir().join("vps_data").join(host);
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "age") {
                continue;
            }
            match EnvFile::load(&path, &fleet.identities) {
                Ok(stored) => stored.iter().for_each(|(_, value)| fleet.redactor.add(value.reveal())),
                Err(error) => {
                    let warning = style::yellow("warning:");
                    eprintln!("{warning} {}, so what is in it is not blacked out", error.text);
                }
            }
        }
        // settings that are secret, but not stored there; a host that cannot be rolled out to can still be read
        let _ = Rollout::prepare(&fleet.sources(), std::slice::from_ref(host), &selection);
    }
}

/// Reads one host's logs; how many containers they came from.
async fn of_host(
    reached: Reached,
    words: &[String],
    docker_logs: &str,
    filter: &Filter,
    follow: bool,
    sender: &mpsc::Sender<Heard>,
) -> std::result::Result<usize, String> {
    let containers = reached.containers(Which::All).await?;
    let meant = |container: &&Container| words.is_empty() || words.iter().any(|word| container.is_called(word));
    let chosen: Vec<&Container> = containers.iter().filter(meant).collect();
    if chosen.is_empty() {
        reached.connection.close().await;
        return Ok(0);
    }
    let mut script = String::new();
    for (index, container) in chosen.iter().enumerate() {
        let id = quote(&container.id);
        script.push_str(&format!(
            "{docker_logs} {id} 2>&1 | while IFS= read -r l; do printf '%s %s\\n' {index} \"$l\"; done &\n"
        ));
    }
    script.push_str("wait");
    let mut stream = reached.connection.stream(reached.who.as_ref(), &script).await.map_err(|trouble| trouble.msg)?;
    let mut rest = Vec::new();
    loop {
        let bytes = stream.read().await;
        if bytes.is_empty() {
            break;
        }
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line);
            let Some((index, text)) = text.trim_end().split_once(' ') else { continue };
            let Some(container) = index.parse::<usize>().ok().and_then(|index| chosen.get(index)) else { continue };
            let line = Line::parse(text);
            if !filter.lets(&line) {
                continue;
            }
            let heard = Heard { host: reached.host.clone(), service: container.called(), line };
            if sender.send(heard).await.is_err() {
                return Ok(chosen.len());
            }
        }
    }
    let ended = stream.end().await;
    let count = chosen.len();
    reached.connection.close().await;
    match ended {
        None if follow => Err("the connection was lost".to_owned()),
        _ => Ok(count),
    }
}

fn show(fleet: &Fleet, heard: &Heard, shape: Shape, wide: usize) {
    let Heard { host, service, line } = heard;
    let text = match shape {
        Shape::Json => line.to_json(host, service).to_string(),
        Shape::Raw => format!("{host:wide$} {service} {}", line.text),
        Shape::People => {
            let from = style::dim(&format!("{host:wide$} {service}"));
            let shown = line.shown();
            match line.level() {
                Some(level) if level >= Level::Error => format!("{from} {}", style::red(&shown)),
                Some(Level::Warning) => format!("{from} {}", style::yellow(&shown)),
                _ => format!("{from} {shown}"),
            }
        }
    };
    println!("{}", fleet.redactor.text(&text));
}

impl Flags {
    fn filter(&self) -> Result<Filter> {
        let grep = self.grep.as_deref().map(|text| pattern::compile(text, ""));
        let grep = grep.transpose().map_err(|failure| Error::new(format!("--grep: {}", failure.msg)))?;
        let level = self.level.as_deref().map(|word| {
            Level::named(word).ok_or_else(|| {
                Error::new(format!("--level {word}: no such level"))
                    .hint("it is DEBUG, INFO, WARNING, ERROR or CRITICAL")
            })
        });
        let fields = self.field.iter().map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| Error::new(format!("--field {pair}: not of the form key=value")))?;
            Ok((key.to_owned(), value.to_owned()))
        });
        Ok(Filter { grep, level: level.transpose()?, fields: fields.collect::<Result<_>>()? })
    }

    /// `docker logs` up to the container's id.
    fn docker_logs(&self) -> String {
        let tail = self.tail.clone().unwrap_or_else(|| if self.since.is_some() { "all" } else { "100" }.to_owned());
        let mut words = vec!["docker logs --timestamps".to_owned(), format!("--tail {}", quote(&tail))];
        words.extend(self.since.as_ref().map(|since| format!("--since {}", quote(since))));
        words.extend(self.follow.then(|| "--follow".to_owned()));
        words.join(" ")
    }
}
