//! `provision credentials`: how one gets into a client's services. The values go to a terminal, or to a file that only
//! this user can read; never into an event or a journal.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Place, Result};
use crate::report::style::{bold, dim, table};
use crate::services::settings::Settings;
use crate::services::{Rollout, Selection};

#[derive(Args)]
#[command(after_help = "Examples:
  provision credentials --host clienteA
  provision credentials --host clienteA --services chat --every
  provision credentials --host clienteA --sheet entrega-clienteA.md     a handover sheet, readable by you alone

Standard output that is no terminal gets them only with --show.")]
pub struct Flags {
    /// Clients: names, groups, globs
    #[arg(long, value_name = "PATTERN", visible_alias = "hosts")]
    host: String,
    /// Services; without it each client's declared ones
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    services: Option<Vec<String>>,
    /// Also what only programs need: keys, tokens, salts
    #[arg(long)]
    every: bool,
    /// Print them though standard output is no terminal
    #[arg(long)]
    show: bool,
    /// Write a handover sheet for people into this new file (mode 0600) instead
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// One service of a client.
struct Access {
    host: String,
    service: String,
    name: String,
    urls: Vec<String>,
    /// Name of the setting, value.
    values: Vec<(String, String)>,
    /// Secrets that no deployment has needed yet.
    unmade: Vec<String>,
    steps: Vec<String>,
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    if flags.sheet.is_none() && !flags.show && !std::io::stdout().is_terminal() {
        return Err(Error::new("standard output is no terminal, and passwords would stay wherever it leads")
            .hint("add --show if that is meant, or --sheet FILE for a file that only you can read"));
    }
    let selection = Selection { services: flags.services.clone(), with_dependencies: false, ..Selection::default() };
    let rollout = Rollout::prepare(&fleet.sources(), &hosts, &selection)?;
    let found = accesses(&rollout, flags.every);
    match &flags.sheet {
        Some(path) => {
            write_sheet(path, &sheet(&found))?;
            println!("wrote {}", path.display());
        }
        None => print(&fleet, &found),
    }
    Ok(0)
}

fn accesses(rollout: &Rollout, every: bool) -> Vec<Access> {
    let mut found = Vec::new();
    for host in rollout.hosts.values() {
        for service in &host.services {
            let Some(settings) = host.settings(&service.id) else { continue };
            let vars = service.vars.get("service");
            let list =
                |key: &str| vars.and_then(|vars| vars.get(key)).and_then(Value::as_array).cloned().unwrap_or_default();
            let text = |value: &Value| value.as_str().map(str::to_owned);
            found.push(Access {
                host: host.host.clone(),
                service: service.id.clone(),
                name: vars.and_then(|vars| text(vars.get("name")?)).unwrap_or_default(),
                urls: service.url.iter().cloned().collect(),
                values: values(settings, every),
                unmade: settings.generated.iter().filter(|key| every || is_password(key)).cloned().collect(),
                steps: list("manual_steps").iter().filter_map(|step| text(step.get("text")?)).collect(),
            });
        }
    }
    found
}

/// Passwords, each behind the name that it goes with; with `every`, all other secrets, too.
fn values(settings: &Settings, every: bool) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let there = |key: &str| settings.values.get(key).filter(|setting| !setting.value.is_empty());
    for (key, setting) in settings.values.iter().filter(|(key, setting)| {
        setting.secret && !settings.generated.contains(key) && !setting.value.is_empty() && (every || is_password(key))
    }) {
        let stem = key.strip_suffix("PASSWORD").or_else(|| key.strip_suffix("PASS")).unwrap_or_default();
        let names = ["EMAIL", "USER", "USERNAME", "LOGIN"].map(|ending| format!("{stem}{ending}"));
        let user =
            names.iter().filter(|_| !stem.is_empty()).find_map(|name| Some((name.clone(), there(name)?.value.clone())));
        found.extend(user.filter(|user| !found.contains(user)));
        found.push((key.clone(), setting.value.clone()));
    }
    found
}

/// One that a person types.
fn is_password(key: &str) -> bool {
    key.ends_with("PASSWORD") || key.ends_with("PASS")
}

fn print(fleet: &Fleet, found: &[Access]) {
    for access in found {
        println!("{}", bold(&format!("{} · {}", access.host, access.service)));
        access.urls.iter().for_each(|url| println!("  {url}"));
        let rows: Vec<Vec<String>> =
            access.values.iter().map(|(key, value)| vec![format!("  {key}"), value.clone()]).collect();
        table(&rows).iter().for_each(|line| println!("{line}"));
        if !access.unmade.is_empty() {
            println!("  {}", dim(&format!("made when it is first rolled out: {}", access.unmade.join(", "))));
        }
        if access.urls.is_empty() && access.values.is_empty() && access.unmade.is_empty() {
            println!("  {}", dim("nothing to log in to"));
        }
    }
    let path = fleet.inventory.data_dir().join("vps_data");
    eprintln!("{}", dim(&format!("kept encrypted in {}", path.display())));
}

/// For the client's people, in their language.
fn sheet(found: &[Access]) -> String {
    let mut text = format!(
        "# Hoja de entrega\n\nFecha: {}. Contiene contraseñas: guárdela en un gestor y borre este archivo.\n",
        jiff::Zoned::now().strftime("%Y-%m-%d %H:%M %Z")
    );
    let mut host = "";
    for access in found {
        if host != access.host {
            host = &access.host;
            let _ = write!(text, "\n## {host}\n");
        }
        let _ = write!(text, "\n### {} ({})\n\n", access.name, access.service);
        for url in &access.urls {
            let _ = writeln!(text, "- Dirección: {url}");
        }
        for (key, value) in &access.values {
            let _ = writeln!(text, "- {key}: `{value}`");
        }
        for key in &access.unmade {
            let _ = writeln!(text, "- {key}: todavía no existe; se genera al instalar");
        }
        for step in &access.steps {
            let _ = writeln!(text, "- Pendiente: {step}");
        }
    }
    text
}

fn write_sheet(path: &Path, text: &str) -> Result<()> {
    let place = Place::file(path);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::at(&place, "the file is there already, and who can read it is not known")
                    .hint("name a new file, or remove that one")
            }
            _ => Error::at(&place, format!("cannot be written: {error}")),
        })?;
    file.write_all(text.as_bytes()).map_err(|error| Error::at(&place, format!("cannot be written: {error}")))
}
