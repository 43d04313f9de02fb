//! `provision registry`: the catalogue, a package, its lint, what it renders to.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use super::common::{Fleet, FleetFlags};
use crate::error::{Error, Result};
use crate::report::style::{bold, green, red, table, yellow};
use crate::services::profile::Profile;
use crate::services::{Catalogue, Package, Rollout, Selection, author, lint};

#[derive(Args)]
#[command(after_help = "Examples:
  provision registry list
  provision registry show hub
  provision registry show @erp                    a profile: the services that it stands for
  provision registry lint                         every package
  provision registry new my-app --image example/app:1.4 --port 3000
  provision registry import compose ../their-app/docker-compose.yml
  provision registry render hub --host clienteA   the compose file as it would be written (no secrets in it)")]
pub struct Flags {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    fleet: FleetFlags,
}

#[derive(Subcommand)]
enum Verb {
    /// All packages, and the profiles
    #[command(after_help = "Example:\n  provision registry list --registry ../more-packages")]
    List {
        /// Only this category
        #[arg(long)]
        category: Option<String>,
    },
    /// One package: settings, secrets, dependencies
    #[command(after_help = "Examples:
  provision registry show hub
  provision registry show @erp      a profile: what it stands for, in the order of deployment")]
    Show {
        /// Its id or an alias, or a profile
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
    /// Start a package: two files that pass lint and can be rolled out
    #[command(after_help = "Examples:
  provision registry new my-app --image example/app:1.4 --port 3000
  provision registry new my-app --name 'Mi App' --image example/app:1.4 --health 'test -f /tmp/ready'")]
    New {
        /// Its id, the folder's name
        id: String,
        /// How people call it; the id if not given
        #[arg(long)]
        name: Option<String>,
        /// The image with its tag
        #[arg(long)]
        image: String,
        /// On which the container speaks HTTP
        #[arg(long, default_value_t = 80)]
        port: u16,
        /// Command in the container that ends with 0 when it is well; without it HTTP on the port
        #[arg(long, value_name = "COMMAND")]
        health: Option<String>,
        /// The registry that it goes into
        #[arg(long, value_name = "DIR", default_value = "registry")]
        into: PathBuf,
    },
    /// Make a package out of something else
    #[command(
        after_help = "Example:\n  provision registry import compose ../their-app/docker-compose.yml --id their-app"
    )]
    Import {
        #[command(subcommand)]
        from: Import,
    },
    /// The compose file for a host
    #[command(after_help = "Examples:
  provision registry render hub --host clienteA
  provision registry render hub --host clienteA --explain     which file each part is from")]
    Render {
        /// Its id or an alias
        service: String,
        /// Clients
        #[arg(long, value_name = "PATTERN")]
        host: String,
        /// Which file each part of it is from, instead of the text
        #[arg(long)]
        explain: bool,
    },
}

#[derive(Subcommand)]
enum Import {
    /// A docker-compose.yml: images, ports, environment, volumes, health
    #[command(after_help = "Examples:
  provision registry import compose docker-compose.yml
  provision registry import compose ../their-app/compose.yml --id their-app

Values of secrets stay behind; what cannot be carried over is listed, and so are the findings of lint.")]
    Compose {
        /// The compose file
        file: PathBuf,
        /// The package's id; without it the name of the file's folder
        #[arg(long)]
        id: Option<String>,
        /// The registry that it goes into
        #[arg(long, value_name = "DIR", default_value = "registry")]
        into: PathBuf,
    },
}

pub fn main(flags: Flags) -> Result<u8> {
    let Flags { verb, fleet } = flags;
    match verb {
        // a package may well be there before the fleet
        Verb::New { id, name, image, port, health, into } => {
            let name = name.unwrap_or_else(|| id.clone());
            write_draft(&into, author::new(&author::Start { id, name, image, port, health })?)?;
        }
        Verb::Import { from: Import::Compose { file, id, into } } => {
            let id = id.or_else(|| folder_name(&file)).ok_or_else(|| {
                Error::new("the folder of the compose file has no name that a package could have").hint("add --id NAME")
            })?;
            write_draft(&into, author::import::import(&file, &id)?)?;
        }
        Verb::List { category } => list(&fleet.load()?, category.as_deref()),
        Verb::Show { service } => {
            let catalogue = fleet.load()?.catalogue;
            match catalogue.profile_called(&service)? {
                Some(profile) => show_profile(&catalogue, &service, profile)?,
                None => show(catalogue.get(&service)?),
            }
        }
        Verb::Lint { services } => return lint_all(&fleet.load()?, &services),
        Verb::Render { service, host, explain } => render(&fleet.load()?, &service, &host, explain)?,
    }
    Ok(0)
}

/// `their-app` of `../Their App/compose.yml`.
fn folder_name(file: &Path) -> Option<String> {
    let folder = std::path::absolute(file).ok()?.parent()?.file_name()?.to_string_lossy().to_lowercase();
    let id: String = folder.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let id = id.trim_matches(['-', '_']).to_owned();
    (!id.is_empty()).then_some(id)
}

/// Writes a new package, and says what is still to be done about it.
fn write_draft(registry: &Path, draft: author::Draft) -> Result<()> {
    let folder = registry.join(&draft.id);
    if folder.exists() {
        return Err(Error::new(format!("{} is there already", folder.display())).hint("take another id, or remove it"));
    }
    for (name, content) in &draft.files {
        let path = folder.join(name);
        let trouble = |error: std::io::Error| Error::new(format!("cannot write `{}`: {error}", path.display()));
        let above = path.parent().unwrap_or(&folder);
        std::fs::create_dir_all(above).map_err(trouble)?;
        std::fs::write(&path, content).map_err(trouble)?;
        // others work on the registry, too
        std::fs::set_permissions(above, Permissions::from_mode(0o755)).map_err(trouble)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).map_err(trouble)?;
    }
    let names: Vec<&str> = draft.files.iter().map(|(name, _)| name.as_str()).collect();
    println!("wrote {}: {}", folder.display(), names.join(", "));
    for remark in &draft.remarks {
        println!("{} {remark}", yellow("note:"));
    }
    let catalogue = Catalogue::load(Path::new("."), &[registry.to_owned()])?;
    let findings = lint::lint(&catalogue, catalogue.get(&draft.id)?);
    findings.iter().for_each(|finding| println!("{finding}"));
    if findings.is_empty() {
        println!("{} {}", draft.id, green("ok"));
    }
    Ok(())
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
    if category.is_none() {
        list_profiles(&fleet.catalogue);
    }
}

fn list_profiles(catalogue: &Catalogue) {
    let mut rows = vec![["PROFILE", "SERVICES", "NAME"].map(str::to_owned).to_vec()];
    let mut broken = Vec::new();
    for (name, profile) in &catalogue.profiles {
        let services = match profile {
            Ok(profile) => catalogue.unfolded(&[format!("@{name}")]).map(|services| (profile, services)),
            Err(error) => Err(error.clone()),
        };
        match services {
            Ok((profile, services)) => {
                rows.push(vec![format!("@{name}"), services.join(", "), profile.name.clone()]);
            }
            Err(error) => broken.push(format!("{} @{name}: {error}", red("broken"))),
        }
    }
    println!();
    table(&rows).into_iter().chain(broken).for_each(|line| println!("{line}"));
}

fn show_profile(catalogue: &Catalogue, word: &str, profile: &Profile) -> Result<()> {
    println!("{} {}\n{}\n", bold(word), profile.name, profile.description);
    let named = catalogue.unfolded(&[word.to_owned()])?;
    let mut rows = vec![["SERVICE", "VERSION", "NAME", ""].map(str::to_owned).to_vec()];
    for id in catalogue.order(&named, true)? {
        let package = catalogue.get(&id)?;
        let why = if named.contains(&id) { "" } else { "needed by the others" };
        let manifest = &package.manifest;
        rows.push(vec![id.clone(), manifest.version.clone(), manifest.name.clone(), why.to_owned()]);
    }
    table(&rows).iter().for_each(|line| println!("{line}"));
    println!("\nfrom {}", profile.place);
    Ok(())
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
        println!("by hand: {} ({}{})", step.text, step.id, if step.critical { ", critical" } else { "" });
    }
}

fn lint_all(fleet: &Fleet, names: &[String]) -> Result<u8> {
    let packages: Vec<&Package> = if names.is_empty() {
        fleet.catalogue.packages.values().collect()
    } else {
        let packages = names.iter().filter(|name| !name.starts_with('@'));
        packages.map(|name| fleet.catalogue.get(name)).collect::<Result<_>>()?
    };
    let profiles: Vec<&str> = match names {
        [] => fleet.catalogue.profiles.keys().map(String::as_str).collect(),
        some => some.iter().filter_map(|name| name.strip_prefix('@')).collect(),
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
    if names.is_empty() {
        for error in lint::globals(&fleet.catalogue) {
            count += 1;
            println!("{error}");
        }
    }
    for profile in profiles {
        match fleet.catalogue.lint_profile(profile) {
            Some(error) => {
                count += 1;
                println!("{error}");
            }
            None => println!("@{profile} {}", green("ok")),
        }
    }
    match count {
        0 => Ok(0),
        1 => Err(Error::new("one finding")),
        _ => Err(Error::new(format!("{count} findings"))),
    }
}

fn render(fleet: &Fleet, service: &str, pattern: &str, explain: bool) -> Result<()> {
    let sources = fleet.sources();
    let name = fleet.catalogue.instance(service)?.to_string();
    let selection = Selection { services: Some(vec![name.clone()]), with_dependencies: true, ..Selection::default() };
    let hosts = fleet.select(pattern)?;
    let rollout = Rollout::prepare(&sources, &hosts, &selection)?;
    for host in rollout.hosts.values() {
        if explain {
            let mut rows = vec![["KEY", "FROM"].map(str::to_owned).to_vec()];
            for (key, files) in host.origins(&fleet.catalogue, &name)? {
                let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
                rows.push(vec![key, files.join(" + ")]);
            }
            println!("# {name} on {}", host.host);
            table(&rows).iter().for_each(|line| println!("{line}"));
            continue;
        }
        for rendered in host.services.iter().filter(|rendered| rendered.id == name) {
            let stack = rendered.vars.get("service").and_then(|service| service.get("stack")).and_then(Value::as_str);
            println!("# {name} on {}\n{}", host.host, fleet.redactor.text(stack.unwrap_or_default()));
        }
    }
    Ok(())
}
