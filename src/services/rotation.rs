//! Secrets that change: the services of each host that use one, as they are with the value until now and with the new
//! one, so that one play can bring either of them into force.
//!
//! Leaves out: making values, storing them, and judging how it went.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::manifest::{Administrator, Rotate};
use super::render::Rendered;
use super::rollout::HostServices;
use super::settings::{Replaced, Settings, Sources};
use super::{Rollout, Selection, ServiceDeploy, Services, declared};
use crate::error::{Error, Result};
use crate::plan::Failure;
use crate::vars::Scope;

/// While this variable says `before`, services come with the values that they had.
const WHICH: &str = "rotate_value";

/// The services that use values which change.
pub struct Rotation {
    before: BTreeMap<String, Vec<Rendered>>,
    after: BTreeMap<String, Vec<Rendered>>,
}

impl Rotation {
    /// Everything on these hosts whose stack, environment or files differ once `replaced` is stored. What is set up there
    /// besides the declared services is named in `also`.
    pub fn prepare(
        sources: &Sources<'_>,
        replaced: &Replaced,
        also: &BTreeMap<String, Vec<String>>,
    ) -> Result<Rotation> {
        let mut rotation = Rotation { before: BTreeMap::new(), after: BTreeMap::new() };
        let mut errors = Vec::new();
        for (host, also) in also {
            if let Err(error) = rotation.add(sources, replaced, host, also) {
                errors.push(error);
            }
        }
        match Error::all(errors) {
            Some(error) => Err(error),
            None => Ok(rotation),
        }
    }

    fn add(&mut self, sources: &Sources<'_>, replaced: &Replaced, host: &str, also: &[String]) -> Result<()> {
        let mut services =
            declared::services(sources.catalogue, sources.inventory, host)?.map(|(names, _)| names).unwrap_or_default();
        services.extend(also.iter().filter(|name| !services.contains(name)).cloned().collect::<Vec<_>>());
        if services.is_empty() {
            return Ok(());
        }
        let selection = Selection { services: Some(services), with_dependencies: true, ..Selection::default() };
        let prepare = |replaced| {
            let sources = Sources { replaced, questions: None, ..*sources };
            let mut rollout = Rollout::prepare(&sources, &[host.to_owned()], &selection)?;
            rollout.hosts.shift_remove(host).ok_or_else(|| Error::new(format!("host `{host}` has no services")))
        };
        let (before, after) = (prepare(None)?, prepare(Some(replaced))?);
        for (old, new) in before.services.iter().zip(&after.services) {
            // one whose secrets are not stored yet was never brought to the host
            let unborn = |host: &HostServices| host.settings(&old.id).is_none_or(|made| !made.generated.is_empty());
            if old.digest == new.digest || unborn(&before) {
                continue;
            }
            let (Some(old_settings), Some(new_settings)) = (before.settings(&old.id), after.settings(&new.id)) else {
                continue;
            };
            let keys = changed(old_settings, new_settings);
            let digests = json!([old.digest, new.digest]);
            for (side, one, settings, other) in [
                (&mut self.before, old, old_settings, new_settings),
                (&mut self.after, new, new_settings, old_settings),
            ] {
                let due = json!({
                    "keys": keys, "digests": digests, "databases": own_databases(one, old, new),
                    "administrators": administrators(sources, one, settings, other)?,
                });
                let mut one = one.clone();
                if let Some(Value::Object(service)) = one.vars.get_mut("service") {
                    service.insert("rotates".to_owned(), due);
                }
                side.entry(host.to_owned()).or_default().push(one);
            }
        }
        Ok(())
    }

    /// The hosts on which something uses the values, with the services' names.
    pub fn users(&self) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.after.iter().map(|(host, services)| (host.as_str(), services.iter().map(|one| one.id.as_str()).collect()))
    }
}

impl Services for Rotation {
    fn expand(&self, host: &str, _: &Value, scope: &Scope) -> Result<Vec<ServiceDeploy>, Failure> {
        let which = scope.get(WHICH).map_err(|fault| Failure::new(fault.text))?;
        let side = if which == Some(Value::from("before")) { &self.before } else { &self.after };
        Ok(side.get(host).into_iter().flatten().map(Rendered::deploy).collect())
    }
}

/// Names of settings that differ.
fn changed(before: &Settings, after: &Settings) -> Vec<String> {
    let differs = |(key, setting): &(&String, &super::settings::Setting)| {
        before.values.get(*key).is_none_or(|old| old.value != setting.value)
    };
    after.values.iter().filter(differs).map(|(key, _)| key.clone()).collect()
}

/// Databases on the stack's own server whose password changes: it has to, before the containers that use it start anew.
fn own_databases(one: &Rendered, old: &Rendered, new: &Rendered) -> Vec<Value> {
    let list = |of: &Rendered| -> Vec<Value> {
        let found = of.vars.get("service").and_then(|service| service.get("databases")?.as_array());
        found.cloned().unwrap_or_default()
    };
    let differs =
        list(old).iter().zip(list(new)).map(|(old, new)| old["password"] != new["password"]).collect::<Vec<_>>();
    let mine = list(one).into_iter().zip(differs);
    mine.filter(|(database, differs)| *differs && database["own"] == true).map(|(database, _)| database).collect()
}

/// Administrators of servers in the stack whose password changes from `other`'s to that of `settings`.
fn administrators(sources: &Sources<'_>, one: &Rendered, settings: &Settings, other: &Settings) -> Result<Vec<Value>> {
    let package = sources.catalogue.get(&one.id)?;
    let project = one.vars.get("service").and_then(|service| service.get("project")).cloned();
    let value = |of: &Settings, key: &str| of.values.get(key).map(|setting| setting.value.clone());
    let mut found = Vec::new();
    for spec in &package.manifest.secrets {
        let Some(Rotate::Database(Administrator { engine, service, user })) = &spec.rotate else { continue };
        let (new, old) = (value(settings, &spec.key), value(other, &spec.key));
        if new != old {
            let database = if ["mysql", "mariadb"].contains(&engine.as_str()) { "mysql" } else { "postgres" };
            found.push(json!({
                "engine": engine.replace("pgvector", "postgres"), "project": project, "service": service, "name": database,
                "user": user, "password": new, "before": old,
            }));
        }
    }
    Ok(found)
}
