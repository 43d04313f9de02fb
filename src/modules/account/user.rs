//! `user`: an account of the host, its groups, shell and password.

use serde::Deserialize;
use serde_json::Value;

use super::{Steps, option, plain_name};
use crate::modules::args::{self, State};
use crate::modules::{Build, observed, typed};
use crate::plan::{Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script, Secret};

pub(super) const ARGS: &[&str] = &[
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

pub(super) fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let user: User = typed(ARGS, args)?;
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
