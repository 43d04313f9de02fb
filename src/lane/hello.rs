//! The handshake: the first answer of every lane says who and where we are, so that nothing has to be asked for it.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use serde_json::json;

use super::Trouble;
use crate::event::Cause;
use crate::plan::Object;

/// Whose `stat`, `head` and friends the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Gnu,
    Busybox,
}

/// What the handshake brought.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    pub user: String,
    pub uid: u32,
    pub gid: u32,
    /// All groups of the process, with their names.
    pub groups: Vec<(u32, String)>,
    pub home: String,
    /// `uname -s`, `-n`, `-r`, `-m`.
    pub kernel: String,
    pub nodename: String,
    pub kernel_release: String,
    pub machine: String,
    /// `/etc/os-release`, unquoted.
    pub os_release: IndexMap<String, String>,
    /// `bash`, `zsh`, `mksh`, or `sh` (dash, busybox ash).
    pub shell: String,
    pub dialect: Dialect,
    pub systemd: bool,
    /// Ansible's name of the package manager: `apt`, `dnf`, `apk` …
    pub pkg_mgr: Option<String>,
    /// Which of a fixed list of programs are there: `python3`, `sudo`, `docker`, `systemctl`, `timeout` …
    pub tools: BTreeSet<String>,
    /// Process id of the lane's shell and its process group.
    pub pid: u32,
    pub pgid: u32,
}

/// The functions at the other end, sent in front of the handshake.
pub const PRELUDE: &str = include_str!("remote.sh");

/// The handshake's answer; refuses shells and hosts that the lane cannot work with.
pub fn parse(answer: &[u8]) -> Result<Hello, Trouble> {
    let text = String::from_utf8_lossy(answer);
    let mut hello = Hello {
        user: String::new(),
        uid: u32::MAX,
        gid: 0,
        groups: Vec::new(),
        home: String::new(),
        kernel: String::new(),
        nodename: String::new(),
        kernel_release: String::new(),
        machine: String::new(),
        os_release: IndexMap::new(),
        shell: "sh".to_owned(),
        dialect: Dialect::Gnu,
        systemd: false,
        pkg_mgr: None,
        tools: BTreeSet::new(),
        pid: 0,
        pgid: 0,
    };
    let refuse = |why: &str, hint: &str| Err(Trouble::new(Cause::Shell, why).hint(hint));
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "pid" => hello.pid = value.parse().unwrap_or(0),
            "pgid" => hello.pgid = value.parse().unwrap_or(0),
            "home" => hello.home = value.to_owned(),
            "id" => id(&mut hello, value),
            "uname" => {
                let mut words = value.split(' ').map(str::to_owned);
                let mut next = || words.next().unwrap_or_default();
                (hello.kernel, hello.nodename, hello.kernel_release, hello.machine) = (next(), next(), next(), next());
            }
            "shell" => {
                let names = ["bash", "zsh", "mksh"];
                let versions = value.split('|');
                if let Some((name, version)) = names.iter().zip(versions).find(|(_, version)| !version.is_empty()) {
                    if version.starts_with("Version") {
                        return refuse(
                            "`sh` on the host is ksh93, whose subshells do not keep changes to themselves",
                            "set `ansible_shell_executable` to dash, bash or busybox ash",
                        );
                    }
                    hello.shell = (*name).to_owned();
                }
            }
            "printf" if value != "printf" => {
                return refuse(
                    "`printf` is not built into `sh` on the host, so secrets would show in its process list",
                    "set `ansible_shell_executable` to dash, bash or busybox ash",
                );
            }
            "stat" if !value.ends_with(" ok") => {
                return refuse(
                    &format!("`stat -c` does not work on the host: {value}"),
                    "GNU coreutils or busybox are needed; BSD and macOS hosts cannot be managed",
                );
            }
            "dialect" if value == "busybox" => hello.dialect = Dialect::Busybox,
            "systemd" => hello.systemd = true,
            "tool" => {
                hello.tools.insert(value.to_owned());
            }
            "os" => {
                if let Some((name, value)) = value.split_once('=').filter(|(name, _)| !name.starts_with('#')) {
                    let value = shlex::split(value).map_or_else(|| value.to_owned(), |words| words.concat());
                    hello.os_release.insert(name.to_owned(), value);
                }
            }
            _ => {}
        }
    }
    let managers = [
        ("apt-get", "apt"),
        ("dnf", "dnf"),
        ("yum", "yum"),
        ("apk", "apk"),
        ("zypper", "zypper"),
        ("pacman", "pacman"),
        ("emerge", "portage"),
        ("xbps-install", "xbps"),
        ("opkg", "opkg"),
    ];
    hello.pkg_mgr = managers.iter().find(|(tool, _)| hello.tools.contains(*tool)).map(|(_, name)| (*name).to_owned());
    if hello.uid == u32::MAX {
        return refuse("`id` does not work on the host", "the host needs a POSIX userland");
    }
    Ok(hello)
}

/// `uid=0(root) gid=0(root) groups=0(root),27(domain users) context=…`
fn id(hello: &mut Hello, text: &str) {
    for (label, list) in ["uid=", "gid=", "groups="].iter().filter_map(|label| Some((*label, after(text, label)?))) {
        let mut rest = list;
        loop {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let Ok(number) = rest[..digits].parse::<u32>() else { break };
            rest = &rest[digits..];
            let name = match rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
                Some((name, after)) => {
                    rest = after;
                    name.to_owned()
                }
                None => number.to_string(),
            };
            match label {
                "uid=" => (hello.uid, hello.user) = (number, name),
                "gid=" => hello.gid = number,
                _ => hello.groups.push((number, name)),
            }
            match rest.strip_prefix(',') {
                Some(more) if label == "groups=" => rest = more,
                _ => break,
            }
        }
    }
}

fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let start = if text.starts_with(label) { 0 } else { text.find(&format!(" {label}"))? + 1 };
    Some(&text[start + label.len()..])
}

/// A login that ended before it said hello.
pub fn no_shell(stderr: &[u8]) -> Trouble {
    let said = String::from_utf8_lossy(stderr);
    let said = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("it said nothing");
    Trouble::new(Cause::Shell, format!("the login has no usable shell: {said}"))
        .hint("the login user needs a shell in /etc/passwd (not nologin), and the host a POSIX `sh`")
}

impl Hello {
    /// The handshake as Ansible's facts, without the `ansible_` prefix.
    pub fn facts(&self) -> Object {
        let os = |key: &str| self.os_release.get(key).map(String::as_str).unwrap_or_default();
        let id = os("ID");
        let distribution = DISTRIBUTIONS.iter().find(|(of, _)| *of == id).map(|(_, name)| (*name).to_owned());
        let distribution = distribution.unwrap_or_else(|| os("NAME").to_owned());
        let likes = format!("{id} {}", os("ID_LIKE"));
        let family = likes.split_whitespace().find_map(|like| FAMILIES.iter().find(|(of, _)| *of == like));
        let family = family.map_or_else(|| distribution.clone(), |(_, name)| (*name).to_owned());
        let short = self.nodename.split('.').next().unwrap_or_default();
        let domain = self.nodename.split_once('.').map(|(_, domain)| domain).unwrap_or_default();
        let service_mgr = match (self.systemd, self.tools.contains("rc-service")) {
            (true, _) => "systemd",
            (false, true) => "openrc",
            (false, false) => "sysvinit",
        };
        let version = os("VERSION_ID");
        let facts = [
            ("user_id", json!(self.user)),
            ("user_uid", json!(self.uid)),
            ("user_gid", json!(self.gid)),
            ("user_dir", json!(self.home)),
            ("system", json!(self.kernel)),
            ("kernel", json!(self.kernel_release)),
            ("architecture", json!(self.machine)),
            ("machine", json!(self.machine)),
            ("hostname", json!(short)),
            ("nodename", json!(self.nodename)),
            ("fqdn", json!(self.nodename)),
            ("domain", json!(domain)),
            ("distribution", json!(distribution)),
            ("distribution_version", json!(version)),
            ("distribution_major_version", json!(version.split('.').next())),
            ("distribution_release", json!(os("VERSION_CODENAME"))),
            ("os_family", json!(family)),
            ("pkg_mgr", json!(self.pkg_mgr.as_deref().unwrap_or("unknown"))),
            ("service_mgr", json!(service_mgr)),
        ];
        facts.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// os-release's ID → Ansible's `distribution`.
const DISTRIBUTIONS: &[(&str, &str)] = &[
    ("debian", "Debian"),
    ("ubuntu", "Ubuntu"),
    ("raspbian", "Debian"),
    ("alpine", "Alpine"),
    ("fedora", "Fedora"),
    ("rhel", "RedHat"),
    ("centos", "CentOS"),
    ("rocky", "Rocky"),
    ("almalinux", "AlmaLinux"),
    ("amzn", "Amazon"),
    ("ol", "OracleLinux"),
    ("arch", "Archlinux"),
    ("opensuse-leap", "openSUSE Leap"),
    ("opensuse-tumbleweed", "openSUSE Tumbleweed"),
    ("sles", "SLES"),
];

/// os-release's ID or ID_LIKE → Ansible's `os_family`.
const FAMILIES: &[(&str, &str)] = &[
    ("debian", "Debian"),
    ("ubuntu", "Debian"),
    ("rhel", "RedHat"),
    ("fedora", "RedHat"),
    ("centos", "RedHat"),
    ("alpine", "Alpine"),
    ("arch", "Archlinux"),
    ("suse", "Suse"),
    ("opensuse", "Suse"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "pid 7\npgid 6\nhome /root\nid uid=0(root) gid=0(root) groups=0(root),105(domain users),7\n\
        uname Linux web1.example.org 6.1.0 x86_64\nshell ||\nprintf printf\nstat 0 0 ok\ndialect gnu\nsystemd yes\n\
        tool apt-get\ntool python3\nos NAME=\"Debian GNU/Linux\"\nos ID=debian\nos VERSION_ID=\"13\"\n\
        os VERSION_CODENAME=trixie\n";

    #[test]
    fn a_handshake_is_understood() {
        let hello = parse(ANSWER.as_bytes()).unwrap();
        assert_eq!((hello.user.as_str(), hello.uid, hello.pid, hello.pgid), ("root", 0, 7, 6));
        let groups = [(0, "root".to_owned()), (105, "domain users".to_owned()), (7, "7".to_owned())];
        assert_eq!(hello.groups, groups);
        let facts = hello.facts();
        for (fact, value) in [
            ("distribution", "Debian"),
            ("os_family", "Debian"),
            ("distribution_major_version", "13"),
            ("hostname", "web1"),
            ("domain", "example.org"),
            ("pkg_mgr", "apt"),
            ("service_mgr", "systemd"),
        ] {
            assert_eq!(facts[fact], value, "{fact}");
        }
    }

    #[test]
    fn shells_that_cannot_work_are_refused() {
        for (from, to) in [
            ("shell ||", "shell ||Version AJM 93u+"),
            ("printf printf", "printf /usr/bin/printf"),
            ("stat 0 0 ok", "stat stat: illegal option -- c"),
            ("id uid", "id sh: id: not found"),
        ] {
            let trouble = parse(ANSWER.replace(from, to).as_bytes()).unwrap_err();
            assert_eq!(trouble.cause, Cause::Shell, "{to}");
        }
    }
}
