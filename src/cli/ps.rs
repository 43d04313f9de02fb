//! `provision ps` and `provision top`: the containers of many clients in one table, and what they use.

use clap::Args;
use indexmap::IndexMap;

use super::common::FleetFlags;
use super::containers::{Container, Reached, Which};
use super::logs;
use crate::error::{Error, Result};
use crate::lane::Connections;
use crate::plan::Script;
use crate::report::style::{bold, red, table};

#[derive(Args)]
#[command(after_help = "Examples:
  provision ps --host clienteA
  provision ps --all hub        the hub's containers everywhere")]
pub struct Ps {
    #[command(flatten)]
    which: Chosen,
}

#[derive(Args)]
#[command(after_help = "Examples:
  provision top --host clienteA
  provision top --all backend")]
pub struct Top {
    #[command(flatten)]
    which: Chosen,
}

#[derive(Args)]
struct Chosen {
    /// What to show: packages, services of stacks, or both as package/service
    services: Vec<String>,
    /// Clients
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: Option<String>,
    /// Every client of the inventory
    #[arg(long, conflicts_with = "host")]
    all: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

pub async fn ps(flags: Ps) -> Result<u8> {
    let row = |container: &Container| vec![container.image.clone(), container.status.clone(), container.ports.clone()];
    flags
        .which
        .show(
            &["IMAGE", "STATUS", "PORTS"],
            Which::All,
            async |_: &Reached| Ok(IndexMap::new()),
            |container, _| row(container),
        )
        .await
}

pub async fn top(flags: Top) -> Result<u8> {
    const STATS: &str = "docker stats --no-stream --no-trunc --format '{{.ID}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}'";
    let used = async |reached: &Reached| -> std::result::Result<Usage, String> {
        let said = reached.says(Script::new().raw(STATS).timeout(std::time::Duration::from_secs(60))).await?;
        let of_line = |line: &str| {
            let mut fields = line.split('\t').map(str::to_owned);
            Some((fields.next()?, fields.collect::<Vec<_>>()))
        };
        Ok(said.lines().filter_map(of_line).collect())
    };
    let row = |container: &Container, usage: &Usage| usage.get(&container.id).cloned().unwrap_or_default();
    flags.which.show(&["CPU", "MEMORY", "%", "NETWORK", "DISK", "PIDS"], Which::Running, used, row).await
}

/// Container id → its columns.
type Usage = IndexMap<String, Vec<String>>;

impl Chosen {
    /// One line per container; `asked` learns more of a host, `row` makes the columns.
    async fn show(
        self,
        columns: &[&str],
        which: Which,
        asked: impl AsyncFn(&Reached) -> std::result::Result<Usage, String>,
        row: impl Fn(&Container, &Usage) -> Vec<String>,
    ) -> Result<u8> {
        let fleet = self.fleet.load()?;
        let hosts = logs::hosts(&fleet, self.host.as_deref(), self.all)?;
        let connections = Connections::new(8).map_err(|trouble| Error::new(trouble.msg))?;
        let head = ["CLIENT", "SERVICE", "CONTAINER"].iter().chain(columns).map(|word| (*word).to_owned());
        let (mut rows, mut code) = (vec![head.collect::<Vec<String>>()], 0);
        for host in &hosts {
            let looked = async {
                let reached = Reached::new(&fleet, &connections, host).await?;
                let reached = match reached {
                    Ok(reached) => reached,
                    Err(trouble) => return Ok(Err(trouble.msg)),
                };
                let found = async { Ok((reached.containers(which).await?, asked(&reached).await?)) }.await;
                reached.connection.close().await;
                Ok::<_, Error>(found)
            };
            match looked.await? {
                Ok((containers, usage)) => {
                    let meant =
                        |c: &&Container| self.services.is_empty() || self.services.iter().any(|word| c.is_called(word));
                    for container in containers.iter().filter(meant) {
                        let mut line = vec![host.clone(), container.called(), container.name.clone()];
                        line.extend(row(container, &usage));
                        rows.push(line);
                    }
                }
                Err(why) => {
                    code = 1;
                    eprintln!("{} {host}: {}", red("error:"), fleet.redactor.text(&why));
                }
            }
        }
        for (index, line) in table(&rows).iter().enumerate() {
            println!("{}", if index == 0 { bold(line) } else { line.clone() });
        }
        Ok(code)
    }
}
