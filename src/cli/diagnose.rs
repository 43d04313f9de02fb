//! `provision diagnose`: the state of each client's containers, whether they can be reached, what their checks say; as
//! a table and as a report for programs. Asks with `playbooks/verify.yml`, so it changes nothing.

use std::path::{Path, PathBuf};

use clap::Args;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::look::{Effects, LookFlags, Looked, checks, is_check, trouble};
use crate::error::{Error, Result};
use crate::event::{Kind, Outcome, Status};
use crate::plan::Object;
use crate::report::style::{bold, dim, green, red, table, yellow};

mod bundle;
mod report;

use report::{Made, Report, Seen};

#[derive(Args)]
#[command(after_help = "Examples:
  provision diagnose --host clienteA
  provision diagnose --host dev --modo debug --json       writes diagnostico_<timestamp>.json
  provision diagnose --host clienteA --json report.json
  provision diagnose --host 'prod:!clienteB' --json -     to standard output; several clients under `hosts`
  provision diagnose --host clienteA --bundle             logs, compose files and names of settings, without secrets

Exit code 0 if everything works, 1 if something does not.")]
pub struct Flags {
    #[command(flatten)]
    look: LookFlags,
    /// Write the report; without a name to diagnostico_<timestamp>.json, `-` is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    json: Option<String>,
    /// Also write a folder for whoever is to help: logs, compose files, names of settings; secrets are masked
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "")]
    bundle: Option<String>,
    /// Show also what passed
    #[arg(short, long, visible_alias = "verboso")]
    verbose: bool,
}

pub async fn main(flags: Flags) -> Result<u8> {
    let looked = flags.look.load()?;
    let now = jiff::Zoned::now();
    let mut reports = skeletons(&looked, &now.strftime("%Y-%m-%dT%H:%M:%S").to_string());
    let stamp = now.strftime("%Y%m%d_%H%M%S").to_string();
    let folder = flags.bundle.as_ref().map(|name| named(name, &format!("diagnostico_{stamp}")));
    if let Some(folder) = folder.as_deref().filter(|folder| folder.exists()) {
        return Err(Error::new(format!("{} is there already", folder.display())).hint("name another folder"));
    }
    let severities = looked.severities();
    looked
        .play(&flags.look, "playbooks/verify.yml", Object::new(), Effects::None, |event, _| {
            let Kind::TaskFinished { host, task, outcome } = event.kind else { return };
            let Some(report) = reports.get_mut(&host) else { return };
            match (is_check(&task), trouble(&outcome), &task.service) {
                (true, _, Some(service)) if outcome.status != Status::Skipped => {
                    let key = (host.clone(), service.clone(), task.name.clone());
                    let warning = severities.get(&key).is_some_and(|severity| severity == "warning");
                    report.hear(service, made(&task.name, &outcome, warning), containers(&outcome));
                }
                (false, Some(trouble), _) => report.trouble = Some(trouble),
                _ => {}
            }
        })
        .await?;
    show(&reports, flags.verbose);
    if let Some(name) = &flags.json {
        let text = document(&reports);
        match name.as_str() {
            "-" => println!("{text}"),
            name => write(&named(name, &format!("diagnostico_{stamp}.json")), &format!("{text}\n"))?,
        }
    }
    if let Some(folder) = folder {
        let looked = flags.look.load()?;
        write(&folder.join("report.json"), &format!("{}\n", document(&reports)))?;
        bundle::collect(looked, &flags.look, &folder).await?;
    }
    Ok(u8::from(reports.values().any(|report| !report.works())))
}

fn named(given: &str, otherwise: &str) -> PathBuf {
    PathBuf::from(if given.is_empty() { otherwise } else { given })
}

fn write(path: &Path, text: &str) -> Result<()> {
    let trouble = |error: std::io::Error| Error::new(format!("cannot write {}: {error}", path.display()));
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(trouble)?;
    }
    std::fs::write(path, text).map_err(trouble)?;
    eprintln!("{}", dim(&format!("written: {}", path.display())));
    Ok(())
}

/// Each client's report before anything was seen.
fn skeletons(looked: &Looked, timestamp: &str) -> IndexMap<String, Report> {
    let hosts = looked.rollout.hosts.values().map(|host| {
        let services = host.services.iter().map(|service| {
            let text = |key: &str| {
                let value = service.vars.get("service").and_then(|vars| vars.get(key));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            let all = checks(&service.vars);
            let expected = all.first().and_then(|check| check.pointer("/check/container/expected"));
            let expected = expected.and_then(Value::as_array).into_iter().flatten();
            let about = all.iter().map(|check| {
                let services = check["services"].as_array().into_iter().flatten();
                let names = services.filter_map(Value::as_str).map(str::to_owned).collect();
                (check["name"].as_str().unwrap_or_default().to_owned(), names)
            });
            report::Package {
                id: service.id.clone(),
                mode: text("mode"),
                compose_file: format!("{}/docker-compose.yml", text("root")),
                expected: expected.filter_map(Value::as_str).map(str::to_owned).collect(),
                about: about.collect(),
                seen: Vec::new(),
                made: Vec::new(),
            }
        });
        let report = Report { timestamp: timestamp.to_owned(), packages: services.collect(), trouble: None };
        (host.host.clone(), report)
    });
    hosts.collect()
}

fn made(name: &str, outcome: &Outcome, warning: bool) -> Made {
    let passed = matches!(outcome.status, Status::Ok | Status::Changed);
    Made { name: name.to_owned(), passed, warning, text: outcome.text("msg").to_owned(), hint: outcome.hint.clone() }
}

/// The containers that a check of them has seen, with whether something answers on their ports.
fn containers(outcome: &Outcome) -> Vec<Seen> {
    let seen = outcome.result.get("containers").and_then(Value::as_array).into_iter().flatten();
    seen.filter(|container| container.get("reachable").is_some())
        .filter_map(Value::as_object)
        .cloned()
        .map(Seen)
        .collect()
}

/// One client's report as it is, several under `hosts`.
fn document(reports: &IndexMap<String, Report>) -> String {
    let value = match reports.values().collect::<Vec<_>>().as_slice() {
        [one] => one.json(),
        _ => {
            let hosts: Map<String, Value> =
                reports.iter().map(|(host, report)| (host.clone(), report.json())).collect();
            json!({ "hosts": hosts })
        }
    };
    format!("{value:#}")
}

fn show(reports: &IndexMap<String, Report>, verbose: bool) {
    let head = ["CLIENT", "SERVICE", "CONTAINER", "IMAGE", "STATE", "RESTARTS", "UP", "PORT", "REACHED"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (host, report) in reports {
        rows.extend(report.rows().into_iter().map(|cells| [vec![host.clone()], cells].concat()));
    }
    if rows.len() > 1 {
        for (index, line) in table(&rows).into_iter().enumerate() {
            println!("{}", if index == 0 { bold(&line) } else { line });
        }
    }
    for (host, report) in reports {
        for (service, made) in report.made() {
            let tag = match (made.passed, made.warning) {
                (true, _) if !verbose => continue,
                (true, _) => green("[OK]"),
                (false, true) => yellow("[WARN]"),
                (false, false) => red("[FAIL]"),
            };
            println!("{tag} {host}/{service} {}: {}", made.name, made.text);
            if let Some(hint) = made.hint.as_deref().filter(|_| !made.passed) {
                println!("       {}", dim(hint));
            }
        }
        if let Some(trouble) = &report.trouble {
            println!("{} {host}: {trouble}", red("[FAIL]"));
        }
        println!("{}", report.conclusion(host));
    }
}
