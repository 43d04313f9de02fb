//! `provision verify --security`: the list that is gone through before a client goes live, each item with its evidence.
//! What can be seen on the host is asked with `playbooks/security.yml`; what only the operator knows (all clients'
//! credentials) and what only an outsider sees (open ports) is looked at here. No value of a secret leaves this file.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::super::findings::{Finding, Verdict};
use super::super::look::{Effects, LookFlags, Looked, trouble};
use super::Flags;
use crate::engine::outside_check::is_open;
use crate::error::Result;
use crate::event::Kind;
use crate::plan::Object;
use crate::report::style::{green, red};
use crate::services::world::host_scope;

/// What nobody may have as a password, whatever else it is made of.
const DEFAULTS: &[&str] = &[
    "changeme",
    "change_me",
    "change-me",
    "password",
    "contraseña",
    "passwd",
    "admin",
    "administrator",
    "root",
    "secret",
    "default",
    "example",
    "test",
    "letmein",
    "qwerty",
    "welcome",
    "123456",
    "12345678",
    "postgres",
    "redis",
    "xxxxx",
    "your_",
    "your-",
    "tu_",
    "todo",
    "replace",
];
/// Shorter ones can be tried out.
const SHORTEST: usize = 12;
/// Ports above the first thousand that are tried from outside: databases, caches, panels, engines, application servers.
const KNOWN_PORTS: &[u16] = &[
    1433, 1521, 1883, 2019, 2049, 2181, 2375, 2376, 2377, 3000, 3306, 3389, 4369, 5000, 5001, 5432, 5601, 5672, 5678,
    5900, 5984, 6006, 6379, 6443, 7000, 7474, 7687, 7946, 8000, 8001, 8002, 8003, 8025, 8069, 8080, 8081, 8082, 8086,
    8088, 8090, 8123, 8161, 8200, 8443, 8500, 8888, 9000, 9001, 9042, 9080, 9090, 9092, 9093, 9100, 9200, 9229, 9300,
    9411, 9443, 10250, 11211, 15672, 16379, 18789, 25565, 27017, 33060, 50000, 61616,
];

pub(super) async fn main(flags: &Flags) -> Result<u8> {
    let looked = flags.look.load()?;
    let waivers = waivers(&looked)?;
    let mut count = Count::default();
    let mut tell = |finding: Finding| {
        let of_host = waivers.get(&finding.host).cloned().unwrap_or_default();
        let finding = finding.waived(&of_host);
        count.add(&finding);
        if flags.json { println!("{}", finding.json()) } else { finding.tell() }
    };
    credentials(&looked).into_iter().for_each(&mut tell);
    for finding in scan(&looked).await? {
        tell(finding);
    }
    let mut lost = 0;
    ask(looked, &flags.look, &mut tell, &mut lost).await?;
    let failed = count.failed + lost;
    let line = format!(
        "{} items: {} pass, {failed} fail, {} waived, {} skipped",
        count.all, count.passed, count.waived, count.skipped
    );
    let line = if failed == 0 { green(&line) } else { red(&line) };
    if flags.json {
        eprintln!("{line}")
    } else {
        println!("{line}")
    }
    Ok(u8::from(failed > 0))
}

#[derive(Default)]
struct Count {
    all: usize,
    passed: usize,
    failed: usize,
    waived: usize,
    skipped: usize,
}

impl Count {
    fn add(&mut self, finding: &Finding) {
        self.all += 1;
        match finding.verdict {
            Verdict::Pass => self.passed += 1,
            Verdict::Fail => self.failed += 1,
            Verdict::Waived(_) => self.waived += 1,
            Verdict::Skip => self.skipped += 1,
        }
    }
}

/// `security_waivers` of each client: item, or item/service → the reason.
fn waivers(looked: &Looked) -> Result<HashMap<String, Value>> {
    let fleet = &looked.fleet;
    let of_host = looked.hosts.iter().map(|host| {
        let scope = host_scope(&fleet.inventory, host, &fleet.extra_vars);
        let value = scope
            .get("security_waivers")
            .map_err(|fault| crate::error::Error::new(format!("host `{host}`: security_waivers: {}", fault.text)))?;
        Ok((host.clone(), value.unwrap_or_default()))
    });
    of_host.collect()
}

/// What the hosts themselves say.
async fn ask(looked: Looked, flags: &LookFlags, tell: &mut impl FnMut(Finding), lost: &mut usize) -> Result<()> {
    let hear = |event: crate::event::Event, _: &tokio_util::sync::CancellationToken| match event.kind {
        // of a loop each item is one finding
        Kind::ItemFinished { host, task, outcome } => {
            if let Some(mut finding) = Finding::of(&host, &task, &outcome) {
                let item = task.item.clone().unwrap_or_default();
                if !item.is_empty() && !finding.evidence.iter().any(|line| line.contains(&item)) {
                    finding.evidence.insert(0, item);
                }
                tell(finding);
            }
        }
        Kind::TaskFinished { outcome, .. } if outcome.result.contains_key("results") => {}
        Kind::TaskFinished { host, task, outcome } => match Finding::of(&host, &task, &outcome) {
            Some(finding) => tell(finding),
            None => {
                if let Some(trouble) = trouble(&outcome) {
                    *lost += 1;
                    println!("{} {host}: {trouble}", red("[FAIL]"));
                }
            }
        },
        _ => {}
    };
    looked.play(flags, "playbooks/security.yml", Object::new(), Effects::None, hear).await.map(drop)
}

/// A secret of a client, without its value.
struct Owned<'r> {
    host: &'r str,
    service: &'r str,
    key: &'r str,
}

/// Every secret is one of its own: no default, none that can be tried out, none that another client has too.
fn credentials(looked: &Looked) -> Vec<Finding> {
    // the values are compared by a digest with a key of this run, so that none of them is kept
    let mut key = [0_u8; 32];
    let keyed = getrandom::fill(&mut key).is_ok();
    let mut owners: HashMap<Vec<u8>, Vec<Owned<'_>>> = HashMap::new();
    let mut findings = Vec::new();
    for host in looked.rollout.hosts.values() {
        for service in &host.services {
            let Some(settings) = host.settings(&service.id) else { continue };
            let secrets = settings.values.iter().filter(|(_, setting)| setting.secret && !setting.value.is_empty());
            let (mut weak, mut all) = (Vec::new(), 0);
            for (name, setting) in secrets {
                all += 1;
                if let Some(why) = weakness(&setting.value) {
                    weak.push(format!("{name} {why}"));
                }
                if keyed && !settings.generated.contains(name) {
                    let digest = Sha256::new().chain_update(key).chain_update(setting.value.as_bytes()).finalize();
                    let owned = Owned { host: &host.host, service: &service.id, key: name };
                    owners.entry(digest.to_vec()).or_default().push(owned);
                }
            }
            let verdict = if weak.is_empty() { Verdict::Pass } else { Verdict::Fail };
            let title = "no default and no short password";
            let mut finding = Finding::new(&host.host, Some(&service.id), "credentials", title, verdict);
            if weak.is_empty() {
                finding.evidence.push(format!("{all} secrets"));
            } else {
                finding.evidence = weak;
                finding.fix = Some("provision secrets rotate, or set another one".to_owned());
            }
            findings.push(finding);
        }
    }
    findings.extend(looked.hosts.iter().map(|host| reuse(host, &owners)));
    findings
}

/// What is wrong with a password by itself.
fn weakness(value: &str) -> Option<String> {
    let low = value.to_lowercase();
    if let Some(word) =
        DEFAULTS.iter().find(|word| low == **word || (low.starts_with(**word) && low.len() < word.len() + 6))
    {
        return Some(format!("is a default (`{word}…`)"));
    }
    let chars: BTreeSet<char> = value.chars().collect();
    if value.chars().count() < SHORTEST {
        return Some(format!("is shorter than {SHORTEST} characters"));
    }
    (chars.len() < 6).then(|| "is one character over and over".to_owned())
}

fn reuse(host: &str, owners: &HashMap<Vec<u8>, Vec<Owned<'_>>>) -> Finding {
    let mut evidence: Vec<String> = Vec::new();
    for all in owners.values() {
        for mine in all.iter().filter(|owned| owned.host == host) {
            for other in all.iter().filter(|other| other.host != host) {
                evidence.push(format!("{}/{} is that of {}/{}", mine.service, mine.key, other.host, other.service));
            }
        }
    }
    evidence.sort();
    let verdict = if evidence.is_empty() { Verdict::Pass } else { Verdict::Fail };
    let mut finding = Finding::new(host, None, "credentials-own", "no other client has the same secret", verdict);
    if !evidence.is_empty() {
        finding.fix = Some("give each client one of its own: provision secrets rotate".to_owned());
    }
    finding.evidence = evidence;
    finding
}

/// Which ports are open, seen from here.
async fn scan(looked: &Looked) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for host in looked.rollout.hosts.values() {
        let title = "from outside only ssh, http and https are open";
        let scope = host_scope(&looked.fleet.inventory, &host.host, &looked.fleet.extra_vars);
        let text = |name: &str| scope.get(name).ok().flatten();
        let local = text("ansible_connection").is_some_and(|method| method == "local");
        if local {
            let mut finding = Finding::new(&host.host, None, "ports-outside", title, Verdict::Skip);
            finding.evidence.push("this machine cannot look at itself from outside".to_owned());
            findings.push(finding);
            continue;
        }
        let address = text("ansible_host").and_then(|value| value.as_str().map(str::to_owned));
        let address = address.unwrap_or_else(|| host.host.clone());
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let mut wanted: BTreeSet<u64> = [80, 443].into();
        wanted.insert(text("ansible_port").as_ref().and_then(number).unwrap_or(22));
        wanted.extend(text("firewall_ports").iter().filter_map(Value::as_array).flatten().filter_map(number));
        let published = host.services.iter().flat_map(|service| {
            let ports = service.vars.get("service").and_then(|vars| vars.get("ports")).and_then(Value::as_array);
            ports.into_iter().flatten().filter_map(|port| port["port"].as_u64()).collect::<Vec<_>>()
        });
        let mut ports: BTreeSet<u16> = (1..1024).chain(KNOWN_PORTS.iter().copied()).collect();
        ports.extend(published.filter_map(|port| u16::try_from(port).ok()));
        let open = open_ports(&address, &ports).await;
        let more: Vec<String> = open
            .iter()
            .filter(|port| !wanted.contains(&u64::from(**port)))
            .map(|port| format!("{port} is open"))
            .collect();
        let verdict = if more.is_empty() { Verdict::Pass } else { Verdict::Fail };
        let mut finding = Finding::new(&host.host, None, "ports-outside", title, verdict);
        finding.evidence = if more.is_empty() {
            let open = open.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            vec![format!("{} ports of {address} tried; open: {open}", ports.len())]
        } else {
            finding.fix =
                Some("bind it to 127.0.0.1 or close it; if it is meant, list it in firewall_ports".to_owned());
            more
        };
        findings.push(finding);
    }
    Ok(findings)
}

/// Tried many at once; what does not answer within a second is closed.
async fn open_ports(address: &str, ports: &BTreeSet<u16>) -> Vec<u16> {
    use futures::StreamExt;
    let tries = futures::stream::iter(ports.iter().copied())
        .map(|port| async move { is_open(address, port, Duration::from_secs(1)).await.then_some(port) });
    let mut open: Vec<u16> = tries.buffer_unordered(256).filter_map(|port| async move { port }).collect().await;
    open.sort_unstable();
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_that_anybody_would_try_are_weak() {
        for weak in ["changeme", "Admin123", "password2024", "short", "aaaaaaaaaaaaaaaaaaaa", "postgres"] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for strong in ["Yb3kZq0vXw7TgL2p", "administrators-are-people-too-77", "9f86d081884c7d659a2feaa0c55ad015"] {
            assert_eq!(weakness(strong), None, "{strong}");
        }
    }

    #[test]
    fn a_secret_of_two_clients_is_told_without_its_value() {
        let owned = |host| Owned { host, service: "chat", key: "REDIS_PASSWORD" };
        let owners = HashMap::from([(vec![1], vec![owned("a"), owned("b")]), (vec![2], vec![owned("c")])]);
        let finding = reuse("a", &owners);
        assert_eq!(
            (finding.verdict.word(), finding.evidence),
            ("fail", vec!["chat/REDIS_PASSWORD is that of b/chat".to_owned()])
        );
        assert_eq!(reuse("c", &owners).verdict, Verdict::Pass);
    }
}
