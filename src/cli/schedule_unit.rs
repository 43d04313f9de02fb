//! What starts a schedule: units of systemd, or a line for cron.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::tz::TimeZone;

use super::schedule::Schedule;
use super::window::When;
use crate::error::{Error, Result};
use crate::plan::quote;

/// Who keeps the time on this machine.
pub(super) enum Starter {
    /// Units of the whole system; for root.
    System,
    /// Units of the user's own systemd.
    User(PathBuf),
    /// `/etc/cron.d`; for root.
    CronFolder,
    /// The user's crontab.
    Crontab,
}

/// A zone by its name, else this machine's.
pub(super) fn zone(name: Option<&str>) -> Result<TimeZone> {
    match name {
        None => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name).map_err(|_| {
            Error::new(format!("`{name}` is no time zone"))
                .hint("as in /usr/share/zoneinfo: Europe/Madrid, America/Bogota, UTC")
        }),
    }
}

/// A file that appears whole or not at all.
pub(super) fn write(path: &Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

impl Starter {
    pub fn here() -> Starter {
        let root = rustix::process::geteuid().is_root();
        match (Path::new("/run/systemd/system").is_dir(), root) {
            (true, true) => Starter::System,
            (true, false) => {
                let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
                let config = std::env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
                Starter::User(config.join("systemd/user"))
            }
            (false, true) => Starter::CronFolder,
            (false, false) => Starter::Crontab,
        }
    }

    /// The files of a schedule and what is in them; for a crontab the line.
    pub fn files(&self, name: &str, schedule: &Schedule) -> Result<Vec<(PathBuf, String)>> {
        let when: When = schedule.on.parse()?;
        let here = std::env::current_dir().map_err(|error| Error::new(format!("cannot tell this folder: {error}")))?;
        let program =
            std::env::current_exe().map_err(|error| Error::new(format!("cannot find this program: {error}")))?;
        let more: Vec<String> = fleet_part(schedule);
        let line: Vec<String> =
            [vec![program.display().to_string(), "schedule".to_owned()], more, vec!["run".to_owned(), name.to_owned()]]
                .concat();
        let (folder, wanted) = match self {
            Starter::System => (PathBuf::from("/etc/systemd/system"), "timers.target"),
            Starter::User(folder) => (folder.clone(), "timers.target"),
            Starter::CronFolder | Starter::Crontab => {
                let system = TimeZone::system();
                if schedule.timezone.as_deref().is_some_and(|zone| system.iana_name() != Some(zone)) {
                    return Err(Error::new("cron starts at this machine's time and knows no other time zone")
                        .hint("leave --timezone out and say --on in this machine's time"));
                }
                let shell: Vec<String> = line.iter().map(|word| quote(word)).collect();
                // `%` ends the command for cron
                let call = format!(
                    "cd {} && {} 2>&1 | logger -t provision-{name}",
                    quote(&here.display().to_string()),
                    shell.join(" ")
                )
                .replace('%', "\\%");
                return Ok(match self {
                    Starter::CronFolder => {
                        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".to_owned());
                        let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
                        let text =
                            format!("# Written by provision\nPATH={path}\nHOME={home}\n{} root {call}\n", when.cron());
                        vec![(PathBuf::from(format!("/etc/cron.d/provision-{name}")), text)]
                    }
                    _ => vec![(PathBuf::from("crontab"), format!("{} {call} # provision {name}", when.cron()))],
                });
            }
        };
        let word = |text: &str| {
            format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$"))
        };
        let call: Vec<String> = line.iter().map(|text| word(text)).collect();
        let home = std::env::var("HOME").unwrap_or_default();
        let service = format!(
            "# Written by provision\n[Unit]\nDescription=provision schedule {name}\nWants=network-online.target\nAfter=network-online.target\n\n\
             [Service]\nType=oneshot\nWorkingDirectory={}\nEnvironment={}\nExecStart={}\n",
            here.display().to_string().replace('%', "%%"),
            word(&format!("HOME={home}")),
            call.join(" ")
        );
        let timer = format!(
            "# Written by provision\n[Unit]\nDescription=provision schedule {name}\n\n[Timer]\nOnCalendar={}\nPersistent=true\n\n\
             [Install]\nWantedBy={wanted}\n",
            when.systemd(schedule.timezone.as_deref())
        );
        let file = |end: &str| folder.join(format!("provision-schedule-{name}.{end}"));
        Ok(vec![(file("service"), service), (file("timer"), timer)])
    }

    /// Is this in place?
    pub fn has(&self, path: &Path, text: &str) -> bool {
        match self {
            Starter::Crontab => crontab().lines().any(|line| line == text),
            _ => std::fs::read_to_string(path).is_ok_and(|old| old == text),
        }
    }

    pub fn add(&self, name: &str, schedule: &Schedule) -> Result<()> {
        let files = self.files(name, schedule)?;
        if let Starter::Crontab = self {
            let line = files.into_iter().map(|(_, line)| line).collect::<String>();
            return set_crontab(&format!("{}{line}\n", others(name)));
        }
        for (path, text) in &files {
            write(path, text).map_err(|error| Error::new(format!("cannot write `{}`: {error}", path.display())))?;
        }
        if matches!(self, Starter::System | Starter::User(_)) {
            self.systemctl(&["daemon-reload"])?;
            self.systemctl(&["enable", "--quiet", &timer(name)])?;
            self.systemctl(&["restart", &timer(name)])?;
        }
        if let Starter::User(_) = self {
            let user = std::env::var("USER").unwrap_or_default();
            if !Path::new("/var/lib/systemd/linger").join(&user).exists() {
                eprintln!(
                    "timers of a user run only while they are logged in; `loginctl enable-linger {user}` lets them run always"
                );
            }
        }
        Ok(())
    }

    pub fn remove(&self, name: &str, schedule: &Schedule) -> Result<()> {
        match self {
            Starter::Crontab => return set_crontab(&others(name)),
            Starter::System | Starter::User(_) => self.systemctl(&["disable", "--quiet", "--now", &timer(name)])?,
            Starter::CronFolder => {}
        }
        for (path, _) in self.files(name, schedule)? {
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::new(format!("cannot remove `{}`: {error}", path.display())));
                }
                _ => {}
            }
        }
        match self {
            Starter::System | Starter::User(_) => self.systemctl(&["daemon-reload"]),
            Starter::CronFolder | Starter::Crontab => Ok(()),
        }
    }

    /// When it starts next, as far as that is known.
    pub fn next(&self, name: &str) -> String {
        if matches!(self, Starter::CronFolder | Starter::Crontab) {
            return "by cron; what is missed is not caught up".to_owned();
        }
        let said = self.command(&["show", "-p", "NextElapseUSecRealtime", "--value", &timer(name)]).output();
        let said = said.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default();
        if said.is_empty() { "no timer runs".to_owned() } else { said }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("systemctl");
        if let Starter::User(_) = self {
            command.arg("--user");
            // a session by su, sudo or cron does not say where the user's systemd is
            let folder = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
            if std::env::var_os("XDG_RUNTIME_DIR").is_none() && folder.is_dir() {
                command.env("XDG_RUNTIME_DIR", folder);
            }
        }
        command.args(args).stdin(Stdio::null());
        command
    }

    fn systemctl(&self, args: &[&str]) -> Result<()> {
        let said = self.command(args).output().map_err(|error| Error::new(format!("cannot run systemctl: {error}")))?;
        match said.status.success() {
            true => Ok(()),
            false => Err(Error::new(format!(
                "systemctl {}: {}",
                args.join(" "),
                String::from_utf8_lossy(&said.stderr).trim()
            ))
            .hint(match self {
                Starter::User(_) => "`loginctl enable-linger USER`, as root, starts the user's own systemd",
                Starter::System | Starter::CronFolder | Starter::Crontab => "`systemctl status` says more",
            })),
        }
    }
}

/// `schedule` itself needs to know the fleet.
fn fleet_part(schedule: &Schedule) -> Vec<String> {
    let mut words = schedule.args.iter();
    let mut found = Vec::new();
    while let Some(word) = words.next() {
        if ["-i", "--identity", "--registry", "--runs-dir"].contains(&word.as_str()) {
            found.push(word.clone());
            found.extend(words.next().cloned());
        }
    }
    found
}

fn timer(name: &str) -> String {
    format!("provision-schedule-{name}.timer")
}

fn crontab() -> String {
    let said = Command::new("crontab").arg("-l").stdin(Stdio::null()).output();
    said.map(|said| String::from_utf8_lossy(&said.stdout).into_owned()).unwrap_or_default()
}

/// The crontab without this schedule's line.
fn others(name: &str) -> String {
    let mine = format!("# provision {name}");
    crontab().lines().filter(|line| !line.ends_with(&mine)).map(|line| format!("{line}\n")).collect()
}

fn set_crontab(text: &str) -> Result<()> {
    let trouble = |error: std::io::Error| {
        Error::new(format!("cannot run crontab: {error}")).hint("neither systemd nor cron is here")
    };
    let mut child = Command::new("crontab").arg("-").stdin(Stdio::piped()).spawn().map_err(trouble)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(trouble)?;
    }
    match child.wait().map_err(trouble)?.success() {
        true => Ok(()),
        false => Err(Error::new("crontab does not take the new table")),
    }
}
