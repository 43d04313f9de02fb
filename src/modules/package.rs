//! `package`, `dnf` and `apk`: packages, whatever the host's package manager is.
//!
//! ```yaml
//! - name: Any system has one
//!   package: {name: [rsync, tar], state: present}
//!
//! - name: On Fedora and its kin
//!   dnf: {name: nginx, state: latest}
//!
//! - name: On Alpine
//!   apk: {name: nginx, update_cache: true}
//! ```
//!
//! `package` takes the manager that the facts name. Leaves out managers other than apt, dnf and apk, package groups
//! (`@group`) and files or URLs as packages.

use serde::Deserialize;
use serde_json::Value;

use crate::plan::{Change, Diff, Failure, Module, Object, Observed, Operation, Plan, Query, Return, Script, Then};

use super::args;
use super::observed;
use super::{Build, Spec, apt};

pub const FAMILY: &[Spec] = &[
    Spec { name: "package", aliases: &[], args: PACKAGE, free_form: None, build: build_package },
    Spec {
        name: "dnf",
        aliases: &["yum", "ansible.builtin.yum", "ansible.builtin.dnf5", "dnf5"],
        args: SIMPLE,
        free_form: None,
        build: build_dnf,
    },
    Spec { name: "apk", aliases: &["community.general.apk"], args: SIMPLE, free_form: None, build: build_apk },
];

const PACKAGE: &[&str] =
    &["name", "pkg", "state", "use", "update_cache", "cache_valid_time", "install_recommends", "purge"];
const SIMPLE: &[&str] =
    &["name", "pkg", "package", "state", "update_cache", "enablerepo", "disable_gpg_check", "available"];

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3600);

fn build_package(mut args: Object, build: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    if let Some(unknown) = args.keys().find(|name| !PACKAGE.contains(&name.as_str())) {
        return Err(super::unknown_argument(PACKAGE, unknown));
    }
    let fact = |name: &str| build.facts.get(name).and_then(Value::as_str);
    let chosen = args.shift_remove("use").map(|value| args::as_text(&value)).filter(|name| name != "auto");
    let manager = chosen.as_deref().or_else(|| fact("pkg_mgr")).or_else(|| match fact("os_family")? {
        "Debian" => Some("apt"),
        "RedHat" => Some("dnf"),
        "Alpine" => Some("apk"),
        _ => None,
    });
    match manager {
        Some("apt" | "ansible.builtin.apt") => apt::build(args, build),
        Some("dnf" | "dnf5" | "yum" | "ansible.builtin.dnf") => build_dnf(without_apt(args), build),
        Some("apk" | "community.general.apk") => build_apk(without_apt(args), build),
        Some(other) => Err(Failure::new(format!("the package manager {other} is not supported"))
            .hint("apt, dnf and apk are; use `command` for others")),
        None => Err(Failure::new("the host's package manager is not known")
            .hint("gather facts first, or name it with `use: apt`")),
    }
}

/// What only apt understands is no mistake on another system.
fn without_apt(mut args: Object) -> Object {
    args.retain(|name, _| !matches!(name.as_str(), "cache_valid_time" | "install_recommends" | "purge"));
    args
}

#[derive(Clone, Copy, PartialEq)]
enum Manager {
    Dnf,
    Apk,
}

#[derive(Deserialize)]
struct Args {
    #[serde(default, alias = "pkg", alias = "package", deserialize_with = "args::list")]
    name: Vec<String>,
    #[serde(default)]
    state: State,
    #[serde(default, deserialize_with = "args::flag")]
    update_cache: bool,
    #[serde(default, deserialize_with = "args::list")]
    enablerepo: Vec<String>,
    #[serde(default, deserialize_with = "args::flag")]
    disable_gpg_check: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    #[serde(alias = "installed")]
    Present,
    #[serde(alias = "removed")]
    Absent,
    Latest,
}

fn build_dnf(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    simple(args, Manager::Dnf)
}

fn build_apk(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    simple(args, Manager::Apk)
}

fn simple(args: Object, manager: Manager) -> Result<Box<dyn Module>, Failure> {
    let args: Args = super::typed(SIMPLE, args)?;
    if let Some(name) = args.name.iter().find(|name| name.starts_with(['-', '@', '/']) || name.contains("://")) {
        return Err(Failure::new(format!("{name:?} is not the name of a package")));
    }
    if args.name.is_empty() && !args.update_cache {
        return Err(Failure::new("argument `name` is missing"));
    }
    Ok(Box::new(Simple { manager, args }))
}

struct Simple {
    manager: Manager,
    args: Args,
}

impl Module for Simple {
    fn probe(&self) -> Vec<Query> {
        let loop_over = |script: Script, names: &[String]| script.raw("for p in").args(names.to_vec()).raw("; do");
        let script = Script::new();
        let script = match (self.manager, self.args.name.is_empty()) {
            (Manager::Dnf, true) => script.raw("command -v dnf >/dev/null"),
            (Manager::Apk, true) => script.raw("command -v apk >/dev/null"),
            (Manager::Dnf, false) => {
                let script = loop_over(script.raw("command -v dnf >/dev/null || exit 127;"), &self.args.name);
                script.raw("if rpm -q \"$p\" >/dev/null 2>&1 || rpm -q --whatprovides \"$p\" >/dev/null 2>&1; then echo \"i $p\"; fi; done")
            }
            (Manager::Apk, false) => {
                let script = loop_over(script.raw("command -v apk >/dev/null || exit 127;"), &self.args.name);
                script.raw("if apk info -e \"$p\" >/dev/null 2>&1; then echo \"i $p\"; fi; done")
            }
        };
        let script = match (self.args.state, self.manager) {
            (State::Latest, Manager::Dnf) => {
                script.raw("; dnf -q check-update").args(self.args.name.clone()).raw("| sed 's/^/u /'")
            }
            (State::Latest, Manager::Apk) => {
                script.raw("; apk version -q -l '<'").args(self.args.name.clone()).raw("| sed 's/^/u /'")
            }
            (State::Present | State::Absent, _) => script,
        };
        vec![Query::Run(script.timeout(PATIENCE))]
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let tool = if self.manager == Manager::Dnf { "dnf" } else { "apk" };
        let output = observed::output(observed.answers, 0, tool)?;
        if output.rc == 127 {
            return Err(Failure::new(format!("{tool} is not installed")).hint("`package` takes the host's own manager"));
        }
        let text = output.stdout_text();
        let marked = |mark: &str| -> Vec<&str> {
            text.lines().filter_map(|line| line.strip_prefix(mark)).map(str::trim).collect()
        };
        let (installed, updates) = (marked("i "), marked("u "));
        let is_installed = |name: &&String| installed.contains(&name.as_str());
        let outdated = updates.iter().any(|line| !line.is_empty());
        let names: Vec<String> = match self.args.state {
            State::Present => self.args.name.iter().filter(|name| !is_installed(name)).cloned().collect(),
            State::Absent => self.args.name.iter().filter(is_installed).cloned().collect(),
            State::Latest if outdated => self.args.name.clone(),
            State::Latest => self.args.name.iter().filter(|name| !is_installed(name)).cloned().collect(),
        };
        let lists_only = self.args.name.is_empty();
        if names.is_empty() && !lists_only {
            let why = if self.args.state == State::Absent { "not installed" } else { "already installed" };
            return Ok(Plan::NoChange(Return::msg(why)));
        }
        let mut script = Script::new().timeout(PATIENCE);
        script = match (self.manager, self.args.state) {
            (Manager::Dnf, _) if lists_only => script.raw("dnf -q makecache"),
            (Manager::Apk, _) if lists_only => script.raw("apk update -q"),
            (Manager::Dnf, State::Present) => script.raw("dnf -y install"),
            (Manager::Dnf, State::Latest) => script.raw("dnf -y --best install"),
            (Manager::Dnf, State::Absent) => script.raw("dnf -y remove"),
            (Manager::Apk, State::Present) => script.raw("apk add --no-progress"),
            (Manager::Apk, State::Latest) => script.raw("apk add --no-progress -u"),
            (Manager::Apk, State::Absent) => script.raw("apk del --no-progress"),
        };
        if self.args.update_cache && !lists_only && self.args.state != State::Absent {
            script = script.raw(if self.manager == Manager::Dnf { "--refresh" } else { "-U" });
        }
        if self.manager == Manager::Dnf {
            for repository in &self.args.enablerepo {
                script = script.raw("--enablerepo").arg(repository.as_str());
            }
            if self.args.disable_gpg_check {
                script = script.raw("--nogpgcheck");
            }
        }
        let list =
            |there: bool| if there { names.iter().map(|name| format!("{name}\n")).collect() } else { String::new() };
        let gone = self.args.state == State::Absent;
        let diff = Diff {
            before_header: "installed packages".to_owned(),
            after_header: "installed packages".to_owned(),
            before: list(gone),
            after: list(!gone),
        };
        let operations = vec![Operation::run(script.args(names.clone()))];
        Ok(Plan::Change(Change { diff: vec![diff], operations, then: Then::Finish, forecast: Return::default() }))
    }
}

#[cfg(test)]
mod tests {
    use crate::modules::testing::{build_with, calls, said};
    use serde_json::json;

    #[test]
    fn the_facts_name_the_manager() {
        let build = |facts| {
            build_with("package", json!({"name": "tar"}), facts, false).map(|_| ()).map_err(|failure| failure.msg)
        };
        for facts in [json!({"pkg_mgr": "apt"}), json!({"pkg_mgr": "dnf"}), json!({"os_family": "Alpine"})] {
            assert_eq!(build(facts.clone()), Ok(()), "{facts}");
        }
        assert!(build(json!({"pkg_mgr": "pacman"})).unwrap_err().contains("pacman"));
        assert!(build(json!({})).unwrap_err().contains("not known"));
    }

    #[test]
    fn simple_managers() {
        let table = [
            ("dnf", json!({"name": "tar,jq"}), "i tar\n", vec!["dnf -y install jq"]),
            ("dnf", json!({"name": "tar"}), "i tar\n", vec![]),
            (
                "dnf",
                json!({"name": "tar", "state": "latest"}),
                "i tar\nu tar.x86_64 1.35 base\n",
                vec!["dnf -y --best install tar"],
            ),
            ("apk", json!({"name": ["tar"], "state": "absent"}), "i tar\n", vec!["apk del --no-progress tar"]),
            ("apk", json!({"name": "jq", "update_cache": true}), "", vec!["apk add --no-progress -U jq"]),
            ("apk", json!({"update_cache": true}), "", vec!["apk update -q"]),
        ];
        for (module, args, seen, expected) in table {
            assert_eq!(calls(module, args.clone(), &[said(seen)], &[]).unwrap(), expected, "{module} {args}");
        }
        assert!(calls("dnf", json!({"name": "@development"}), &[said("")], &[]).is_err());
    }
}
