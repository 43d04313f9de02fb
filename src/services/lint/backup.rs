//! What is wrong with what a package says about its backups.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::services::catalogue::Package;
use crate::services::manifest::BackupKind;
use crate::services::settings::known_keys;
use crate::shipped;

/// Settings, scripts and paths that are there; names that tell the parts apart; no critical data without a backup.
pub(super) fn findings(package: &Package, findings: &mut Vec<Error>) {
    let place = package.place();
    let mut say =
        |text: String, hint: &str| findings.push(Error { place: Some(place.clone()), ..Error::new(text) }.hint(hint));
    let manifest = &package.manifest;
    let known: Vec<String> = known_keys(package).collect();
    let mut names = BTreeSet::new();
    for item in &manifest.backup {
        let name = item.name();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            say(format!("backup `{name}` cannot be named so"), "use letters, digits, `-` and `_`");
        }
        if !names.insert(name.clone()) {
            say(format!("two parts of the backup are named `{name}`"), "give each a `name` of its own");
        }
        let (mut keys, mut paths, mut scripts) = (Vec::new(), Vec::new(), Vec::new());
        match &item.kind {
            BackupKind::Postgres { password_var, .. } | BackupKind::Mariadb { password_var, .. } => {
                keys.extend(password_var);
            }
            BackupKind::Redis { password_var, path, .. } => {
                keys.extend(password_var);
                paths.push(path);
            }
            BackupKind::Files { paths: below, .. } => paths.extend(below),
            BackupKind::Job { env, run, restore, .. } => {
                keys.extend(env);
                scripts.extend([run, restore]);
            }
            BackupKind::Databases {} if manifest.databases.is_empty() => say(
                "the backup wants the package's databases, and it declares none".to_owned(),
                "declare them under `databases`",
            ),
            BackupKind::Databases {} | BackupKind::Config {} => {}
        }
        for key in keys.into_iter().filter(|key| !known.contains(key)) {
            let text = format!("backup `{name}` wants `{key}`, which is no setting of the package");
            say(text, "declare it, or take it out there");
        }
        for path in paths {
            if path.starts_with(['/', '-']) || path.is_empty() || path.split('/').any(|part| part == "..") {
                say(format!("backup `{name}`: `{path}` leads out of the service's folder"), "write a path below it");
            }
        }
        for script in scripts.into_iter().filter(|script| !shipped::exists(&package.dir.join(script))) {
            say(format!("`{script}` is not in the package"), "add the file or take it out of the manifest");
        }
    }
    let of_databases = |kind: &BackupKind| {
        matches!(kind, BackupKind::Databases {} | BackupKind::Postgres { .. } | BackupKind::Mariadb { .. })
    };
    let declared = !manifest.databases.is_empty() && !manifest.backup.is_empty();
    if declared && !manifest.backup.iter().any(|item| of_databases(&item.kind)) {
        let text = "its databases are in no backup of it".to_owned();
        say(text, "add `{\"kind\": \"databases\"}` to `backup`");
    }
    if manifest.backup.is_empty() && manifest.data.iter().any(|data| data.class == "critical") {
        let text = "it has critical data, and nothing says how that is backed up".to_owned();
        say(text, "add `backup`, see docs/backup.md");
    }
}
