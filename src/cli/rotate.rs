//! `provision secrets rotate`: a stored secret gets a new value, and everything that uses it on the host with it.
//!
//! The new value stands beside the old one in the age file, as `KEY__NEXT`, before a host is touched, and goes into the old
//! one's place when the host has come through. So neither can be lost: after an interruption the same command goes on
//! with the same value, and `--back` brings the old one back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use serde_json::Value;

use super::common::{Fleet, confirm};
use super::execute::{Extent, RunFlags, execute_with};
use super::secrets::{files, read_value, service_id, split};
use super::slice::load_book;
use crate::error::{Error, Result};
use crate::event::{Event, Kind, Status};
use crate::plan::{Object, Secret};
use crate::report::{Reporter, style};
use crate::secrets::{EnvFile, SecretKind, generate};
use crate::services::manifest::Rotate as How;
use crate::services::settings::{Replaced, env_path, recipients};
use crate::services::{Rotation, backup};

/// Behind the name of a key whose new value is on its way.
const NEXT: &str = "__NEXT";
/// Tasks of playbooks/secrets_rotate.yml that tell how far a host is.
const BEGUN: &str = "Services that use it";
const NEW: &str = "New value in force";
const OLD: &str = "Old value in force";

#[derive(Args)]
#[command(after_help = "Examples:
  provision secrets rotate hub/DB_ROOT_PASSWORD --host clienteA
  provision secrets rotate hub/DB_ROOT_PASSWORD --host clientes --check      what it would do
  printf %s \"$KEY\" | provision secrets rotate agent/OPENAI_API_KEY --host clienteA --given
  provision secrets rotate hub/DB_ROOT_PASSWORD --host clienteA --back       after an interruption

A new value is made, the database's user changed, .env written, and every service that uses the value made anew and looked at.
If that fails, all of it goes back to the old value. Other changes that wait to be rolled out have to go first.")]
pub(super) struct Rotate {
    /// service/KEY
    name: String,
    /// Clients
    #[arg(long, value_name = "PATTERN")]
    host: String,
    /// The new value comes from a prompt or standard input: somebody else made it
    #[arg(long)]
    given: bool,
    /// Bring the old value back into force, after a rotation that was interrupted
    #[arg(long, conflicts_with = "given")]
    back: bool,
    /// hex, base64, base64url, alnum, password, uuid [default: what the package says, else base64url]
    #[arg(long, conflicts_with = "given")]
    kind: Option<String>,
    /// Bytes for hex and base64, characters for the others
    #[arg(long, conflicts_with = "given")]
    length: Option<usize>,
    /// Do not ask before touching anything
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    run: RunFlags,
}

/// One host's part.
struct Turn {
    host: String,
    /// The host's files of settings, by their services.
    files: BTreeMap<String, (PathBuf, EnvFile)>,
    /// Where the value is stored: file and key; the one that was named comes last.
    places: Vec<(String, String)>,
    new: Secret,
    /// An earlier run has stored it already.
    resumed: bool,
    services: Vec<String>,
}

/// How far a host has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Begun,
    New,
    Old,
}

type Marks = Arc<Mutex<BTreeMap<String, Mark>>>;

struct Listener(Marks);

impl Reporter for Listener {
    fn event(&mut self, event: &Event) {
        let (host, mark) = match &event.kind {
            Kind::TaskStarted { host, task } if task.name == BEGUN => (host, Mark::Begun),
            Kind::TaskFinished { host, task, outcome } if matches!(outcome.status, Status::Ok | Status::Changed) => {
                match task.name.as_str() {
                    NEW => (host, Mark::New),
                    OLD => (host, Mark::Old),
                    _ => return,
                }
            }
            _ => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(host.clone(), mark);
    }
}

pub(super) async fn main(fleet: &mut Fleet, args: Rotate) -> Result<u8> {
    let mut turns = turns(fleet, &args)?;
    let mut replaced = Replaced::new();
    let mut also: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for turn in &turns {
        let services = also.entry(turn.host.clone()).or_default();
        for (file, key) in &turn.places {
            replaced.insert((turn.host.clone(), file.clone(), key.clone()), turn.new.clone());
            services.extend(Some(file.clone()).filter(|file| fleet.catalogue.instance(file).is_ok()));
        }
        fleet.redactor.add(turn.new.reveal());
    }
    let rotation = Rotation::prepare(&fleet.sources(), &replaced, &also)?;
    for (host, services) in rotation.users() {
        if let Some(turn) = turns.iter_mut().find(|turn| turn.host == host) {
            turn.services = services.into_iter().map(str::to_owned).collect();
        }
    }
    overview(fleet, &turns)?;
    let plays = load_book("playbooks/secrets_rotate.yml")?;
    if !args.run.check && !args.yes && !confirm("¿Cambiar este secreto en estos clientes?")? {
        eprintln!("nothing was touched");
        return Ok(0);
    }
    fleet.extra_vars.extend(Object::from_iter([("rotate_back".to_owned(), Value::from(args.back))]));
    let readers = recipients(&fleet.inventory)?;
    let marks = Marks::default();
    let users: Vec<String> =
        turns.iter().filter(|turn| !turn.services.is_empty()).map(|turn| turn.host.clone()).collect();
    let mut code = 0;
    if !users.is_empty() {
        let extent = Extent { services: Some(Arc::new(rotation)), reporters: vec![Box::new(Listener(marks.clone()))] };
        let ready = |_: &str| match args.run.check || args.back {
            true => Ok(()),
            false => turns.iter_mut().try_for_each(|turn| {
                let (new, (service, key)) = (turn.new.clone(), turn.named());
                turn.change(&service, &readers, |file| file.set(&format!("{key}{NEXT}"), new))
            }),
        };
        code = execute_with(fleet, &args.run, plays, users, extent, ready).await?;
    }
    if args.run.check {
        return Ok(code);
    }
    let marks = marks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for turn in &mut turns {
        let mark = match turn.services.is_empty() {
            true if args.back => Some(Mark::Old),
            true => Some(Mark::New),
            false => marks.get(&turn.host).copied(),
        };
        let came_of_it = turn.settle(mark, &readers)?;
        println!("{} {}: {came_of_it}", turn.host, args.name);
    }
    Ok(code)
}

/// Reads what is stored and makes the new values; nothing is written yet.
fn turns(fleet: &Fleet, args: &Rotate) -> Result<Vec<Turn>> {
    let (service, key) = split(&args.name)?;
    let service = service_id(fleet, service)?;
    if service == backup::SECRETS {
        return Err(Error::new(
            "the keys of backups are not rotated: without the old one nothing that was kept can be read",
        )
        .hint("restic takes a further password by `restic key add`; then store it with `provision secrets set`"));
    }
    let package = fleet.catalogue.get(&service).ok();
    let own = package.into_iter().flat_map(|package| &package.manifest.secrets);
    let shared = fleet.catalogue.packages.values().flat_map(|package| &package.manifest.secrets);
    let shared = shared.filter(|secret| service == "global" && secret.shared);
    let spec = own.chain(shared).find(|secret| secret.key == key);
    if let Some(How::Never(why)) = spec.and_then(|spec| spec.rotate.as_ref()) {
        return Err(Error::new(format!("`{}` is not changed by this: {why}", args.name)));
    }
    let own = |variable: &crate::services::manifest::Variable| variable.key == key && variable.secret;
    if !args.given && !args.back && package.is_some_and(|package| package.manifest.variables.iter().any(own)) {
        return Err(Error::new(format!("`{}` is made by whoever issues it, not here", args.name)).hint(format!(
            "get a new one and: printf %s \"$NEW\" | provision secrets rotate {} --host {} --given",
            args.name, args.host
        )));
    }
    let kind = args.kind.as_deref().or(spec.map(|spec| spec.kind.as_str())).unwrap_or("base64url");
    let kind: SecretKind = kind.parse()?;
    let length = args.length.or(spec.map(|spec| spec.length)).unwrap_or(SecretKind::LENGTH);
    let hosts = fleet.select(&args.host)?;
    let given = if args.given { Some(read_value(&args.name)?) } else { None };
    let mut turns = Vec::new();
    for host in hosts {
        let mut all = BTreeMap::new();
        for (name, path) in files(fleet, &host) {
            let file = EnvFile::load(&path, &fleet.identities)?;
            file.iter().for_each(|(_, value)| fleet.redactor.add(value.reveal()));
            all.insert(name, (path, file));
        }
        let path = env_path(&fleet.inventory, &host, &service);
        let missing = || Error::new(format!("host `{host}` has no stored `{}` (in {})", args.name, path.display()));
        let (_, file) = all.get(&service).ok_or_else(missing)?;
        let old = file.get(key).ok_or_else(|| missing().did_you_mean(key, file.keys()))?.clone();
        let pending = file.get(&format!("{key}{NEXT}")).cloned();
        let new = match (&pending, &given) {
            (Some(pending), Some(given)) if pending != given => {
                let text =
                    format!("a rotation of `{}` on `{host}` was interrupted, and its value may be in force", args.name);
                return Err(Error::new(text).hint("first run it again without --given, to end it, or with --back"));
            }
            (Some(pending), _) => pending.clone(),
            (None, _) if args.back => {
                let text = format!(
                    "no rotation of `{}` on `{host}` was interrupted: there is nothing to go back from",
                    args.name
                );
                return Err(Error::new(text));
            }
            (None, Some(given)) if *given == old => {
                return Err(Error::new(format!("this is the value that `{}` on `{host}` has already", args.name)));
            }
            (None, Some(given)) => given.clone(),
            (None, None) => generate(&kind, length)?,
        };
        let mut places = same_value(fleet, &all, &old, (&service, key));
        places.push((service.clone(), key.to_owned()));
        turns.push(Turn { host, places, new, resumed: pending.is_some(), services: Vec::new(), files: all });
    }
    Ok(turns)
}

/// Other settings of the same host with the same value: copies, which have to change along.
fn same_value(
    fleet: &Fleet,
    files: &BTreeMap<String, (PathBuf, EnvFile)>,
    old: &Secret,
    named: (&str, &str),
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if old.reveal().chars().count() < 8 {
        return found;
    }
    for (service, (_, file)) in files.iter().filter(|(service, _)| *service != backup::SECRETS) {
        let keys = file
            .iter()
            .filter(|(key, value)| *value == old && (service.as_str(), *key) != named && !key.ends_with(NEXT));
        for (key, _) in keys {
            let package = fleet.catalogue.get(service).ok();
            let spec = package.and_then(|package| package.manifest.secrets.iter().find(|secret| secret.key == key));
            if !matches!(spec.and_then(|spec| spec.rotate.as_ref()), Some(How::Never(_))) {
                found.push((service.clone(), key.to_owned()));
            }
        }
    }
    found
}

fn overview(fleet: &Fleet, turns: &[Turn]) -> Result<()> {
    for turn in turns {
        let services = match turn.services.is_empty() {
            true => "nothing that is declared there uses it".to_owned(),
            false => format!("makes anew what is installed of {}", turn.services.join(", ")),
        };
        let copies: Vec<String> = turn.places.iter().rev().skip(1).map(|(file, key)| format!("{file}/{key}")).collect();
        let copies = if copies.is_empty() {
            String::new()
        } else {
            format!("; the same value is {}, changed along", copies.join(", "))
        };
        let resumed = if turn.resumed { "; goes on with the value of the run before" } else { "" };
        eprintln!("{}: {services}{copies}{resumed}", turn.host);
        let (service, key) = turn.named();
        let old = turn.files.get(&service).and_then(|(_, file)| file.get(&key));
        for other in
            fleet.inventory.hosts().map(|host| &host.name).filter(|name| !turns.iter().any(|turn| turn.host == **name))
        {
            for (service, path) in files(fleet, other) {
                let Ok(file) = EnvFile::load(&path, &fleet.identities) else { continue };
                for (key, _) in file.iter().filter(|(_, value)| Some(*value) == old) {
                    eprintln!(
                        "{}",
                        style::yellow(&format!("the same value is {other} {service}/{key}: rotate it there, too"))
                    );
                }
            }
        }
    }
    Ok(())
}

impl Turn {
    /// File and key of what was named.
    fn named(&self) -> (String, String) {
        self.places.last().cloned().unwrap_or_default()
    }

    fn change(
        &mut self,
        service: &str,
        readers: &crate::secrets::Recipients,
        edit: impl FnOnce(&mut EnvFile) -> Result<()>,
    ) -> Result<()> {
        let Some((path, file)) = self.files.get_mut(service) else { return Ok(()) };
        edit(file)?;
        file.save(path, readers).map(drop)
    }

    /// Stores what came of it; says so.
    fn settle(&mut self, mark: Option<Mark>, readers: &crate::secrets::Recipients) -> Result<String> {
        let (service, key) = self.named();
        let next = format!("{key}{NEXT}");
        let forget = |turn: &mut Turn| {
            turn.change(&service, readers, |file| {
                file.remove(&next);
                Ok(())
            })
        };
        match mark {
            Some(Mark::New) => {
                // the named one last: until then the new value is there as the next one
                for (service, key) in self.places.clone() {
                    let new = self.new.clone();
                    self.change(&service, readers, |file| {
                        file.remove(&next);
                        file.set(&key, new)
                    })?;
                }
                Ok(match self.services.is_empty() {
                    true => "rotated; nothing was running with it".to_owned(),
                    false => format!("rotated; {} made anew", self.services.join(", ")),
                })
            }
            Some(Mark::Old) => {
                forget(self)?;
                Ok("the old value is in force, as before".to_owned())
            }
            None if !self.resumed => {
                forget(self)?;
                Ok("nothing was touched".to_owned())
            }
            None | Some(Mark::Begun) => Ok(format!(
                "undecided: the host may be on either value, and both are stored ({key}, {next}); the same command goes on, --back goes back"
            )),
        }
    }
}
