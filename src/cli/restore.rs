//! `provision restore --host clienteA --services hub`: gives services back what a backup holds. Never silently: the
//! host's name is asked for, and what is there now is backed up first.

use std::io::Write;
use std::path::Path;

use clap::Args;
use serde_json::Value;

use super::backup::look;
use super::common::{Fleet, confirm_by_name};
use super::slice::{Book, SliceFlags};
use crate::error::{Error, Result};
use crate::plan::Object;
use crate::services::Rollout;
use crate::services::handover::{Handover, Purpose, Way};

#[derive(Args)]
#[command(after_help = "Examples:
  provision restore --host clienteA --services hub                     the latest backup
  provision restore --host clienteA --services hub --from 20261125_031500
  provision restore --host clienteA --services hub --to clienteA2      onto another host
  provision restore --host clienteA --services hub --from backups/clienteA/hub/backup_20261125_031500.sql.zip.age
  provision restore --all --rehearse                                   would it work? touches no data

A host that does not have the service yet gets it first. With --to it also gets the secrets that open the data; settings
that are in the data as well have to be the same, and data that is there is only replaced with --overwrite. --from takes `latest`, a backup's name, a snapshot's id (see
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
    /// With --to: also where that host has data of the service already, which is backed up first
    #[arg(long, requires = "to")]
    overwrite: bool,
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
    let way = match (&flags.to, sources.as_slice()) {
        (None, _) => None,
        (Some(to), [source]) => Some(on_the_way(&flags, &fleet, source, to, &mut slice).await?),
        (Some(_), _) => return Err(Error::new("with --to the backup must be of one host").hint("name it with --host")),
    };
    let mut vars = Object::new();
    let (hosts, mut rollout) = match &way {
        None => (sources.clone(), slice.prepare_data(&fleet, &sources)?),
        Some((target, handover)) => {
            vars.extend(sources.first().map(|source| ("restore_source".to_owned(), Value::from(source.as_str()))));
            let services = slice.services.as_deref().unwrap_or_default();
            (vec![target.clone()], handover.rollout(&fleet.sources(), services)?)
        }
    };
    if flags.rehearse {
        rollout = rollout.without_new_secrets();
    }
    let opened = opened(&flags.from, &fleet, &hosts, &rollout)?;
    match &opened {
        Some(file) => vars.insert("restore_upload".to_owned(), Value::from(file.path().display().to_string())),
        None => vars.insert("restore_from".to_owned(), Value::from(flags.from.as_str())),
    };
    let (playbook, question) = match flags.rehearse {
        true => ("playbooks/rehearse.yml", "¿Ensayar la restauración?"),
        false => ("playbooks/restore.yml", "¿Restaurar?"),
    };
    if asks {
        for host in &hosts {
            let services = rollout.hosts.get(host).into_iter().flat_map(|host| &host.services);
            if !may_overwrite(host, &services.map(|service| service.id.clone()).collect::<Vec<_>>())? {
                return Ok(0);
            }
        }
    }
    if let Some((target, handover)) = way.filter(|_| !flags.rehearse && !slice.run.check) {
        for file in handover.store(&fleet.inventory, &fleet.identities)? {
            eprintln!("secrets of {file} are those of {}", sources.first().unwrap_or(&target));
        }
    }
    slice.yes |= !flags.rehearse && !slice.run.check;
    let book = Book { playbook, vars, skip_tags: &[], question };
    slice.perform(fleet, hosts, rollout, &book).await
}

/// Where what `source` had is going to be, once it is sure that it can be read there and that there is room for it. The
/// services of the slice become the source's, if none are named.
async fn on_the_way(
    flags: &Flags,
    fleet: &Fleet,
    source: &str,
    to: &str,
    slice: &mut SliceFlags,
) -> Result<(String, Handover)> {
    let hosts = fleet.select(to)?;
    let [target] = hosts.as_slice() else { return Err(Error::new(format!("--to `{to}` is not one host"))) };
    let services = match &slice.services {
        Some(named) => fleet.catalogue.unfolded(named)?,
        None => {
            let all = slice.prepare_data(fleet, &[source.to_owned()])?;
            all.hosts.values().flat_map(|host| &host.services).map(|service| service.id.clone()).collect()
        }
    };
    let purpose = if flags.rehearse { Purpose::Rehearsal } else { Purpose::Restore };
    let from_repository = !Path::new(&flags.from).exists() && !flags.from.starts_with('/');
    let way = Way { source, target, services: &services, purpose, from_repository };
    let handover = Handover::prepare(&fleet.sources(), way)?;
    slice.services = Some(services);
    if flags.rehearse || flags.overwrite || target == source {
        return Ok((target.clone(), handover));
    }
    let rollout = handover.rollout(&fleet.sources(), slice.services.as_deref().unwrap_or_default())?;
    let mut taken = Vec::new();
    for ((_, service), said) in look(fleet, hosts.clone(), rollout, "playbooks/restore_room.yml").await? {
        let said = said.map_err(|why| Error::new(format!("host `{target}`: {service}: {why}")))?;
        taken.extend(
            said.lines().filter_map(|line| line.strip_prefix("@taken ")).map(|what| format!("{service}: {what}")),
        );
    }
    match taken.is_empty() {
        true => Ok((target.clone(), handover)),
        false => Err(Error::new(format!("`{target}` has data of its own: {}", taken.join("; ")))
            .hint("add --overwrite to replace it with that of the backup; it is backed up first")),
    }
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
