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

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Change, Diff, Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script, Secret, Then,
};

use super::args::{self, State};
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[
    Spec { name: "user", aliases: &[], args: USER, free_form: None, build: build_user },
    Spec { name: "group", aliases: &[], args: GROUP, free_form: None, build: build_group },
];

const USER: &[&str] = &[
    "name",
    "user",
    "state",
    "uid",
    "group",
    "groups",
    "append",
    "comment",
    "home",
    "create_home",
    "createhome",
    "move_home",
    "shell",
    "system",
    "password",
    "update_password",
    "password_lock",
    "remove",
    "force",
    "non_unique",
    "skeleton",
    "expires",
];
const GROUP: &[&str] = &["name", "state", "gid", "system", "force", "non_unique"];

#[derive(Deserialize)]
struct User {
    #[serde(alias = "user", deserialize_with = "args::text")]
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::opt_count")]
    uid: Option<u64>,
    #[serde(default, deserialize_with = "args::opt_text")]
    group: Option<String>,
    #[serde(default, deserialize_with = "args::opt_list")]
    groups: Option<Vec<String>>,
    #[serde(default, deserialize_with = "args::flag")]
    append: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    comment: Option<String>,
    #[serde(default, deserialize_with = "args::opt_text")]
    home: Option<String>,
    #[serde(default = "yes", alias = "createhome", deserialize_with = "args::flag")]
    create_home: bool,
    #[serde(default, deserialize_with = "args::flag")]
    move_home: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    shell: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    system: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    password: Option<String>,
    #[serde(default)]
    update_password: UpdatePassword,
    #[serde(default, deserialize_with = "args::opt_flag")]
    password_lock: Option<bool>,
    #[serde(default, deserialize_with = "args::flag")]
    remove: bool,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::flag")]
    non_unique: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    skeleton: Option<String>,
    #[serde(default, deserialize_with = "args::opt_int")]
    expires: Option<i64>,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum UpdatePassword {
    #[default]
    Always,
    OnCreate,
}

fn build_user(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let user: User = super::typed(USER, args)?;
    plain_name("user", &user.name)?;
    if let Some(password) = user.password.as_deref().filter(|password| !password.is_empty())
        && !password.starts_with(['$', '!', '*'])
        && password.len() != 13
    {
        return Err(Failure::new("`password` is not a hash; the account would be locked out")
            .hint("write \"{{ password | password_hash('sha512') }}\""));
    }
    if user.password.as_ref().is_some_and(|password| password.contains([':', '\n'])) {
        return Err(Failure::new("`password` must not contain a colon or a newline"));
    }
    Ok(Box::new(user))
}

/// A name that no tool takes for an option, and that fits into `/etc/passwd`.
fn plain_name(what: &str, name: &str) -> Result<(), Failure> {
    match name.is_empty() || name.starts_with('-') || name.contains([':', '/', '\n', ' ']) {
        true => Err(Failure::new(format!("{name:?} cannot be the name of a {what}"))),
        false => Ok(()),
    }
}

/// A line of `/etc/passwd`, with what else is known.
#[derive(Debug, Default)]
struct Account {
    uid: u64,
    gid: u64,
    comment: String,
    home: String,
    shell: String,
    /// The primary group's name.
    group: String,
    /// Supplementary groups.
    groups: Vec<String>,
    /// None if the lane may not see it.
    password: Option<String>,
    expires: Option<i64>,
    home_there: bool,
}

impl Account {
    /// Lines marked by their first letter, as the probe prints them.
    fn parse(text: &str) -> Option<Account> {
        let mut account = None;
        for line in text.lines() {
            let (mark, rest) = line.split_at_checked(2)?;
            let fields: Vec<&str> = rest.split(':').collect();
            match (mark, &mut account) {
                ("p ", _) => {
                    let [_, _, uid, gid, comment, home, shell] = fields[..] else { return None };
                    account = Some(Account {
                        uid: uid.parse().ok()?,
                        gid: gid.parse().ok()?,
                        comment: comment.to_owned(),
                        home: home.to_owned(),
                        shell: shell.to_owned(),
                        ..Account::default()
                    });
                }
                ("g ", Some(account)) => account.group = rest.to_owned(),
                ("m ", Some(account)) => {
                    let all = rest.split_whitespace().map(str::to_owned);
                    account.groups = all.filter(|group| *group != account.group).collect();
                }
                ("s ", Some(account)) => {
                    account.password = fields.get(1).map(|hash| (*hash).to_owned());
                    account.expires = fields.get(7).and_then(|days| days.parse().ok());
                }
                ("h ", Some(account)) => account.home_there = rest == "yes",
                _ => {}
            }
        }
        account
    }
}

impl Module for User {
    fn probe(&self) -> Vec<Query> {
        let name = self.name.as_str();
        let script = Script::new().raw("l=$(getent passwd").arg(name).raw(") || l=$(grep").arg(format!("^{name}:"));
        let script =
            script.raw("/etc/passwd) || exit 0; printf 'p %s\\n' \"$l\"; printf 'g %s\\n' \"$(id -gn").arg(name);
        let script = script.raw(")\"; printf 'm %s\\n' \"$(id -nG").arg(name).raw(")\"; printf 's %s\\n' \"$(grep");
        let script = script.arg(format!("^{name}:")).raw("/etc/shadow 2>/dev/null)\";");
        let script = script.raw("h=${l%:*}; h=${h##*:}; [ -d \"$h\" ] && echo 'h yes'; :");
        vec![Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let account = Account::parse(&observed::output(observed.answers, 0, &self.name)?.stdout_text());
        let mut steps = Steps::new(&self.name);
        match (&account, self.state) {
            (None, State::Absent) => {}
            (Some(_), State::Absent) => {
                let mut script = Script::new().raw("userdel");
                for (wanted, option) in [(self.remove, "-r"), (self.force, "-f")] {
                    if wanted {
                        script = script.raw(option);
                    }
                }
                // 12: the home directory was not there to be removed
                let script = script.arg(self.name.as_str());
                steps.operations.push(Operation::Run { script, accept: vec![0, 12] });
                steps.note("state", "present", "absent");
            }
            (None, State::Present) => self.create(&mut steps),
            (Some(account), State::Present) => self.adapt(account, &mut steps),
        }
        Ok(steps.plan(self.returned(account.as_ref())))
    }
}

impl User {
    fn create(&self, steps: &mut Steps) {
        let mut script = Script::new().raw("useradd");
        script = option(script, "-u", self.uid.map(|uid| uid.to_string()));
        if self.non_unique {
            script = script.raw("-o");
        }
        script = option(script, "-g", self.group.clone());
        script = option(
            script,
            "-G",
            self.groups.as_ref().filter(|groups| !groups.is_empty()).map(|groups| groups.join(",")),
        );
        script = option(script, "-c", self.comment.clone());
        script = option(script, "-d", self.home.clone());
        script = option(script, "-s", self.shell.clone());
        script = option(script, "-e", self.expires.map(date));
        if self.system {
            script = script.raw("-r");
        }
        script = match self.create_home {
            true => option(script.raw("-m"), "-k", self.skeleton.clone()),
            false => script.raw("-M"),
        };
        steps.operations.push(Operation::run(script.arg(self.name.as_str())));
        steps.note("state", "absent", "present");
        if let Some(hash) = &self.password {
            steps.operations.push(Operation::run(set_password(&self.name, hash)));
        }
        if self.password_lock == Some(true) {
            steps.operations.push(Operation::run(Script::new().raw("usermod -L").arg(self.name.as_str())));
        }
    }

    fn adapt(&self, account: &Account, steps: &mut Steps) {
        let mut script = Script::new().raw("usermod");
        let bare = script.parts.len();
        if let Some(uid) = self.uid.filter(|uid| *uid != account.uid) {
            script = option(script, "-u", Some(uid.to_string()));
            if self.non_unique {
                script = script.raw("-o");
            }
            steps.note("uid", account.uid, uid);
        }
        if let Some(group) =
            self.group.as_ref().filter(|group| **group != account.group && **group != account.gid.to_string())
        {
            script = option(script, "-g", Some(group.clone()));
            steps.note("group", &account.group, group);
        }
        if let Some(groups) = &self.groups {
            let missing = groups.iter().any(|group| !account.groups.contains(group) && *group != account.group);
            let surplus = !self.append && account.groups.iter().any(|group| !groups.contains(group));
            if missing || surplus {
                if self.append {
                    script = script.raw("-a");
                }
                script = option(script, "-G", Some(groups.join(",")));
                let kept = account.groups.iter().filter(|group| self.append && !groups.contains(group));
                let after: Vec<&str> = kept.chain(groups).map(String::as_str).collect();
                steps.note("groups", account.groups.join(","), after.join(","));
            }
        }
        let texts = [("comment", "-c", &self.comment, &account.comment), ("shell", "-s", &self.shell, &account.shell)];
        for (name, flag, wanted, current) in texts {
            if let Some(wanted) = wanted.as_ref().filter(|wanted| *wanted != current) {
                script = option(script, flag, Some(wanted.clone()));
                steps.note(name, current, wanted);
            }
        }
        if let Some(home) = self.home.as_ref().filter(|home| **home != account.home) {
            script = option(script, "-d", Some(home.clone()));
            if self.move_home {
                script = script.raw("-m");
            }
            steps.note("home", &account.home, home);
        }
        if let Some(expires) = self.expires.filter(|seconds| account.expires.unwrap_or(-1) != days(*seconds)) {
            script = option(script, "-e", Some(date(expires)));
            steps.note(
                "expires",
                account.expires.map_or_else(|| "never".to_owned(), |days| days.to_string()),
                days(expires),
            );
        }
        let bare_hash = |hash: &str| hash.trim_start_matches('!').to_owned();
        let new_hash = self.password.as_ref().filter(|hash| {
            let differs = account.password.as_ref().is_none_or(|current| bare_hash(current) != bare_hash(hash));
            differs && self.update_password == UpdatePassword::Always
        });
        if let Some(hash) = new_hash {
            steps.operations.push(Operation::run(set_password(&self.name, hash)));
            steps.note("password", "(another)", "(new)");
        }
        // a new password is an unlocked one
        let locked = account.password.as_ref().map(|hash| hash.starts_with('!') && new_hash.is_none());
        match (self.password_lock, locked) {
            (Some(true), Some(false)) => {
                script = script.raw("-L");
                steps.note("password", "unlocked", "locked");
            }
            (Some(false), Some(true)) => {
                script = script.raw("-U");
                steps.note("password", "locked", "unlocked");
            }
            _ => {}
        }
        if script.parts.len() > bare {
            steps.operations.push(Operation::run(script.arg(self.name.as_str())));
        }
        let home = self.home.as_ref().unwrap_or(&account.home);
        if self.create_home && !account.home_there && *home == account.home && !self.system {
            steps.operations.push(Operation::run(self.make_home(home)));
            steps.note("home directory", "absent", home);
        }
    }

    fn make_home(&self, home: &str) -> Script {
        let skeleton = self.skeleton.as_deref().unwrap_or("/etc/skel");
        let script = Script::new().raw("umask 022; mkdir -p").arg(home).raw("&& { [ ! -d").arg(skeleton);
        let script = script.raw("] || cp -R").arg(format!("{skeleton}/.")).arg(home).raw("; } && chown -R");
        script.raw("\"$(id -u").arg(self.name.as_str()).raw("):$(id -g").arg(self.name.as_str()).raw(")\"").arg(home)
    }

    fn returned(&self, account: Option<&Account>) -> Return {
        let state = if self.state == State::Present { "present" } else { "absent" };
        let mut returned = Return::default().with("name", self.name.as_str()).with("state", state);
        if self.state == State::Absent {
            return returned.with("remove", self.remove).with("force", self.force);
        }
        let text = |wanted: &Option<String>, current: Option<&String>| wanted.clone().or_else(|| current.cloned());
        let values = [
            ("uid", self.uid.or(account.map(|account| account.uid)).map(Value::from)),
            ("group", account.map(|account| Value::from(account.gid))),
            ("home", text(&self.home, account.map(|account| &account.home)).map(Value::from)),
            ("shell", text(&self.shell, account.map(|account| &account.shell)).map(Value::from)),
            ("comment", text(&self.comment, account.map(|account| &account.comment)).map(Value::from)),
            ("groups", self.groups.as_ref().map(|groups| Value::from(groups.join(",")))),
        ];
        for (name, value) in values {
            if let Some(value) = value {
                returned.values.insert(name.to_owned(), value);
            }
        }
        returned.with("append", self.append).with("create_home", self.create_home).with("system", self.system)
    }
}

fn option(script: Script, flag: &'static str, value: Option<String>) -> Script {
    match value {
        Some(value) => script.raw(flag).arg(value),
        None => script,
    }
}

fn set_password(name: &str, hash: &str) -> Script {
    // printf is a builtin and chpasswd reads: the hash is in no process list
    let line = Secret::new(format!("{name}:{hash}"));
    Script::new().raw("printf '%s\\n'").secret(line).raw("| chpasswd -e")
}

/// Days since the epoch; a negative time means never.
fn days(seconds: i64) -> i64 {
    if seconds < 0 { -1 } else { seconds / 86_400 }
}

fn date(seconds: i64) -> String {
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) if seconds >= 0 => time.strftime("%Y-%m-%d").to_string(),
        Ok(_) | Err(_) => String::new(),
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

#[derive(Deserialize)]
struct Group {
    #[serde(deserialize_with = "args::text")]
    name: String,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::opt_count")]
    gid: Option<u64>,
    #[serde(default, deserialize_with = "args::flag")]
    system: bool,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(default, deserialize_with = "args::flag")]
    non_unique: bool,
}

fn build_group(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let group: Group = super::typed(GROUP, args)?;
    plain_name("group", &group.name)?;
    Ok(Box::new(group))
}

impl Module for Group {
    fn probe(&self) -> Vec<Query> {
        let name = self.name.as_str();
        let script = Script::new().raw("getent group").arg(name).raw("|| grep").arg(format!("^{name}:"));
        vec![Query::Run(script.raw("/etc/group || :"))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let text = observed::output(observed.answers, 0, &self.name)?.stdout_text();
        let current: Option<u64> = text.trim().split(':').nth(2).and_then(|gid| gid.parse().ok());
        let mut steps = Steps::new(&self.name);
        match (current, self.state) {
            (None, State::Absent) => {}
            (Some(_), State::Absent) => {
                let script = if self.force { Script::new().raw("groupdel -f") } else { Script::new().raw("groupdel") };
                steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                steps.note("state", "present", "absent");
            }
            (None, State::Present) => {
                let mut script = option(Script::new().raw("groupadd"), "-g", self.gid.map(|gid| gid.to_string()));
                for (wanted, flag) in [(self.system, "-r"), (self.non_unique, "-o")] {
                    if wanted {
                        script = script.raw(flag);
                    }
                }
                steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                steps.note("state", "absent", "present");
            }
            (Some(gid), State::Present) => {
                if let Some(wanted) = self.gid.filter(|wanted| *wanted != gid) {
                    let mut script = option(Script::new().raw("groupmod"), "-g", Some(wanted.to_string()));
                    if self.non_unique {
                        script = script.raw("-o");
                    }
                    steps.operations.push(Operation::run(script.arg(self.name.as_str())));
                    steps.note("gid", gid, wanted);
                }
            }
        }
        let state = if self.state == State::Present { "present" } else { "absent" };
        let mut returned = Return::default().with("name", self.name.as_str()).with("state", state);
        if let Some(gid) = self.gid.or(current).filter(|_| self.state == State::Present) {
            returned = returned.with("gid", gid);
        }
        Ok(steps.plan(returned.with("system", self.system)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing;
    use serde_json::json;

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
