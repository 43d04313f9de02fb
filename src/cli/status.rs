//! `provision status`: what each client should run, what it runs, whether it is well, and whether it still is as it was
//! deployed. Asks with `playbooks/status.yml`; changes nothing.

use clap::Args;
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::alike;
use super::common::{Fleet, FleetFlags};
use super::execute::drive;
use super::newer::Running;
use super::slice::load_book;
use super::survey::{Seen, drift, parse, wanted};
use crate::engine::Job;
use crate::error::Result;
use crate::event::{Event, Kind, Outcome, Status};
use crate::plan::Object;
use crate::report::style::{bold, green, red, table, yellow};
use crate::services::FleetLock;
use crate::services::declared::{self, Pin};
use crate::services::fleet_lock::without_digest;

#[derive(Args)]
#[command(after_help = "Examples:
  provision status                    every client
  provision status --host clienteA
  provision status --json             for programs
  provision status --each             a line each; without it, of more than 40 clients, those alike share one

DRIFT compares the host with what would be deployed now: `no`, `settings` (a new setting, package or version waits to
be rolled out), `edited` (somebody changed the compose file on the host), `?` (the secrets cannot be read here).
BY HAND counts the steps that only people can do and nobody has marked as done: `provision steps list`.
LOCK, where there is a fleet.lock: `same`, or `lags` and the images of which the host runs others than the lock's.
PINNED: the reasons under `versions` (`versions: {chat: {version: v4.17.1, reason: \"…\"}}`).")]
pub struct Flags {
    /// Clients
    #[arg(long, value_name = "PATTERN", default_value = "all")]
    host: String,
    /// One JSON object per host and service
    #[arg(long)]
    json: bool,
    /// A line per client and service, however many they are
    #[arg(long, conflicts_with = "json")]
    each: bool,
    /// Ask for the sudo password
    #[arg(short = 'K', long)]
    ask_become_pass: bool,
    #[command(flatten)]
    fleet: FleetFlags,
}

/// A name that means something else on a host than in `fleet.lock`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Lag {
    pub image: String,
    pub locked: String,
    /// None where no registry knows what runs.
    pub running: Option<String>,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let fleet = flags.fleet.load()?;
    let hosts = fleet.select(&flags.host)?;
    fleet.sudo_password(flags.ask_become_pass)?;
    let answers = look(&fleet, &hosts, CancellationToken::new()).await?;
    let head = ["CLIENT", "SERVICE", "DECLARED", "INSTALLED", "STATE", "DRIFT", "BY HAND", "URL", "LOCK", "PINNED"];
    let mut rows = Vec::new();
    let mut code = 0;
    for (host, answer) in &answers {
        match answer {
            Ok(services) => {
                for row in services {
                    if flags.json {
                        println!("{}", row.json(host));
                    } else {
                        rows.push(row.cells(host));
                    }
                }
            }
            Err(trouble) => {
                code = 1;
                report_trouble(&flags, &mut rows, host, trouble);
            }
        }
    }
    if !flags.json {
        let many = answers.len() > alike::MANY && !flags.each;
        if many {
            rows = alike::gathered(rows);
        }
        rows.insert(0, head.map(str::to_owned).to_vec());
        leave_out_empty(&mut rows, if many { alike::URL } else { alike::URL + 1 });
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { colour(line) });
        }
        if many {
            println!("{} clients; a line for each: provision status --each", answers.len());
        }
    }
    Ok(code)
}

/// What each host has of what it should have, or why that is not known.
pub(super) async fn look(
    fleet: &Fleet,
    hosts: &[String],
    cancel: CancellationToken,
) -> Result<IndexMap<String, std::result::Result<Vec<Row>, String>>> {
    let mut answers = ask(fleet, hosts, "playbooks/status.yml", cancel).await?;
    let mut found = IndexMap::new();
    for host in hosts {
        let rows = match answers.shift_remove(host) {
            Some(Ok(output)) => Ok(host_rows(fleet, host, &parse(&output))?),
            Some(Err(trouble)) => Err(trouble),
            None => Err("no answer".to_owned()),
        };
        found.insert(host.clone(), rows);
    }
    Ok(found)
}

/// Leaves out the columns from this one on in which no row has anything.
fn leave_out_empty(rows: &mut [Vec<String>], from: usize) {
    let columns = rows.first().map_or(0, Vec::len);
    for column in (from..columns).rev() {
        if rows.iter().skip(1).all(|row| row.get(column).is_none_or(String::is_empty)) {
            rows.iter_mut().filter(|row| row.len() > column).for_each(|row| drop(row.remove(column)));
        }
    }
}

fn report_trouble(flags: &Flags, rows: &mut Vec<Vec<String>>, host: &str, trouble: &str) {
    if flags.json {
        println!("{}", serde_json::json!({"host": host, "error": trouble}));
    } else {
        let mut row = vec![host.to_owned()];
        row.extend(["-", "-", "-"].map(str::to_owned));
        row.push(trouble.to_owned());
        rows.push(row);
    }
}

fn colour(line: String) -> String {
    let paint = |line: String, word: &str, by: fn(&str) -> String| line.replacen(word, &by(word), 1);
    let line = paint(line, "healthy", green);
    let line = paint(line, "edited", red);
    let line = paint(line, "lags:", yellow);
    paint(line, "settings", yellow)
}

/// One service of a host.
pub(super) struct Row {
    pub service: String,
    /// The version that the inventory asks for.
    pub declared: Option<String>,
    pub installed: Option<String>,
    /// `healthy 7/7`, or what is wrong.
    pub state: String,
    /// See the help text.
    pub drift: &'static str,
    /// Steps by hand that nobody has marked as done, and whether the service is of no use before.
    pub pending: Vec<(String, bool)>,
    pub url: String,
    /// What the inventory says under `versions`.
    pub pin: Option<Pin>,
    /// Where `fleet.lock` speaks of its images: those of which the host runs others.
    pub lags: Option<Vec<Lag>>,
}

impl Row {
    fn pinned(&self) -> String {
        match &self.pin {
            Some(Pin { version, reason: Some(reason) }) => format!("{version}: {reason}"),
            Some(_) | None => String::new(),
        }
    }

    fn lock(&self) -> String {
        match self.lags.as_deref() {
            None => String::new(),
            Some([]) => "same".to_owned(),
            Some(lags) => {
                format!("lags: {}", lags.iter().map(|lag| lag.image.as_str()).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn cells(&self, host: &str) -> Vec<String> {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let drift = self.drift.to_owned();
        vec![
            host.to_owned(),
            self.service.clone(),
            dash(&self.declared),
            dash(&self.installed),
            self.state.clone(),
            drift,
            self.by_hand(),
            self.url.clone(),
            self.lock(),
            self.pinned(),
        ]
    }
    fn json(&self, host: &str) -> Value {
        serde_json::json!({"host": host, "service": self.service, "declared": self.declared, "installed": self.installed,
            "state": self.state, "drift": self.drift, "url": self.url, "pin": self.pin,
            "pending": self.pending.iter().map(|(step, critical)| serde_json::json!({"step": step, "critical": critical})).collect::<Vec<_>>(),
            "lock": self.lags.as_ref().map(|lags| if lags.is_empty() { "same" } else { "lags" }), "lags": self.lags})
    }
    fn by_hand(&self) -> String {
        match (self.pending.len(), self.pending.iter().filter(|(_, critical)| *critical).count()) {
            (0, _) => "-".to_owned(),
            (all, 0) => format!("{all} pending"),
            (all, critical) => format!("{all} pending, {critical} critical"),
        }
    }
}

fn host_rows(fleet: &Fleet, host: &str, seen: &Seen) -> Result<Vec<Row>> {
    let (declared, _) = declared::services(&fleet.catalogue, &fleet.inventory, host)?.unwrap_or_default();
    // records speak of packages by their ids; a name that no package has is shown as it is
    let id = |name: String| fleet.catalogue.instance(&name).map_or(name, |instance| instance.to_string());
    let declared: Vec<String> = declared.into_iter().map(id).collect();
    let wanted = wanted(fleet, host).ok();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut names: Vec<String> = seen.records.keys().cloned().collect();
    names.extend(declared.iter().filter(|name| !seen.records.contains_key(*name)).cloned());
    let mut rows = Vec::new();
    for service in names {
        let record = seen.records.get(&service);
        let want = wanted.as_ref().and_then(|wanted| wanted.get(&service));
        let version = want.map(|want| want.version.clone());
        let drift = drift(record, want, &seen.files);
        let done = seen.steps.get(&service);
        let steps = record.and_then(|record| record.get("steps")?.as_array()).into_iter().flatten();
        let steps = steps.map(|step| (text(step, "id").unwrap_or_default(), step["critical"] == true));
        let pending = steps.filter(|(id, _)| done.is_none_or(|done| done.get(id).is_none())).collect();
        let project = record.and_then(|record| text(record, "project"));
        let url =
            record.and_then(|record| record.pointer("/urls/0/url")?.as_str().map(str::to_owned)).unwrap_or_default();
        rows.push(Row {
            declared: declared.contains(&service).then(|| version.clone().unwrap_or_else(|| "yes".to_owned())),
            installed: record.and_then(|record| text(record, "version")),
            lags: project.as_deref().and_then(|project| lags(project, seen, fleet.stored_lock.as_ref()?)),
            pin: want.and_then(|want| want.pin.clone()),
            state: project.map_or_else(|| "not installed".to_owned(), |project| state(&project, &seen.containers)),
            drift,
            pending,
            url,
            service,
        });
    }
    Ok(rows)
}

/// What of a project is not what the lock says; None if the lock says nothing about it.
fn lags(project: &str, seen: &Seen, lock: &FleetLock) -> Option<Vec<Lag>> {
    let mut known = false;
    let mut lags = Vec::new();
    for (_, image, id) in seen.runs.iter().filter(|(of, ..)| of == project) {
        let image = without_digest(image);
        let Some(locked) = lock.digest(image) else { continue };
        known = true;
        let digests = seen.digests.get(id).map(Vec::as_slice).unwrap_or_default();
        if !digests.iter().any(|digest| digest == locked) {
            lags.push(Lag { image: image.to_owned(), locked: locked.to_owned(), running: digests.first().cloned() });
        }
    }
    lags.dedup();
    known.then_some(lags)
}

/// `healthy 7/7`, or what is wrong.
fn state(project: &str, containers: &[Value]) -> String {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mine = |container: &&Value| {
        let labels = text(container, "Labels");
        labels.split(',').any(|label| {
            label == format!("com.docker.compose.project={project}")
                || label == format!("com.docker.stack.namespace={project}")
        })
    };
    let (mut total, mut well, mut wrong) = (0, 0, Vec::new());
    for container in containers.iter().filter(mine) {
        let (state, status, name) = (text(container, "State"), text(container, "Status"), text(container, "Names"));
        // one-shots that ended well are done; a swarm keeps its earlier tasks' containers
        if state == "exited" && status.starts_with("Exited (0)") {
            continue;
        }
        total += 1;
        if state == "running" && !status.contains("unhealthy") && !status.contains("starting") {
            well += 1;
        } else {
            wrong.push(format!("{name}: {status}"));
        }
    }
    match (total, wrong.first()) {
        (0, _) => "no containers".to_owned(),
        (_, None) => format!("healthy {well}/{total}"),
        (_, Some(first)) => format!("{well}/{total} {first}"),
    }
}

/// What each host said to a playbook that only asks, or why that is not known.
pub(super) type Answers = IndexMap<String, std::result::Result<String, String>>;

/// Each host's output of a playbook, or why there is none.
pub(super) async fn ask(fleet: &Fleet, hosts: &[String], playbook: &str, cancel: CancellationToken) -> Result<Answers> {
    ask_with(fleet, hosts, playbook, fleet.extra_vars.clone(), cancel).await
}

/// The same with other extra variables than the fleet's own.
pub(super) async fn ask_with(
    fleet: &Fleet,
    hosts: &[String],
    playbook: &str,
    extra_vars: Object,
    cancel: CancellationToken,
) -> Result<Answers> {
    let job = Job {
        run: "status".to_owned(),
        plays: load_book(playbook)?,
        inventory: fleet.inventory.clone(),
        redactor: fleet.redactor.clone(),
        services: None,
        extra_vars,
        limit: hosts.to_vec(),
        check: true,
        diff: false,
        forks: 100,
        connects_at_once: 4 * std::thread::available_parallelism().map_or(2, usize::from),
        tags: Vec::new(),
        skip_tags: Vec::new(),
        command: Vec::new(),
        become_password: fleet.sudo_password(false)?,
        window: 0,
        grace: crate::engine::GRACE,
        locks: crate::engine::Locks::default(),
    };
    let mut answers = Answers::new();
    let hear = |event: Event| {
        if let Kind::TaskFinished { host, outcome, .. } = event.kind {
            match (answers.get_mut(&host), answer(&outcome)) {
                (Some(Ok(so_far)), Ok(more)) => so_far.extend(["\n", &more]),
                (_, answer) => drop(answers.insert(host, answer)),
            }
        }
    };
    drive(job, cancel, hear).await?;
    Ok(answers)
}

/// What runs of each host's projects, by the images' names: the digests that registries know it by.
pub(super) async fn running(fleet: &Fleet, hosts: &[String], cancel: CancellationToken) -> Result<Running> {
    let answers = ask(fleet, hosts, "playbooks/status.yml", cancel).await?;
    let of = |output: String| {
        let seen = parse(&output);
        let digests = |id: &String| seen.digests.get(id).cloned().unwrap_or_default();
        let runs = seen.runs.iter();
        runs.map(|(project, image, id)| ((project.clone(), without_digest(image).to_owned()), digests(id))).collect()
    };
    Ok(answers.into_iter().map(|(host, answer)| (host, answer.map(of))).collect())
}

fn answer(outcome: &Outcome) -> std::result::Result<String, String> {
    match outcome.status {
        Status::Ok | Status::Changed => Ok(outcome.text("stdout").to_owned()),
        _ => Err(super::look::why(outcome)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_runs_another_digest_lags() {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let (old, new) = (digest("a"), digest("b"));
        let mut lock = FleetLock::default();
        lock.set("app:1", &new);
        let seen = |id: &str| {
            parse(&format!(
                "@runs {id} app:1@{new} versatile-x \n@runs sha256:9 other:1  swarm-y\n@digests sha256:1 [\"app@{old}\"]\n\
                 @digests sha256:2 [\"app@{old}\",\"app@{new}\"]\n@digests sha256:9 []\n"
            ))
        };
        assert_eq!(lags("versatile-x", &seen("sha256:2"), &lock), Some(vec![]));
        let lag = Lag { image: "app:1".to_owned(), locked: new.clone(), running: Some(old.clone()) };
        assert_eq!(lags("versatile-x", &seen("sha256:1"), &lock), Some(vec![lag]));
        assert_eq!(lags("versatile-x", &seen("sha256:3"), &lock).unwrap()[0].running, None);
        // the lock does not speak of it
        assert_eq!(lags("swarm-y", &seen("sha256:1"), &lock), None);
        assert_eq!(seen("sha256:1").runs[1].0, "swarm-y");
    }

    #[test]
    fn columns_that_say_nothing_are_left_out() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let mut rows = vec![row(&["A", "B", "C"]), row(&["a", "", "c"]), row(&["-"])];
        leave_out_empty(&mut rows, 1);
        assert_eq!(rows, [row(&["A", "C"]), row(&["a", "c"]), row(&["-"])]);
    }

    #[test]
    fn what_is_pending_by_hand_is_counted() {
        let seen = parse("@steps shop@two {\"a\": {\"by\": \"ana\"}}\n@steps broken {\n");
        assert_eq!(seen.steps["shop@two"]["a"]["by"], "ana");
        let row = |pending: &[(&str, bool)]| {
            let pending = pending.iter().map(|(step, critical)| ((*step).to_owned(), *critical)).collect();
            let text = String::new;
            Row {
                service: text(),
                declared: None,
                installed: None,
                state: text(),
                drift: "no",
                pending,
                url: text(),
                pin: None,
                lags: None,
            }
        };
        assert_eq!(row(&[]).by_hand(), "-");
        assert_eq!(row(&[("b", false)]).by_hand(), "1 pending");
        assert_eq!(row(&[("a", true), ("b", false)]).by_hand(), "2 pending, 1 critical");
        assert_eq!(row(&[("a", true)]).json("h")["pending"], serde_json::json!([{"step": "a", "critical": true}]));
    }

    #[test]
    fn states_are_read_from_docker() {
        let container = |name: &str, state: &str, status: &str| serde_json::json!({"Names": name, "State": state, "Status": status, "Labels": "a=b,com.docker.compose.project=versatile-x"});
        let done = container("x-job-1", "exited", "Exited (0) 2 minutes ago");
        let well = container("x-web-1", "running", "Up 2 minutes (healthy)");
        let sick = container("x-db-1", "running", "Up 2 minutes (unhealthy)");
        assert_eq!(state("versatile-x", &[done.clone(), well.clone()]), "healthy 1/1");
        assert_eq!(state("versatile-x", &[done, well, sick]), "1/2 x-db-1: Up 2 minutes (unhealthy)");
        assert_eq!(state("versatile-other", &[]), "no containers");
    }
}
