//! What a client's inventory says about services: which ones it gets, their settings and pinned versions. A name in
//! there that no package has is a slip, and is said before anything is touched.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::catalogue::Catalogue;
use super::settings::known_keys;
use crate::error::{Error, Place, Result};
use crate::inventory::{Inventory, VarLayer};

/// What a host is declared to run, and where that is said.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Services, those that profiles stand for among them.
    pub services: Vec<String>,
    pub profiles: Vec<String>,
    pub place: Option<Place>,
}

/// The host's `services:` list and its `profile:` (a name or several). The highest inventory layer that says either
/// of them counts; where it says both, the list comes on top of the profile.
pub fn of_host(catalogue: &Catalogue, inventory: &Arc<Inventory>, host: &str) -> Result<Option<Declared>> {
    let layers = inventory.layers(host);
    let says = |layer: &&VarLayer| layer.vars.contains_key("services") || layer.vars.contains_key("profile");
    let Some(layer) = layers.iter().rev().find(says) else { return Ok(None) };
    let words = |key: &str, one: bool, wrong: &str| -> Result<Vec<String>> {
        let wrong = || at(layer.place(&[key]), wrong.to_owned());
        match layer.vars.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Null) if one => Ok(Vec::new()),
            Some(Value::String(name)) if one => Ok(vec![name.clone()]),
            Some(Value::Array(items)) => {
                items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    };
    let mut profiles = words("profile", true, "`profile` must be the name of a profile, or a list of them")?;
    let listed = words("services", false, "`services` must be a list of service names")?;
    let placed_at =
        |key: &str, error: Error| if error.place.is_some() { error } else { placed(layer.place(&[key]), error) };
    let mut names = Vec::new();
    for profile in &mut profiles {
        *profile = profile.trim_start_matches('@').to_owned();
        let name = format!("@{profile}");
        names.extend(catalogue.unfolded(&[name]).map_err(|error| placed_at("profile", error))?);
    }
    for name in &listed {
        if catalogue.profile_called(name).map_err(|error| placed_at("services", error))?.is_some() {
            profiles.push(name.trim_start_matches('@').to_owned());
        }
        let unfolded = catalogue.unfolded(std::slice::from_ref(name));
        names.extend(unfolded.map_err(|error| placed_at("services", error))?);
    }
    // the same one from a profile and from the list is one
    let mut services: Vec<String> = Vec::new();
    let same = |name: &String| catalogue.instance(name).map_or_else(|_| name.clone(), |instance| instance.to_string());
    for name in names {
        if !services.iter().any(|known| same(known) == same(&name)) {
            services.push(name);
        }
    }
    let place = layer.place(&["services"]).or_else(|| layer.place(&["profile"])).cloned();
    Ok(Some(Declared { services, profiles, place }))
}

/// The host's declared services with the place where that is said.
pub fn services(
    catalogue: &Catalogue,
    inventory: &Arc<Inventory>,
    host: &str,
) -> Result<Option<(Vec<String>, Option<Place>)>> {
    Ok(of_host(catalogue, inventory, host)?.map(|declared| (declared.services, declared.place)))
}

/// What an entry of `versions:` says: the version as text, or `{version: …, reason: …}`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pin {
    pub version: String,
    /// Why this client does not get what the others get.
    pub reason: Option<String>,
}

impl Pin {
    pub(super) fn of(service: &str, entry: &Value) -> Result<Pin> {
        let text = |key: &str, value: &Value| {
            value.as_str().map(str::to_owned).ok_or_else(|| match key {
                "version" => Error::new(format!("the version of `{service}` must be text, not a number"))
                    .hint("put it in quotes: 1.10 without them is 1.1"),
                _ => Error::new(format!("the {key} of `{service}` must be text")),
            })
        };
        let Some(map) = entry.as_object() else {
            return Ok(Pin { version: text("version", entry)?, reason: None });
        };
        if let Some(key) = map.keys().find(|key| !["version", "reason"].contains(&key.as_str())) {
            return Err(Error::new(format!("the pin of `{service}` has a key `{key}`"))
                .hint("it has `version` and `reason`")
                .did_you_mean(key, ["version", "reason"]));
        }
        let version = map.get("version").ok_or_else(|| {
            Error::new(format!("the pin of `{service}` names no version"))
                .hint(format!("{service}: {{version: v1.2.3, reason: \"…\"}}"))
        })?;
        let reason = map.get("reason").map(|reason| text("reason", reason)).transpose()?;
        Ok(Pin { version: text("version", version)?, reason })
    }
}

/// Every key of `settings:` and `versions:` that nothing answers to.
pub(super) fn mistakes(catalogue: &Catalogue, inventory: &Arc<Inventory>, host: &str) -> Vec<Error> {
    let mut errors = Vec::new();
    for layer in inventory.layers(host) {
        settings(catalogue, &layer, &mut errors);
        instances(catalogue, inventory, &layer, &mut errors);
        if let Some(versions) = layer.vars.get("versions").and_then(Value::as_object) {
            for (service, version) in versions {
                let place = layer.place(&["versions", service]);
                if let Err(error) = catalogue.known(service) {
                    errors.push(Error { text: format!("`versions`: {}", error.text), ..placed(place, error) });
                } else if let Err(error) = Pin::of(service, version) {
                    errors.push(placed(place, error));
                }
            }
        }
    }
    errors
}

fn settings(catalogue: &Catalogue, layer: &VarLayer, errors: &mut Vec<Error>) {
    let Some(all) = layer.vars.get("settings").filter(|all| !all.is_null()) else { return };
    let Some(all) = all.as_object() else {
        let text = "`settings` must be a mapping of services to their settings".to_owned();
        errors.push(at(layer.place(&["settings"]), text));
        return;
    };
    for (service, settings) in all {
        let place = layer.place(&["settings", service]);
        let known: Vec<String> = match service.as_str() {
            "all" => catalogue.packages.values().flat_map(known_keys).collect(),
            _ => match catalogue.known(service) {
                Ok(package) => package.map(|package| known_keys(package).collect()).unwrap_or_default(),
                Err(error) => {
                    errors.push(Error { text: format!("`settings`: {}", error.text), ..placed(place, error) });
                    continue;
                }
            },
        };
        let Some(settings) = settings.as_object() else {
            if !settings.is_null() {
                let text = format!("`settings.{service}` must be a mapping of setting names to values");
                errors.push(at(place, text));
            }
            continue;
        };
        // of a broken package nothing is known; it is reported when it is asked for
        for key in settings.keys().filter(|key| !known.is_empty() && !known.contains(*key)) {
            let text = match service.as_str() {
                "all" => format!("no service has a setting `{key}`"),
                _ => format!("service `{service}` has no setting `{key}`"),
            };
            let error = at(layer.place(&["settings", service, key]), text);
            let error = match service.as_str() {
                "all" => error,
                _ => error.hint(format!("it has: {}", known.join(", "))),
            };
            errors.push(error.did_you_mean(key, known.iter().map(String::as_str)));
        }
    }
}

/// Settings and versions of instances that no host declares.
fn instances(catalogue: &Catalogue, inventory: &Arc<Inventory>, layer: &VarLayer, errors: &mut Vec<Error>) {
    for word in ["settings", "versions"] {
        let names = layer.vars.get(word).and_then(Value::as_object).into_iter().flat_map(|all| all.keys());
        for name in names.filter(|name| name.contains('@')) {
            let Ok(instance) = catalogue.instance(name) else { continue };
            let everywhere: Vec<String> = inventory
                .hosts()
                .filter_map(|host| services(catalogue, inventory, &host.name).ok().flatten())
                .flat_map(|(names, _)| names)
                .filter_map(|name| Some(catalogue.instance(&name).ok()?.to_string()))
                .collect();
            if !everywhere.contains(&instance.to_string()) {
                let error = at(layer.place(&[word, name]), format!("`{word}`: no host declares `{instance}`"));
                errors.push(
                    error
                        .hint("add it to `services` of the host that is to have it")
                        .did_you_mean(name, everywhere.iter().map(String::as_str)),
                );
            }
        }
    }
}

fn at(place: Option<&Place>, text: String) -> Error {
    match place {
        Some(place) => Error::at(place, text),
        None => Error::new(text),
    }
}

/// The same mistake with the place where it was made.
pub(super) fn placed(place: Option<&Place>, error: Error) -> Error {
    let found = at(place, error.text);
    Error { hint: error.hint, also: error.also, ..found }
}
