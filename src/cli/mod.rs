//! Flags become a job; one file per verb. Exit codes, the same for every verb: 0 all well, 1 a host failed or was
//! unreachable, 2 wrong usage or configuration and nothing touched, 130 interrupted.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::error::Result;
use crate::report::style;

mod action;
mod alike;
mod apply;
mod ask;
mod aspects;
mod attach;
mod backup;
mod common;
mod compare;
mod configure;
mod consent;
mod console;
mod containers;
mod credentials;
mod declare;
mod detach;
mod diagnose;
mod digests;
mod doctor;
mod down;
mod drift;
mod edit;
mod execute;
mod explain;
mod findings;
mod groups;
mod guard;
mod history;
mod inputs;
mod inventory;
mod lab;
mod live;
mod lock;
mod log_line;
mod logs;
mod look;
mod menu;
mod merge;
mod metrics;
mod newer;
mod notify;
mod odd;
mod outlook;
mod plan;
mod prune;
mod ps;
mod readers;
mod regen;
mod registry;
mod report;
mod restart;
mod restore;
mod resume;
mod rollback;
mod rollout;
mod rotate;
mod run;
mod scale;
mod schedule;
mod schedule_unit;
mod screen;
mod secrets;
mod shard;
mod slice;
mod status;
mod steps;
mod survey;
mod up;
mod update;
mod verify;
mod watch;
mod window;

/// Nothing was touched, the request was wrong.
pub const USAGE: u8 = 2;

const EXAMPLES: &str = "\
Examples:
  provision                                         choose from the menu (on a terminal)
  provision --host clienteA --services hub,chat     roll two services out to one client
  provision --all                                   bring every client to what it declares
  provision --host clienteA --check --diff          say what would change, touch nothing
  provision run playbooks/bootstrap.yml -l prod     run a playbook
  provision --resume last                           take up a run that was interrupted
  provision lab up                                  throw-away servers to try it on

Exit codes: 0 all well, 1 a host failed or was unreachable, 2 wrong usage or configuration (nothing touched), 130 interrupted.";

#[derive(Parser)]
#[command(
    name = "provision",
    version,
    about = "Rolls services out to a fleet of client servers over SSH",
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = false
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    rollout: rollout::Flags,
}

#[derive(Subcommand)]
enum Verb {
    /// Choose clients, services and what to do with them
    #[command(visible_alias = "menú")]
    Menu(menu::Flags),
    /// Ask for the settings of services, and write them into the inventory
    #[command(visible_alias = "configurar")]
    Configure(configure::Flags),
    /// Write into the inventory which services a client is to have
    #[command(visible_alias = "declarar")]
    Declare(declare::Flags),
    /// How to get into the services: addresses, users, passwords
    #[command(visible_alias = "credenciales")]
    Credentials(credentials::Flags),
    /// Run a playbook
    Run(run::Flags),
    /// Start services as they are declared, and wait until they are healthy
    #[command(visible_alias = "iniciar")]
    Up(up::Flags),
    /// Stop services and remove their containers; their data stays
    #[command(visible_alias = "terminar")]
    Down(down::Flags),
    /// Delete services with their data, after a backup, and make them anew
    #[command(visible_alias = "regenerar")]
    Regen(regen::Regen),
    /// As regen, and their images are fetched again too
    #[command(visible_alias = "limpiar")]
    Clean(regen::Clean),
    /// Run a named piece of maintenance that a package brings along
    #[command(visible_alias = "acción")]
    Action(action::Flags),
    /// Restart the containers of services
    #[command(visible_alias = "reiniciar")]
    Restart(restart::Flags),
    /// So many containers of a service, until the next deployment
    #[command(visible_alias = "escalar")]
    Scale(scale::Flags),
    /// Remove images that nobody needs any more
    #[command(visible_alias = "podar")]
    Prune(prune::Flags),
    /// The containers of services
    Ps(ps::Ps),
    /// What the containers of services use
    Top(ps::Top),
    /// Logs of many hosts at once, filtered, as they come
    #[command(visible_alias = "registros")]
    Logs(logs::Flags),
    /// Run a command in a container
    #[command(visible_alias = "ejecutar")]
    Exec(console::Exec),
    /// A terminal on a server or in a container
    Shell(console::Shell),
    /// A port of a server or container as a port of this machine
    #[command(visible_alias = "tunel")]
    Tunnel(console::Tunnel),
    /// Client × service: what is declared, what is installed, whether it is well
    #[command(visible_alias = "estado")]
    Status(status::Flags),
    /// Where clients are not as declared: files, settings, images, networks, containers
    #[command(visible_alias = "deriva")]
    Drift(drift::Flags),
    /// Two clients side by side: what differs
    #[command(visible_alias = "comparar")]
    Compare(compare::Flags),
    /// What only one or two of many clients have
    #[command(visible_alias = "raro")]
    Odd(odd::Flags),
    /// What only people can do for a service, and who has done it
    #[command(visible_alias = "pasos")]
    Steps(steps::Flags),
    /// Containers, whether they can be reached, and checks: a table, a report, a bundle for whoever helps
    #[command(visible_alias = "diagnosticar")]
    Diagnose(diagnose::Flags),
    /// Known trouble: what was seen, and what to do about it
    Doctor(doctor::Flags),
    /// Look again and again, and tell when a threshold is broken
    #[command(visible_alias = "vigilar")]
    Watch(watch::Flags),
    /// Make the checks that the services bring
    #[command(visible_alias = "verificar")]
    Verify(verify::Flags),
    /// Take backups of services
    #[command(visible_alias = "respaldo")]
    Backup(backup::Flags),
    /// Give services back what a backup holds
    #[command(visible_alias = "restaurar")]
    Restore(restore::Flags),
    /// Where a setting of a service comes from on a host
    #[command(visible_alias = "explicar")]
    Explain(explain::Flags),
    /// What this machine starts by itself: timers, maintenance windows
    Schedule(schedule::Flags),
    /// Where messages about runs go, and whether they arrive
    Notify(notify::Flags),
    /// What a verb would do, as a document: changes, restarts, what is for good, downtime, disk
    #[command(visible_alias = "planear")]
    Plan(plan::Flags),
    /// Do exactly what a plan says, or refuse because the world has moved
    #[command(visible_alias = "aplicar")]
    Apply(apply::Flags),
    /// Output and result of a run that hosts do alone
    #[command(visible_alias = "adjuntar")]
    Attach(attach::Flags),
    /// Earlier runs
    #[command(visible_alias = "historial")]
    History(history::Flags),
    /// Update services in batches of clients, with a backup before and a look after
    #[command(visible_alias = "actualizar")]
    Update(update::Flags),
    /// Bring services back to an earlier release
    #[command(visible_alias = "revertir")]
    Rollback(rollback::Flags),
    /// A run as an HTML page or as JUnit XML
    #[command(visible_alias = "informe")]
    Report(report::Flags),
    /// What was slow and what failed, over many runs
    #[command(visible_alias = "metricas")]
    Metrics(metrics::Flags),
    /// Hosts, groups and their variables
    #[command(visible_alias = "inventario")]
    Inventory(inventory::Flags),
    /// The catalogue of services
    #[command(visible_alias = "registro")]
    Registry(registry::Flags),
    /// Encrypted settings of the clients
    #[command(visible_alias = "secretos")]
    Secrets(secrets::Flags),
    /// Keep clients or services for a while, see who works on them, take them over
    #[command(visible_alias = "bloquear")]
    Lock(lock::Flags),
    /// Throw-away servers on this machine
    Lab(lab::Flags),
    /// Print a shell completion script
    Completions(Completions),
}

#[derive(Args)]
#[command(after_help = "Example:\n  provision completions bash > /etc/bash_completion.d/provision")]
struct Completions {
    shell: clap_complete::Shell,
}

/// All flags and verbs. What a verb with sub-verbs takes may also stand behind the sub-verb.
pub fn command() -> Command {
    let command = ["backup", "inventory", "lock", "notify", "registry", "schedule", "secrets", "steps"]
        .into_iter()
        .fold(Cli::command(), |command, verb| {
            command.mut_subcommand(verb, |verb| verb.mut_args(|arg| arg.global(true)))
        });
    groups::grouped(command)
}

/// Parses the command line, runs it, and says how it ended.
/// Ends with what is wrong in the command line. clap says of `provision -i inventory status` only that it is not possible.
fn refuse(error: &clap::Error) -> ! {
    let verb = error.get(ContextKind::InvalidSubcommand).filter(|_| error.kind() == ErrorKind::ArgumentConflict);
    if let Some(ContextValue::String(verb)) = verb {
        let _ = error.print();
        eprintln!("\nhint: flags come behind the verb: provision {verb} …");
        std::process::exit(error.exit_code());
    }
    error.exit()
}

pub fn main() -> ExitCode {
    // journals and secrets are for this user alone, from the first byte on
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    end_quietly_when_nobody_reads();
    // started by systemd on a host
    if let Some(dir) = std::env::var_os(detach::WORK).filter(|_| std::env::args_os().len() == 1) {
        return ExitCode::from(ended(block_on(detach::work(dir.into()))));
    }
    let matches = command().try_get_matches().unwrap_or_else(|error| refuse(&error));
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    start_logging();
    ExitCode::from(ended(dispatch(cli)))
}

/// The exit code; an error is said, and so is why there is nothing to do.
fn ended(result: Result<u8>) -> u8 {
    result.unwrap_or_else(|error| {
        let text = error.to_string();
        let text = common::redactor().text(&text);
        if error.well {
            eprintln!("{text}");
            return 0;
        }
        eprintln!("{} {text}", style::red("error:"));
        USAGE
    })
}

/// `provision explain … | head` has shown all that was wanted when `head` goes. Verbs that change something do not get
/// here: their reporters go on without a reader.
fn end_quietly_when_nobody_reads() {
    let otherwise = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        otherwise(panic);
    }));
}

fn dispatch(cli: Cli) -> Result<u8> {
    match cli.verb {
        None if cli.rollout.resumes().is_some() => cli.rollout.resumes().map_or(Ok(USAGE), |wish| resume::main(&wish)),
        None if cli.rollout.is_empty() && screen::is_possible() => {
            menu::main(menu::Flags { fleet: cli.rollout.fleet() })
        }
        None if cli.rollout.is_empty() => {
            command().print_help().map_err(|error| crate::error::Error::new(error.to_string()))?;
            Ok(0)
        }
        None => block_on(rollout::main(cli.rollout)),
        Some(Verb::Menu(flags)) => menu::main(flags),
        Some(Verb::Configure(flags)) => configure::main(flags),
        Some(Verb::Declare(flags)) => declare::main(flags),
        Some(Verb::Action(flags)) => block_on(action::main(flags)),
        Some(Verb::Credentials(flags)) => credentials::main(flags),
        Some(Verb::Run(flags)) => block_on(run::main(flags)),
        Some(Verb::Up(flags)) => block_on(up::main(flags)),
        Some(Verb::Down(flags)) => block_on(down::main(flags)),
        Some(Verb::Regen(flags)) => block_on(regen::regen(flags)),
        Some(Verb::Clean(flags)) => block_on(regen::clean(flags)),
        Some(Verb::Scale(flags)) => block_on(scale::main(flags)),
        Some(Verb::Prune(flags)) => block_on(prune::main(flags)),
        Some(Verb::Ps(flags)) => block_on(ps::ps(flags)),
        Some(Verb::Top(flags)) => block_on(ps::top(flags)),
        Some(Verb::Logs(flags)) => block_on(logs::main(flags)),
        Some(Verb::Exec(flags)) => block_on(console::exec(flags)),
        Some(Verb::Shell(flags)) => block_on(console::shell(flags)),
        Some(Verb::Tunnel(flags)) => block_on(console::tunnel(flags)),
        Some(Verb::Restart(flags)) => block_on(restart::main(flags)),
        Some(Verb::Status(flags)) => block_on(status::main(flags)),
        Some(Verb::Drift(flags)) => block_on(drift::main(flags)),
        Some(Verb::Compare(flags)) => block_on(compare::main(flags)),
        Some(Verb::Odd(flags)) => block_on(odd::main(flags)),
        Some(Verb::Steps(flags)) => block_on(steps::main(flags)),
        Some(Verb::Diagnose(flags)) => block_on(diagnose::main(flags)),
        Some(Verb::Doctor(flags)) => block_on(doctor::main(flags)),
        Some(Verb::Watch(flags)) => block_on(watch::main(flags)),
        Some(Verb::Verify(flags)) => block_on(verify::main(flags)),
        Some(Verb::Backup(flags)) => block_on(backup::main(flags)),
        Some(Verb::Restore(flags)) => block_on(restore::main(flags)),
        Some(Verb::Explain(flags)) => explain::main(flags),
        Some(Verb::Schedule(flags)) => schedule::main(flags),
        Some(Verb::Notify(flags)) => notify::main(flags),
        Some(Verb::History(flags)) => history::main(flags),
        Some(Verb::Update(flags)) => block_on(update::main(flags)),
        Some(Verb::Rollback(flags)) => block_on(rollback::main(flags)),
        Some(Verb::Report(flags)) => report::main(flags),
        Some(Verb::Metrics(flags)) => metrics::main(flags),
        Some(Verb::Inventory(flags)) => inventory::main(flags),
        Some(Verb::Registry(flags)) => registry::main(flags),
        Some(Verb::Secrets(flags)) => secrets::main(flags),
        Some(Verb::Plan(flags)) => block_on(plan::main(flags)),
        Some(Verb::Apply(flags)) => block_on(apply::main(flags)),
        Some(Verb::Attach(flags)) => block_on(attach::main(flags)),
        Some(Verb::Lock(flags)) => block_on(lock::main(flags)),
        Some(Verb::Lab(flags)) => block_on(lab::main(flags)),
        Some(Verb::Completions(flags)) => {
            let mut script = Vec::new();
            clap_complete::generate(flags.shell, &mut command(), "provision", &mut script);
            println!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(0)
        }
    }
}

/// Of each thread, in bytes; only what is used is taken. Enough for the deepest includes that the engine allows, also in a
/// debug build, where a level takes some 400 KB.
const STACK: usize = 64 << 20;

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // tasks within blocks within includes are polled within each other
        .thread_stack_size(STACK)
        .build()
        .map_err(|error| crate::error::Error::new(format!("cannot start: {error}")))?;
    let result = runtime.block_on(future);
    // a blocking URL check may still be waiting for its answer
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    result
}

/// `RUST_LOG` switches the program's own diagnostics on; they go to stderr, through the redactor of the run.
fn start_logging() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let started = tracing_subscriber::fmt().with_env_filter(filter).with_writer(common::RedactingStderr).try_init();
    if let Err(error) = started {
        eprintln!("provision: no diagnostics: {error}");
    }
}
