//! `setup` and `ping`: what is known about a host, and whether it answers.
//!
//! ```yaml
//! - name: Facts
//!   setup: {gather_subset: min}
//!
//! - name: Is it there?
//!   ping:
//! ```
//!
//! One script asks for everything, one pure function reads what it says. `min` leaves out hardware, network,
//! virtualization and Docker. The facts have Ansible's names without `ansible_`; Docker's and Compose's versions
//! (`docker_version`, `compose_version`, null where they are not installed) and the free space of the root file system
//! (`root_disk_total_mb`, `root_disk_free_mb`) are added. Leaves out everything about Python, and devices.

mod hardware;
mod network;
mod system;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::plan::{Failure, Module, Object, Observed, Plan, Query, Return, Script};

use super::args;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec {
        name: "setup",
        aliases: &["gather_facts", "ansible.builtin.gather_facts"],
        args: ARGS,
        free_form: None,
        build,
    },
    Spec { name: "ping", aliases: &[], args: &["data"], free_form: None, build: build_ping },
];

const ARGS: &[&str] = &["gather_subset", "filter", "gather_timeout", "fact_path"];

#[derive(Deserialize)]
struct Args {
    #[serde(default, deserialize_with = "args::list")]
    gather_subset: Vec<String>,
    #[serde(default, deserialize_with = "args::list")]
    filter: Vec<String>,
    #[serde(default = "fact_path", deserialize_with = "args::text")]
    fact_path: String,
}

fn fact_path() -> String {
    "/etc/ansible/facts.d".to_owned()
}

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(ARGS, args)?;
    Ok(Box::new(Setup { hardware: args.wants(), args }))
}

impl Args {
    /// Does any named subset reach beyond the minimum? None named means all.
    fn wants(&self) -> bool {
        let minimal = |name: &str| {
            matches!(
                name,
                "min"
                    | "distribution"
                    | "platform"
                    | "user"
                    | "date_time"
                    | "env"
                    | "pkg_mgr"
                    | "service_mgr"
                    | "local"
                    | "dns"
            )
        };
        let named: Vec<&String> = self.gather_subset.iter().filter(|name| !name.starts_with('!')).collect();
        match named.is_empty() {
            true => !self.gather_subset.iter().any(|name| name == "!all"),
            false => named.iter().any(|name| !minimal(name)),
        }
    }
}

struct Setup {
    args: Args,
    hardware: bool,
}

/// Each `@name` line starts a section of the answer.
const MINIMUM: &str = r#"
s() { printf '\n@%s\n' "$1"; }
s os; cat /etc/os-release /usr/lib/os-release 2>/dev/null
s debian; cat /etc/debian_version 2>/dev/null
s uname; uname -s; uname -r; uname -m; uname -n; uname -v
s fqdn; hostname -f 2>/dev/null
s user; id -u; id -g; id -un; echo "$HOME"
s passwd; getent passwd "$(id -un)" 2>/dev/null || grep "^$(id -un):" /etc/passwd
s env; env
s date; date '+%Y %m %A %w %W %d %H %M %S %s %Z %z'; date -u '+%Y-%m-%dT%H:%M:%SZ'
s managers; for m in apt-get dnf yum apk zypper pacman; do command -v $m; done
s init; [ -d /run/systemd/system ] && echo systemd; command -v rc-service >/dev/null && echo openrc
s dns; cat /etc/resolv.conf 2>/dev/null
s bits; getconf LONG_BIT 2>/dev/null
"#;

const REST: &str = r#"
s memory; cat /proc/meminfo 2>/dev/null
s cpu; cat /proc/cpuinfo 2>/dev/null
s nproc; nproc 2>/dev/null
s uptime; cat /proc/uptime 2>/dev/null
s mounts; cat /proc/mounts 2>/dev/null
s df; df -P -k 2>/dev/null
s root; df -P -k / 2>/dev/null
s virt; systemd-detect-virt 2>/dev/null || { [ -e /.dockerenv ] && echo docker; }
s dmi; for f in sys_vendor product_name product_version bios_version; do cat /sys/class/dmi/id/$f 2>/dev/null || echo NA; done
s selinux; [ -d /sys/fs/selinux ] && cat /sys/fs/selinux/enforce 2>/dev/null
s apparmor; [ -d /sys/kernel/security/apparmor ] && echo enabled
s docker; docker --version 2>/dev/null
s compose; docker compose version --short 2>/dev/null
s addresses; ip -o addr show 2>/dev/null
s links; ip -o link show 2>/dev/null
s route4; ip -4 route show default 2>/dev/null
s route6; ip -6 route show default 2>/dev/null
s plain; hostname -I 2>/dev/null; cat /proc/net/route 2>/dev/null
"#;

impl Module for Setup {
    fn probe(&self) -> Vec<Query> {
        let mut script = Script::new().raw(MINIMUM);
        if self.hardware {
            script = script.raw(REST);
        }
        script = script.raw("\nset --").arg(self.args.fact_path.as_str());
        let local = "\nfor f in \"$1\"/*.fact; do [ -e \"$f\" ] || continue; s \"local ${f##*/}\"; \
                     if [ -x \"$f\" ]; then \"$f\"; else cat \"$f\"; fi; done 2>/dev/null; :";
        vec![Query::Run(script.raw(local))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let output = observed::output(observed.answers, 0, "facts")?;
        let mut facts = read(&Sections::parse(&output.stdout_text()), self.hardware);
        let subset = if self.hardware { "all" } else { "min" };
        facts.insert("gather_subset".to_owned(), json!([subset]));
        facts.insert("module_setup".to_owned(), true.into());
        if !self.args.filter.is_empty() {
            let globs: Vec<_> = self
                .args
                .filter
                .iter()
                .filter_map(|text| Some(globset::Glob::new(text).ok()?.compile_matcher()))
                .collect();
            facts.retain(|name, _| {
                globs.iter().any(|glob| glob.is_match(name.as_str()) || glob.is_match(format!("ansible_{name}")))
            });
        }
        Ok(Plan::NoChange(Return { facts, ..Return::default() }))
    }
}

/// The answer, cut at its `@name` lines.
struct Sections<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Sections<'a> {
    fn parse(text: &'a str) -> Self {
        let pieces = text.split("\n@").skip(1);
        Sections(pieces.map(|piece| piece.split_once('\n').unwrap_or((piece, ""))).collect())
    }

    fn text(&self, name: &str) -> &'a str {
        self.0.iter().find(|(section, _)| *section == name).map_or("", |(_, text)| text.trim_end_matches('\n'))
    }

    fn line(&self, name: &str, at: usize) -> &'a str {
        self.text(name).lines().nth(at).unwrap_or_default().trim()
    }
}

/// All facts out of the answer.
fn read(sections: &Sections<'_>, hardware: bool) -> Object {
    let mut facts = Object::new();
    system::read(sections, &mut facts);
    user(sections, &mut facts);
    date_time(sections, &mut facts);
    facts.insert("dns".to_owned(), dns(sections.text("dns")));
    facts.insert("local".to_owned(), local(sections));
    if hardware {
        hardware::read(sections, &mut facts);
        network::read(sections, &mut facts);
    }
    facts
}

fn put(facts: &mut Object, values: Value) {
    if let Value::Object(values) = values {
        facts.extend(values);
    }
}

fn user(sections: &Sections<'_>, facts: &mut Object) {
    let account: Vec<&str> = sections.line("passwd", 0).split(':').collect();
    let field = |at: usize| account.get(at).copied().unwrap_or_default();
    let home = match field(5) {
        "" => sections.line("user", 3),
        home => home,
    };
    let number = |at| sections.line("user", at).parse::<u64>().ok();
    let env: Object = sections
        .text("env")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    put(
        facts,
        json!({
            "user_id": sections.line("user", 2),
            "user_uid": number(0),
            "user_gid": number(1),
            "user_gecos": field(4),
            "user_dir": home,
            "user_shell": field(6),
            "real_user_id": number(0),
            "effective_user_id": number(0),
            "env": env,
        }),
    );
}

fn date_time(sections: &Sections<'_>, facts: &mut Object) {
    let words: Vec<&str> = sections.line("date", 0).split(' ').collect();
    let [year, month, weekday, weekday_number, week, day, hour, minute, second, epoch, zone, offset] = words[..] else {
        return;
    };
    let utc = sections.line("date", 1);
    put(
        facts,
        json!({"date_time": {
            "year": year, "month": month, "weekday": weekday, "weekday_number": weekday_number, "weeknumber": week,
            "day": day, "hour": hour, "minute": minute, "second": second,
            "epoch": epoch, "epoch_int": epoch,
            "date": format!("{year}-{month}-{day}"),
            "time": format!("{hour}:{minute}:{second}"),
            "iso8601": utc,
            "iso8601_basic": format!("{year}{month}{day}T{hour}{minute}{second}000000"),
            "iso8601_basic_short": format!("{year}{month}{day}T{hour}{minute}{second}"),
            "tz": zone, "tz_offset": offset,
        }}),
    );
}

fn dns(text: &str) -> Value {
    let words = |key: &str| -> Vec<&str> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(key));
        lines.filter(|rest| rest.starts_with(char::is_whitespace)).flat_map(str::split_whitespace).collect()
    };
    json!({"nameservers": words("nameserver"), "search": words("search")})
}

/// Facts that the operator's own files under `facts.d` give: JSON, or INI.
fn local(sections: &Sections<'_>) -> Value {
    let files =
        sections.0.iter().filter_map(|(name, text)| Some((name.strip_prefix("local ")?.strip_suffix(".fact")?, *text)));
    files
        .map(|(name, text)| (name.to_owned(), serde_json::from_str(text).unwrap_or_else(|_| ini(text))))
        .collect::<Object>()
        .into()
}

fn ini(text: &str) -> Value {
    let mut sections = Object::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            current = name.to_owned();
            sections.entry(current.clone()).or_insert_with(|| json!({}));
        } else if let (Some((key, value)), Some(Value::Object(section))) =
            (line.split_once(['=', ':']), sections.get_mut(&current))
        {
            section.insert(key.trim().to_lowercase(), value.trim().into());
        }
    }
    Value::Object(sections)
}

/// `ping`: does the host answer?
struct Ping {
    data: String,
}

fn build_ping(mut args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    if let Some(unknown) = args.keys().find(|name| *name != "data") {
        return Err(super::unknown_argument(&["data"], unknown));
    }
    let data = args.shift_remove("data").map_or_else(|| "pong".to_owned(), |value| args::as_text(&value));
    Ok(Box::new(Ping { data }))
}

impl Module for Ping {
    fn probe(&self) -> Vec<Query> {
        vec![Query::Run(Script::new().raw("printf '%s'").arg(self.data.as_str()))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let output = observed::output(observed.answers, 0, "ping")?;
        Ok(Plan::NoChange(Return::default().with("ping", output.stdout_text())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_debian_host_with_docker() {
        let text = "
@os
PRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"
NAME=\"Debian GNU/Linux\"
VERSION_ID=\"13\"
VERSION_CODENAME=trixie
ID=debian

@debian
13.2

@uname
Linux
6.12.1
x86_64
clienta
#1 SMP

@fqdn
clienta.example.com

@user
1000
1000
ana
/home/ana

@passwd
ana:x:1000:1000:Ana:/home/ana:/bin/bash

@env
HOME=/home/ana
PATH=/usr/bin:/bin

@date
2026 11 Monday 1 47 23 12 01 02 1795435262 UTC +0000
2026-11-23T12:01:02Z

@managers
/usr/bin/apt-get

@init
systemd

@dns
# comment
nameserver 1.1.1.1
search example.com

@memory
MemTotal:        4096000 kB
MemFree:         1024000 kB

@cpu
processor\t: 0
model name\t: EPYC
processor\t: 1
model name\t: EPYC

@df
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/vda1         20480000 1024000  19456000       5% /

@root
Filesystem     1024-blocks    Used Available Capacity Mounted on
/dev/vda1         20480000 1024000  19456000       5% /

@mounts
/dev/vda1 / ext4 rw,relatime 0 0
proc /proc proc rw 0 0

@virt
kvm

@docker
Docker version 26.1.5+dfsg1, build a72d7cd

@compose
2.26.1-4

@local mine.fact
{\"role\": \"web\"}
@local old.fact
[main]
Key = value
";
        let facts = read(&Sections::parse(text), true);
        let expected = [
            ("distribution", json!("Debian")),
            ("distribution_version", json!("13.2")),
            ("distribution_major_version", json!("13")),
            ("distribution_release", json!("trixie")),
            ("os_family", json!("Debian")),
            ("pkg_mgr", json!("apt")),
            ("service_mgr", json!("systemd")),
            ("hostname", json!("clienta")),
            ("fqdn", json!("clienta.example.com")),
            ("domain", json!("example.com")),
            ("architecture", json!("x86_64")),
            ("user_id", json!("ana")),
            ("user_dir", json!("/home/ana")),
            ("memtotal_mb", json!(4000)),
            ("processor_vcpus", json!(2)),
            ("root_disk_free_mb", json!(19000)),
            ("virtualization_type", json!("kvm")),
            ("docker_version", json!("26.1.5+dfsg1")),
            ("compose_version", json!("2.26.1-4")),
            ("local", json!({"mine": {"role": "web"}, "old": {"main": {"key": "value"}}})),
            ("dns", json!({"nameservers": ["1.1.1.1"], "search": ["example.com"]})),
        ];
        for (name, value) in expected {
            assert_eq!(facts.get(name), Some(&value), "{name}");
        }
        assert_eq!(facts["date_time"]["epoch"], "1795435262");
        assert_eq!(facts["mounts"].as_array().map(Vec::len), Some(1));
        assert_eq!(facts["env"]["PATH"], "/usr/bin:/bin");
    }

    #[test]
    fn other_systems() {
        let table = [
            ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"", "Ubuntu", "Debian", "24.04"),
            ("ID=alpine\nVERSION_ID=3.22.1", "Alpine", "Alpine", "3.22.1"),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.4\"", "Rocky", "RedHat", "9.4"),
            ("ID=foo\nNAME=Foo\nID_LIKE=\"debian\"\nVERSION_ID=1", "Foo", "Debian", "1"),
        ];
        for (os, name, family, version) in table {
            let text = format!("\n@os\n{os}\n");
            let facts = read(&Sections::parse(&text), false);
            assert_eq!(
                (&facts["distribution"], &facts["os_family"], &facts["distribution_version"]),
                (&json!(name), &json!(family), &json!(version))
            );
        }
    }
}
