//! How a host is reached by its inventory variables alone, for verbs that stream and run no play.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::inventory::connection::{BecomeMethod as SettingsBecome, Method as SettingsMethod, Settings};
use crate::lane::{Become, BecomeMethod, Method, Target};
use crate::plan::Object;
use crate::secrets::Redactor;
use crate::vars::Scope;

/// The target and, unless the inventory says otherwise, root: Docker is asked for everything here.
pub fn of_host(scope: &Scope, names: &[String], host: &str, redactor: &Redactor) -> Result<(Target, Option<Become>)> {
    let fault = |fault: crate::vars::Fault| Error::new(format!("host `{host}`: {}", fault.text));
    let mut vars = Object::new();
    for name in names.iter().filter(|name| name.starts_with("ansible_")) {
        if let Some(value) = scope.get(name).map_err(fault)? {
            vars.insert(name.clone(), value);
        }
    }
    let settings = Settings::of(&vars).map_err(|error| error.context(format_args!("host `{host}`")))?;
    for secret in [&settings.password, &settings.become_password].into_iter().flatten() {
        redactor.add(secret.reveal());
    }
    let text = |name: &str| vars.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    let defaults = Target::default();
    let target = Target {
        name: host.to_owned(),
        method: match settings.method {
            SettingsMethod::Local => Method::Local,
            SettingsMethod::Ssh => Method::Ssh,
        },
        address: settings.address.unwrap_or_else(|| host.to_owned()),
        port: settings.port,
        user: settings.user,
        key_file: settings.key_file,
        password: settings.password,
        shell: text("ansible_shell_executable").unwrap_or(defaults.shell),
        ssh_args: settings.ssh_args,
        config_file: text("ansible_ssh_config").map(Into::into),
        known_hosts: settings.known_hosts,
        host_key_checking: settings.host_key_checking.unwrap_or(true),
        connect_timeout: settings.timeout.map_or(defaults.connect_timeout, Duration::from_secs),
    };
    let who = settings.escalate.unwrap_or(true).then(|| Become {
        method: match settings.become_method {
            SettingsBecome::Sudo => BecomeMethod::Sudo,
            SettingsBecome::Doas => BecomeMethod::Doas,
            SettingsBecome::Su => BecomeMethod::Su,
        },
        user: settings.become_user.unwrap_or_else(|| "root".to_owned()),
        password: settings.become_password,
    });
    Ok((target, who))
}
