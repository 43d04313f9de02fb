//! What a service's backups are made of and where they go, as the text that runs on the host.
//!
//! A package says what is worth keeping (`backup` of its manifest), the client's inventory says where to
//! (`backup_repository`, `backup_keep_last` …), `vps_data/<host>/backup.env.age` opens that place. All of it becomes one
//! shell text: assignments and a function `items`, in front of `playbooks/files/{restore,backup}.sh`, which do the work. It goes
//! over standard input, or into a file for the timer.

use std::path::Path;

use serde_json::{Value, json};

use super::catalogue::Package;
use super::manifest::{Backup, BackupKind};
use super::render::Placed;
use super::settings::{Sources, env_path, recipients};
use crate::error::{Error, Result};
use crate::inventory::Inventory;
use crate::plan::{Object, Secret, quote};
use crate::secrets::{EnvFile, Identities, SecretKind, generate};
use crate::shipped;
use crate::vars::Scope;

/// The file of `vps_data/<host>/` that opens the places where backups are kept.
pub const SECRETS: &str = "backup";
/// Opens the restic repository; made once if it is not given.
const PASSWORD: &str = "BACKUP_PASSWORD";
/// The private key for repositories over SFTP.
const SSH_KEY: &str = "BACKUP_SSH_KEY";

/// A client's own choices about backups.
#[derive(Clone)]
pub struct Choices {
    destinations: Vec<String>,
    dir: String,
    keep_last: u64,
    format: String,
    repository: String,
    /// Arguments of `restic forget`; empty: nothing is ever removed there.
    retention: String,
    script: String,
    retry_lock: String,
    time: String,
    recipients: Vec<String>,
    /// What restic finds in its environment.
    environment: Vec<(String, Secret)>,
    ssh_key: Secret,
    password: Secret,
    generated: bool,
}

impl Choices {
    /// Reads the host's `backup_…` variables and its `backup.env.age`.
    pub(super) fn load(sources: &Sources<'_>, host: &str, scope: &Scope) -> Result<Choices> {
        let vars = Vars { scope, host };
        let repository = vars.text("backup_repository", "")?;
        let script = vars.text("backup_script", "/opt/ATS/restic/scripts/backup.sh")?;
        let default: &[&str] = if repository.is_empty() { &["local"] } else { &["local", "restic"] };
        let destinations = vars.list("backup_destinations", default)?;
        for destination in &destinations {
            if !["local", "restic", "script"].contains(&destination.as_str()) {
                return Err(vars
                    .wrong("backup_destinations", &format!("unknown destination `{destination}`"))
                    .hint("it is local, restic or script"));
            }
        }
        if destinations.iter().any(|destination| destination == "restic") && repository.is_empty() {
            return Err(vars.wrong("backup_destinations", "restic needs a repository").hint(
                "set backup_repository, e.g. sftp:backup@nas.example:/srv/restic or s3:https://s3.example/bucket",
            ));
        }
        let format = vars.text("backup_format", "zip")?;
        if !["zip", "tar.gz", "tar.zst"].contains(&format.as_str()) {
            return Err(vars
                .wrong("backup_format", &format!("unknown format `{format}`"))
                .hint("it is zip, tar.gz or tar.zst"));
        }
        let time = vars.text("backup_time", "03:15")?;
        let (hour, minute) = time.split_once(':').unwrap_or_default();
        let below = |text: &str, limit: u8| text.len() == 2 && text.parse::<u8>().is_ok_and(|number| number < limit);
        if !below(hour, 24) || !below(minute, 60) {
            return Err(vars
                .wrong("backup_time", &format!("`{time}` is no time of the day"))
                .hint("write it as \"03:15\""));
        }
        let mut choices = Choices {
            destinations,
            dir: vars.text("backup_dir", "database/backups")?,
            keep_last: vars.number("backup_keep_last", 10)?,
            format,
            repository,
            retention: vars.retention()?,
            script,
            retry_lock: vars.text("backup_retry_lock", "10m")?,
            time,
            recipients: recipients(sources.inventory).map(|all| all.lines().to_vec()).unwrap_or_default(),
            environment: Vec::new(),
            ssh_key: Secret::new(""),
            password: Secret::new(""),
            generated: false,
        };
        choices.open(sources, host)?;
        Ok(choices)
    }

    fn open(&mut self, sources: &Sources<'_>, host: &str) -> Result<()> {
        if self.repository.is_empty() {
            return Ok(());
        }
        for (key, value, _) in sources.stored(host, SECRETS)? {
            match key.as_str() {
                PASSWORD => self.password = value,
                SSH_KEY => self.ssh_key = value,
                _ => self.environment.push((key, value)),
            }
        }
        if self.password.reveal().is_empty() {
            self.password = generate(&SecretKind::default(), 32)?;
            self.generated = true;
            sources.redactor.add(self.password.reveal());
        }
        // `rest:https://user:password@host/`
        if let Some((_, password)) = user_info(&self.repository).and_then(|user| user.split_once(':')) {
            sources.redactor.add(password);
        }
        Ok(())
    }

    /// The repository, without what is secret in its address; empty where there is none.
    pub(super) fn repository_shown(&self) -> String {
        shown(&self.repository)
    }

    /// Is there a password that is not stored yet?
    pub(super) fn generated(&self) -> bool {
        self.generated
    }

    /// Writes a password that was made now into the host's age file.
    pub(super) fn store(&self, inventory: &Inventory, identities: &Identities, host: &str) -> Result<bool> {
        if !self.generated {
            return Ok(false);
        }
        let path = env_path(inventory, host, SECRETS);
        let mut file = EnvFile::load(&path, identities)?;
        file.set(PASSWORD, self.password.clone())?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::new(format!("cannot create `{}`: {error}", folder.display())))?;
        }
        file.save(&path, &recipients(inventory)?)
    }

    /// What the operator is told before anything is done.
    fn plan(&self, root: &str) -> Vec<String> {
        let say = |destination: &String| match destination.as_str() {
            "local" => format!("local: {}, the last {} are kept", self.folder(root), self.keep_last),
            "restic" => {
                let kept = if self.retention.is_empty() { "nothing is removed" } else { self.retention.as_str() };
                format!("restic: {} ({kept})", shown(&self.repository))
            }
            _ => format!("script: {}", self.script),
        };
        self.destinations.iter().map(say).collect()
    }

    fn folder(&self, root: &str) -> String {
        if self.dir.starts_with('/') { self.dir.clone() } else { format!("{root}/{}", self.dir) }
    }

    fn packages(&self, items: &[Backup]) -> Vec<&'static str> {
        let uses = |name: &str| self.destinations.iter().any(|destination| destination == name);
        let mut packages = Vec::new();
        match self.format.as_str() {
            "tar.zst" => packages.push("zstd"),
            "zip" => packages.extend(["zip", "unzip"]),
            _ => {}
        }
        if uses("restic") {
            packages.push("restic");
        }
        if !self.recipients.is_empty() && items.iter().any(|item| matches!(item.kind, BackupKind::Config {})) {
            packages.push("age");
        }
        packages
    }
}

/// The variable `backup` of a service: what there is, and the text that does it.
pub(super) fn render(
    Placed { package, instance, host, version }: Placed<'_>,
    root: &str,
    env: &Object,
    databases: &[Value],
    choices: &Choices,
) -> Result<Value> {
    let items = &package.manifest.backup;
    let names: Vec<String> = items.iter().map(Backup::name).collect();
    if items.is_empty() {
        return Ok(json!({"items": [], "plan": [], "packages": [], "script": "", "conf": ""}));
    }
    let mut conf = String::new();
    let mut set = |key: &str, value: &str| conf.push_str(&format!("{key}={}\n", quote(value)));
    set("SERVICE", &instance.to_string());
    set("PROJECT", &instance.project());
    set("RUNTIME", &host.runtime);
    set("ROOT", root);
    set("HOST", &host.host);
    set("VERSION", version);
    set("DESTINATIONS", &choices.destinations.join(" "));
    set("LOCAL_DIR", &choices.folder(root));
    set("KEEP_LAST", &choices.keep_last.to_string());
    set("FORMAT", &choices.format);
    set("RECIPIENTS", &choices.recipients.join("\n"));
    set("REPOSITORY", &choices.repository);
    set("REPOSITORY_SHOWN", &shown(&choices.repository));
    set("RETENTION", &choices.retention);
    set("RETRY_LOCK", &choices.retry_lock);
    set("BACKUP_SCRIPT", &choices.script);
    set("RESTIC_PASSWORD", choices.password.reveal());
    set("SSH_KEY", choices.ssh_key.reveal());
    for (key, value) in &choices.environment {
        conf.push_str(&format!("{key}={}; export {key}\n", quote(value.reveal())));
    }
    conf.push_str("items() {\n");
    for item in items {
        let lines = match &item.kind {
            BackupKind::Databases {} => databases.iter().map(database).collect(),
            _ => vec![words(package, item, env)?],
        };
        for words in lines {
            let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
            conf.push_str(&format!("\"$1\" {} || return\n", words.join(" ")));
        }
    }
    conf.push_str("}\n");
    let body = body()?;
    // the group makes the shell read all of it before anything runs that could eat the rest
    let script = format!("{{\n: \"${{PULL=no}}\" \"${{SOURCE={}}}\"\n{conf}{body}\n}} </dev/null\n", quote(&host.host));
    Ok(json!({
        "items": names, "plan": choices.plan(root), "packages": choices.packages(items), "time": choices.time,
        "conf": format!("PULL=no\nSOURCE={}\n{conf}", quote(&host.host)), "body": body, "script": script,
    }))
}

/// The script: its functions first, what calls them last.
fn body() -> Result<String> {
    let read = |name: &str| -> Result<String> {
        let path = shipped::locate(Path::new("."), name);
        let path = path.ok_or_else(|| Error::new(format!("the file {name} is missing")))?;
        shipped::read_to_string(&path).map_err(|error| Error::new(format!("cannot read {}: {error}", path.display())))
    };
    Ok(format!("{}{}", read("playbooks/files/restore.sh")?, read("playbooks/files/backup.sh")?))
}

/// A database that the package declares, as the words of an item; its server may be another package's.
fn database(database: &Value) -> Vec<String> {
    let text = |key: &str| database.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = if text("engine").starts_with('p') { "postgres" } else { "mariadb" };
    let server = format!("{}/{}", text("project"), text("service"));
    let words = [kind.to_owned(), format!("database-{}", text("name")), server];
    words.into_iter().chain([text("admin_user"), text("name"), text("admin_password")]).collect()
}

/// An item as the words that the script's functions take.
fn words(package: &Package, item: &Backup, env: &Object) -> Result<Vec<String>> {
    let setting = |key: &Option<String>| -> Result<String> {
        let Some(key) = key else { return Ok(String::new()) };
        env.get(key).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| {
            let text = format!("backup `{}` wants `{key}`, which is no setting of `{}`", item.name(), package.id);
            Error { place: Some(package.place()), ..Error::new(text) }.did_you_mean(key, env.keys().map(String::as_str))
        })
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let mut words = vec![item.kind.word().to_owned(), item.name()];
    match &item.kind {
        BackupKind::Postgres { service, user, database, password_var } => {
            words.extend([service.clone(), text(user), text(database), setting(password_var)?]);
        }
        BackupKind::Mariadb { service, user, database, password_var } => {
            words.extend([service.clone(), text(user), text(database), setting(password_var)?]);
        }
        BackupKind::Redis { service, path, password_var } => {
            words.extend([service.clone(), path.clone(), setting(password_var)?]);
        }
        BackupKind::Files { paths, pause } => {
            words.push(if *pause { "pause".to_owned() } else { String::new() });
            words.extend(paths.iter().cloned());
        }
        BackupKind::Databases {} | BackupKind::Config {} => {}
        BackupKind::Job { service, run, restore, env: keys, user } => {
            let mut exports = String::new();
            for key in keys {
                exports.push_str(&format!("{key}={}; export {key}\n", quote(&setting(&Some(key.clone()))?)));
            }
            let run = format!("{exports}{{\n{}\n}} </dev/null", package.read(run)?);
            words.extend([service.clone(), text(user), run, format!("{exports}{}", package.read(restore)?)]);
        }
    }
    Ok(words)
}

/// A repository's URL without what is secret in it.
fn shown(repository: &str) -> String {
    match user_info(repository).and_then(|user| user.split_once(':')) {
        Some((name, password)) => repository.replacen(&format!("{name}:{password}@"), &format!("{name}@"), 1),
        None => repository.to_owned(),
    }
}

/// `user:password` of `rest:https://user:password@host/`.
fn user_info(repository: &str) -> Option<&str> {
    let (_, rest) = repository.split_once("://")?;
    let authority = rest.split('/').next()?;
    authority.rsplit_once('@').map(|(user, _)| user)
}

/// The host's variables, with errors that name it.
struct Vars<'a> {
    scope: &'a Scope,
    host: &'a str,
}

impl Vars<'_> {
    fn wrong(&self, name: &str, what: &str) -> Error {
        Error::new(format!("host `{}`: `{name}`: {what}", self.host))
    }

    fn get(&self, name: &str) -> Result<Option<Value>> {
        let fault = |fault: crate::vars::Fault| Error { hint: fault.hint.clone(), ..self.wrong(name, &fault.text) };
        Ok(self.scope.get(name).map_err(fault)?.filter(|value| !value.is_null()))
    }

    fn text(&self, name: &str, default: &str) -> Result<String> {
        match self.get(name)? {
            None => Ok(default.to_owned()),
            Some(Value::String(text)) => Ok(text),
            Some(_) => Err(self.wrong(name, "must be text").hint("put it in quotes")),
        }
    }

    fn number(&self, name: &str, default: u64) -> Result<u64> {
        let Some(value) = self.get(name)? else { return Ok(default) };
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number.filter(|number| *number > 0).ok_or_else(|| self.wrong(name, "must be a number above 0"))
    }

    fn list(&self, name: &str, default: &[&str]) -> Result<Vec<String>> {
        let wrong = || self.wrong(name, "must be a list of words");
        match self.get(name)? {
            None => Ok(default.iter().map(|word| (*word).to_owned()).collect()),
            Some(Value::String(text)) => {
                Ok(text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
            }
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// `{within: 7d, within_daily: 30d}` → `--keep-within 7d --keep-within-daily 30d`; `none` keeps everything.
    fn retention(&self) -> Result<String> {
        let name = "backup_retention";
        let Some(value) = self.get(name)? else {
            return Ok("--keep-within 7d --keep-within-daily 30d --keep-within-monthly 1y".to_owned());
        };
        if value.as_str() == Some("none") {
            return Ok(String::new());
        }
        let hint = "e.g. {within: 7d, within_daily: 30d, within_monthly: 1y}, {last: 10}, or none";
        let Some(rules) = value.as_object().filter(|rules| !rules.is_empty()) else {
            return Err(self.wrong(name, "must be a mapping, or none").hint(hint));
        };
        let units = ["hourly", "daily", "weekly", "monthly", "yearly"];
        let mut words = Vec::new();
        for (rule, value) in rules {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let within = rule.strip_prefix("within").map(|rest| rest.trim_start_matches('_'));
            let known = match within {
                Some(unit) => unit.is_empty() || units.contains(&unit),
                None => rule == "last" || units.contains(&rule.as_str()),
            };
            if !known {
                return Err(self.wrong(name, &format!("unknown rule `{rule}`")).hint(hint));
            }
            let letters: &[char] = if within.is_some() { &['h', 'd', 'm', 'y'] } else { &[] };
            let sound = value.starts_with(|c: char| c.is_ascii_digit())
                && value.chars().all(|c| c.is_ascii_digit() || letters.contains(&c));
            if !sound || (within.is_some() && !value.ends_with(letters)) {
                return Err(self.wrong(name, &format!("`{rule}` cannot be `{value}`")).hint(hint));
            }
            words.push(format!("--keep-{} {value}", rule.replace('_', "-")));
        }
        Ok(words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_repository_is_not_shown() {
        assert_eq!(shown("rest:https://a:b:c@host:8000/x"), "rest:https://a@host:8000/x");
        for plain in [
            "rest:http://host/x",
            "sftp:user@host:/srv",
            "/srv/restic",
            "s3:https://s3.example/bucket@x",
            "b2:bucket:clients/a",
        ] {
            assert_eq!(shown(plain), plain);
        }
    }

    #[test]
    fn retentions_become_arguments_and_nonsense_is_refused() {
        let retention = |value: Value| {
            let mut scope = Scope::new(std::sync::Arc::new(crate::vars::NoWorld));
            scope.push(crate::vars::Layer::raw(Object::from_iter([("backup_retention".to_owned(), value)])));
            Vars { scope: &scope, host: "h" }.retention()
        };
        assert_eq!(
            retention(json!(null)).unwrap(),
            "--keep-within 7d --keep-within-daily 30d --keep-within-monthly 1y"
        );
        assert_eq!(
            retention(json!({"last": 3, "within_weekly": "1m15d"})).unwrap(),
            "--keep-last 3 --keep-within-weekly 1m15d"
        );
        assert_eq!(retention(json!("none")).unwrap(), "");
        for wrong in [
            json!({}),
            json!(3),
            json!({"daily": "7d"}),
            json!({"within": 7}),
            json!({"last": "1 --prune"}),
            json!({"forever": 1}),
        ] {
            assert!(retention(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
