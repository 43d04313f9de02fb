//! When digests of images come into `fleet.lock`: looked up before anything is rendered for good, written when a batch has
//! ended, and only those that a client has taken well. Every batch of a run is made from one look, whatever moves
//! meanwhile, and so is whoever takes the run up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::common::{Fleet, lock_path};
use super::resume;
use super::slice::{Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Status};
use crate::report::{Reporter, style};
use crate::services::fleet_lock::without_digest;
use crate::services::image_registry::{self, Sources};
use crate::services::render::Rendered;
use crate::services::world::host_scope;
use crate::services::{FleetLock, Grain, Rollout};

/// Which images registries are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// What `fleet.lock` does not have yet; the rest stays what the fleet runs.
    Missing,
    /// All that may move: not what only clients use whose pin has a reason.
    All,
}

/// At most so many registries are asked at once.
const AT_ONCE: usize = 8;

impl SliceFlags {
    /// The services of the slice with the digests that they are going to have. Without a `fleet.lock`: with their names.
    pub fn prepare_locked(
        &self,
        grain: Grain,
        fleet: &mut Fleet,
        hosts: &[String],
        dependencies: Dependencies,
        look: Look,
    ) -> Result<Rollout> {
        let rollout = self.prepare_at(grain, fleet, hosts, dependencies)?;
        let Some(lock) = &fleet.lock else { return Ok(rollout) };
        // one look for the whole of this process, and none for what the hosts do alone
        if fleet.lock_has_moved() || (self.detach && look == Look::Missing) {
            return Ok(rollout);
        }
        let (mut moved, look) = match resume::digests() {
            None => (lock.clone(), Some(look)),
            Some(own) => (taken_up(&rollout, lock, own), resume::even_if_changed().then_some(Look::Missing)),
        };
        let wanted = look.map(|look| due(&rollout, &moved, look)).unwrap_or_default();
        if look == Some(Look::All) && self.is_whole_fleet(fleet, hosts) {
            let used: BTreeSet<&String> = services(&rollout).flat_map(|service| &service.names).collect();
            let unused = lock.images().filter(|image| !used.contains(&(*image).to_owned()));
            unused.for_each(|image| moved.remove(image));
        }
        for (image, said) in ask(fleet, &wanted, image_registry::digest)? {
            match (said, lock.digest(&image)) {
                (Ok(digest), before) if before != Some(digest.as_str()) => {
                    let from = before.map(|before| format!("{} → ", short(before))).unwrap_or_default();
                    eprintln!("{}", style::dim(&format!("{image}: {from}{}", short(&digest))));
                    moved.set(&image, &digest);
                }
                (Ok(_), _) => {}
                (Err(why), Some(before)) => warn(fleet, &format!("{image} stays at {}: {why}", short(before))),
                (Err(why), None) => warn(fleet, &format!("{image} is not locked: {why}")),
            }
        }
        if moved == *lock {
            return Ok(rollout);
        }
        fleet.lock = Some(moved);
        self.prepare_at(grain, fleet, hosts, dependencies)
    }

    /// All that every client is to have, as the inventory has it.
    fn is_whole_fleet(&self, fleet: &Fleet, hosts: &[String]) -> bool {
        let all = self.services.is_none() && hosts.len() == fleet.inventory.hosts().count();
        all && fleet.extra_vars.is_empty() && self.run.tags.is_empty() && self.run.skip_tags.is_empty()
    }
}

fn services(rollout: &Rollout) -> impl Iterator<Item = &Rendered> {
    rollout.hosts.values().flat_map(|host| &host.services)
}

/// The file with the digests of a run that is taken up.
fn taken_up(rollout: &Rollout, lock: &FleetLock, own: &FleetLock) -> FleetLock {
    let mut lock = lock.clone();
    for image in services(rollout).flat_map(|service| &service.names) {
        if let Some(digest) = own.digest(image) {
            lock.set(image, digest);
        }
    }
    lock
}

fn warn(fleet: &Fleet, text: &str) {
    eprintln!("{}", style::yellow(&fleet.redactor.text(&format!("fleet.lock: {text}"))));
}

/// `sha256:0123456789ab`, enough for people.
pub fn short(digest: &str) -> &str {
    digest.get(..19).unwrap_or(digest)
}

/// Image → the host whose way to the registry is taken.
fn due(rollout: &Rollout, lock: &FleetLock, look: Look) -> BTreeMap<String, String> {
    let mut wanted = BTreeMap::new();
    for host in rollout.hosts.values() {
        for service in &host.services {
            let held = look == Look::Missing || service.pin.as_ref().is_some_and(|pin| pin.reason.is_some());
            for image in service.names.iter().filter(|image| !held || lock.digest(image).is_none()) {
                wanted.entry(image.clone()).or_insert_with(|| host.host.clone());
            }
        }
    }
    wanted
}

/// Where a host's Docker gets its images, as the inventory has it.
pub fn sources(fleet: &Fleet, host: &str) -> Result<Sources> {
    let scope = host_scope(&fleet.inventory, host, &fleet.extra_vars);
    let list = |name: &str| -> Result<Vec<String>> {
        let value = scope.get(name).map_err(|fault| Error::new(format!("host `{host}`: {name}: {}", fault.text)))?;
        let items = value.as_ref().and_then(Value::as_array).into_iter().flatten();
        Ok(items.filter_map(|item| item.as_str().map(str::to_owned)).collect())
    };
    Ok(Sources { mirrors: list("docker_registry_mirrors")?, insecure: list("docker_insecure_registries")? })
}

/// What a registry said about each image.
pub type Said<T> = Vec<(String, std::result::Result<T, String>)>;

/// Asks about all images, some at a time; in the order of their names.
pub fn ask<T: Send>(
    fleet: &Fleet,
    images: &BTreeMap<String, String>,
    question: impl Fn(&str, &Sources, &crate::secrets::Redactor) -> std::result::Result<T, String> + Sync,
) -> Result<Said<T>> {
    let mut due = Vec::new();
    for (image, host) in images {
        due.push((image.clone(), sources(fleet, host)?));
    }
    let mut said = Vec::new();
    for some in due.chunks(AT_ONCE) {
        let one = |(image, sources): &(String, Sources)| question(image, sources, &fleet.redactor);
        std::thread::scope(|scope| {
            let threads: Vec<_> = some.iter().map(|due| (&due.0, scope.spawn(|| one(due)))).collect();
            said.extend(threads.into_iter().map(|(image, thread)| {
                (image.clone(), thread.join().unwrap_or_else(|_| Err("the question was lost".to_owned())))
            }));
        });
    }
    Ok(said)
}

/// Hears how a run goes, and writes into `fleet.lock` what was taken well: after each batch, so that a run which is killed
/// has said it, and at the end.
pub struct Promotion {
    path: PathBuf,
    /// As the file was.
    before: FleetLock,
    wanted: Vec<(String, String)>,
    /// No client's inventory leads to these any more.
    unused: Vec<String>,
    /// Everybody who takes part, also those without services.
    hosts: BTreeSet<String>,
    /// Host → the images of all that is installed there, by its own account in this run.
    installed: BTreeMap<String, BTreeSet<String>>,
    /// What is installed there with a record that names no images.
    unnamed: BTreeSet<(String, String)>,
    /// Host and service → images.
    users: BTreeMap<(String, String), BTreeSet<String>>,
    well: BTreeSet<(String, String)>,
    failed: BTreeSet<(String, String)>,
    /// Hosts that came to the end of their batch, or of the run.
    ended: BTreeSet<String>,
    fallen: BTreeSet<String>,
    written: BTreeSet<String>,
}

impl Promotion {
    /// None where the run brings nothing that the file does not have, and nothing in it is to go.
    pub fn of(fleet: &Fleet, rollout: &Rollout) -> Option<Promotion> {
        let lock = fleet.lock.as_ref()?;
        let before = fleet.stored_lock.clone().unwrap_or_default();
        let wanted: Vec<(String, String)> =
            lock.moved(&before).map(|(image, _, digest)| (image.to_owned(), digest.to_owned())).collect();
        let unused: Vec<String> =
            before.images().filter(|image| lock.digest(image).is_none()).map(str::to_owned).collect();
        if wanted.is_empty() && unused.is_empty() {
            return None;
        }
        let services = rollout.hosts.values().flat_map(|host| host.services.iter().map(|one| (host.host.clone(), one)));
        let users = services.map(|(host, one)| ((host, one.id.clone()), one.names.clone())).collect();
        // a run that is taken up: what came well before it was killed
        let well: BTreeSet<(String, String)> = resume::done_with_digests().collect();
        Some(Promotion {
            path: lock_path(&fleet.inventory),
            before,
            wanted,
            unused,
            hosts: rollout.hosts.keys().cloned().collect(),
            installed: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            users,
            ended: well.iter().map(|(host, _)| host.clone()).collect(),
            well,
            failed: BTreeSet::new(),
            fallen: BTreeSet::new(),
            written: BTreeSet::new(),
        })
    }

    /// What some client runs well now, and has not given back.
    fn earned(&self) -> Vec<(String, String)> {
        let taken = |image: &String| {
            self.users.iter().any(|(cell, images)| {
                images.contains(image)
                    && self.ended.contains(&cell.0)
                    && !self.fallen.contains(&cell.0)
                    && self.well.contains(cell)
                    && !self.failed.contains(cell)
            })
        };
        self.wanted.iter().filter(|(image, _)| taken(image)).cloned().collect()
    }

    /// What nobody has any more, and why the rest of what no inventory leads to stays: a service may be installed that is
    /// declared nowhere.
    fn gone(&self) -> (Vec<String>, Vec<String>) {
        if !self.all_well() {
            return (Vec::new(), Vec::new());
        }
        let silent: Vec<&str> =
            self.hosts.iter().filter(|host| !self.installed.contains_key(*host)).map(String::as_str).collect();
        if !self.unused.is_empty() && !silent.is_empty() {
            let why = format!("not known whether it is still installed on {}", silent.join(", "));
            return (Vec::new(), vec![format!("kept, {why}: {}", self.unused.join(", "))]);
        }
        // what this run deployed has a new record by now
        let unnamed: Vec<String> = self
            .unnamed
            .iter()
            .filter(|cell| !self.users.contains_key(*cell))
            .map(|(host, service)| format!("{service} on {host}"))
            .collect();
        if !self.unused.is_empty() && !unnamed.is_empty() {
            let why = format!("the record does not say which images belong to {}", unnamed.join(", "));
            return (Vec::new(), vec![format!("kept, {why}: {}", self.unused.join(", "))]);
        }
        let (mut gone, mut kept) = (Vec::new(), Vec::new());
        for image in &self.unused {
            let owners = self.installed.iter().filter(|(_, images)| images.contains(image));
            let owners: Vec<&str> = owners.map(|(host, _)| host.as_str()).collect();
            match owners.is_empty() {
                true => gone.push(image.clone()),
                false => kept.push(format!("kept, declared nowhere but installed on {}: {image}", owners.join(", "))),
            }
        }
        (gone, kept)
    }

    /// Whether every client has taken everything, so that what nobody has any more may go.
    fn all_well(&self) -> bool {
        self.users.keys().all(|cell| self.ended.contains(&cell.0) && self.well.contains(cell))
            && self.failed.is_empty()
            && self.fallen.is_empty()
    }

    /// Brings the file up to what is earned now. Somebody else's run may have moved other images meanwhile.
    fn write(&mut self, earned: &[(String, String)], gone: &[String]) -> Result<()> {
        let now: BTreeSet<String> = earned.iter().map(|(image, _)| image.clone()).collect();
        if now == self.written && gone.is_empty() {
            return Ok(());
        }
        let mut lock = FleetLock::read(&self.path)?.unwrap_or_default();
        for (image, digest) in earned {
            lock.set(image, digest);
        }
        // an earlier batch had taken it well, and was taken back with the others
        for (image, digest) in
            self.wanted.iter().filter(|(image, _)| self.written.contains(image) && !now.contains(image))
        {
            match self.before.digest(image) {
                _ if lock.digest(image) != Some(digest) => {}
                Some(before) => lock.set(image, before),
                None => lock.remove(image),
            }
        }
        gone.iter().for_each(|image| lock.remove(image));
        lock.write(&self.path)?;
        self.written = now;
        Ok(())
    }
}

impl Reporter for Promotion {
    fn event(&mut self, event: &Event) {
        match &event.kind {
            Kind::ServiceFinished { host, service, status, .. } => {
                let cell = (host.clone(), service.clone());
                match status {
                    Status::Ok | Status::Changed => self.well.insert(cell),
                    Status::Failed | Status::Unreachable | Status::Skipped | Status::Uncertain => {
                        self.failed.insert(cell)
                    }
                };
            }
            Kind::TaskFinished { host, task, outcome } if task.action == "host_requirements" => {
                if let Some(services) = outcome.result.get("installed").and_then(Value::as_object) {
                    let unnamed = services.iter().filter(|(_, images)| images.is_null());
                    self.unnamed.extend(unnamed.map(|(service, _)| (host.clone(), service.clone())));
                    let images = services.values().filter_map(Value::as_array).flatten().filter_map(Value::as_str);
                    let images = images.map(|image| without_digest(image).to_owned()).collect();
                    self.installed.insert(host.clone(), images);
                }
            }
            Kind::BatchFinished { hosts, .. } => {
                self.ended.extend(hosts.iter().cloned());
                let earned = self.earned();
                if let Err(error) = self.write(&earned, &[]) {
                    eprintln!("{}", style::red(&error.to_string()));
                }
            }
            Kind::HostFinished { host, counts } => {
                let well = counts.failed == 0 && counts.unreachable == 0;
                if well {
                    self.ended.insert(host.clone())
                } else {
                    self.fallen.insert(host.clone())
                };
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        let earned = self.earned();
        let (gone, kept) = self.gone();
        if let Err(error) = self.write(&earned, &gone) {
            eprintln!("{}", style::red(&error.to_string()));
            return;
        }
        let file = self.path.display();
        let left = self.wanted.len() - earned.len();
        if left > 0 {
            let text = format!("{} images moved; {left} stay as they were, no client took them well", earned.len());
            eprintln!("{}", style::yellow(&format!("{file}: {text}")));
        } else if !earned.is_empty() {
            eprintln!("{}", style::dim(&format!("{file}: {} images moved", earned.len())));
        }
        if !gone.is_empty() {
            eprintln!("{}", style::dim(&format!("{file}: taken out, nobody has it any more: {}", gone.join(", "))));
        }
        kept.iter().for_each(|line| eprintln!("{}", style::dim(&format!("{file}: {line}"))));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Counts, Outcome, TaskRef};
    use crate::plan::Object;

    fn promotion(path: PathBuf) -> Promotion {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let cell = |host: &str, service: &str| (host.to_owned(), service.to_owned());
        Promotion {
            path,
            wanted: vec![("app:1".to_owned(), digest("b")), ("db:1".to_owned(), digest("c"))],
            before: FleetLock::default(),
            unused: vec!["old:1".to_owned()],
            hosts: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            installed: BTreeMap::new(),
            unnamed: BTreeSet::new(),
            users: BTreeMap::from([
                (cell("a", "app"), BTreeSet::from(["app:1".to_owned()])),
                (cell("b", "app"), BTreeSet::from(["app:1".to_owned()])),
                (cell("b", "db"), BTreeSet::from(["db:1".to_owned()])),
            ]),
            well: BTreeSet::new(),
            failed: BTreeSet::new(),
            ended: BTreeSet::new(),
            fallen: BTreeSet::new(),
            written: BTreeSet::new(),
        }
    }

    fn hear(promotion: &mut Promotion, kind: Kind) {
        promotion.event(&Event { at: String::new(), run: String::new(), seq: 0, kind });
    }

    fn service(host: &str, service: &str, status: Status) -> Kind {
        let (host, service, version) = (host.to_owned(), service.to_owned(), "1".to_owned());
        Kind::ServiceFinished { host, service, status, version, url: None, url_result: None, took_ms: 1, msg: None }
    }

    /// What the look before the update says that there is.
    fn has(host: &str, installed: Value) -> Kind {
        let task = TaskRef { action: "host_requirements".to_owned(), ..TaskRef::default() };
        let result = Object::from_iter([("installed".to_owned(), installed)]);
        Kind::TaskFinished { host: host.to_owned(), task, outcome: Box::new(Outcome { result, ..Outcome::default() }) }
    }

    fn host(host: &str, failed: u32) -> Kind {
        Kind::HostFinished { host: host.to_owned(), counts: Counts { failed, ..Counts::default() } }
    }

    #[test]
    fn only_what_a_client_took_well_and_kept_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.lock");
        let read = || FleetLock::read(&path).unwrap().unwrap_or_default();
        // the canary failed, the other one was not tried; one that was well was taken back with the others
        for heard in [
            vec![service("a", "app", Status::Failed), host("a", 1), host("b", 0)],
            vec![service("a", "app", Status::Changed), host("a", 1), service("b", "db", Status::Changed)],
            vec![service("b", "db", Status::Changed), service("b", "db", Status::Failed), host("b", 0)],
        ] {
            let mut promotion = promotion(path.clone());
            heard.into_iter().for_each(|kind| hear(&mut promotion, kind));
            promotion.finish();
            assert_eq!(read(), FleetLock::default());
        }
        // the canary is well, the next one is not: what the canary runs is what the fleet is to run
        let mut other = FleetLock::default();
        other.set("else:1", &format!("sha256:{}", "e".repeat(64)));
        other.write(&path).unwrap();
        let mut promotion = promotion(path.clone());
        for kind in
            [service("a", "app", Status::Changed), host("a", 0), service("b", "app", Status::Failed), host("b", 1)]
        {
            hear(&mut promotion, kind);
        }
        promotion.finish();
        assert_eq!(read().digest("app:1").map(short), Some("sha256:bbbbbbbbbbbb"));
        assert_eq!(read().digest("db:1"), None);
        assert!(read().digest("else:1").is_some(), "what another run wrote stays");
    }

    #[test]
    fn a_batch_that_has_ended_is_written_at_once_and_taken_back_if_its_clients_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.lock");
        let read = || FleetLock::read(&path).unwrap().unwrap_or_default();
        let batch = |host: &str| Kind::BatchFinished { play: "Update".to_owned(), hosts: vec![host.to_owned()] };
        let mut old = FleetLock::default();
        old.set("app:1", &format!("sha256:{}", "a".repeat(64)));
        old.set("old:1", &format!("sha256:{}", "d".repeat(64)));
        old.write(&path).unwrap();
        let run = || Promotion { before: old.clone(), ..promotion(path.clone()) };

        let mut killed = run();
        hear(&mut killed, service("a", "app", Status::Changed));
        assert_eq!(read(), old, "it may still turn out ill");
        hear(&mut killed, batch("a"));
        assert_eq!(read().digest("app:1").map(short), Some("sha256:bbbbbbbbbbbb"));
        assert_eq!((read().digest("db:1"), read().digest("old:1").is_some()), (None, true));

        // the same, but the second batch fails and everything goes back
        old.write(&path).unwrap();
        let mut taken_back = run();
        for kind in [
            service("a", "app", Status::Changed),
            batch("a"),
            service("b", "app", Status::Failed),
            batch("b"),
            service("a", "app", Status::Failed),
            host("a", 1),
            host("b", 1),
        ] {
            hear(&mut taken_back, kind);
        }
        taken_back.finish();
        assert_eq!(read(), old);

        // all is well: what is declared nowhere goes, if it is installed nowhere either, as far as everybody has said
        let images = |said: &[(&str, Value)]| {
            old.write(&path).unwrap();
            let mut well = run();
            said.iter().for_each(|(name, installed)| hear(&mut well, has(name, installed.clone())));
            for (name, id) in [("a", "app"), ("b", "app"), ("b", "db")] {
                hear(&mut well, service(name, id, Status::Ok));
            }
            ["a", "b"].into_iter().for_each(|name| hear(&mut well, host(name, 0)));
            let why = well.gone().1;
            well.finish();
            (read().images().map(str::to_owned).collect::<Vec<_>>().join(" "), why.join("; "))
        };
        let ours = json!({"app": ["app:1"]});
        let theirs = json!({"app": ["app:1"], "extra": [format!("old:1@sha256:{}", "d".repeat(64))]});
        let says = |images: &str, why: &str| (images.to_owned(), why.to_owned());
        assert_eq!(images(&[("a", ours.clone()), ("b", json!({}))]), says("app:1 db:1", ""));
        let why = "kept, declared nowhere but installed on b: old:1";
        assert_eq!(images(&[("a", ours.clone()), ("b", theirs)]), says("app:1 db:1 old:1", why));
        let why = "kept, not known whether it is still installed on b: old:1";
        assert_eq!(images(&[("a", ours.clone())]), says("app:1 db:1 old:1", why));
        assert_eq!(images(&[("a", ours.clone()), ("b", Value::Null)]), says("app:1 db:1 old:1", why));
        // a record of before images were recorded: this run renews only those of what is declared
        assert_eq!(images(&[("a", json!({"app": null})), ("b", json!({"db": null}))]), says("app:1 db:1", ""));
        let why = "kept, the record does not say which images belong to extra on b: old:1";
        assert_eq!(images(&[("a", ours), ("b", json!({"extra": null}))]), says("app:1 db:1 old:1", why));
    }
}
