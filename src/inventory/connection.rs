//! Ansible's connection variables, typed and checked.
//!
//! Leaves out connecting: [`crate::lane`] takes these settings. Interpreters, pipelining and the like are accepted
//! and have no effect, because nothing but a shell runs on the host.

use std::path::PathBuf;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::plan::{Object, Secret};

/// How a host is reached, and as whom tasks run there. What is `None` was not said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    pub method: Method,
    /// `ansible_host`; none means the host's own name.
    pub address: Option<String>,
    pub port: Option<u16>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// With `~` already replaced.
    pub key_file: Option<PathBuf>,
    /// `ansible_ssh_common_args` and `ansible_ssh_extra_args`, split into words.
    pub ssh_args: Vec<String>,
    pub known_hosts: Option<PathBuf>,
    pub host_key_checking: Option<bool>,
    /// Seconds.
    pub timeout: Option<u64>,
    pub escalate: Option<bool>,
    pub become_user: Option<String>,
    pub become_method: BecomeMethod,
    pub become_password: Option<Secret>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    #[default]
    Ssh,
    Local,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BecomeMethod {
    #[default]
    Sudo,
    Doas,
    Su,
}

/// Variables that ask for something this program does not do, and what to do instead.
const REFUSED: [(&str, &str); 12] = [
    ("ansible_ssh_executable", "put the wanted `ssh` first in PATH"),
    ("ansible_become_exe", "put the wanted program first in root's PATH on the host"),
    ("ansible_become_flags", "allow what the flags are for in the host's sudoers file"),
    ("ansible_sudo_flags", "allow what the flags are for in the host's sudoers file"),
    ("ansible_become_plugin", "use ansible_become_method"),
    ("ansible_network_os", "only hosts with a POSIX shell can be provisioned"),
    ("ansible_ssh_private_key", "write the key to a file and name it in ansible_ssh_private_key_file"),
    ("ansible_private_key", "write the key to a file and name it in ansible_ssh_private_key_file"),
    ("ansible_ssh_private_key_passphrase", "load the key into ssh-agent"),
    ("ansible_ssh_sshpass_prompt", "the password is given to ssh by its own way of asking"),
    ("ansible_jump_host", "use ansible_ssh_common_args: -o ProxyJump=HOST, or ~/.ssh/config"),
    ("ansible_ssh_pkcs11_provider", "set PKCS11Provider in ~/.ssh/config"),
];

impl Settings {
    /// From a host's variables, already templated. All mistakes are reported together.
    pub fn of(vars: &Object) -> Result<Settings> {
        let mut reader = Reader { vars, errors: Vec::new() };
        let mut settings = Settings {
            method: reader.method(),
            address: reader.text(&["ansible_host", "ansible_ssh_host"]),
            port: reader.number(&["ansible_port", "ansible_ssh_port"], 1..=65535).and_then(|n| u16::try_from(n).ok()),
            user: reader.text(&["ansible_user", "ansible_ssh_user"]),
            password: reader.secret(&["ansible_password", "ansible_ssh_pass", "ansible_ssh_password"]),
            key_file: reader.path(&["ansible_ssh_private_key_file", "ansible_private_key_file"]),
            ssh_args: Vec::new(),
            known_hosts: reader.path(&["ansible_ssh_known_hosts_file"]),
            host_key_checking: reader.flag(&["ansible_host_key_checking", "ansible_ssh_host_key_checking"]),
            timeout: reader.number(&["ansible_timeout", "ansible_ssh_timeout"], 1..=3600),
            escalate: reader.flag(&["ansible_become"]),
            become_user: reader.text(&["ansible_become_user"]),
            become_method: reader.become_method(),
            become_password: reader.secret(&["ansible_become_password", "ansible_become_pass", "ansible_sudo_pass"]),
        };
        for name in ["ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"] {
            settings.ssh_args.extend(reader.words(name));
        }
        reader.refuse();
        Error::all(reader.errors).map_or(Ok(settings), Err)
    }
}

struct Reader<'v> {
    vars: &'v Object,
    errors: Vec<Error>,
}

impl<'v> Reader<'v> {
    /// The first of the names that is there; an empty value counts as not there.
    fn find(&self, names: &[&'static str]) -> Option<(&'static str, &'v Value)> {
        names.iter().find_map(|name| {
            let value = self.vars.get(*name)?;
            let empty = value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty());
            (!empty).then_some((*name, value))
        })
    }

    /// Values are not shown; one of them may be a password under a wrong name.
    fn wrong(&mut self, name: &str, expected: &str) {
        self.errors.push(Error::new(format!("`{name}` is not {expected}")));
    }

    fn text(&mut self, names: &[&'static str]) -> Option<String> {
        let (name, value) = self.find(names)?;
        match value.as_str() {
            Some(text) if !text.starts_with('-') && !text.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                return Some(text.to_owned());
            }
            Some(_) => self.wrong(name, "a single word"),
            None => self.wrong(name, "a string (quote it)"),
        }
        None
    }

    fn secret(&mut self, names: &[&'static str]) -> Option<Secret> {
        let (name, value) = self.find(names)?;
        match value {
            Value::String(text) if !text.contains(['\n', '\0']) => return Some(Secret::new(text)),
            Value::String(_) => self.wrong(name, "a single line"),
            _ => self.wrong(name, "a string (quote it)"),
        }
        None
    }

    fn number(&mut self, names: &[&'static str], range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let (name, value) = self.find(names)?;
        let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.trim().parse().ok()));
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.wrong(name, &format!("a number from {} to {}", range.start(), range.end()));
        }
        number
    }

    fn flag(&mut self, names: &[&'static str]) -> Option<bool> {
        let (name, value) = self.find(names)?;
        let text = match value {
            Value::Bool(flag) => return Some(*flag),
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.trim().to_lowercase(),
            _ => String::new(),
        };
        match text.as_str() {
            "yes" | "true" | "on" | "1" | "y" | "t" => return Some(true),
            "no" | "false" | "off" | "0" | "n" | "f" => return Some(false),
            _ => self.wrong(name, "true or false"),
        }
        None
    }

    fn path(&mut self, names: &[&'static str]) -> Option<PathBuf> {
        let (name, value) = self.find(names)?;
        let Some(text) = value.as_str() else {
            self.wrong(name, "a path");
            return None;
        };
        let Some(rest) = text.strip_prefix('~') else { return Some(PathBuf::from(text)) };
        match (rest.strip_prefix('/').or(rest.is_empty().then_some("")), std::env::var_os("HOME")) {
            (Some(rest), Some(home)) => return Some(PathBuf::from(home).join(rest)),
            (None, _) => self.wrong(name, "a path of your own: only `~/` is understood"),
            (_, None) => self.wrong(name, "usable, because HOME is not set"),
        }
        None
    }

    fn words(&mut self, name: &'static str) -> Vec<String> {
        let Some((_, value)) = self.find(&[name]) else { return Vec::new() };
        match value.as_str().and_then(shlex::split) {
            Some(words) => return words,
            None => self.wrong(name, "a string of words with closed quotes"),
        }
        Vec::new()
    }

    fn method(&mut self) -> Method {
        let Some((name, value)) = self.find(&["ansible_connection"]) else { return Method::Ssh };
        match value.as_str().map(|text| text.strip_prefix("ansible.builtin.").unwrap_or(text)) {
            Some("ssh" | "smart") => return Method::Ssh,
            Some("local") => return Method::Local,
            Some(other @ ("winrm" | "psrp")) => self.errors.push(
                Error::new(format!("`{name}: {other}` is not supported, because Windows hosts are not"))
                    .hint("use ssh or local"),
            ),
            Some(other) => {
                let error = Error::new(format!("`{name}: {other}` is not supported"));
                self.errors.push(error.hint("use ssh or local; ssh covers jump hosts by ~/.ssh/config"));
            }
            None => self.wrong(name, "`ssh` or `local`"),
        }
        Method::Ssh
    }

    fn become_method(&mut self) -> BecomeMethod {
        let Some((name, value)) = self.find(&["ansible_become_method"]) else { return BecomeMethod::Sudo };
        let text = value.as_str().unwrap_or_default();
        match text.strip_prefix("ansible.builtin.").or(text.strip_prefix("community.general.")).unwrap_or(text) {
            "sudo" => return BecomeMethod::Sudo,
            "doas" => return BecomeMethod::Doas,
            "su" => return BecomeMethod::Su,
            other => {
                let error = Error::new(format!("`{name}: {other}` is not supported"));
                self.errors.push(error.hint("use sudo, doas or su"));
            }
        }
        BecomeMethod::Sudo
    }

    fn refuse(&mut self) {
        for (name, instead) in REFUSED {
            if self.find(&[name]).is_some() {
                self.errors.push(Error::new(format!("`{name}` is not supported")).hint(instead));
            }
        }
        let foreign = ["ansible_winrm_", "ansible_psrp_", "ansible_httpapi_", "ansible_netconf_"];
        if let Some(name) = self.vars.keys().find(|name| foreign.iter().any(|prefix| name.starts_with(prefix))) {
            let error = Error::new(format!("`{name}` is not supported"));
            self.errors.push(error.hint("only hosts with a POSIX shell can be provisioned"));
        }
        if let Some((name, value)) = self.find(&["ansible_shell_type"])
            && !matches!(value.as_str(), Some("sh" | "bash" | "dash"))
        {
            let error = Error::new(format!("`{name}` is not supported"));
            self.errors.push(error.hint("tasks always run in the host's `sh`, whatever the login shell is; remove it"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(vars: Value) -> Result<Settings> {
        Settings::of(vars.as_object().unwrap())
    }

    #[test]
    fn every_variable_has_its_field() {
        let found = settings(json!({
            "ansible_host": "203.0.113.7", "ansible_port": "2222", "ansible_user": "admin",
            "ansible_ssh_pass": "p w", "ansible_ssh_private_key_file": "~/.ssh/id",
            "ansible_ssh_common_args": "-o ProxyJump=bastion -o 'A B'", "ansible_ssh_extra_args": "-4",
            "ansible_become": "yes", "ansible_become_user": "root", "ansible_become_method": "community.general.doas",
            "ansible_become_pass": "q", "ansible_host_key_checking": false, "ansible_ssh_known_hosts_file": "/k",
            "ansible_timeout": 20, "ansible_connection": "smart", "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_distribution": "Debian", "ansible_ssh_pipelining": true,
        }))
        .unwrap();
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        let expected = Settings {
            method: Method::Ssh,
            address: Some("203.0.113.7".into()),
            port: Some(2222),
            user: Some("admin".into()),
            password: Some(Secret::new("p w")),
            key_file: Some(home.join(".ssh/id")),
            ssh_args: ["-o", "ProxyJump=bastion", "-o", "A B", "-4"].map(str::to_owned).to_vec(),
            known_hosts: Some("/k".into()),
            host_key_checking: Some(false),
            timeout: Some(20),
            escalate: Some(true),
            become_user: Some("root".into()),
            become_method: BecomeMethod::Doas,
            become_password: Some(Secret::new("q")),
        };
        assert_eq!(found, expected);
        assert_eq!(settings(json!({"ansible_user": "", "ansible_port": null})).unwrap(), Settings::default());
        assert_eq!(settings(json!({"ansible_connection": "local"})).unwrap().method, Method::Local);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let table = [
            (json!({"ansible_connection": "winrm"}), "Windows"),
            (json!({"ansible_connection": "docker"}), "`ansible_connection: docker` is not supported"),
            (json!({"ansible_become_method": "runas"}), "use sudo, doas or su"),
            (json!({"ansible_port": 70000}), "a number from 1 to 65535"),
            (json!({"ansible_port": "ssh"}), "a number from 1 to 65535"),
            (json!({"ansible_host": 12}), "`ansible_host` is not a string"),
            (json!({"ansible_host": "-oProxyCommand=x"}), "`ansible_host` is not a single word"),
            (json!({"ansible_become": "maybe"}), "`ansible_become` is not true or false"),
            (json!({"ansible_ssh_common_args": "-o 'x"}), "closed quotes"),
            (json!({"ansible_become_flags": "-H"}), "sudoers"),
            (json!({"ansible_winrm_transport": "ntlm"}), "POSIX shell"),
            (json!({"ansible_shell_type": "powershell"}), "whatever the login shell"),
            (json!({"ansible_ssh_private_key_file": "~other/key"}), "only `~/`"),
        ];
        for (vars, message) in table {
            let error = settings(vars.clone()).unwrap_err().to_string();
            assert!(error.contains(message), "{vars}: {error}");
        }
        let both = settings(json!({"ansible_port": 0, "ansible_connection": "winrm"})).unwrap_err();
        assert_eq!(both.also.len(), 1);
    }
}
