//! The catalogue as a list: by category, with what each client has of it.

use indexmap::IndexMap;
use tokio_util::sync::CancellationToken;

use crate::cli::common::Fleet;
use crate::cli::screen;
use crate::cli::screen::list::{Entry, State};
use crate::cli::status::{self, Row};
use crate::error::Result;
use crate::services::manifest::Requirements;
use crate::services::{Package, lint};

/// Stands for what each client declares, whatever that is.
pub const DECLARED: &str = "declarados";

/// What each client has, or why it does not say.
pub type Answers = IndexMap<String, std::result::Result<Vec<Row>, String>>;

/// Asks the clients; Escape goes on without their answers.
pub fn look(fleet: &Fleet, hosts: &[String]) -> Result<Answers> {
    let screen = screen::notice(&format!("Consultando {}…   (Esc: seguir sin esperar)", hosts.join(", ")))?;
    let given_up = CancellationToken::new();
    let answers = crate::cli::block_on(async {
        let mut asking = std::pin::pin!(status::look(fleet, hosts, given_up.clone()));
        loop {
            tokio::select! {
                answers = &mut asking => break answers,
                () = tokio::time::sleep(std::time::Duration::from_millis(100)) => {
                    if screen::given_up() {
                        given_up.cancel();
                        break Ok(Answers::new());
                    }
                }
            }
        }
    });
    drop(screen);
    answers
}

/// Every package, the clients' own instances of packages, and the broken ones at the end.
pub fn entries(fleet: &Fleet, hosts: &[String], answers: Answers) -> Vec<Entry> {
    let mut entries = vec![Entry {
        heading: "Todo".to_owned(),
        id: DECLARED.to_owned(),
        title: "Todo lo que cada cliente declara".to_owned(),
        detail: hosts.iter().map(|host| trouble(host, &answers)).collect(),
        ..Entry::default()
    }];
    let mut packages: Vec<&Package> = fleet.catalogue.packages.values().collect();
    packages.sort_by_key(|package| (category(package), package.id.clone()));
    let known: Vec<&str> = packages.iter().map(|package| package.id.as_str()).collect();
    for package in &packages {
        entries.push(of_package(fleet, package, &package.id, hosts, &answers));
        for name in names(&answers).iter().filter(|name| instance_of(name) == Some(package.id.as_str())) {
            entries.push(of_package(fleet, package, name, hosts, &answers));
        }
    }
    let strangers = names(&answers);
    for name in strangers.iter().filter(|name| !known.contains(&instance_of(name).unwrap_or(name))) {
        let (state, state_text) = state(name, hosts, &answers, "?");
        entries.push(Entry {
            heading: "Sin paquete en el registro".to_owned(),
            id: name.clone(),
            state,
            state_text,
            detail: details(name, hosts, &answers),
            ..Entry::default()
        });
    }
    for (name, profile) in &fleet.catalogue.profiles {
        let id = format!("@{name}");
        if let (Ok(profile), Ok(services)) = (profile, fleet.catalogue.unfolded(std::slice::from_ref(&id))) {
            entries.push(Entry {
                heading: "Perfiles".to_owned(),
                title: profile.name.clone(),
                state_text: services.join(", "),
                detail: vec![profile.description.clone(), format!("servicios: {}", services.join(", "))],
                id,
                ..Entry::default()
            });
        }
    }
    for (id, error) in &fleet.catalogue.broken {
        entries.push(Entry {
            heading: "Rotos".to_owned(),
            id: id.clone(),
            title: error.text.clone(),
            state: State::Broken,
            state_text: "roto".to_owned(),
            detail: error.to_string().lines().map(|line| line.trim().to_owned()).collect(),
            ..Entry::default()
        });
    }
    entries
}

fn category(package: &Package) -> String {
    match package.manifest.category.is_empty() {
        true => "Sin categoría".to_owned(),
        false => package.manifest.category.clone(),
    }
}

/// The package of `package@instance`.
fn instance_of(name: &str) -> Option<&str> {
    name.split_once('@').map(|(package, _)| package)
}

/// All services that a client has or declares.
fn names(answers: &Answers) -> Vec<String> {
    let mut names: Vec<String> = answers.values().flatten().flatten().map(|row| row.service.clone()).collect();
    names.sort();
    names.dedup();
    names
}

fn of_package(fleet: &Fleet, package: &Package, id: &str, hosts: &[String], answers: &Answers) -> Entry {
    let manifest = &package.manifest;
    let (state, state_text) = state(id, hosts, answers, &manifest.version);
    let mut detail = vec![manifest.description.clone()];
    let depends: Vec<&str> = manifest.dependencies.iter().map(|dependency| dependency.service.as_str()).collect();
    let mut about = Vec::new();
    if !manifest.aliases.is_empty() {
        about.push(format!("alias: {}", manifest.aliases.join(", ")));
    }
    if !depends.is_empty() {
        about.push(format!("necesita: {}", depends.join(", ")));
    }
    let findings = lint::lint(&fleet.catalogue, package).len();
    if findings > 0 {
        about.push(format!("avisos: {findings} (provision registry lint {})", package.id));
    }
    detail.push(about.join("  ·  "));
    detail.extend(details(id, hosts, answers));
    Entry {
        heading: category(package),
        id: id.to_owned(),
        aliases: manifest.aliases.clone(),
        title: manifest.name.clone(),
        badge: badge(&manifest.requirements),
        state,
        state_text,
        detail,
    }
}

/// `[2/4]`: processors and gigabytes of memory.
fn badge(requirements: &Requirements) -> String {
    let number = |value: f64| {
        let text = format!("{value:.2}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let wanted = requirements.recommended();
    let cpu = wanted.cpu.map(number);
    let ram = wanted.ram_mb.map(|mb| number(f64::from(u32::try_from(mb).unwrap_or(u32::MAX)) / 1024.0));
    match (cpu, ram) {
        (None, None) => String::new(),
        (cpu, ram) => format!("[{}/{}]", cpu.unwrap_or("?".to_owned()), ram.unwrap_or("?".to_owned())),
    }
}

fn row<'a>(name: &str, host: &str, answers: &'a Answers) -> Option<&'a Row> {
    answers.get(host)?.as_ref().ok()?.iter().find(|row| row.service == name)
}

fn pending(row: &Row) -> bool {
    row.installed.is_some() && matches!(row.drift, "settings" | "edited")
}

/// How a service stands on all the clients together.
fn state(name: &str, hosts: &[String], answers: &Answers, version: &str) -> (State, String) {
    if !hosts.iter().any(|host| answers.get(host).is_some_and(std::result::Result::is_ok)) {
        return (State::Available, format!("{version} · sin datos"));
    }
    let rows: Vec<&Row> = hosts.iter().filter_map(|host| row(name, host, answers)).collect();
    let installed = rows.iter().filter(|row| row.installed.is_some()).count();
    let waiting = rows.iter().filter(|row| pending(row)).count();
    match (hosts.len(), installed, waiting) {
        (_, 0, _) if rows.iter().any(|row| row.declared.is_some()) => {
            (State::Available, format!("{version} · declarado, sin instalar"))
        }
        (_, 0, _) => (State::Available, format!("{version} · disponible")),
        (1, _, waiting) => {
            let has = rows.iter().find_map(|row| row.installed.clone()).unwrap_or_default();
            match (waiting, has == version) {
                (0, _) => (State::Installed, format!("{has} · instalado")),
                (_, true) => (State::Pending, format!("{has} · cambios por aplicar")),
                (_, false) => (State::Pending, format!("{has} → {version} · por actualizar")),
            }
        }
        (all, some, 0) => (State::Installed, format!("{version} · en {some} de {all}")),
        (all, some, waiting) => (State::Pending, format!("{version} · en {some} de {all}, {waiting} por actualizar")),
    }
}

fn details(name: &str, hosts: &[String], answers: &Answers) -> Vec<String> {
    let line = |host: &String| match row(name, host, answers) {
        Some(Row { installed: Some(version), state, url, .. }) => format!("{host}: {version} · {state} · {url}"),
        Some(_) => format!("{host}: declarado, sin instalar"),
        None => trouble(host, answers),
    };
    hosts.iter().map(line).collect()
}

fn trouble(host: &str, answers: &Answers) -> String {
    match answers.get(host) {
        Some(Ok(rows)) => {
            let installed = rows.iter().filter(|row| row.installed.is_some()).count();
            format!("{host}: {installed} instalados")
        }
        Some(Err(trouble)) => format!("{host}: sin respuesta ({trouble})"),
        None => format!("{host}: no consultado"),
    }
}
