//! A host as a list of things that can be laid beside another host's: what `compare` and `odd` work on.
//!
//! Of secrets there is only whether they are equal.

use indexmap::IndexMap;
use serde_json::Value;

use super::common::Fleet;
use super::drift::{short, strangers};
use super::survey::{Survey, Surveyed, There, field, listed_image, part, text};

/// What it is about: `server`, `package`, `port`, `extra container` or a service; then its name there.
pub type Aspect = (String, String);

/// What a host has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Two hosts have the same if this is the same.
    pub print: String,
    /// For people; holds no secret.
    pub shown: String,
}

pub type Aspects = IndexMap<Aspect, Cell>;

/// Sections that every host has; all others are services.
pub const COMMON: &[&str] = &["server", "package", "port", "extra container"];

/// All hosts that answered.
pub fn all(fleet: &Fleet, survey: &Survey) -> IndexMap<String, Aspects> {
    let there = survey.hosts.iter().filter_map(|(host, answer)| Some((host, answer.as_ref().ok()?)));
    there.map(|(host, surveyed)| (host.clone(), of_host(fleet, survey, surveyed))).collect()
}

/// Says on stderr which hosts gave no answer, and whose settings cannot be told; gives the number of the former.
pub fn tell_trouble(fleet: &Fleet, survey: &Survey) -> usize {
    let mut lost = 0;
    for (host, answer) in &survey.hosts {
        match answer {
            Err(trouble) => {
                lost += 1;
                eprintln!("{host}: {}", fleet.redactor.text(trouble));
            }
            Ok(Surveyed { wanted: Err(error), .. }) => {
                eprintln!("{host}: its settings are left out: {}", fleet.redactor.text(&error.to_string()));
            }
            Ok(_) => {}
        }
    }
    lost
}

fn of_host(fleet: &Fleet, survey: &Survey, surveyed: &Surveyed) -> Aspects {
    let seen = &surveyed.seen;
    let mut all = Aspects::new();
    let mut put = |section: &str, name: &str, value: &str| {
        let shown = fleet.redactor.text(value).into_owned();
        all.insert((section.to_owned(), name.to_owned()), Cell { print: value.to_owned(), shown });
    };
    seen.facts.iter().for_each(|(name, value)| put("server", name, value));
    seen.packages.iter().for_each(|(name, version)| put("package", name, version));
    seen.ports.iter().for_each(|(port, program)| put("port", port, program));
    for (service, record) in &seen.records {
        put(service, "version", text(record, "version"));
        put(service, "mode", text(record, "mode"));
        put(service, "runtime", text(record, "runtime"));
        put(service, "package", short(text(record, "package")));
        let project = text(record, "project");
        for container in seen.inspected.iter().filter(|container| container.project() == Some(project)) {
            let part = container.service().unwrap_or(&container.name);
            put(service, &format!("image {part}"), &container.image);
            let digest = seen.images.get(&listed_image(&container.image)).map(|(_, digest)| digest.as_str());
            let digest = digest.filter(|digest| digest.starts_with("sha256:")).unwrap_or(&container.image_id);
            put(service, &format!("digest {part}"), short(digest));
        }
    }
    let known: Vec<&str> = seen.records.values().map(|record| text(record, "project")).collect();
    for container in strangers(seen, |project| known.contains(&project)) {
        put("extra container", &container.name, &container.image);
    }
    all.extend(settings(fleet, survey, surveyed));
    all
}

/// The settings of the installed services, as they are on the host.
fn settings(fleet: &Fleet, survey: &Survey, surveyed: &Surveyed) -> Aspects {
    let mut all = Aspects::new();
    let wanted = surveyed.wanted.iter().flat_map(IndexMap::values);
    for want in wanted.filter(|want| surveyed.seen.records.contains_key(&want.id)) {
        let Some(looked) = surveyed.seen.looked.get(&format!("{}/.env", field(want, "root"))) else { continue };
        let secrets = part(want, "secrets").and_then(Value::as_array).cloned().unwrap_or_default();
        let env = part(want, "env").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut put = |key: &str, print: String, shown: String| {
            all.insert((want.id.clone(), format!("setting {key}")), Cell { print, shown });
        };
        for (key, value) in &env {
            let print = survey.fingerprint_of_setting(key, value);
            let there = match looked.there {
                There::Missing => None,
                There::Same => Some(&print),
                There::Differs => looked.keys.get(key),
            };
            let secret = secrets.contains(&Value::from(key.as_str()));
            let shown = match (there, secret) {
                (None, _) => continue,
                (Some(_), true) => "(secret)".to_owned(),
                // the value itself stays on the host
                (Some(there), false) if *there != print => "(not as declared)".to_owned(),
                (Some(_), false) => fleet.redactor.text(value.as_str().unwrap_or_default()).into_owned(),
            };
            put(key, there.unwrap_or(&print).clone(), shown);
        }
        for (key, print) in looked.keys.iter().filter(|(key, _)| !env.contains_key(*key)) {
            put(key, print.clone(), "(not declared)".to_owned());
        }
    }
    all
}

/// What a host has, in a table.
pub fn shown(cell: Option<&Cell>) -> String {
    cell.map_or("-", |cell| if cell.shown.is_empty() { "(empty)" } else { &cell.shown }).to_owned()
}
