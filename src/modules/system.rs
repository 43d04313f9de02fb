//! `hostname`, `timezone` and `sysctl`: settings of the system as a whole.
//!
//! ```yaml
//! - name: The host's name
//!   hostname: {name: clienta}
//!
//! - name: The client's time
//!   timezone: {name: America/Mexico_City}
//!
//! - name: Room for many connections
//!   sysctl: {name: net.core.somaxconn, value: 4096, sysctl_file: /etc/sysctl.d/60-app.conf}
//! ```
//!
//! Leaves out the hardware clock, and `/etc/hosts` (see `lineinfile`).

use serde::Deserialize;

use crate::plan::{
    Change, Diff, Failure, FileKind, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then,
};

use super::args::{self, State};
use super::attributes::Attributes;
use super::observed;
use super::place::{self, Content, Manner};
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "hostname", aliases: &[], args: &["name", "use"], free_form: None, build: build_hostname },
    Spec {
        name: "timezone",
        aliases: &["community.general.timezone"],
        args: &["name", "hwclock"],
        free_form: None,
        build: build_timezone,
    },
    Spec { name: "sysctl", aliases: &["ansible.posix.sysctl"], args: SYSCTL, free_form: None, build: build_sysctl },
];

const SYSCTL: &[&str] =
    &["name", "key", "value", "val", "state", "sysctl_file", "reload", "sysctl_set", "ignoreerrors"];

#[derive(Deserialize)]
struct Hostname {
    #[serde(deserialize_with = "args::text")]
    name: String,
    #[serde(default, rename = "use", deserialize_with = "args::opt_text")]
    with: Option<String>,
}

fn build_hostname(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Hostname = super::typed(&["name", "use"], args)?;
    if let Some(other) =
        args.with.as_deref().filter(|name| !matches!(*name, "systemd" | "debian" | "generic" | "alpine" | "redhat"))
    {
        return Err(Failure::new(format!("`use: {other}` is not supported")));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if args.name.is_empty() || args.name.len() > 64 || args.name.starts_with('-') || !args.name.chars().all(fits) {
        return Err(Failure::new(format!("{:?} cannot be a host name", args.name)));
    }
    Ok(Box::new(args))
}

fn plan(name: &str, before: &str, after: &str, operations: Vec<Operation>, returned: Return) -> Plan {
    if operations.is_empty() {
        return Plan::NoChange(Return { msg: Some(format!("already {after}")), ..returned });
    }
    let diff = Diff {
        before_header: name.to_owned(),
        after_header: name.to_owned(),
        before: format!("{before}\n"),
        after: format!("{after}\n"),
    };
    Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: returned })
}

impl Module for Hostname {
    fn probe(&self) -> Vec<Query> {
        let script = Script::new()
            .raw("uname -n; cat /etc/hostname 2>/dev/null || echo; [ -d /run/systemd/system ] && echo systemd; :");
        vec![Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let text = observed::output(observed.answers, 0, "hostname")?.stdout_text();
        let mut lines = text.lines().map(str::trim);
        let (running, written) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
        let systemd = lines.any(|line| line == "systemd");
        let mut operations = Vec::new();
        if running != self.name || written != self.name {
            // where hostnamed is not installed or does not answer, the file and the kernel are all there is
            let name = self.name.as_str();
            let by_hand = |script: Script| {
                let script =
                    script.raw("{ printf '%s\\n'").arg(name).raw("> /etc/hostname && { [ \"$(uname -n)\" =").arg(name);
                script.raw("] || hostname").arg(name).raw("; }; }")
            };
            let script = match systemd {
                true => by_hand(Script::new().raw("hostnamectl set-hostname").arg(name).raw("2>/dev/null ||")),
                false => by_hand(Script::new()),
            };
            operations.push(Operation::run(script));
        }
        let short = self.name.split('.').next().unwrap_or_default();
        let mut returned = Return::default().with("name", self.name.as_str());
        returned.facts.insert("hostname".to_owned(), short.into());
        returned.facts.insert("nodename".to_owned(), self.name.as_str().into());
        let before = if running == self.name { written } else { running };
        Ok(plan("hostname", before, &self.name, operations, returned))
    }
}

#[derive(Deserialize)]
struct Timezone {
    #[serde(deserialize_with = "args::text")]
    name: String,
}

fn build_timezone(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    if args.get("hwclock").is_some_and(|value| !value.is_null()) {
        return Err(Failure::new("argument `hwclock` is not supported: the hardware clock is left alone"));
    }
    let args: Timezone = super::typed(&["name", "hwclock"], args)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "/_+-".contains(c);
    if args.name.is_empty() || args.name.starts_with('/') || !args.name.chars().all(fits) {
        return Err(Failure::new(format!("{:?} cannot be a time zone", args.name)));
    }
    Ok(Box::new(args))
}

impl Timezone {
    fn file(&self) -> String {
        format!("/usr/share/zoneinfo/{}", self.name)
    }
}

impl Module for Timezone {
    fn probe(&self) -> Vec<Query> {
        let stat = |path: String, follow| Query::Stat { path, follow, checksum: true };
        vec![
            stat(self.file(), true),
            stat("/etc/localtime".to_owned(), false),
            Query::Read { path: "/etc/timezone".to_owned(), limit: 4096 },
            stat("/etc/localtime".to_owned(), true),
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let zone = observed::stat(observed.answers, 0, &self.file())?;
        let link = observed::stat(observed.answers, 1, "/etc/localtime")?;
        let written = observed::bytes(observed.answers, 2, "/etc/timezone")?
            .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
        let behind = observed::stat(observed.answers, 3, "/etc/localtime")?;
        if zone.is_none_or(|zone| zone.kind != FileKind::File) {
            return Err(Failure::new(format!("the host does not know the time zone {}", self.name))
                .hint("is its name right, and the package tzdata installed?"));
        }
        let target = link.and_then(|stat| stat.target.as_deref());
        let current = target.and_then(|target| target.split_once("zoneinfo/")).map(|(_, name)| name.to_owned());
        // a copy instead of a link is as good, if the zone's name is written down
        let copied = target.is_none()
            && written.as_deref() == Some(self.name.as_str())
            && behind
                .and_then(|stat| stat.checksum.as_ref())
                .is_some_and(|sum| zone.and_then(|zone| zone.checksum.as_ref()) == Some(sum));
        let right = current.as_deref() == Some(self.name.as_str()) || copied;
        let stale = written.as_ref().is_some_and(|written| *written != self.name);
        let mut operations = Vec::new();
        if !right {
            operations.push(Operation::run(Script::new().raw("ln -sfn").arg(self.file()).raw("/etc/localtime")));
        }
        if stale {
            let script = Script::new().raw("printf '%s\\n'").arg(self.name.as_str()).raw("> /etc/timezone");
            operations.push(Operation::run(script));
        }
        let before = current.or(written).unwrap_or_else(|| "UTC".to_owned());
        Ok(plan("timezone", &before, &self.name, operations, Return::default().with("name", self.name.as_str())))
    }
}

#[derive(Deserialize)]
struct Sysctl {
    #[serde(alias = "key", deserialize_with = "args::text")]
    name: String,
    #[serde(default, alias = "val", deserialize_with = "args::opt_text")]
    value: Option<String>,
    #[serde(default)]
    state: State,
    #[serde(default = "sysctl_conf", deserialize_with = "args::text")]
    sysctl_file: String,
    #[serde(default = "yes", deserialize_with = "args::flag")]
    reload: bool,
    #[serde(default, deserialize_with = "args::flag")]
    sysctl_set: bool,
    #[serde(default, deserialize_with = "args::flag")]
    ignoreerrors: bool,
}

fn sysctl_conf() -> String {
    "/etc/sysctl.conf".to_owned()
}

fn yes() -> bool {
    true
}

fn build_sysctl(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let mut args: Sysctl = super::typed(SYSCTL, args)?;
    args.sysctl_file = args::host_path(&args.sysctl_file, build)?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-/*".contains(c);
    if args.name.is_empty() || args.name.starts_with('-') || !args.name.chars().all(fits) {
        return Err(Failure::new(format!("{:?} cannot be a kernel setting", args.name)));
    }
    if args.state == State::Present && args.value.is_none() {
        return Err(Failure::new("argument `value` is missing"));
    }
    // ansible's text of a boolean
    args.value = args.value.map(|value| match value.as_str() {
        "True" => "1".to_owned(),
        "False" => "0".to_owned(),
        other => other.trim().to_owned(),
    });
    Ok(Box::new(args))
}

impl Module for Sysctl {
    fn probe(&self) -> Vec<Query> {
        vec![
            Query::Read { path: self.sysctl_file.clone(), limit: 1024 * 1024 },
            Query::Stat { path: self.sysctl_file.clone(), follow: false, checksum: true },
            Query::Run(Script::new().raw("sysctl -n").arg(self.name.as_str()).raw("2>/dev/null; :")),
        ]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let path = self.sysctl_file.as_str();
        let old = observed::bytes(observed.answers, 0, path)?.map(String::from_utf8_lossy).unwrap_or_default();
        let stat = observed::stat(observed.answers, 1, path)?;
        let live = observed::output(observed.answers, 2, "sysctl")?.stdout_text();
        let wanted = self.value.as_deref().unwrap_or_default();
        let new = self.edited(&old);
        let mut operations = Vec::new();
        let mut diff = Vec::new();
        if new != old {
            let mut due = place::due(
                path,
                &Content::of(new.as_str()),
                &Manner { attributes: Attributes::default(), ..Manner::default() },
                stat,
                Some(old.as_bytes()),
            )?;
            operations.append(&mut due.operations);
            diff.append(&mut due.diff);
        }
        let mut apply = |script: Script| {
            let script = if self.ignoreerrors { script.raw("|| :") } else { script };
            operations.push(Operation::run(script));
        };
        let differs = live.split_whitespace().ne(wanted.split_whitespace());
        if self.state == State::Present && self.sysctl_set && differs {
            apply(Script::new().raw("sysctl -w").arg(format!("{}={wanted}", self.name)));
        } else if self.reload && new != old {
            let script =
                if self.ignoreerrors { Script::new().raw("sysctl -e -p") } else { Script::new().raw("sysctl -p") };
            apply(script.arg(path).raw(">/dev/null"));
        }
        if operations.is_empty() {
            return Ok(Plan::NoChange(Return::msg(format!("{} is already {wanted}", self.name))));
        }
        Ok(Plan::Change(Change { diff, operations, then: Then::Finish, forecast: Return::default() }))
    }
}

impl Sysctl {
    /// The file with this one setting as wanted; other lines stay as they are.
    fn edited(&self, old: &str) -> String {
        let mut text = String::new();
        let mut placed = false;
        for line in old.split_inclusive('\n') {
            let mine = !line.trim_start().starts_with(['#', ';'])
                && line.split_once('=').is_some_and(|(name, _)| name.trim().trim_start_matches('-') == self.name);
            match (mine, self.state) {
                (false, _) => text.push_str(line),
                (true, State::Present) if !placed => {
                    placed = true;
                    let same =
                        line.split_once('=').is_some_and(|(_, value)| Some(value.trim()) == self.value.as_deref());
                    match same {
                        true => text.push_str(line),
                        false => text.push_str(&self.line()),
                    }
                }
                (true, State::Present | State::Absent) => {}
            }
        }
        if self.state == State::Present && !placed {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&self.line());
        }
        text
    }

    fn line(&self) -> String {
        format!("{}={}\n", self.name, self.value.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::{calls, file_stat, said};
    use crate::plan::{Answer, FileKind, FileStat};
    use serde_json::json;

    fn stat(kind: FileKind, target: Option<&str>) -> Answer {
        Answer::Stat(Some(FileStat {
            target: target.map(str::to_owned),
            checksum: Some("c".into()),
            ..file_stat(kind)
        }))
    }

    #[test]
    fn host_names() {
        let run = |seen| calls("hostname", json!({"name": "clienta"}), &[said(seen)], &[]).unwrap();
        assert!(run("clienta\nclienta\nsystemd\n").is_empty());
        assert!(run("old\nclienta\nsystemd\n")[0].starts_with("hostnamectl set-hostname clienta"));
        assert!(run("clienta\n\n")[0].contains("> /etc/hostname"));
        for wrong in ["", "a b", "-x", "$(id)"] {
            assert!(calls("hostname", json!({"name": wrong}), &[said("")], &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_zones() {
        let run = |zone: Answer, link: Answer, written: Option<&str>| {
            let written = Answer::Bytes(written.map(|text| text.as_bytes().to_vec()));
            calls("timezone", json!({"name": "America/Lima"}), &[zone, link, written, stat(FileKind::File, None)], &[])
        };
        let zone = || stat(FileKind::File, None);
        let link = |to| stat(FileKind::Link, Some(to));
        assert_eq!(run(zone(), link("/usr/share/zoneinfo/America/Lima"), None), Ok(vec![]));
        assert_eq!(run(zone(), link("../usr/share/zoneinfo/America/Lima"), Some("America/Lima\n")), Ok(vec![]));
        assert_eq!(run(zone(), zone(), Some("America/Lima\n")), Ok(vec![]));
        assert_eq!(
            run(zone(), link("/usr/share/zoneinfo/Etc/UTC"), Some("Etc/UTC\n")),
            Ok(vec![
                "ln -sfn /usr/share/zoneinfo/America/Lima /etc/localtime".to_owned(),
                "printf '%s\\n' America/Lima > /etc/timezone".to_owned()
            ])
        );
        assert!(run(Answer::Stat(None), Answer::Stat(None), None).unwrap_err().contains("does not know"));
    }

    #[test]
    fn kernel_settings() {
        let run = |args, file: &str, live| {
            let answers = [Answer::Bytes(Some(file.into())), stat(FileKind::File, None), said(live)];
            calls("sysctl", args, &answers, &[]).unwrap()
        };
        let args = json!({"name": "vm.swappiness", "value": 10});
        assert!(run(args.clone(), "vm.swappiness = 10\n", "10").is_empty());
        assert_eq!(
            run(args.clone(), "# c\nvm.swappiness=60\na=b", "60"),
            ["write /etc/sysctl.conf:\n# c\nvm.swappiness=10\na=b", "sysctl -p /etc/sysctl.conf >/dev/null"]
        );
        assert_eq!(run(args, "a=b", "60")[0], "write /etc/sysctl.conf:\na=b\nvm.swappiness=10\n");
        let set = json!({"name": "vm.swappiness", "value": 10, "sysctl_set": true});
        assert_eq!(run(set, "vm.swappiness=10\n", "60"), ["sysctl -w vm.swappiness=10"]);
        let absent = json!({"name": "vm.swappiness", "state": "absent", "reload": false});
        assert_eq!(run(absent, "vm.swappiness=10\na=b\n", "60"), ["write /etc/sysctl.conf:\na=b\n"]);
    }
}
