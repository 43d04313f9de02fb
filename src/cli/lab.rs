//! `provision lab`: throw-away servers on this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::error::{Error, Result};
use crate::lab::{self, Down, Lab, Options, System};
use crate::report::style;

#[derive(Args)]
#[command(after_help = "Examples:
  provision lab up                       clienteA and clienteB, fresh, without Docker
  provision lab up a b c                 three with other names
  provision lab up --docker              with Docker, as many providers' servers are
  provision -i inventory -i lab --all    roll out to them
  provision lab ssh clienteA             look around
  provision lab down                     remove them")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    /// Where the lab's key, inventory and identity live
    #[arg(long, value_name = "DIR", default_value = "lab", global = true)]
    dir: PathBuf,
    /// What containers are named after; two labs on one machine need two
    #[arg(long, value_name = "NAME", global = true)]
    prefix: Option<String>,
}

#[derive(Subcommand)]
enum Verb {
    /// Start hosts, or complete what is there
    #[command(after_help = "Examples:
  provision lab up
  provision lab up a b c --images tests/images")]
    Up {
        /// Their names [default: clienteA clienteB]
        names: Vec<String>,
        /// A folder whose build.sh makes images that the lab's registry serves to the hosts
        #[arg(long, value_name = "DIR")]
        images: Option<PathBuf>,
        /// New hosts come with Docker, so that a rollout begins with its services
        #[arg(long)]
        docker: bool,
    },
    /// What runs
    #[command(after_help = "Example:\n  provision lab status")]
    Status,
    /// Log in to a host, or run a command there
    #[command(after_help = "Examples:
  provision lab ssh clienteA
  provision lab ssh clienteA docker ps")]
    Ssh {
        /// The host
        name: String,
        /// What to run there; nothing: a shell
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Put images of this machine's Docker into the lab's registry
    #[command(after_help = "Example:\n  provision lab push traefik:v3.7.9")]
    Push {
        /// Their names, as `docker images` lists them
        images: Vec<String>,
    },
    /// Remove the hosts
    #[command(after_help = "Examples:
  provision lab down
  provision lab down --all")]
    Down {
        /// Also the registry's images, the host image and the cached system
        #[arg(long)]
        all: bool,
    },
}

pub async fn main(flags: Flags) -> Result<u8> {
    style::set_colour("auto");
    let mut options = Options { dir: flags.dir, ..Options::default() };
    if let Some(prefix) = flags.prefix {
        options.prefix = prefix;
    }
    let mut say = |line: &str| eprintln!("{line}");
    match flags.verb {
        Verb::Up { names, images, docker } => {
            options.system = if docker { System::WithDocker } else { System::Fresh };
            options.names = names;
            options.images = images;
            let lab = lab::up(&options, &mut say).await?;
            show(&lab);
            eprintln!("\nroll out with: provision -i inventory -i {} --all", lab.dir.display());
        }
        Verb::Status => show(&lab::status(&options).await?),
        Verb::Push { images } => lab::push(&options, &images, &mut say).await?,
        Verb::Down { all } => {
            let how = if all { Down::Everything } else { Down::Hosts };
            for gone in lab::down(&options, how).await? {
                eprintln!("removed {gone}");
            }
        }
        Verb::Ssh { name, command } => {
            let mut ssh = lab::ssh(&options, &name, &command)?;
            let status = ssh.status().map_err(|error| Error::new(format!("cannot start ssh: {error}")))?;
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
    }
    Ok(0)
}

fn show(lab: &Lab) {
    let mut rows = vec![["HOST", "ADDRESS", "STATE", "CONTAINER"].map(str::to_owned).to_vec()];
    rows.extend(
        lab.hosts
            .iter()
            .map(|host| vec![host.name.clone(), host.address.to_string(), host.state.clone(), host.container.clone()]),
    );
    for line in style::table(&rows) {
        println!("{line}");
    }
    if let Some(address) = lab.registry {
        println!("registry  http://{address}:5000");
    }
}
