//! What another host needs before the data of one is of use there: the secrets that open it, and the same values of those
//! settings that are also in the data (the name of a site's folder, of a database).

use super::backup;
use super::settings::{Replaced, Sources, env_path, recipients, shared_keys};
use super::{Package, Rollout, Selection};
use crate::error::{Error, Result};
use crate::inventory::Inventory;
use crate::plan::Secret;
use crate::secrets::{EnvFile, Identities};

/// What the data is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The target becomes what the source was.
    Restore,
    /// The target only reads it: nothing but the way to the source's repository is handed over.
    Rehearsal,
}

/// The way from one host to another.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub source: &'a str,
    pub target: &'a str,
    pub services: &'a [String],
    pub purpose: Purpose,
    /// The backup is not in hand, so the target has to reach the repository that the source's backups are in.
    pub from_repository: bool,
}

/// Secrets of the source that the target is given.
pub struct Handover {
    target: String,
    carried: Replaced,
}

impl Handover {
    /// Refuses what would not work: secrets and settings of the target that are others than those that the data wants.
    pub fn prepare(sources: &Sources<'_>, way: Way<'_>) -> Result<Handover> {
        let mut carried = Replaced::new();
        let mut files = vec![(backup::SECRETS.to_owned(), None)];
        if way.purpose == Purpose::Restore {
            for name in way.services {
                let package = sources.catalogue.get(name)?;
                files.push((sources.catalogue.instance(name)?.to_string(), None));
                files.push(("global".to_owned(), Some(shared_keys(package))));
            }
        }
        for (file, keys) in files {
            for (key, value) in lacking(sources, &way, &file, keys.as_deref())? {
                carried.insert((way.target.to_owned(), file.clone(), key), value);
            }
        }
        let handover = Handover { target: way.target.to_owned(), carried };
        handover.compare(sources, &way)?;
        Ok(handover)
    }

    /// The target's services as they are with what it is given.
    pub fn rollout(&self, sources: &Sources<'_>, services: &[String]) -> Result<Rollout> {
        let sources = Sources { replaced: Some(&self.carried), ..*sources };
        prepare(&sources, &self.target, services)
    }

    /// Writes it into the target's files; gives back `host/file` of each.
    pub fn store(&self, inventory: &Inventory, identities: &Identities) -> Result<Vec<String>> {
        let mut written = Vec::new();
        let mut files: Vec<&String> = self.carried.keys().map(|(_, file, _)| file).collect();
        files.dedup();
        for name in files {
            let path = env_path(inventory, &self.target, name);
            let mut file = EnvFile::load(&path, identities)?;
            for ((_, _, key), value) in self.carried.iter().filter(|((_, of, _), _)| of == name) {
                file.set(key, value.clone())?;
            }
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)
                    .map_err(|error| Error::new(format!("cannot create `{}`: {error}", folder.display())))?;
            }
            if file.save(&path, &recipients(inventory)?)? {
                written.push(format!("{}/{name}", self.target));
            }
        }
        Ok(written)
    }

    fn compare(&self, sources: &Sources<'_>, way: &Way<'_>) -> Result<()> {
        let there = prepare(sources, way.source, way.services)?;
        let here = self.rollout(sources, way.services)?;
        let (mut differ, mut wanted) = (Vec::new(), Vec::new());
        for name in way.services {
            let (package, id) = (sources.catalogue.get(name)?, sources.catalogue.instance(name)?.to_string());
            let settings = |rollout: &Rollout, host: &str| rollout.hosts.get(host)?.settings(&id).cloned();
            let (Some(there), Some(here)) = (settings(&there, way.source), settings(&here, way.target)) else {
                continue;
            };
            for key in bound(package, way.purpose) {
                let (Some(theirs), Some(own)) = (there.values.get(&key), here.values.get(&key)) else { continue };
                // one that is made up here was never used there
                if theirs.value == own.value || there.generated.contains(&key) {
                    continue;
                }
                if theirs.secret || own.secret {
                    differ.push(format!("{id}/{key} (secret)"));
                } else {
                    differ.push(format!("{id}/{key} is `{}`, there `{}`", own.value, theirs.value));
                    wanted.push(format!("settings: {{{id}: {{{key}: {}}}}}", theirs.value));
                }
            }
        }
        if way.from_repository {
            let repository =
                |rollout: &Rollout, host: &str| rollout.hosts.get(host).map(|host| host.repository_shown());
            let (theirs, own) = (repository(&there, way.source), repository(&here, way.target));
            if theirs == own && own.as_deref().unwrap_or_default().is_empty() {
                let text =
                    format!("`{}` has no backup_repository, so `{}` cannot reach its backups", way.source, way.target);
                return Err(
                    Error::new(text).hint("pull a copy with `provision backup --pull`, and name it with --from")
                );
            }
            if let (Some(theirs), Some(own)) = (&theirs, &own)
                && theirs != own
            {
                let said = |value: &str| if value.is_empty() { "not set".to_owned() } else { format!("`{value}`") };
                differ.push(format!("backup_repository is {}, there {}", said(own), said(theirs)));
                wanted.push("the same backup_repository".to_owned());
            }
        }
        if differ.is_empty() {
            return Ok(());
        }
        let text = format!("`{}` would not read the data of `{}`: {}", way.target, way.source, differ.join("; "));
        let hint = match wanted.is_empty() {
            true => "give both the same secrets with `provision secrets set`".to_owned(),
            false => format!("write into host_vars/{}.yml: {}", way.target, wanted.join("; ")),
        };
        Err(Error::new(text).hint(hint))
    }
}

fn prepare(sources: &Sources<'_>, host: &str, services: &[String]) -> Result<Rollout> {
    let selection = Selection { services: Some(services.to_vec()), ..Selection::default() };
    Rollout::prepare(sources, &[host.to_owned()], &selection)
}

/// Settings whose values are in the data as well.
fn bound(package: &Package, purpose: Purpose) -> Vec<String> {
    let manifest = &package.manifest;
    let marked = manifest.variables.iter().filter(|variable| variable.in_data).map(|variable| variable.key.clone());
    let databases = manifest.databases.iter().flat_map(|database| [&database.db_name_var, &database.user_var]);
    let secrets = manifest.secrets.iter().filter(|_| purpose == Purpose::Restore).map(|secret| secret.key.clone());
    marked.chain(databases.cloned()).chain(secrets).collect()
}

/// What the target lacks of a file of the source's. Other values are an error, unless they are only read past.
fn lacking(sources: &Sources<'_>, way: &Way<'_>, file: &str, keys: Option<&[String]>) -> Result<Vec<(String, Secret)>> {
    let load = |host: &str| EnvFile::load(&env_path(sources.inventory, host, file), sources.identities);
    let (theirs, own) = (load(way.source)?, load(way.target)?);
    let (mut lacks, mut others) = (Vec::new(), Vec::new());
    for (key, value) in theirs.iter().filter(|(key, _)| keys.is_none_or(|keys| keys.iter().any(|k| k == key))) {
        match own.get(key) {
            Some(own) if own == value => {}
            Some(_) if way.purpose == Purpose::Restore => others.push(key.to_owned()),
            _ => lacks.push((key.to_owned(), value.clone())),
        }
    }
    if others.is_empty() {
        return Ok(lacks);
    }
    let text = format!("host `{}` has secrets of its own for `{file}`: {}", way.target, others.join(", "));
    Err(Error::new(text).hint(format!(
        "the data of `{}` may not open with them; give both the same ones with `provision secrets set`, or restore to a host that has none",
        way.source
    )))
}
