//! `apt`: Debian packages.
//!
//! ```yaml
//! - name: The tools every host has
//!   apt: {name: [curl, ufw, "nginx=1.26.*"], update_cache: true, cache_valid_time: 3600}
//! ```
//!
//! What is installed is asked of dpkg; what an installation would do, of `apt-get -s`, and only if something is
//! missing. Waits for another apt's lock. Finishes what an interrupted dpkg left behind. Leaves out `deb:` (local or
//! downloaded package files) and `build-dep`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{
    Answer, Change, Diff, Failure, Look, Module, Object, Observed, Operation, Output, Part, Plan, Query, Return,
    Script, Then,
};

use super::args;
use super::observed;
use super::{Build, Spec};

pub const FAMILY: &[Spec] = &[Spec { name: "apt", aliases: &[], args: ARGS, free_form: None, build }];

pub const ARGS: &[&str] = &[
    "name",
    "package",
    "pkg",
    "state",
    "update_cache",
    "update-cache",
    "cache_valid_time",
    "install_recommends",
    "install-recommends",
    "purge",
    "autoremove",
    "autoclean",
    "clean",
    "upgrade",
    "only_upgrade",
    "default_release",
    "default-release",
    "force",
    "allow_downgrade",
    "allow-downgrade",
    "allow_downgrades",
    "allow-downgrades",
    "allow_unauthenticated",
    "allow-unauthenticated",
    "allow_change_held_packages",
    "dpkg_options",
    "lock_timeout",
    "update_cache_retries",
    "update_cache_retry_max_delay",
    "force_apt_get",
    "fail_on_autoremove",
];

/// An installation may download a lot over a slow line.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "package", alias = "pkg", deserialize_with = "args::list")]
    name: Vec<String>,
    #[serde(default)]
    state: State,
    #[serde(default, alias = "update-cache", deserialize_with = "args::opt_flag")]
    update_cache: Option<bool>,
    #[serde(default, deserialize_with = "args::int")]
    cache_valid_time: i64,
    #[serde(default, alias = "install-recommends", deserialize_with = "args::opt_flag")]
    install_recommends: Option<bool>,
    #[serde(default, deserialize_with = "args::flag")]
    purge: bool,
    #[serde(default, deserialize_with = "args::flag")]
    autoremove: bool,
    #[serde(default, deserialize_with = "args::flag")]
    autoclean: bool,
    #[serde(default, deserialize_with = "args::flag")]
    clean: bool,
    #[serde(default, deserialize_with = "args::opt_text")]
    upgrade: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    only_upgrade: bool,
    #[serde(default, alias = "default-release", deserialize_with = "args::opt_text")]
    default_release: Option<String>,
    #[serde(default, deserialize_with = "args::flag")]
    force: bool,
    #[serde(
        default,
        alias = "allow-downgrade",
        alias = "allow_downgrades",
        alias = "allow-downgrades",
        deserialize_with = "args::flag"
    )]
    allow_downgrade: bool,
    #[serde(default, alias = "allow-unauthenticated", deserialize_with = "args::flag")]
    allow_unauthenticated: bool,
    #[serde(default, deserialize_with = "args::flag")]
    allow_change_held_packages: bool,
    #[serde(default, deserialize_with = "args::opt_list")]
    dpkg_options: Option<Vec<String>>,
    #[serde(default = "lock_timeout", deserialize_with = "args::count")]
    lock_timeout: u64,
    #[serde(default = "retries", deserialize_with = "args::count")]
    update_cache_retries: u64,
    #[serde(default, deserialize_with = "args::flag")]
    fail_on_autoremove: bool,
}

/// A fresh server often runs its first unattended upgrade when it is set up.
fn lock_timeout() -> u64 {
    300
}

fn retries() -> u64 {
    5
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    #[default]
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
    Fixed,
    BuildDep,
}

/// A package as the task names it: `name`, `name:arch`, `name=version` or `name/release`.
struct Wanted {
    whole: String,
    name: String,
    version: Option<String>,
}

struct Apt {
    args: Args,
    wanted: Vec<Wanted>,
    check: bool,
}

pub fn build(args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(ARGS, args)?;
    if args.state == State::BuildDep {
        return Err(Failure::new("`state: build-dep` is not supported").hint("use `command: apt-get -y build-dep …`"));
    }
    if let Some(other) =
        args.upgrade.as_deref().filter(|kind| upgrade_verb(kind).is_none() && args::as_flag(&(*kind).into()).is_none())
    {
        return Err(Failure::new(format!("`upgrade` is one of no, yes, safe, full and dist, not {other:?}")));
    }
    let wanted = args.name.iter().map(|whole| Wanted::parse(whole)).collect::<Result<Vec<_>, _>>()?;
    let upgrades = args.upgrade.as_deref().and_then(upgrade_verb).is_some();
    if upgrades && !wanted.is_empty() {
        return Err(
            Failure::new("`upgrade` and `name` exclude each other").hint("`state: latest` upgrades single packages")
        );
    }
    Ok(Box::new(Apt { args, wanted, check: build.check }))
}

impl Wanted {
    fn parse(whole: &str) -> Result<Wanted, Failure> {
        let whole = whole.trim();
        if whole.is_empty() || whole.starts_with('-') || whole.contains(char::is_whitespace) {
            return Err(Failure::new(format!("{whole:?} cannot be the name of a package")));
        }
        let (name, version) = match whole.split_once('=') {
            Some((name, version)) => (name, Some(version.to_owned())),
            None => (whole.split('/').next().unwrap_or(whole), None),
        };
        Ok(Wanted { whole: whole.to_owned(), name: name.to_owned(), version })
    }

    fn is_pattern(&self) -> bool {
        self.name.contains(['*', '?', '[']) || self.whole.contains('/')
    }

    fn means(&self, package: &Installed) -> bool {
        let (name, arch) =
            self.name.split_once(':').map_or((self.name.as_str(), None), |(name, arch)| (name, Some(arch)));
        fits(name, &package.name) && arch.is_none_or(|arch| arch == package.arch || arch == "any")
    }

    /// Is this what dpkg says is installed?
    fn satisfied(&self, installed: &[Installed]) -> bool {
        let (name, arch) =
            self.name.split_once(':').map_or((self.name.as_str(), None), |(name, arch)| (name, Some(arch)));
        installed.iter().any(|package| {
            package.name == name
                && package.status == "ii"
                && arch.is_none_or(|arch| arch == package.arch || arch == "any" || package.arch == "all")
                && self.version.as_ref().is_none_or(|version| fits(version, &package.version))
        })
    }
}

/// A version, or a pattern of one with `*`.
fn fits(pattern: &str, version: &str) -> bool {
    globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(version)) || pattern == version
}

/// The verb of apt-get that an `upgrade:` means; `None` is no upgrade.
fn upgrade_verb(kind: &str) -> Option<&'static str> {
    match kind {
        "full" | "dist" => Some("dist-upgrade"),
        "safe" | "yes" | "True" | "true" => Some("upgrade --with-new-pkgs"),
        _ => None,
    }
}

#[derive(Debug, PartialEq)]
struct Installed {
    name: String,
    arch: String,
    /// dpkg's two letters: `ii` is installed, `rc` removed with its configuration left.
    status: String,
    version: String,
}

/// What the probe saw.
struct Seen {
    now: i64,
    /// When the package lists were fetched; 0 if there are none.
    fetched: i64,
    archives: bool,
    installed: Vec<Installed>,
}

impl Seen {
    fn parse(text: &str) -> Seen {
        let mut seen = Seen { now: 0, fetched: 0, archives: false, installed: Vec::new() };
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("now", time)) => seen.now = time.parse().unwrap_or_default(),
                Some(("fetched", time)) => seen.fetched = seen.fetched.max(time.parse().unwrap_or_default()),
                Some(("archives", _)) => seen.archives = true,
                Some(("p", rest)) => {
                    if let [name, arch, status, version] = rest.split('\t').collect::<Vec<_>>()[..] {
                        seen.installed.push(Installed {
                            name: name.to_owned(),
                            arch: arch.to_owned(),
                            status: status.trim().to_owned(),
                            version: version.to_owned(),
                        });
                    }
                }
                _ => {}
            }
        }
        seen
    }
}

impl Module for Apt {
    fn probe(&self) -> Vec<Query> {
        let script = Script::new()
            .raw("command -v apt-get >/dev/null || { echo 'apt-get is not installed' >&2; exit 127; };")
            .raw("date '+now %s'; set -- /var/lib/apt/lists/*Release; [ -e \"$1\" ] &&")
            .raw("stat -c 'fetched %Y' /var/lib/apt/lists /var/lib/apt/periodic/update-success-stamp 2>/dev/null;")
            .raw("set -- /var/cache/apt/archives/*.deb; [ -e \"$1\" ] && echo 'archives yes';");
        let script = match self.wanted.is_empty() {
            true => script.raw(":"),
            false => script
                .raw("dpkg-query -W -f 'p ${Package}\\t${Architecture}\\t${db:Status-Abbrev}\\t${Version}\\n'")
                .args(self.wanted.iter().map(|wanted| wanted.name.as_str()))
                .raw("2>/dev/null; :"),
        };
        vec![Query::Run(script)]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let output = observed::output(observed.answers, 0, "apt")?;
        if !output.ok() {
            return Err(
                Failure::new(output.stderr_text().trim().to_owned()).hint("`package` takes the host's own manager")
            );
        }
        let seen = Seen::parse(&output.stdout_text());
        let updated = observed.changes > 0;
        let asked = self.args.update_cache.unwrap_or(self.args.cache_valid_time > 0);
        let stale = self.args.cache_valid_time <= 0 || seen.now - seen.fetched > self.args.cache_valid_time;
        let update = asked && stale && !updated;
        let alone = self.wanted.is_empty() && self.action().is_none();
        if update && (alone || !self.check) {
            let then = if alone { Then::Finish } else { Then::Replan(Look::Everything) };
            let forecast = Return::default().with("cache_updated", true).with("cache_update_time", seen.now);
            return Ok(Plan::Change(Change { diff: Vec::new(), operations: vec![self.update()], then, forecast }));
        }
        let returned = Return::default()
            .with("cache_updated", updated)
            .with("cache_update_time", if updated { seen.now } else { seen.fetched });
        let same = |why: &str| {
            // refreshed lists alone are no change of what the task is about
            Ok(Plan::NoChange(Return { msg: Some(why.to_owned()), changed: Some(false), ..returned.clone() }))
        };
        let (verb, names) = match self.args.state {
            State::Absent => {
                let there = |package: &&Installed| {
                    package.status.starts_with('i') || (self.args.purge && package.status == "rc")
                };
                let meant = |package: &&Installed| self.wanted.iter().any(|wanted| wanted.means(package));
                let found = seen.installed.iter().filter(there).filter(meant);
                let names: Vec<String> = found.map(|package| format!("{}:{}", package.name, package.arch)).collect();
                (if self.args.purge { "purge" } else { "remove" }, names)
            }
            State::Latest => ("install", self.wanted.iter().map(|wanted| wanted.whole.clone()).collect()),
            State::Present | State::Fixed | State::BuildDep => {
                let missing =
                    self.wanted.iter().filter(|wanted| wanted.is_pattern() || !wanted.satisfied(&seen.installed));
                ("install", missing.map(|wanted| wanted.whole.clone()).collect::<Vec<_>>())
            }
        };
        let names: Vec<String> = names;
        let verb = match (names.is_empty(), self.action()) {
            (false, _) => verb,
            (true, Some(action)) if self.wanted.is_empty() => action,
            (true, _) => match self.args.state {
                State::Absent => return same("not installed"),
                _ if alone && asked => return same("the package lists are recent enough"),
                State::Present | State::Latest | State::Fixed | State::BuildDep => return same("already installed"),
            },
        };
        if verb.ends_with("clean") {
            return match seen.archives {
                false => same("no package files are kept"),
                true => {
                    Ok(change(vec![Operation::run(Script::new().raw("apt-get -q").raw(verb))], Vec::new(), returned))
                }
            };
        }
        let Some(answer) = observed.more.first() else {
            let script = self.apt_get(Script::new(), "-s", verb).args(names.clone());
            return Ok(Plan::Ask(vec![Query::Run(script)]));
        };
        let Answer::Output(simulated) = answer else { return Err(Failure::new("apt-get -s gave no answer")) };
        if !simulated.ok() {
            // in check mode the lists are as old as they are; the real run refreshes them first
            if update && self.check {
                return Ok(change(vec![self.update()], Vec::new(), returned.with("cache_updated", true)));
            }
            let script = Script::new().raw("apt-get -s").raw(verb).args(names);
            return Err(failed(&script, simulated, asked));
        }
        let steps = Step::parse(&simulated.stdout_text());
        if steps.is_empty() {
            return same(if verb == "install" { "already installed" } else { "nothing to do" });
        }
        if self.args.fail_on_autoremove && steps.iter().any(|step| step.after.is_none()) && verb == "install" {
            return Err(Failure::new("the installation would remove packages"));
        }
        let diff = Diff {
            before_header: "installed packages".to_owned(),
            after_header: "installed packages".to_owned(),
            before: steps.iter().filter_map(|step| step.line(&step.before)).collect(),
            after: steps.iter().filter_map(|step| step.line(&step.after)).collect(),
        };
        let heal = Script::new()
            .raw("export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none;")
            .raw("[ -z \"$(ls -A /var/lib/dpkg/updates 2>/dev/null)\" ] ||")
            .raw("dpkg --force-confdef --force-confold --configure -a;");
        let mut script = self.apt_get(heal, "-y", verb).args(names);
        script.timeout = Some(PATIENCE);
        let operation = Operation::Run { script, accept: (0..=255).collect() };
        Ok(change(vec![operation], vec![diff], returned))
    }

    fn finish(&self, outputs: &[Output]) -> Result<Return, Failure> {
        let Some(output) = outputs.last() else { return Ok(Return::default()) };
        if !output.ok() {
            return Err(failed(&Script::new().raw("apt-get"), output, self.args.update_cache.unwrap_or(false)));
        }
        Ok(Return::default().with("stdout", output.stdout_text()).with("stderr", output.stderr_text()))
    }
}

impl Apt {
    /// What is done when no package is named.
    fn action(&self) -> Option<&'static str> {
        let upgrade = self.args.upgrade.as_deref().and_then(upgrade_verb);
        let others = [
            (self.args.state == State::Fixed, "-f install"),
            (self.args.autoremove, if self.args.purge { "--purge autoremove" } else { "autoremove" }),
            (self.args.autoclean, "autoclean"),
            (self.args.clean, "clean"),
        ];
        upgrade.or_else(|| others.into_iter().find(|(wanted, _)| *wanted).map(|(_, verb)| verb))
    }

    /// Fetches the lists, several times if it must: mirrors are busy and lists have a lock of their own.
    fn update(&self) -> Operation {
        let tries = Part::Quoted(self.args.update_cache_retries.max(1).to_string());
        let mut script = Script::new().raw("n=1; until apt-get -q -o APT::Update::Error-Mode=any");
        script = script
            .raw("-o")
            .arg(format!("DPkg::Lock::Timeout={}", self.args.lock_timeout))
            .raw("update; do [ \"$n\" -lt");
        script.parts.push(tries);
        script = script.raw("] || exit 100; sleep $((n * 2)); n=$((n + 1)); done; touch /var/lib/apt/lists");
        script.timeout = Some(PATIENCE);
        Operation::run(script)
    }

    fn apt_get(&self, script: Script, how: &'static str, verb: &'static str) -> Script {
        let args = &self.args;
        let mut script = script.raw("apt-get -q").raw(how);
        script = script.raw("-o").arg(format!("DPkg::Lock::Timeout={}", args.lock_timeout));
        let default = ["force-confdef".to_owned(), "force-confold".to_owned()];
        for option in args.dpkg_options.as_deref().unwrap_or(&default) {
            script = script.raw("-o").arg(format!("Dpkg::Options::=--{option}"));
        }
        script = match args.install_recommends {
            Some(true) => script.raw("-o APT::Install-Recommends=yes"),
            Some(false) => script.raw("-o APT::Install-Recommends=no"),
            None => script,
        };
        let flags = [
            (args.only_upgrade, "--only-upgrade"),
            (args.autoremove, "--auto-remove"),
            (args.allow_downgrade || args.force, "--allow-downgrades"),
            (args.allow_unauthenticated || args.force, "--allow-unauthenticated"),
            (args.allow_change_held_packages || args.force, "--allow-change-held-packages"),
        ];
        for (wanted, flag) in flags {
            if wanted {
                script = script.raw(flag);
            }
        }
        if let Some(release) = &args.default_release {
            script = script.raw("-t").arg(release.as_str());
        }
        script.raw(verb)
    }
}

fn change(operations: Vec<Operation>, diff: Vec<Diff>, forecast: Return) -> Plan {
    Plan::Change(Change { diff, operations, then: Then::Finish, forecast })
}

/// One line of what `apt-get -s` would do.
#[derive(Debug, PartialEq)]
struct Step {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

impl Step {
    /// `Inst name [old] (new …)`, `Remv name [old]`, and `Conf name (…)` for what was only unpacked so far.
    fn parse(text: &str) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for line in text.lines() {
            let mut words = line.split(' ');
            let (Some(verb), Some(name)) = (words.next(), words.next()) else { continue };
            let name = name.to_owned();
            let between = |open, close| {
                let from = line.find(open)? + 1;
                Some(line[from..].split([' ', close]).next().unwrap_or_default().to_owned())
            };
            match verb {
                "Inst" => {
                    let old = line.split('(').next().filter(|head| head.contains('[')).and_then(|_| between('[', ']'));
                    steps.push(Step { name, before: old, after: between('(', ')') });
                }
                "Remv" | "Purg" => steps.push(Step { name, before: between('[', ']'), after: None }),
                "Conf" if !steps.iter().any(|step| step.name == name) => {
                    steps.push(Step { name, before: Some("unpacked".to_owned()), after: between('(', ')') });
                }
                _ => {}
            }
        }
        steps
    }

    fn line(&self, version: &Option<String>) -> Option<String> {
        version.as_ref().map(|version| format!("{} {version}\n", self.name))
    }
}

/// A failure of apt-get in its own words, with what to do about the frequent ones.
fn failed(script: &Script, output: &Output, updated: bool) -> Failure {
    let text = output.stderr_text();
    let first = text.lines().find_map(|line| line.strip_prefix("E: ")).unwrap_or("apt-get failed");
    let failure = Failure::of(first.to_owned(), script, output).with("stdout", Value::from(output.stdout_text()));
    let hints = [
        (
            "Unable to locate package",
            if updated {
                "is its name right, and its repository there?"
            } else {
                "`update_cache: true` fetches the package lists"
            },
        ),
        ("has no installation candidate", "is its name right, and its repository there?"),
        ("Could not get lock", "another apt is running; `lock_timeout` says how long to wait for it"),
        ("dpkg was interrupted", "`dpkg --configure -a` on the host finishes it"),
        ("No space left on device", "the disk is full"),
        (
            "held broken packages",
            "packages are held or their dependencies clash; `apt-get -s install` on the host says more",
        ),
    ];
    match hints.into_iter().find(|(words, _)| text.contains(words)) {
        Some((_, hint)) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{calls, said};
    use serde_json::json;

    const SEEN: &str = "now 100000\nfetched 99000\np curl\tamd64\tii \t8.14.1-2\np nano\tamd64\trc \t8.4-1\n";

    fn apt(args: Value, more: &[Answer]) -> Result<Vec<String>, String> {
        let calls = calls("apt", args, &[said(SEEN)], more)?;
        Ok(calls.iter().map(|call| call.split("-o DPkg").next().unwrap_or_default().trim().to_owned()).collect())
    }

    #[test]
    fn what_dpkg_says_decides() {
        let table = [
            (json!({"name": "curl"}), vec![]),
            (json!({"name": "curl=8.14.*"}), vec![]),
            (json!({"name": "curl:amd64"}), vec![]),
            (json!({"name": "curl=9*"}), vec!["?"]),
            (json!({"name": "curl,jq"}), vec!["?"]),
            (json!({"name": ["nano"]}), vec!["?"]),
            (json!({"name": "curl", "state": "latest"}), vec!["?"]),
            (json!({"name": "jq", "state": "absent"}), vec![]),
            (json!({"name": "nano", "state": "absent"}), vec![]),
            (json!({"name": "nano", "state": "absent", "purge": true}), vec!["?"]),
            (json!({"name": "curl", "update_cache": true, "cache_valid_time": 3600}), vec![]),
            (json!({"update_cache": true, "cache_valid_time": 3600}), vec![]),
            (json!({"upgrade": "dist"}), vec!["?"]),
            (json!({"clean": true}), vec![]),
        ];
        for (args, expected) in table {
            assert_eq!(apt(args.clone(), &[]).unwrap(), expected, "{args}");
        }
        for args in [
            json!({"name": "curl", "update_cache": true}),
            json!({"cache_valid_time": 10}),
            json!({"update_cache": "yes"}),
        ] {
            let calls = apt(args.clone(), &[]).unwrap();
            assert!(calls[0].contains("until apt-get"), "{args}: {calls:?}");
        }
        for wrong in [
            json!({"name": "x", "state": "build-dep"}),
            json!({"deb": "/x.deb"}),
            json!({"name": "-y"}),
            json!({"upgrade": "maybe"}),
        ] {
            assert!(apt(wrong.clone(), &[]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_a_dry_run_says_decides() {
        let nothing = said("Reading package lists...\n0 upgraded, 0 newly installed\n");
        assert_eq!(apt(json!({"name": "awk"}), &[nothing]).unwrap(), Vec::<String>::new());
        let installs = said(
            "Inst libjq1 (1.7.1-6 Debian:13.2/stable [amd64])\nInst jq (1.7.1-6 Debian:13.2/stable [amd64])\nConf libjq1 (1.7.1-6 Debian:13.2/stable [amd64])\n",
        );
        let done = apt(json!({"name": "jq"}), &[installs]).unwrap();
        assert!(done[0].ends_with("apt-get -q -y") && done[0].contains("DEBIAN_FRONTEND"), "{done:?}");
        let missing =
            Answer::Output(Output { rc: 100, stdout: vec![], stderr: b"E: Unable to locate package jqq\n".to_vec() });
        assert_eq!(apt(json!({"name": "jqq"}), &[missing]).unwrap_err(), "Unable to locate package jqq");
    }

    #[test]
    fn dry_runs_are_read() {
        let text = "Inst curl [8.14.1-1] (8.14.1-2 Debian:13.2/stable [amd64]) []\nRemv nano [8.4-1]\nConf curl (8.14.1-2 Debian)\nConf dash (0.5 Debian)\n";
        let steps: Vec<(String, Option<String>, Option<String>)> =
            Step::parse(text).into_iter().map(|step| (step.name, step.before, step.after)).collect();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            steps,
            [
                ("curl".into(), some("8.14.1-1"), some("8.14.1-2")),
                ("nano".into(), some("8.4-1"), None),
                ("dash".into(), some("unpacked"), some("0.5"))
            ]
        );
    }
}
