//! When digests of images come into `fleet.lock`: looked up before anything is rendered for good, written after the run,
//! and only those that a client has taken well. Every batch of a run is made from one look, whatever moves meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::common::{Fleet, lock_path};
use super::slice::{Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Status};
use crate::report::{Reporter, style};
use crate::services::image_registry::{self, Sources};
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
        let wanted = due(&rollout, lock, look);
        if wanted.is_empty() {
            return Ok(rollout);
        }
        let mut moved = lock.clone();
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
        let items = value.as_ref().and_then(serde_json::Value::as_array).into_iter().flatten();
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

/// Hears how a run goes, and at its end writes what was taken well into `fleet.lock`.
pub struct Promotion {
    path: PathBuf,
    wanted: Vec<(String, String)>,
    /// Host and service → images.
    users: BTreeMap<(String, String), BTreeSet<String>>,
    well: BTreeSet<(String, String)>,
    failed: BTreeSet<(String, String)>,
    hosts: BTreeSet<String>,
}

impl Promotion {
    /// None where the run brings nothing that the file does not have.
    pub fn of(fleet: &Fleet, rollout: &Rollout) -> Option<Promotion> {
        let lock = fleet.lock.as_ref()?;
        let before = fleet.stored_lock.clone().unwrap_or_default();
        let wanted: Vec<(String, String)> =
            lock.moved(&before).map(|(image, _, digest)| (image.to_owned(), digest.to_owned())).collect();
        if wanted.is_empty() {
            return None;
        }
        let services = rollout.hosts.values().flat_map(|host| host.services.iter().map(|one| (host.host.clone(), one)));
        let users = services.map(|(host, one)| ((host, one.id.clone()), one.names.clone())).collect();
        Some(Promotion {
            path: lock_path(&fleet.inventory),
            wanted,
            users,
            well: BTreeSet::new(),
            failed: BTreeSet::new(),
            hosts: BTreeSet::new(),
        })
    }

    /// What some client runs well now, and has not given back.
    fn earned(&self) -> impl Iterator<Item = &(String, String)> {
        let taken = |image: &String| {
            self.users.iter().any(|(cell, images)| {
                images.contains(image)
                    && self.hosts.contains(&cell.0)
                    && self.well.contains(cell)
                    && !self.failed.contains(cell)
            })
        };
        self.wanted.iter().filter(move |(image, _)| taken(image))
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
            Kind::HostFinished { host, counts } if counts.failed == 0 && counts.unreachable == 0 => {
                self.hosts.insert(host.clone());
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        let earned: Vec<&(String, String)> = self.earned().collect();
        let left = self.wanted.len() - earned.len();
        let written = match earned.is_empty() {
            true => Ok(()),
            // somebody else's run may have moved other images meanwhile
            false => FleetLock::read(&self.path).and_then(|now| {
                let mut lock = now.unwrap_or_default();
                earned.iter().for_each(|(image, digest)| lock.set(image, digest));
                lock.write(&self.path)
            }),
        };
        match written {
            Ok(()) if left == 0 => {
                eprintln!("{}", style::dim(&format!("{}: {} images moved", self.path.display(), earned.len())))
            }
            Ok(()) => eprintln!(
                "{}",
                style::yellow(&format!(
                    "{}: {} images moved; {left} stay as they were, no client took them well",
                    self.path.display(),
                    earned.len()
                ))
            ),
            Err(error) => eprintln!("{}", style::red(&error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Counts;

    fn promotion(path: PathBuf) -> Promotion {
        let digest = |letter: &str| format!("sha256:{}", letter.repeat(64));
        let cell = |host: &str, service: &str| (host.to_owned(), service.to_owned());
        Promotion {
            path,
            wanted: vec![("app:1".to_owned(), digest("b")), ("db:1".to_owned(), digest("c"))],
            users: BTreeMap::from([
                (cell("a", "app"), BTreeSet::from(["app:1".to_owned()])),
                (cell("b", "app"), BTreeSet::from(["app:1".to_owned()])),
                (cell("b", "db"), BTreeSet::from(["db:1".to_owned()])),
            ]),
            well: BTreeSet::new(),
            failed: BTreeSet::new(),
            hosts: BTreeSet::new(),
        }
    }

    fn hear(promotion: &mut Promotion, kind: Kind) {
        promotion.event(&Event { at: String::new(), run: String::new(), seq: 0, kind });
    }

    fn service(host: &str, service: &str, status: Status) -> Kind {
        let (host, service, version) = (host.to_owned(), service.to_owned(), "1".to_owned());
        Kind::ServiceFinished { host, service, status, version, url: None, url_result: None, took_ms: 1, msg: None }
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
}
