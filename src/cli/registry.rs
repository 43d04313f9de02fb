//! `provision registry`: the catalogue, a package, its lint, what it renders to.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Result};
use crate::report::style::{bold, green, red, table};
use crate::services::{Package, Rollout, Selection, lint};

#[derive(Args)]
#[command(after_help = "Examples:
  provision registry list
  provision registry show hub
  provision registry lint                         every package
  provision registry render hub --host clienteA   the compose file as it would be written (no secrets in it)")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// All packages
    #[command(after_help = "Example:\n  provision registry list --registry ../more-packages")]
    List {
        /// Only this category
        #[arg(long)]
        category: Option<String>,
    },
    /// One package: settings, secrets, dependencies
    #[command(after_help = "Example:\n  provision registry show hub")]
    Show {
        /// Its id or an alias
        service: String,
    },
    /// Mistakes and dangers in packages
    #[command(after_help = "Examples:
  provision registry lint
  provision registry lint hub chat")]
    Lint {
        /// Packages; none: all
        services: Vec<String>,
    },
    /// The compose file for a host
    #[command(after_help = "Example:\n  provision registry render hub --host clienteA")]
    Render {
        /// Its id or an alias
        service: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
    },
}

pub fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    match flags.verb {
        Verb::List { category } => list(&fleet, category.as_deref()),
        Verb::Show { service } => show(fleet.catalogue.get(&service)?),
        Verb::Lint { services } => return lint_all(&fleet, &services),
        Verb::Render { service, host } => render(&fleet, &service, &host)?,
    }
    Ok(0)
}

fn list(fleet: &Fleet, category: Option<&str>) {
    let mut rows = vec![["SERVICE", "VERSION", "CATEGORY", "NAME"].map(str::to_owned).to_vec()];
    for package in fleet.catalogue.packages.values() {
        let manifest = &package.manifest;
        if category.is_none_or(|wanted| manifest.category.eq_ignore_ascii_case(wanted)) {
            rows.push(vec![
                package.id.clone(),
                manifest.version.clone(),
                manifest.category.clone(),
                manifest.name.clone(),
            ]);
        }
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    for (id, error) in &fleet.catalogue.broken {
        println!("{} {id}: {error}", red("broken"));
    }
}

fn show(package: &Package) {
    let manifest = &package.manifest;
    println!("{} {} {}\n{}\n", bold(&package.id), manifest.name, manifest.version, manifest.description);
    let mut rows = vec![["SETTING", "REQUIRED", "DEFAULT", "HELP"].map(str::to_owned).to_vec()];
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for variable in &manifest.variables {
        let default = variable
            .default
            .as_ref()
            .map(text)
            .or_else(|| package.defaults.get(&variable.key).map(|d| d.value.clone()));
        let help = variable.help.clone().unwrap_or_else(|| variable.prompt.clone());
        let required = if variable.required { "yes" } else { "" };
        rows.push(vec![variable.key.clone(), required.to_owned(), default.unwrap_or_default(), help]);
    }
    for (key, default) in package.defaults.iter().filter(|(key, _)| !manifest.variables.iter().any(|v| v.key == **key))
    {
        rows.push(vec![key.clone(), String::new(), default.value.clone(), default.help.clone()]);
    }
    for secret in &manifest.secrets {
        rows.push(vec![
            secret.key.clone(),
            String::new(),
            format!("generated {} ({})", secret.kind, secret.length),
            String::new(),
        ]);
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    let depends: Vec<&str> = manifest.dependencies.iter().map(|d| d.service.as_str()).collect();
    if !depends.is_empty() {
        println!("\ndepends on {}", depends.join(", "));
    }
    for step in &manifest.manual_steps {
        println!("by hand: {step}");
    }
}

fn lint_all(fleet: &Fleet, names: &[String]) -> Result<u8> {
    let packages: Vec<&Package> = if names.is_empty() {
        fleet.catalogue.packages.values().collect()
    } else {
        names.iter().map(|name| fleet.catalogue.get(name)).collect::<Result<_>>()?
    };
    let mut count = 0;
    if names.is_empty() {
        for error in fleet.catalogue.broken.values() {
            count += 1;
            println!("{error}");
        }
    }
    for package in packages {
        let findings = lint::lint(&fleet.catalogue, package);
        count += findings.len();
        for finding in &findings {
            println!("{finding}");
        }
        if findings.is_empty() {
            println!("{} {}", package.id, green("ok"));
        }
    }
    match count {
        0 => Ok(0),
        1 => Err(Error::new("one finding")),
        _ => Err(Error::new(format!("{count} findings"))),
    }
}

fn render(fleet: &Fleet, service: &str, pattern: &str) -> Result<()> {
    let sources = fleet.sources();
    let name = fleet.catalogue.instance(service)?.to_string();
    let selection = Selection { services: Some(vec![name.clone()]), with_dependencies: true };
    let hosts = fleet.select(pattern)?;
    let rollout = Rollout::prepare(&sources, &hosts, &selection)?;
    for host in rollout.hosts.values() {
        for rendered in host.services.iter().filter(|rendered| rendered.id == name) {
            let stack = rendered.vars.get("service").and_then(|service| service.get("stack")).and_then(Value::as_str);
            println!("# {name} on {}\n{}", host.host, fleet.redactor.text(stack.unwrap_or_default()));
        }
    }
    Ok(())
}
