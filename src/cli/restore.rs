//! `provision restore --host clienteA --services hub`: gives services back what a backup holds. Never silently: the
//! host's name is asked for, and what is there now is backed up first.

use std::io::Write;
use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::common::{Fleet, confirm_by_name};
use super::slice::{Book, Dependencies, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::secrets::EnvFile;
use crate::services::settings::{env_path, recipients};
use crate::services::{Rollout, backup, declared};

#[derive(Args)]
#[command(after_help = "Examples:
  provision restore --host clienteA --services hub                     the latest backup
  provision restore --host clienteA --services hub --from 20261125_031500
  provision restore --host clienteA --services hub --to clienteA2      onto another host
  provision restore --host clienteA --services hub --from backups/clienteA/hub/backup_20261125_031500.sql.zip.age
  provision restore --all --rehearse                                   would it work? touches no data

A host that does not have the service yet gets it first. --from takes `latest`, a backup's name, a snapshot's id (see
`provision backup list`) or a copy that was pulled.")]
pub struct Flags {
    #[command(flatten)]
    slice: SliceFlags,
    /// Which backup
    #[arg(long, value_name = "BACKUP", default_value = "latest")]
    from: String,
    /// Restore onto this host what is of the named one
    #[arg(long, value_name = "HOST")]
    to: Option<String>,
    /// Load the backup beside the data, compare, remove it
    #[arg(long)]
    rehearse: bool,
    /// Overwrite without asking for the host's name
    #[arg(long)]
    yes_really: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let (fleet, sources) = flags.slice.load()?;
    let mut slice = flags.slice.clone();
    let asks = !flags.rehearse && !slice.run.check && !flags.yes_really;
    let (hosts, source) = match (&flags.to, sources.as_slice()) {
        (None, _) => (sources, None),
        (Some(to), [source]) => {
            let hosts = fleet.select(to)?;
            let [target] = hosts.as_slice() else {
                return Err(Error::new(format!("--to `{to}` is not one host")));
            };
            if slice.services.is_none() {
                slice.services =
                    declared::services(&fleet.catalogue, &fleet.inventory, source)?.map(|(names, _)| names);
            }
            if !slice.run.check {
                let services = fleet.catalogue.unfolded(slice.services.as_deref().unwrap_or_default())?;
                // the secrets' files are written here, so the question comes first
                if asks && !may_overwrite(target, &services)? {
                    return Ok(0);
                }
                hand_over_secrets(&fleet, source, target, &services)?;
            }
            (hosts, Some(source.clone()))
        }
        (Some(_), _) => return Err(Error::new("with --to the backup must be of one host").hint("name it with --host")),
    };
    let mut vars = Object::new();
    if let Some(source) = source {
        vars.insert("restore_source".to_owned(), Value::from(source));
    }
    let rollout = slice.prepare(&fleet, &hosts, Dependencies::Left)?;
    let opened = opened(&flags.from, &fleet, &hosts, &rollout)?;
    match &opened {
        Some(file) => vars.insert("restore_upload".to_owned(), Value::from(file.path().display().to_string())),
        None => vars.insert("restore_from".to_owned(), Value::from(flags.from.as_str())),
    };
    let (playbook, question) = match flags.rehearse {
        true => ("playbooks/rehearse.yml", "¿Ensayar la restauración?"),
        false => ("playbooks/restore.yml", "¿Restaurar?"),
    };
    if asks && flags.to.is_none() {
        for host in &hosts {
            let services = rollout.hosts.get(host).into_iter().flat_map(|host| &host.services);
            if !may_overwrite(host, &services.map(|service| service.id.clone()).collect::<Vec<_>>())? {
                return Ok(0);
            }
        }
    }
    slice.yes |= !flags.rehearse && !slice.run.check;
    let book = Book { playbook, vars, skip_tags: &[], question };
    slice.perform(fleet, hosts, rollout, &book).await
}

/// Asks for the host's name.
fn may_overwrite(host: &str, services: &[String]) -> Result<bool> {
    let sure = confirm_by_name(&format!("Se sobrescriben los datos de {} en {host}.", services.join(", ")), host)?;
    if !sure {
        eprintln!("nothing was touched");
    }
    Ok(sure)
}

/// A copy that was pulled, decrypted into a file of this user that goes when the run ends.
fn opened(from: &str, fleet: &Fleet, hosts: &[String], rollout: &Rollout) -> Result<Option<tempfile::NamedTempFile>> {
    let path = Path::new(from);
    if !path.exists() || !from.contains(['/', '.']) {
        return Ok(None);
    }
    let services = rollout.hosts.values().flat_map(|host| &host.services).count();
    if hosts.len() != 1 || services != 1 {
        return Err(Error::new("a copy is of one service, and is restored onto one host")
            .hint("name them with --host and --services"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let ending = name.strip_suffix(".age").unwrap_or(&name);
    let ending =
        [".tar.gz", ".tar.zst", ".zip"].into_iter().find(|known| ending.ends_with(known)).ok_or_else(|| {
            Error::new(format!("`{from}` is no backup")).hint("it ends with .zip, .tar.gz or .tar.zst, and maybe .age")
        })?;
    let trouble = |error: std::io::Error| Error::new(format!("cannot make a temporary file: {error}"));
    let mut file = tempfile::Builder::new().prefix("provision-").suffix(ending).tempfile().map_err(trouble)?;
    if name.ends_with(".age") {
        fleet.identities.open_file(path, file.as_file_mut())?;
    } else {
        let mut source = std::fs::File::open(path).map_err(trouble)?;
        std::io::copy(&mut source, file.as_file_mut()).map_err(trouble)?;
    }
    file.flush().map_err(trouble)?;
    Ok(Some(file))
}

/// What was encrypted with one host's keys is only of use with them: the other one gets the same, unless it has its own.
fn hand_over_secrets(fleet: &Fleet, source: &str, target: &str, services: &[String]) -> Result<()> {
    let mut missing = Vec::new();
    for name in services {
        let id = fleet.catalogue.get(name)?.id.clone();
        missing.extend(differing(fleet, source, target, &id)?.map(|file| (id, file)));
    }
    missing.extend(differing(fleet, source, target, backup::SECRETS)?.map(|file| (backup::SECRETS.to_owned(), file)));
    for (id, mut file) in missing {
        let path = env_path(&fleet.inventory, target, &id);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| Error::new(format!("cannot create `{}`: {error}", folder.display())))?;
        }
        file.save(&path, &recipients(&fleet.inventory)?)?;
        eprintln!("secrets of {target}/{id} are those of {source}");
    }
    Ok(())
}

/// The target's file with what it lacks of the source's; None if it lacks nothing. Other values are an error.
fn differing(fleet: &Fleet, source: &str, target: &str, id: &str) -> Result<Option<EnvFile>> {
    let theirs = EnvFile::load(&env_path(&fleet.inventory, source, id), &fleet.identities)?;
    let mut own = EnvFile::load(&env_path(&fleet.inventory, target, id), &fleet.identities)?;
    let (mut lacks, mut others) = (Vec::new(), Vec::new());
    for (key, value) in theirs.iter() {
        match own.get(key) {
            Some(own) if own == value => {}
            Some(_) => others.push(key.to_owned()),
            None => lacks.push((key.to_owned(), value.clone())),
        }
    }
    if !others.is_empty() {
        let text = format!("host `{target}` has secrets of its own for `{id}`: {}", others.join(", "));
        return Err(Error::new(text).hint(format!(
            "the data of `{source}` may not open with them; give both the same ones with `provision secrets set`, or restore to a host that has none"
        )));
    }
    let any = !lacks.is_empty();
    for (key, value) in lacks {
        own.set(&key, value)?;
    }
    Ok(any.then_some(own))
}
