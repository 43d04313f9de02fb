//! `user` and `group`: who is on a host.
//!
//! ```yaml
//! - name: The group of the operators
//!   group: {name: operators, gid: 2000}
//!
//! - name: The account that runs the services
//!   user: {name: hub, groups: [docker], append: true, shell: /bin/bash}
//!
//! ```
//!
//! Leaves out accounts of network directories and key generation. Needs useradd and its kin (the package `shadow` on
//! Alpine). Passwords are given as hashes and travel on standard input.

use super::Spec;
use crate::plan::{Change, Diff, Failure, Operation, Plan, Return, Script, Then};

mod group;
mod user;

pub const FAMILY: &[Spec] = &[
    Spec { name: "user", aliases: &[], args: user::ARGS, free_form: None, build: user::build },
    Spec { name: "group", aliases: &[], args: group::ARGS, free_form: None, build: group::build },
];

/// A name that no tool takes for an option, and that fits into `/etc/passwd`.
fn plain_name(what: &str, name: &str) -> Result<(), Failure> {
    match name.is_empty() || name.starts_with('-') || name.contains([':', '/', '\n', ' ']) {
        true => Err(Failure::new(format!("{name:?} cannot be the name of a {what}"))),
        false => Ok(()),
    }
}

fn option(script: Script, flag: &'static str, value: Option<String>) -> Script {
    match value {
        Some(value) => script.raw(flag).arg(value),
        None => script,
    }
}

/// Operations with the lines of their diff.
struct Steps {
    name: String,
    operations: Vec<Operation>,
    before: String,
    after: String,
}

impl Steps {
    fn new(name: &str) -> Self {
        Steps { name: name.to_owned(), operations: Vec::new(), before: String::new(), after: String::new() }
    }

    fn note(&mut self, what: &str, before: impl std::fmt::Display, after: impl std::fmt::Display) {
        self.before.push_str(&format!("{what}: {before}\n"));
        self.after.push_str(&format!("{what}: {after}\n"));
    }

    fn plan(self, returned: Return) -> Plan {
        if self.operations.is_empty() {
            return Plan::NoChange(Return { msg: Some("already as wanted".to_owned()), ..returned });
        }
        let diff =
            Diff { before_header: self.name.clone(), after_header: self.name, before: self.before, after: self.after };
        Plan::Change(Change { diff: vec![diff], operations: self.operations, then: Then::Finish, forecast: returned })
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::testing;
    use serde_json::{Value, json};

    fn calls(module: &str, args: Value, seen: &str) -> Result<Vec<String>, String> {
        testing::calls(module, args, &[testing::said(seen)], &[])
    }

    #[test]
    fn accounts() {
        let hub =
            "p hub:x:1001:1001:The hub:/home/hub:/bin/sh\ng hub\nm hub docker adm\ns hub:$6$x$y:1:0:9:7:::\nh yes\n";
        let locked = hub.replace("hub:$6", "hub:!$6");
        let homeless = hub.replace("h yes\n", "");
        let table: &[(Value, &str, &[&str])] = &[
            (json!({"name": "hub"}), "", &["useradd -m hub"]),
            (
                json!({"name": "hub", "system": "yes", "create_home": false, "uid": "990", "shell": "/bin/false"}),
                "",
                &["useradd -u 990 -s /bin/false -r -M hub"],
            ),
            (
                json!({"name": "hub", "groups": "docker,adm", "password": "$6$a$b"}),
                "",
                &["useradd -G docker,adm -m hub", "printf '%s\\n' ******** | chpasswd -e"],
            ),
            (json!({"name": "hub", "shell": "/bin/sh", "groups": ["docker"], "append": true}), hub, &[]),
            (json!({"name": "hub", "groups": ["docker", "adm"]}), hub, &[]),
            (json!({"name": "hub", "groups": ["docker"]}), hub, &["usermod -G docker hub"]),
            (json!({"name": "hub", "groups": []}), hub, &["usermod -G '' hub"]),
            (json!({"name": "hub", "groups": ["sudo"], "append": true}), hub, &["usermod -a -G sudo hub"]),
            (json!({"name": "hub", "shell": "/bin/bash", "comment": "Hub"}), hub, &["usermod -c Hub -s /bin/bash hub"]),
            (json!({"name": "hub", "group": "hub"}), hub, &[]),
            (json!({"name": "hub", "password": "$6$x$y"}), hub, &[]),
            (json!({"name": "hub", "password": "$6$x$z"}), hub, &["printf '%s\\n' ******** | chpasswd -e"]),
            (json!({"name": "hub", "password": "$6$x$z", "update_password": "on_create"}), hub, &[]),
            (json!({"name": "hub", "password_lock": true}), hub, &["usermod -L hub"]),
            (json!({"name": "hub", "password_lock": true}), &locked, &[]),
            (json!({"name": "hub", "create_home": false}), &homeless, &[]),
            (json!({"name": "hub", "state": "absent", "remove": true}), hub, &["userdel -r hub"]),
            (json!({"name": "hub", "state": "absent"}), "", &[]),
        ];
        for (args, seen, expected) in table {
            assert_eq!(calls("user", args.clone(), seen).unwrap(), *expected, "{args}");
        }
        let made = calls("user", json!({"name": "hub"}), &homeless).unwrap();
        assert!(made.len() == 1 && made[0].contains("mkdir -p /home/hub"), "{made:?}");
        for wrong in [
            json!({}),
            json!({"name": "-x"}),
            json!({"name": "x", "password": "hunter2"}),
            json!({"name": "x", "generate_ssh_key": true}),
            json!({"name": "x", "shel": "/bin/sh"}),
        ] {
            assert!(calls("user", wrong.clone(), "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn groups() {
        let table: &[(Value, &str, &[&str])] = &[
            (json!({"name": "ops"}), "", &["groupadd ops"]),
            (json!({"name": "ops", "gid": 2000, "system": true}), "", &["groupadd -g 2000 -r ops"]),
            (json!({"name": "ops"}), "ops:x:1000:\n", &[]),
            (json!({"name": "ops", "gid": 1000}), "ops:x:1000:ana\n", &[]),
            (json!({"name": "ops", "gid": 2000}), "ops:x:1000:\n", &["groupmod -g 2000 ops"]),
            (json!({"name": "ops", "state": "absent"}), "ops:x:1000:\n", &["groupdel ops"]),
            (json!({"name": "ops", "state": "absent"}), "", &[]),
        ];
        for (args, seen, expected) in table {
            assert_eq!(calls("group", args.clone(), seen).unwrap(), *expected, "{args}");
        }
    }
}
