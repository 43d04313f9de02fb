//! Sets of services under one name: `registry/_profiles/<name>.yml`, shipped or the operator's own (which wins). A client
//! declares them with `profile: erp`, a verb takes them as `--services @erp`. What a set means is looked up each time, so
//! a set that grows reaches every client that has it.

use std::path::Path;

use serde::Deserialize;

use super::catalogue::Catalogue;
use crate::error::{Error, Place, Result};
use crate::shipped;

/// A named set of services.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// As people call it.
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Services, instances of them, and other profiles (`@erp`).
    pub services: Vec<String>,
    #[serde(skip, default = "nowhere")]
    pub place: Place,
}

fn nowhere() -> Place {
    Place::file(Path::new(""))
}

impl Profile {
    pub(super) fn load(path: &Path) -> Result<Profile> {
        let place = Place::file(path.to_owned());
        let text =
            shipped::read_to_string(path).map_err(|error| Error::at(&place, format!("cannot read it: {error}")))?;
        let mut profile: Profile = serde_yaml::from_str(&text).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            let source_line = line.checked_sub(1).and_then(|index| text.lines().nth(index)).map(str::to_owned);
            let at = Error { source_line, ..Error::at(&Place::new(path, line, 0), error.to_string()) };
            at.hint("a profile has name, description and services: [hub, chat]; another profile in it is \"@erp\"")
        })?;
        profile.place = place;
        if profile.services.is_empty() {
            return Err(Error::at(&profile.place, "a profile without services").hint("services: [hub, chat]"));
        }
        Ok(profile)
    }
}

impl Catalogue {
    /// The profile that a name means: always with `@` in front, and without it where no package has the name.
    pub fn profile_called(&self, name: &str) -> Result<Option<&Profile>> {
        let (bare, sure) = match name.strip_prefix('@') {
            Some(bare) => (bare, true),
            None => (name, false),
        };
        let packages = || {
            let aliases = self.packages.values().flat_map(|package| &package.manifest.aliases);
            self.ids().chain(self.broken.keys().map(String::as_str)).chain(aliases.map(String::as_str))
        };
        if !sure && packages().any(|package| package == bare) {
            return Ok(None);
        }
        match self.profiles.get(bare) {
            Some(Ok(profile)) => Ok(Some(profile)),
            Some(Err(error)) => Err(error.clone().context(format_args!("profile `{bare}` is broken"))),
            None if sure => {
                let names: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
                Err(Error::new(format!("unknown profile `{bare}`"))
                    .hint(format!("there are: {}; your own go into registry/_profiles/NAME.yml", names.join(", ")))
                    .did_you_mean(bare, names))
            }
            None => Ok(None),
        }
    }

    /// The names with profiles replaced by what they stand for, each service once.
    pub fn unfolded(&self, names: &[String]) -> Result<Vec<String>> {
        let mut found = Vec::new();
        self.unfold(names, &mut Vec::new(), &mut found)?;
        Ok(found)
    }

    fn unfold(&self, names: &[String], within: &mut Vec<String>, found: &mut Vec<String>) -> Result<()> {
        for name in names {
            let Some(profile) = self.profile_called(name)? else {
                if !found.contains(name) {
                    found.push(name.clone());
                }
                continue;
            };
            let bare = name.trim_start_matches('@').to_owned();
            if within.contains(&bare) {
                let circle = [within.as_slice(), &[bare]].concat().join(" → ");
                return Err(Error::at(&profile.place, format!("profiles stand for each other in a circle: {circle}")));
            }
            within.push(bare);
            let inside = self.unfold(&profile.services, within, found);
            inside.map_err(|error| if error.place.is_some() { error } else { at(profile, error) })?;
            within.pop();
        }
        Ok(())
    }

    /// What is wrong with a profile: names that nothing has, services that cannot stand together.
    pub fn lint_profile(&self, name: &str) -> Option<Error> {
        let check = || -> Result<()> {
            let Some(profile) = self.profile_called(&format!("@{name}"))? else { return Ok(()) };
            if self.packages.contains_key(name)
                || self.packages.values().any(|p| p.manifest.aliases.iter().any(|a| a == name))
            {
                return Err(Error::at(&profile.place, format!("a service is called `{name}` as well")).hint(format!(
                    "the bare name is the service, and only `@{name}` the profile; another name is clearer"
                )));
            }
            let services = self.unfolded(&[format!("@{name}")])?;
            self.order(&services, true)
                .map(drop)
                .map_err(|error| if error.place.is_some() { error } else { at(profile, error) })
        };
        check().err()
    }
}

fn at(profile: &Profile, error: Error) -> Error {
    Error { hint: error.hint, also: error.also, ..Error::at(&profile.place, error.text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(profiles: &[(&str, &str)]) -> Catalogue {
        let dir = tempfile::tempdir().unwrap();
        for (id, manifest) in
            [("a-x", r#"{"id":"a-x","name":"A","aliases":["ax"]}"#), ("b-x", r#"{"id":"b-x","name":"B"}"#)]
        {
            std::fs::create_dir_all(dir.path().join(id)).unwrap();
            std::fs::write(dir.path().join(id).join("manifest.json"), manifest).unwrap();
        }
        std::fs::create_dir_all(dir.path().join("_profiles")).unwrap();
        for (name, text) in profiles {
            std::fs::write(dir.path().join("_profiles").join(format!("{name}.yml")), text).unwrap();
        }
        Catalogue::load(Path::new("/nonexistent"), &[dir.path().to_owned()]).unwrap()
    }

    fn unfolded(catalogue: &Catalogue, names: &[&str]) -> Result<Vec<String>> {
        catalogue.unfolded(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_profile_stands_for_its_services_and_those_of_others() {
        let catalogue = catalogue(&[
            ("small", "name: Small\nservices: [a-x]"),
            ("all-x", "name: All\nservices: [\"@small\", b-x, b-x@two]"),
            ("ax", "name: Same\nservices: [b-x]"),
        ]);
        assert_eq!(unfolded(&catalogue, &["@all-x", "a-x"]).unwrap(), ["a-x", "b-x", "b-x@two"]);
        assert_eq!(unfolded(&catalogue, &["all-x"]).unwrap(), ["a-x", "b-x", "b-x@two"]);
        // a service's name stays the service
        assert_eq!(unfolded(&catalogue, &["ax"]).unwrap(), ["ax"]);
        assert_eq!(unfolded(&catalogue, &["@ax"]).unwrap(), ["b-x"]);
        assert!(catalogue.lint_profile("ax").unwrap().text.contains("a service is called `ax`"));
        assert!(catalogue.lint_profile("all-x").is_none());
    }

    #[test]
    fn what_is_wrong_with_a_profile_is_said_with_its_place() {
        let catalogue = catalogue(&[
            ("one", "name: One\nservices: [\"@two\"]"),
            ("two", "name: Two\nservices: [\"@one\"]"),
            ("typo", "name: Typo\nservices: [b-z]"),
            ("broken", "name: Broken\nservises: [a-x]"),
        ]);
        let error = unfolded(&catalogue, &["one"]).unwrap_err();
        assert!(error.text.ends_with("one → two → one"), "{error}");
        let error = unfolded(&catalogue, &["@smal"]).unwrap_err().to_string();
        assert!(error.contains("unknown profile `smal`") && error.contains("completo"), "{error}");
        let error = catalogue.lint_profile("typo").unwrap().to_string();
        assert!(error.contains("_profiles/typo.yml") && error.contains("unknown service `b-z`"), "{error}");
        let error = unfolded(&catalogue, &["@broken"]).unwrap_err().to_string();
        assert!(error.contains("broken.yml:2") && error.contains("servises"), "{error}");
        // a broken one does not hide the others, and a bare word that nobody asked to be a profile stays what it is
        assert_eq!(unfolded(&catalogue, &["nothing"]).unwrap(), ["nothing"]);
    }

    #[test]
    fn the_shipped_profiles_hold() {
        let catalogue = Catalogue::load(Path::new("/nonexistent"), &[]).unwrap();
        for name in ["completo", "erp", "crm-chat", "automatizacion", "nexus"] {
            assert!(catalogue.profiles.contains_key(name), "{name}");
        }
        for name in catalogue.profiles.keys() {
            assert_eq!(catalogue.lint_profile(name).map(|error| error.to_string()), None);
        }
    }
}
