//! Why a host could not be reached or spoken to, each with what to do about it.

use std::fmt;

use super::Target;
use crate::event::Cause;
use crate::plan::{Failure, Output, quote};

/// The host could not go on for a reason that is not the task's.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub cause: Cause,
    /// Lowercase, names the thing.
    pub msg: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Trouble {
    pub fn new(cause: Cause, msg: impl Into<String>) -> Self {
        Trouble { cause, msg: msg.into(), hint: None }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n       hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}

/// How [`Connection::act`](super::Connection::act) ends when it does not end well.
#[derive(Clone, Debug, PartialEq)]
pub enum ActError {
    /// The wire failed: it is unknown whether the operations that had not answered yet were carried out.
    Trouble(Trouble),
    /// Operation `index` failed; those before it are done (`done` holds their outputs), those after it were not begun.
    Failed {
        index: usize,
        failure: Failure,
        /// `Task`, or `DiskFull` where the host said so.
        cause: Cause,
        done: Vec<Output>,
    },
}

impl From<Trouble> for ActError {
    fn from(trouble: Trouble) -> Self {
        ActError::Trouble(trouble)
    }
}

/// What ssh's log may say, in the order of looking: the first text found anywhere in it decides.
const SIGNS: &[(&str, Cause)] = &[
    ("REMOTE HOST IDENTIFICATION HAS CHANGED", Cause::HostKeyChanged),
    ("host key is known for", Cause::HostKeyUnknown),
    ("Host key verification failed", Cause::HostKeyUnknown),
    ("Could not resolve hostname", Cause::Dns),
    ("Too many authentication failures", Cause::Auth),
    ("Permission denied", Cause::Auth),
    ("No more authentication methods", Cause::Auth),
    ("Connection refused", Cause::Refused),
    ("Connection timed out", Cause::Timeout),
    ("Operation timed out", Cause::Timeout),
    ("timed out during banner exchange", Cause::Timeout),
    ("No route to host", Cause::Timeout),
    ("Network is unreachable", Cause::Timeout),
    ("kex_exchange_identification", Cause::Throttled),
    ("Connection closed by", Cause::Throttled),
    ("Connection reset by", Cause::Throttled),
    ("too long for Unix domain socket", Cause::Local),
    ("Bad configuration option", Cause::Local),
    ("terminating, ", Cause::Local),
];

/// The log of an ssh that did not connect → what is wrong and what to do.
pub fn of_ssh_log(target: &Target, log: &str) -> Trouble {
    let cause = SIGNS.iter().find(|(sign, _)| log.contains(sign)).map_or(Cause::Local, |(_, cause)| *cause);
    let there = target.shown();
    let port = target.port.map_or(String::new(), |port| format!(" -p {port}"));
    let address = quote(&target.address);
    let known_hosts = target.known_hosts.as_ref().map(|file| quote(&file.to_string_lossy()));
    let by_hand = format!("ssh{port} {}", target.login());
    match cause {
        Cause::HostKeyChanged => {
            let name = match target.port {
                Some(port) if port != 22 => quote(&format!("[{}]:{port}", target.address)),
                _ => address,
            };
            let file = known_hosts.map_or(String::new(), |file| format!(" -f {file}"));
            Trouble::new(cause, format!("the host key of {there} has changed")).hint(format!(
                "someone may be listening in; if the host was reinstalled, forget its old key: ssh-keygen -R {name}{file}"
            ))
        }
        Cause::HostKeyUnknown => {
            let file = known_hosts.unwrap_or_else(|| "~/.ssh/known_hosts".to_owned());
            Trouble::new(cause, format!("the host key of {there} is not known")).hint(format!(
                "log in once by hand and compare the fingerprint: {by_hand}; or, where the network can be trusted: \
                 ssh-keyscan{port} {address} >> {file}"
            ))
        }
        Cause::Dns => Trouble::new(cause, format!("the name `{}` cannot be resolved", target.address))
            .hint("check `ansible_host` for a slip, and this machine's DNS"),
        Cause::Auth => {
            let methods = log.rsplit("Permission denied (").next().and_then(|rest| rest.split(')').next());
            let methods = methods.filter(|_| log.contains("Permission denied (")).unwrap_or("none of ours");
            let hint = match (&target.password, &target.key_file) {
                (Some(_), _) => "check the user and the password, and whether the host allows logins by password".to_owned(),
                (None, Some(key)) if log.contains("UNPROTECTED PRIVATE KEY FILE") => {
                    format!("ssh ignores a key that others can read: chmod 600 {}", quote(&key.to_string_lossy()))
                }
                (None, Some(key)) => {
                    let public = format!("{}.pub", key.display());
                    format!("check the user and the key; to install it: ssh-copy-id -i {}{port} {}", quote(&public), target.login())
                }
                (None, None) => format!("check the user and the keys (ssh-add -l), then try by hand: {by_hand}"),
            };
            Trouble::new(cause, format!("{there} turned the login down (it takes {methods})")).hint(hint)
        }
        Cause::Refused => Trouble::new(cause, format!("{there} refused the connection"))
            .hint("the host is up but nothing listens there: check the port, and sshd on the host"),
        Cause::Timeout => {
            let seconds = target.connect_timeout.as_secs();
            Trouble::new(cause, format!("{there} did not answer within {seconds} s"))
                .hint("check that the host is up, its address, and the firewalls on the way")
        }
        Cause::Throttled => Trouble::new(cause, format!("{there} closed the connection before the login, several times"))
            .hint("too many connections at once (sshd's MaxStartups), fail2ban, or not an ssh server; try fewer hosts at once"),
        _ => {
            let said = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
            let said = if said.is_empty() { "it said nothing".to_owned() } else { said };
            Trouble::new(Cause::Local, format!("ssh could not connect to {there}: {said}"))
                .hint(format!("try by hand: {by_hand}"))
        }
    }
}

/// Trouble after the connection stood.
pub fn lost(target: &Target, what: &str) -> Trouble {
    Trouble::new(Cause::Lost, format!("the connection to {} was lost {what}", target.shown()))
        .hint("what was running there may have come to its end or not; run again, it continues where it stands")
}

/// Why a connection that stood before cannot be had again. That it was lost is the news: a host that was switched off
/// refuses, or does not answer, depending on the moment.
pub fn lost_for_good(target: &Target, again: Trouble) -> Trouble {
    match again.cause {
        Cause::Refused | Cause::Timeout | Cause::Throttled => {
            lost(target, &format!("on the way, and now {}", again.msg))
        }
        _ => again,
    }
}

/// Whether the host says that its disk is full.
pub fn is_disk_full(stderr: &[u8]) -> bool {
    let text = String::from_utf8_lossy(stderr);
    ["No space left on device", "no space left on device", "Disk quota exceeded"].iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_log_has_its_cause_and_a_command() {
        let table = [
            (
                "@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
                Cause::HostKeyChanged,
                "ssh-keygen -R '[h.example]:2222'",
            ),
            (
                "No ED25519 host key is known for [h.example]:2222 and you have requested strict checking.\nHost key verification failed.",
                Cause::HostKeyUnknown,
                "ssh-keyscan -p 2222 h.example >> ~/.ssh/known_hosts",
            ),
            (
                "Welcome!\nssh: Could not resolve hostname h.example: Name or service not known",
                Cause::Dns,
                "ansible_host",
            ),
            ("joe@h.example: Permission denied (publickey,password).", Cause::Auth, "ssh -p 2222 joe@h.example"),
            ("ssh: connect to host h.example port 2222: Connection refused", Cause::Refused, "sshd"),
            (
                "Connection timed out during banner exchange\nConnection to 1.2.3.4 port 22 timed out",
                Cause::Timeout,
                "firewall",
            ),
            ("kex_exchange_identification: Connection closed by remote host", Cause::Throttled, "MaxStartups"),
            ("command-line: line 0: Bad configuration option: nonsense", Cause::Local, "by hand"),
        ];
        let target = Target {
            name: "h".into(),
            address: "h.example".into(),
            port: Some(2222),
            user: Some("joe".into()),
            ..Target::default()
        };
        for (log, cause, hint) in table {
            let trouble = of_ssh_log(&target, log);
            assert_eq!(trouble.cause, cause, "{log}");
            assert!(trouble.hint.as_deref().unwrap_or_default().contains(hint), "{trouble}");
        }
        assert!(of_ssh_log(&target, "Permission denied (publickey,password).").msg.contains("publickey,password"));
    }
}
