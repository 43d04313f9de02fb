//! `host_requirements`: is the server enough for what is to run on it, and does nothing there forbid it?
//!
//! ```yaml
//! - name: Requirements
//!   host_requirements:
//!     services:
//!       - {service: hub, min: {ram_mb: 2048}, recommended: {cpu: 2, ram_mb: 4096, disk_gb: 10}}
//!       - {service: worker, commands: {python3: ">=3.12"}}
//!     deploy_root: /opt/ATS/VersatileHub
//! ```
//!
//! Only looks. What is recorded as installed and is not among `services` counts as well. Memory and, where both are not
//! yet there, disk are added up; processors are shared, so of their minimum only the largest counts. Less than the
//! minimum fails, less than recommended is one warning; with `ignore` the former is a warning, too. Never ignored is what
//! would do harm: a conflict with what is installed, a stack of the same name that Portainer keeps, and a major version that cannot read the
//! data that is there. `installed` of what it returns: each recorded service with its images, null if its record
//! names none; null as a whole if a record cannot be read.

use std::cmp::Ordering;

use indexmap::IndexMap;
use serde::Deserialize;

use super::docker::{ask, output};
use super::{Build, Spec, args, typed};
use crate::plan::{Failure, Module, Object, Observed, Plan, Query, Return, Script};
use crate::vars::version::{Scheme, compare};

pub mod commands;

pub const FAMILY: &[Spec] = &[Spec {
    name: "host_requirements",
    aliases: &[],
    args: &["services", "runtime", "deploy_root", "ignore"],
    free_form: None,
    build,
}];

#[derive(Deserialize)]
struct HostRequirements {
    #[serde(default)]
    services: Vec<Service>,
    #[serde(default = "compose")]
    runtime: String,
    #[serde(default = "root")]
    deploy_root: String,
    #[serde(default, deserialize_with = "args::flag")]
    ignore: bool,
}

fn compose() -> String {
    "compose".to_owned()
}

fn root() -> String {
    "/".to_owned()
}

/// A service of this run, or a record of an installed one.
#[derive(Clone, Debug, Default, Deserialize)]
struct Service {
    service: String,
    #[serde(default)]
    project: String,
    #[serde(default)]
    min: Amounts,
    #[serde(default)]
    recommended: Amounts,
    #[serde(default)]
    docker: Option<String>,
    #[serde(default)]
    compose: Option<String>,
    /// Programs outside of containers, and which versions of them will do.
    #[serde(default, deserialize_with = "commands::checked")]
    commands: IndexMap<String, String>,
    /// Packages with which it cannot be on one host.
    #[serde(default)]
    conflicts: Vec<String>,
    /// Programs of its stack whose data belongs to a major version.
    #[serde(default)]
    bound: Vec<Bound>,
    /// In a record: the image of each service of the stack. None in one that was made before images were recorded.
    #[serde(default)]
    images: Option<Object>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Amounts {
    cpu: Option<f64>,
    ram_mb: Option<f64>,
    disk_gb: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct Bound {
    /// Of the stack.
    service: String,
    image: String,
    /// All names of the same program.
    images: Vec<String>,
    major: u64,
    #[serde(default)]
    down_only: bool,
    says: String,
    hint: String,
}

/// What the host says of itself; zero and empty is what it does not say.
#[derive(Debug, Default)]
struct Host {
    cpu: f64,
    memory_mb: f64,
    disk_gb: Option<f64>,
    docker: String,
    compose: String,
    installed: Vec<Service>,
    /// A record of something that is installed cannot be read.
    unread: bool,
    /// Project, service and image of each container.
    containers: Vec<(String, String, String)>,
    /// Projects of Compose and the folders that they were started in.
    folders: IndexMap<String, String>,
}

/// What every package needs: Docker's older engines lack what stacks use, Compose's older ones what we ask of it.
const DOCKER: &str = "24.0";
const COMPOSE: &str = "2.20";

/// Where Portainer keeps the compose files of its stacks; a path in its own container, which nothing else has.
const PORTAINERS: &str = "/data/compose/";

/// A server that is sold with 4 GB shows less: the kernel keeps a part for itself.
const KEPT_BY_THE_KERNEL: f64 = 0.9;

fn build(args: Object, _: &Build<'_>) -> Result<Box<dyn Module>, Failure> {
    Ok(Box::new(typed::<HostRequirements>(FAMILY[0].args, args)?))
}

const ASK: &str = r#"
printf 'cpu %s\n' "$(nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo)"
sed -n 's/^MemTotal: *\([0-9]*\).*/memory \1/p' /proc/meminfo 2>/dev/null
if command -v docker >/dev/null 2>&1; then
  v=$(docker version --format '{{.Server.Version}}' 2>/dev/null) || v=$(docker --version 2>/dev/null | sed 's/^Docker version \([^, ]*\).*/\1/')
  printf 'docker %s\n' "$v"
  printf 'compose %s\n' "$(docker compose version --short 2>/dev/null)"
  docker ps -a --format 'container {{.Label "com.docker.compose.project"}} {{.Label "com.docker.compose.service"}} {{.Image}} {{.Label "com.docker.compose.project.working_dir"}}' 2>/dev/null
  set -- "$(docker info --format '{{.DockerRootDir}}' 2>/dev/null)" "$1"
fi
for d in "$@"; do
  [ -n "$d" ] || continue
  while [ ! -d "$d" ]; do d=$(dirname "$d"); done
  df -P -k "$d" 2>/dev/null | sed -n '2s/^.* \([0-9][0-9]*\)  *[0-9-]*%.*$/disk \1/p'
done
for f in /var/lib/provision/services/*.json; do
  [ -f "$f" ] && { printf 'record '; tr -d '\n' <"$f"; echo; }
done
true"#;

impl Module for HostRequirements {
    fn probe(&self) -> Vec<Query> {
        let host = ask(Script::new().raw("set --").arg(&self.deploy_root).raw(ASK));
        [Some(host), commands::ask(&self.services)].into_iter().flatten().collect()
    }

    fn plan(&self, observed: &Observed<'_>) -> Result<Plan, Failure> {
        let host = read(&output(observed.answers, 0)?.stdout_text());
        let (mut forbidden, mut hints) = self.harm(&host);
        let mut warnings = Vec::new();
        let programs = match observed.answers.get(1) {
            Some(_) => commands::lacking(&self.services, &output(observed.answers, 1)?.stdout_text()),
            None => Vec::new(),
        };
        let kinds = [
            (self.lacking(&host), "take a larger server or fewer services"),
            (programs, "install it, e.g. with `base_packages` of playbooks/bootstrap.yml"),
        ];
        let mut ignorable = false;
        for (lacking, hint) in kinds {
            if self.ignore {
                warnings.extend(lacking);
            } else if !lacking.is_empty() {
                forbidden.extend(lacking);
                hints.push(hint.to_owned());
                ignorable = true;
            }
        }
        if ignorable {
            hints.push("--ignore-requirements (the variable ignore_requirements) goes on all the same".to_owned());
        }
        if !forbidden.is_empty() {
            hints.dedup();
            return Err(Failure::new(forbidden.join("; ")).hint(hints.join("; ")));
        }
        warnings.extend(self.scarce(&host));
        let told = match warnings.is_empty() {
            true => self.enough(&host),
            false => warnings.join("; "),
        };
        let mut done = Return::msg(told.clone())
            .with("cpu", host.cpu)
            .with("memory_mb", host.memory_mb)
            .with("disk_free_gb", host.disk_gb)
            .with("installed", (!host.unread).then(|| images(&host.installed)));
        if !warnings.is_empty() {
            done = done.with("warnings", vec![told]);
        }
        Ok(Plan::NoChange(done))
    }
}

impl HostRequirements {
    /// Those of this run, and what else is installed.
    fn all<'a>(&'a self, host: &'a Host) -> Vec<&'a Service> {
        let named = |one: &Service| self.services.iter().any(|service| service.service == one.service);
        self.services.iter().chain(host.installed.iter().filter(|one| !named(one))).collect()
    }

    /// Those of this run whose data is not there yet.
    fn newcomers<'a>(&'a self, host: &Host) -> Vec<&'a Service> {
        let there = |one: &Service| host.installed.iter().any(|installed| installed.service == one.service);
        self.services.iter().filter(|one| !there(one)).collect()
    }

    /// What would destroy something or never work, each with what to do.
    fn harm(&self, host: &Host) -> (Vec<String>, Vec<String>) {
        let (mut said, mut hints) = (Vec::new(), Vec::new());
        for service in &self.services {
            for other in host.installed.iter().filter(|other| other.service != service.service) {
                let package = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
                let one_way = service.conflicts.contains(&package(&other.service));
                if one_way || other.conflicts.contains(&package(&service.service)) {
                    said.push(format!("{} cannot be beside {}, which is installed", service.service, other.service));
                    hints
                        .push(format!("`provision down --services {}` first, or leave one of them out", other.service));
                }
            }
            if let Some(folder) = host.folders.get(&service.project).filter(|folder| folder.starts_with(PORTAINERS)) {
                let (stack, service) = (&service.project, &service.service);
                said.push(format!("{service}: the stack {stack} is there already, and it is Portainer's ({folder})"));
                hints.push(format!(
                    "two masters would undo each other's work: remove {stack} in Portainer (its volumes and folders stay), \
                    or run this one under a name of its own, as {service}@two"
                ));
            }
            for bound in &service.bound {
                let Some((image, major)) = self.there(host, service, bound) else { continue };
                let jumps = if bound.down_only { bound.major < major } else { bound.major != major };
                if jumps {
                    said.push(format!(
                        "{}: {image} has its data here, and {} is to follow: {}",
                        service.service, bound.image, bound.says
                    ));
                    hints.push(bound.hint.clone());
                }
            }
        }
        (said, hints)
    }

    /// The image of the same program that a service has on the host: as it was recorded, else as its container says.
    fn there(&self, host: &Host, service: &Service, bound: &Bound) -> Option<(String, u64)> {
        let record = host.installed.iter().find(|one| one.service == service.service);
        let recorded = record.and_then(|one| one.images.as_ref()?.get(&bound.service)?.as_str());
        let mine =
            |(project, name, _): &&(String, String, String)| *project == service.project && *name == bound.service;
        let runs = || host.containers.iter().find(mine).map(|(.., image)| image.clone());
        let image = recorded.map(str::to_owned).or_else(runs)?;
        let plain = image.split('@').next().unwrap_or_default();
        let (name, tag) = plain.rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        let name = name.strip_prefix("library/").unwrap_or(name);
        let digits: String = tag.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        let major = digits.parse().ok().filter(|_| bound.images.iter().any(|one| one == name))?;
        Some((plain.to_owned(), major))
    }

    /// Less than the minimum.
    fn lacking(&self, host: &Host) -> Vec<String> {
        let mut said = Vec::new();
        let all = self.all(host);
        let largest = all.iter().filter_map(|one| Some((one.min.cpu?, one))).max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((cpu, service)) = largest.filter(|(cpu, _)| host.cpu > 0.0 && *cpu > host.cpu) {
            let has = processors(host.cpu);
            said.push(format!("the server has {has}, {} needs at least {}", service.service, processors(cpu)));
        }
        let (ram, who) = sum(&all, |one| one.min.ram_mb);
        if host.memory_mb > 0.0 && ram * KEPT_BY_THE_KERNEL > host.memory_mb {
            said.push(format!("the server has {} of memory, {who} need at least {}", size(host.memory_mb), size(ram)));
        }
        let (disk, who) = sum(&self.newcomers(host), |one| one.min.disk_gb);
        if let Some(free) = host.disk_gb.filter(|free| disk > *free) {
            said.push(format!("{free:.1} GB of disk are free, {who} need at least {disk} GB"));
        }
        for (program, has, general) in self.programs(host) {
            let own = |one: &&Service| match program {
                "Docker" => one.docker.clone(),
                _ => one.compose.clone(),
            };
            let wanted = self.services.iter().filter_map(|one| own(&one)).chain([general.to_owned()]);
            let wanted = wanted.max_by(|a, b| compare(a, b, Scheme::Loose).unwrap_or(Ordering::Equal));
            let wanted = wanted.unwrap_or_default();
            if compare(has, &wanted, Scheme::Loose).is_ok_and(Ordering::is_lt) {
                said.push(format!("{program} {has} is older than {wanted}"));
            }
        }
        said
    }

    /// Programs that are there, and the version below which nothing goes.
    fn programs<'a>(&self, host: &'a Host) -> Vec<(&'static str, &'a str, &'static str)> {
        let all = [("Docker", host.docker.as_str(), DOCKER), ("Compose", host.compose.as_str(), COMPOSE)];
        let counts = |name: &str| match self.runtime.as_str() {
            "compose" => true,
            "swarm" => name == "Docker",
            _ => false,
        };
        all.into_iter().filter(|(name, has, _)| !has.is_empty() && counts(name)).collect()
    }

    /// Less than recommended, in one sentence.
    fn scarce(&self, host: &Host) -> Option<String> {
        let all = self.all(host);
        let (cpu, _) = sum(&all, |one| one.recommended.cpu);
        let (ram, _) = sum(&all, |one| one.recommended.ram_mb);
        let (disk, _) = sum(&self.newcomers(host), |one| one.recommended.disk_gb);
        let mut said = Vec::new();
        if host.cpu > 0.0 && cpu > host.cpu {
            said.push(format!("{} of {cpu} processors", host.cpu));
        }
        if host.memory_mb > 0.0 && ram * KEPT_BY_THE_KERNEL > host.memory_mb {
            said.push(format!("{} of {} of memory", size(host.memory_mb), size(ram)));
        }
        if let Some(free) = host.disk_gb.filter(|free| disk > *free) {
            said.push(format!("{free:.1} of {disk} GB of free disk"));
        }
        let names: Vec<&str> = all.iter().map(|one| one.service.as_str()).collect();
        let server = format!("the server has less than is recommended for {}", names.join(", "));
        (!said.is_empty()).then(|| format!("{server}: {}", said.join(", ")))
    }

    fn enough(&self, host: &Host) -> String {
        let free = host.disk_gb.map(|free| format!(", {free:.1} GB of disk free")).unwrap_or_default();
        format!("enough: {}, {} of memory{free}", processors(host.cpu), size(host.memory_mb))
    }
}

/// Service → the images that its containers are made from, null where its record does not say.
fn images(installed: &[Service]) -> Object {
    let of = |one: &Service| one.images.as_ref().map(|images| images.values().cloned().collect::<Vec<_>>());
    installed.iter().map(|one| (one.service.clone(), of(one).into())).collect()
}

/// Of all that say a number, and who they are: `hub (4 GB), chat (2 GB)` is too long for many, so names only.
fn sum(services: &[&Service], number: impl Fn(&Service) -> Option<f64>) -> (f64, String) {
    let with: Vec<(f64, &str)> = services
        .iter()
        .filter_map(|one| Some((number(one)?, one.service.as_str())))
        .filter(|(n, _)| *n > 0.0)
        .collect();
    let names: Vec<&str> = with.iter().map(|(_, name)| *name).collect();
    (with.iter().map(|(n, _)| n).sum(), names.join(", "))
}

fn processors(count: f64) -> String {
    if count == 1.0 { "1 processor".to_owned() } else { format!("{count} processors") }
}

/// `512 MB`, `4 GB`, `3.8 GB`.
fn size(mb: f64) -> String {
    if mb < 1024.0 {
        return format!("{mb:.0} MB");
    }
    format!("{} GB", ((mb / 1024.0) * 10.0).round() / 10.0)
}

fn read(said: &str) -> Host {
    let mut host = Host::default();
    for line in said.lines() {
        let Some((what, rest)) = line.split_once(' ') else { continue };
        let number = || rest.trim().parse::<f64>().ok();
        match what {
            "cpu" => host.cpu = number().unwrap_or_default(),
            "memory" => host.memory_mb = number().unwrap_or_default() / 1024.0,
            // of two file systems the one with less room
            "disk" => {
                let free = number().map(|kb| kb / 1024.0 / 1024.0);
                host.disk_gb = [host.disk_gb, free].into_iter().flatten().reduce(f64::min);
            }
            "docker" => host.docker = rest.trim().to_owned(),
            "compose" => host.compose = rest.trim().trim_start_matches('v').to_owned(),
            "container" => {
                if let [project, service, image, folder @ ..] = rest.splitn(4, ' ').collect::<Vec<_>>().as_slice() {
                    host.containers.push(((*project).to_owned(), (*service).to_owned(), (*image).to_owned()));
                    host.folders.extend(folder.iter().map(|folder| ((*project).to_owned(), (*folder).to_owned())));
                }
            }
            "record" => match serde_json::from_str::<Service>(rest) {
                Ok(record) => host.installed.push(record),
                Err(_) => host.unread = true,
            },
            _ => {}
        }
    }
    host
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modules::testing::{build, said};
    use serde_json::{Value, json};
    use std::time::Duration;

    const SMALL: &str = "cpu 2\nmemory 2000000\ndocker 26.1.5+dfsg1\ncompose 2.26.1\ndisk 10485760\ndisk 52428800\n";

    #[test]
    fn the_room_is_what_df_calls_available() {
        // a folder that does not exist yet counts where it will be
        let output = std::process::Command::new("sh").args(["-c", ASK, "sh", "/none/of/these"]).output().unwrap();
        let free = read(&String::from_utf8(output.stdout).unwrap()).disk_gb.unwrap();
        let root = std::process::Command::new("df").args(["-P", "-k", "/"]).output().unwrap();
        let root = String::from_utf8(root.stdout).unwrap();
        let available: f64 = root.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap().parse().unwrap();
        // another file system, Docker's, may have less; a percentage taken for kilobytes is less than either has
        assert!(free <= available / 1024.0 / 1024.0 + 1.0 && free > 101.0 / 1024.0 / 1024.0, "{free} GB");
    }

    /// What it says, an error with its hint, warnings behind `!`.
    fn told(args: Value, host: &str) -> String {
        let module = build("host_requirements", args).map_err(|failure| failure.msg).unwrap();
        let answers = [said(host)];
        let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
        match module.plan(&observed) {
            Err(failure) => format!("{} -> {}", failure.msg, failure.hint.unwrap_or_default()),
            Ok(Plan::NoChange(done)) => {
                let warned = if done.values.contains_key("warnings") { "! " } else { "" };
                format!("{warned}{}", done.msg.unwrap_or_default())
            }
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sum_of_all_is_compared_with_the_server() {
        let one = |name: &str, min: Value, recommended: Value| json!({"service": name, "min": min, "recommended": recommended});
        let run = |services: Vec<Value>| json!({"services": services});
        let small = one("a", json!({"cpu": 1, "ram_mb": 1024, "disk_gb": 4}), json!({}));
        assert_eq!(
            told(run(vec![small.clone()]), SMALL),
            "enough: 2 processors, 1.9 GB of memory, 10.0 GB of disk free"
        );
        let more = one("b", json!({"cpu": 4, "ram_mb": 1536, "disk_gb": 8}), json!({}));
        let said = told(run(vec![small.clone(), more.clone()]), SMALL);
        for part in [
            "the server has 2 processors, b needs at least 4 processors",
            "the server has 1.9 GB of memory, a, b need at least 2.5 GB",
            "10.0 GB of disk are free, a, b need at least 12 GB",
            "--ignore-requirements",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        let mut ignoring = run(vec![small.clone(), more]);
        ignoring["ignore"] = json!(true);
        assert!(told(ignoring, SMALL).starts_with("! the server has 2 processors, b needs"));
        // a server that is sold with 2 GB is enough for 2 GB
        let two = one("c", json!({"ram_mb": 2048}), json!({}));
        assert!(told(run(vec![two.clone()]), SMALL).starts_with("enough"));
        // what is installed counts for the memory, and its data for the disk no longer
        let record = "record {\"service\": \"b\", \"digest\": \"x\", \"min\": {\"ram_mb\": 1024, \"disk_gb\": 50}}\n";
        let said = told(run(vec![two]), &format!("{SMALL}{record}"));
        assert!(said.starts_with("the server has 1.9 GB of memory, c, b need at least 3 GB -> "), "{said}");
        let again = one("b", json!({"ram_mb": 512, "disk_gb": 50}), json!({}));
        assert!(told(run(vec![again]), &format!("{SMALL}{record}")).starts_with("enough"));
        let scarce = told(
            run(vec![one("a", json!({}), json!({"cpu": 2, "ram_mb": 4096})), one("b", json!({}), json!({"cpu": 2}))]),
            SMALL,
        );
        assert_eq!(
            scarce,
            "! the server has less than is recommended for a, b: 2 of 4 processors, 1.9 GB of 4 GB of memory"
        );
    }

    #[test]
    fn engines_that_are_there_are_new_enough() {
        let host = "cpu 2\nmemory 2000000\ndocker 20.10.24\ncompose v2.17.3\n";
        let said = told(json!({"services": [{"service": "a"}]}), host);
        assert!(
            said.starts_with("Docker 20.10.24 is older than 24.0; Compose 2.17.3 is older than 2.20 -> "),
            "{said}"
        );
        let swarm = told(json!({"services": [{"service": "a"}], "runtime": "swarm"}), host);
        assert!(swarm.contains("Docker") && !swarm.contains("Compose"), "{swarm}");
        // what runs without containers does not mind
        assert!(told(json!({"services": [{"service": "a"}], "runtime": "systemd"}), host).starts_with("enough"));
        let said = told(json!({"services": [{"service": "a", "docker": "27.1"}]}), SMALL);
        assert!(said.starts_with("Docker 26.1.5+dfsg1 is older than 27.1 -> "), "{said}");
        // bootstrap brings what is not there
        assert!(told(json!({"services": [{"service": "a"}]}), "cpu 2\nmemory 2000000\n").starts_with("enough"));
    }

    #[test]
    fn programs_outside_of_containers_are_new_enough() {
        let said = |wanted: &str, version: &str| {
            let args = json!({"services": [{"service": "a", "commands": {"python3": wanted}}]});
            let module = build("host_requirements", args).map_err(|failure| failure.msg).unwrap();
            assert_eq!(module.probe().len(), 2);
            let answers = [super::super::testing::said(SMALL), super::super::testing::said(version)];
            let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
            match module.plan(&observed) {
                Err(failure) => format!("{} -> {}", failure.msg, failure.hint.unwrap_or_default()),
                Ok(_) => "enough".to_owned(),
            }
        };
        let old = said(">=3.12", "command python3 Python 3.11.2\n");
        assert!(old.starts_with("python3 is 3.11.2, a needs >=3.12 -> install it, e.g. with `base_packages`"), "{old}");
        assert!(said(">=3.12", "").starts_with("there is no python3, a needs >=3.12 -> "));
        assert_eq!(said(">=3.12", "command python3 Python 3.12.1\n"), "enough");
        assert_eq!(said("3.12", "command python3 Python 3.13.5\n"), "enough");
        assert_eq!(said("", "command python3 what it says\n"), "enough");
        // without one nothing more is asked
        let module = build("host_requirements", json!({"services": [{"service": "a"}]})).map_err(|f| f.msg).unwrap();
        assert_eq!(module.probe().len(), 1);
        let wrong = json!({"services": [{"service": "a", "commands": {"python3": "~3"}}]});
        assert!(build("host_requirements", wrong).err().unwrap().msg.contains("`~3` is no version"));
    }

    #[test]
    fn data_is_not_handed_to_a_version_that_cannot_read_it() {
        let run = |image: &str, major: u64, down: bool| {
            json!({"ignore": true, "services": [{"service": "pg", "project": "versatile-pg", "bound": [{
                "service": "db", "image": image, "images": ["postgres", "pgvector/pgvector"], "major": major,
                "down_only": down, "says": "no", "hint": "dump",
            }]}]})
        };
        let record = format!("{SMALL}record {{\"service\": \"pg\", \"images\": {{\"db\": \"postgres:16.2\"}}}}\n");
        let said = told(run("pgvector/pgvector:pg17", 17, false), &record);
        assert_eq!(said, "pg: postgres:16.2 has its data here, and pgvector/pgvector:pg17 is to follow: no -> dump");
        assert!(told(run("postgres:16.9", 16, false), &record).starts_with("enough"));
        assert!(told(run("postgres:17", 17, true), &record).starts_with("enough"));
        assert!(told(run("postgres:15", 15, true), &record).starts_with("pg: postgres:16.2"));
        // before images were recorded, a container says it; another program's data is nobody's business
        let container =
            |image: &str| format!("{SMALL}container versatile-pg db {image}\nrecord {{\"service\": \"pg\"}}\n");
        assert!(
            told(run("postgres:17", 17, false), &container("docker.io/library/postgres:16"))
                .contains("postgres:16 has")
        );
        assert!(told(run("postgres:17", 17, false), &container("example/other:16")).starts_with("enough"));
        assert!(told(run("postgres:17", 17, false), SMALL).starts_with("enough"));
    }

    #[test]
    fn a_stack_that_portainer_keeps_is_left_to_it() {
        let args = json!({"ignore": true, "services": [{"service": "chat", "project": "versatile-chat"}]});
        let host = |folder: &str| format!("{SMALL}container versatile-chat web a:1 {folder}\ncontainer   b:1 \n");
        let said = told(args.clone(), &host("/data/compose/7"));
        assert!(
            said.starts_with(
                "chat: the stack versatile-chat is there already, and it is Portainer's (/data/compose/7) -> "
            ) && said.contains("remove versatile-chat in Portainer")
                && said.contains("chat@two"),
            "{said}"
        );
        assert!(told(args.clone(), &host("/opt/ATS/VersatileHub/services/chat")).starts_with("enough"));
        assert!(told(args, &host("/data/compose/7").replace("versatile-chat", "other")).starts_with("enough"));
    }

    #[test]
    fn it_says_what_is_installed_or_that_it_does_not_know() {
        let installed = |records: &str| {
            let module = build("host_requirements", json!({})).map_err(|failure| failure.msg).unwrap();
            let answers = [said(&format!("{SMALL}{records}"))];
            let observed = Observed { answers: &answers, more: &[], elapsed: Duration::ZERO, changes: 0 };
            match module.plan(&observed) {
                Ok(Plan::NoChange(done)) => done.values["installed"].clone(),
                other => panic!("{other:?}"),
            }
        };
        let record = "record {\"service\": \"pg\", \"images\": {\"db\": \"a:1\", \"web\": \"b:2@sha256:0\"}}\n";
        assert_eq!(installed(""), json!({}));
        assert_eq!(installed(record), json!({"pg": ["a:1", "b:2@sha256:0"]}));
        let old = "record {\"service\": \"old\"}\n";
        assert_eq!(installed(&format!("{record}{old}")), json!({"pg": ["a:1", "b:2@sha256:0"], "old": null}));
        assert_eq!(installed(&format!("{record}record {{\"service\"\n")), Value::Null);
    }

    #[test]
    fn what_cannot_be_side_by_side_is_refused() {
        let record = format!("{SMALL}record {{\"service\": \"caddy@two\"}}\n");
        let said = told(json!({"services": [{"service": "traefik", "conflicts": ["caddy"]}]}), &record);
        assert!(
            said.starts_with("traefik cannot be beside caddy@two, which is installed -> `provision down"),
            "{said}"
        );
        let record = format!("{SMALL}record {{\"service\": \"caddy\", \"conflicts\": [\"traefik\"]}}\n");
        assert!(told(json!({"services": [{"service": "traefik"}]}), &record).contains("cannot be beside caddy"));
    }
}
