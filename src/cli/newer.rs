//! `provision update --check`: which newer tags and moved digests registries have, per client and service. Asks the clients
//! what they run (`playbooks/status.yml`) and the registries what there is; touches neither.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::common::Fleet;
use super::digests::{Said, ask, short};
use super::notify;
use super::status;
use crate::error::Result;
use crate::report::style::{bold, table, yellow};
use crate::services::image_registry::{digest, newer, tag, tags};
use crate::services::{Rendered, Rollout};

/// An image of a service for which there is something newer.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Finding {
    host: String,
    service: String,
    image: String,
    /// Tags of the same kind that are newer, the newest last.
    newer: Vec<String>,
    /// What the same name means now, where the client runs something else.
    moved: Option<String>,
    /// What the client runs; none if it could not be asked, or does not run it.
    running: Option<String>,
    /// Why the inventory holds the version.
    pinned: Option<String>,
}

/// What registries say: of a name, what it means now and the newer tags.
type There = BTreeMap<String, (Option<String>, Vec<String>)>;

/// Shows what is newer. → whether there is anything that no pin holds back.
pub async fn look(fleet: &Fleet, hosts: &[String], rollout: &Rollout, as_json: bool) -> Result<bool> {
    let mut ways = BTreeMap::new();
    for host in rollout.hosts.values() {
        for image in host.services.iter().flat_map(|service| &service.names) {
            ways.entry(image.clone()).or_insert_with(|| host.host.clone());
        }
    }
    let mut there = There::new();
    let mut unknown = BTreeSet::new();
    let digests: Said<String> = ask(fleet, &ways, digest)?;
    let lists: Said<Vec<String>> = ask(fleet, &ways, tags)?;
    for (image, said) in digests {
        let digest = said.map_err(|why| unknown.insert(format!("{image}: {why}"))).ok();
        there.entry(image).or_default().0 = digest;
    }
    for (image, said) in lists {
        let list = said.map_err(|why| unknown.insert(format!("{image}: {why}"))).unwrap_or_default();
        there.entry(image.clone()).or_default().1 = newer(tag(&image), &list);
    }
    let running = status::running(fleet, hosts, CancellationToken::new()).await?;
    for (host, seen) in &running {
        if let Err(trouble) = seen {
            unknown.insert(format!("{host}: {trouble}; what it runs is taken from fleet.lock"));
        }
    }
    let found = findings(fleet, rollout, &running, &there);
    show(&found, as_json);
    for line in &unknown {
        eprintln!("{}", yellow(&format!("not known: {}", fleet.redactor.text(line))));
    }
    notify::newer(fleet, &found.iter().map(|one| (one.host.clone(), line(one))).collect::<Vec<_>>());
    Ok(found.iter().any(|finding| finding.pinned.is_none()))
}

fn findings(fleet: &Fleet, rollout: &Rollout, running: &Running, there: &There) -> Vec<Finding> {
    let mut found = Vec::new();
    for host in rollout.hosts.values() {
        for service in &host.services {
            let project = project(service);
            let runs = running.get(&host.host).and_then(|seen| seen.as_ref().ok());
            for image in &service.names {
                let Some((now, newer)) = there.get(image) else { continue };
                let known = runs.and_then(|runs| runs.get(&(project.clone(), image.clone())));
                let locked = fleet.stored_lock.as_ref().and_then(|lock| lock.digest(image)).map(str::to_owned);
                let old: Vec<String> = match (runs, known) {
                    (Some(_), Some(digests)) => digests.clone(),
                    // not there yet, so nothing of it is old
                    (Some(_), None) => continue,
                    (None, _) => locked.into_iter().collect(),
                };
                let moved = now.clone().filter(|now| !old.is_empty() && !old.contains(now));
                if moved.is_none() && newer.is_empty() {
                    continue;
                }
                found.push(Finding {
                    host: host.host.clone(),
                    service: service.id.clone(),
                    image: image.clone(),
                    newer: newer.clone(),
                    moved,
                    running: old.first().cloned(),
                    pinned: service.pin.as_ref().and_then(|pin| pin.reason.clone()),
                });
            }
        }
    }
    found
}

/// By host: project and image → the digests of what runs; or why the host does not say.
pub type Running = IndexMap<String, std::result::Result<BTreeMap<(String, String), Vec<String>>, String>>;

fn project(service: &Rendered) -> String {
    let project = service.vars.get("service").and_then(|vars| vars.get("project")?.as_str());
    project.unwrap_or_default().to_owned()
}

fn line(finding: &Finding) -> String {
    let newest = finding.newer.last().map(|tag| format!("tag {tag}"));
    let moved = finding.moved.as_deref().map(|digest| format!("moved to {}", short(digest)));
    let what: Vec<String> = newest.into_iter().chain(moved).collect();
    format!("{} {}: {}: {}", finding.host, finding.service, finding.image, what.join(", "))
}

fn show(found: &[Finding], as_json: bool) {
    if as_json {
        for finding in found {
            let mut value = json!(finding);
            value["event"] = json!("newer_image");
            println!("{value}");
        }
        return;
    }
    if found.is_empty() {
        eprintln!("no newer images");
        return;
    }
    let mut rows = vec![["CLIENT", "SERVICE", "IMAGE", "NEWER", "MOVED", "PINNED"].map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(|one| {
        let newer = match one.newer.as_slice() {
            [] => "-".to_owned(),
            [only] => only.clone(),
            [.., newest] => format!("{newest} (of {})", one.newer.len()),
        };
        let moved = match (&one.moved, &one.running) {
            (Some(now), Some(before)) => format!("{} → {}", short(before), short(now)),
            (Some(now), None) => short(now).to_owned(),
            (None, _) => "-".to_owned(),
        };
        let pinned = one.pinned.clone().unwrap_or_default();
        vec![one.host.clone(), one.service.clone(), one.image.clone(), newer, moved, pinned]
    }));
    for (index, line) in table(&rows).into_iter().enumerate() {
        println!("{}", if index == 0 { bold(&line) } else { line });
    }
}
