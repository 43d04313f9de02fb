//! Every package of the registry, for both runtimes and every combination of its options: Docker accepts the stack, no
//! secret is written into it, and the traps of the programs inside are stepped round.
//!
//! Docker's own judgement needs Docker; the other tests do not.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use provision::inventory::Inventory;
use provision::secrets::{Identities, Redactor};
use provision::services::settings::Sources;
use provision::services::{Catalogue, Rollout, Selection};
use serde_json::{Map, Value, json};

/// What has no default.
const NEEDED: &str = "
    maravia: {OPENAI_API_KEY: sk-planted-in-a-test}
    nexus-orchestrator: {OPENAI_API_KEY: sk-planted-in-a-test, BOT_PHONE_NUMBER: '+5491122334455'}
    nexus-whatsapp: {YCLOUD_API_KEY: planted-ycloud-key, YCLOUD_WEBHOOK_SECRET: planted-webhook-secret}
";

const OPTIONS: &str = "
    infrastructure: {ACME_CA_SERVER: https://acme.example/directory, TRAEFIK_LOG_LEVEL: DEBUG}
    chat: {SMTP_ADDRESS: smtp.example, SMTP_USERNAME: chat, SMTP_PASSWORD: 'smtp$pass word'}
    hub: {HUB_DOMAIN: hub.cliente.example, FRAPPE_SITE_NAME: erp.cliente.example, FRAPPE_COMPANY_NAME: 'Cliente A S.A.'}
    agent: {OPENAI_API_KEY: sk-planted-in-a-test}
    maravia: {OPENAI_API_KEY: sk-planted-in-a-test, REPLICAS: 3, WORKERS: 4, RATE_AVERAGE: 0}
    nexus-orchestrator: {OPENAI_API_KEY: sk-planted-in-a-test, BOT_PHONE_NUMBER: '+5491122334455', SMTP_HOST: smtp.example, SMTP_PASS: mail}
    nexus-whatsapp: {YCLOUD_API_KEY: planted-ycloud-key, YCLOUD_WEBHOOK_SECRET: planted-webhook-secret}
    typebot: {SMTP_HOST: smtp.example, SMTP_USERNAME: bot, SMTP_PASSWORD: 'smtp$pass word'}
";

/// One package on one kind of host.
struct Case {
    name: String,
    package: String,
    runtime: String,
    tls: String,
    service: Value,
    stack: Value,
}

/// All of them: package × runtime × tls × options given or not.
fn cases() -> Vec<Case> {
    let folder = tempfile::tempdir().unwrap();
    let mut hosts = String::from("all:\n  hosts:\n");
    let mut names = Vec::new();
    for runtime in ["compose", "swarm"] {
        for tls in ["acme", "selfsigned", "off"] {
            for options in ["bare", "full"] {
                let name = format!("{runtime}-{tls}-{options}");
                let settings = if options == "full" { OPTIONS } else { NEEDED }.replace("\n    ", "\n        ");
                write!(
                    hosts,
                    "    {name}:\n      runtime: {runtime}\n      tls: '{tls}'\n      domain: cliente.example\n      settings:{settings}"
                )
                .unwrap();
                names.push(name);
            }
        }
    }
    std::fs::write(folder.path().join("hosts.yml"), hosts).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let catalogue = Catalogue::load(root, &[]).unwrap();
    let inventory = Arc::new(Inventory::load(&[folder.path().to_owned()]).unwrap());
    let sources = Sources {
        lock: None,
        catalogue: &catalogue,
        inventory: &inventory,
        identities: &Identities::load(&[]).unwrap(),
        extra_vars: &Map::new(),
        redactor: &Redactor::default(),
        questions: None,
        replaced: None,
    };
    let services: Vec<String> = catalogue.ids().map(str::to_owned).collect();
    let selection = Selection { services: Some(services), with_dependencies: true, ..Selection::default() };
    let rollout = Rollout::prepare(&sources, &names, &selection).unwrap();
    let mut cases = Vec::new();
    for (host, services) in &rollout.hosts {
        let (runtime, tls) = host.split_once('-').unwrap();
        for rendered in &services.services {
            let service = rendered.vars["service"].clone();
            let stack = parse(service["stack"].as_str().unwrap());
            cases.push(Case {
                name: format!("{host}-{}", rendered.id),
                package: rendered.id.clone(),
                runtime: runtime.to_owned(),
                tls: tls.split('-').next().unwrap().to_owned(),
                service,
                stack,
            });
        }
    }
    assert_eq!(cases.len(), 12 * catalogue.ids().count());
    cases
}

/// Compose knows them as a list or as a mapping.
fn networks(service: &Value) -> Vec<String> {
    match &service["networks"] {
        Value::Array(names) => names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
        other => other.as_object().unwrap().keys().cloned().collect(),
    }
}

fn parse(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

impl Case {
    fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.stack["services"].as_object().unwrap().iter()
    }

    /// The labels that the proxy of this runtime reads.
    fn labels(&self, service: &Value) -> Vec<String> {
        let at = if self.runtime == "swarm" { "/deploy/labels" } else { "/labels" };
        let labels = service.pointer(at).and_then(Value::as_array);
        labels.into_iter().flatten().map(|label| label.as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn docker_accepts_every_stack() {
    let Some(stage) = crate::stage::Stage::open(&["provision-lab-docker:trixie"]) else { return };
    drop(stage);
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    for case in &cases {
        let mut env = String::new();
        for (key, value) in case.service["env"].as_object().unwrap() {
            writeln!(env, "{key}='{}'", value.as_str().unwrap().replace('\'', "\\'")).unwrap();
        }
        std::fs::write(folder.path().join(format!("{}.env", case.name)), env).unwrap();
        let stack = case.service["stack"].as_str().unwrap();
        std::fs::write(folder.path().join(format!("{}.{}.yml", case.name, case.runtime)), stack).unwrap();
    }
    let script = "cd /stacks
        for f in *.compose.yml; do n=${f%.compose.yml}; docker compose --env-file $n.env -f $f config -q >$n.out 2>&1; echo $? >>$n.out; done
        for f in *.swarm.yml; do n=${f%.swarm.yml}; (set -a; . ./$n.env; docker stack config -c $f 2>&1 >/dev/null) >$n.out; echo $? >>$n.out; done
        chmod 644 *.out";
    let mount = format!("{}:/stacks", folder.path().display());
    crate::stage::docker(&["run", "--rm", "-v", &mount, "provision-lab-docker:trixie", "sh", "-c", script]);
    let mut refused = String::new();
    for case in &cases {
        // nothing but the exit code: a warning (a variable that is not set, an obsolete key) counts too
        let said = std::fs::read_to_string(folder.path().join(format!("{}.out", case.name))).unwrap();
        if said != "0\n" {
            writeln!(refused, "{}: {said}", case.name).unwrap();
        }
    }
    assert_eq!(refused, "");
}

#[test]
fn no_secret_is_in_a_stack_and_every_variable_of_it_is_a_setting() {
    for case in cases() {
        let text = case.service["stack"].as_str().unwrap();
        let env = case.service["env"].as_object().unwrap();
        let package = Catalogue::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
        let manifest = package.get(&case.package).unwrap().manifest.clone();
        for secret in manifest
            .secrets
            .iter()
            .map(|s| &s.key)
            .chain(manifest.variables.iter().filter(|v| v.secret).map(|v| &v.key))
        {
            let value = env[secret].as_str().unwrap();
            assert!(value.is_empty() || !text.contains(value), "{}: {secret} is in the stack", case.name);
        }
        for reference in text.split("${").skip(1) {
            let key = reference.split('}').next().unwrap();
            assert!(env.contains_key(key), "{}: ${{{key}}} is no setting", case.name);
        }
        for job in &manifest.jobs {
            let services = case.stack["services"].as_object().unwrap();
            assert!(services.contains_key(&job.service), "{}: job {} has no container", case.name, job.name);
        }
    }
}

#[test]
fn each_runtime_gets_only_keys_that_it_knows() {
    // what `docker stack deploy` ignores with a warning, or refuses
    let not_in_swarm =
        ["container_name", "restart", "depends_on", "security_opt", "shm_size", "links", "build", "labels"];
    for case in cases() {
        for (name, service) in case.services() {
            let keys: BTreeSet<&str> = service.as_object().unwrap().keys().map(String::as_str).collect();
            if case.runtime == "swarm" {
                // a container's own labels say which files it was made with; routes are labels of the service
                let files_only = !service["labels"].to_string().contains("traefik");
                let wrong = not_in_swarm.iter().filter(|key| keys.contains(**key));
                let wrong: Vec<_> = wrong.filter(|key| **key != "labels" || !files_only).collect();
                assert!(wrong.is_empty(), "{}/{name}: {wrong:?}", case.name);
                assert_eq!(service.pointer("/deploy/endpoint_mode"), Some(&json!("dnsrr")), "{}/{name}", case.name);
                // the engine refuses update options of a job
                let job = service.pointer("/deploy/mode") == Some(&json!("replicated-job"));
                assert_eq!(service.pointer("/deploy/update_config").is_none(), job, "{}/{name}", case.name);
            } else {
                assert!(!keys.contains("deploy"), "{}/{name}: compose would ignore half of `deploy`", case.name);
                assert!(keys.contains("restart"), "{}/{name}", case.name);
            }
            assert!(keys.contains("logging"), "{}/{name}: logs would fill the disk", case.name);
        }
    }
}

#[test]
fn only_the_proxy_is_reachable_and_it_reaches_every_public_service() {
    let mut routed = BTreeSet::new();
    for case in cases() {
        for (name, service) in case.services() {
            let ports: Vec<u64> =
                service["ports"].as_array().into_iter().flatten().map(|p| p["published"].as_u64().unwrap()).collect();
            let expected: &[u64] = match (case.package.as_str(), case.tls.as_str()) {
                ("infrastructure", "off") => &[80],
                ("infrastructure", _) => &[80, 443],
                _ => &[],
            };
            assert_eq!(ports, expected, "{}/{name}", case.name);

            let labels = case.labels(service);
            if labels.is_empty() {
                continue;
            }
            routed.insert(case.package.clone());
            assert!(
                networks(service).contains(&"web".to_owned()),
                "{}/{name} has a route, but is not on the proxy's network",
                case.name
            );
            let provider = if case.runtime == "swarm" { "swarm" } else { "docker" };
            assert!(labels.contains(&format!("traefik.{provider}.network=web")), "{}/{name}: {labels:?}", case.name);
            let entrypoint = if case.tls == "off" { "web" } else { "websecure" };
            assert!(labels.iter().any(|l| l.ends_with(&format!(".entrypoints={entrypoint}"))), "{}/{name}", case.name);
            assert!(
                labels.iter().any(|l| l.contains(".loadbalancer.server.port=")),
                "{}/{name}: swarm needs the port",
                case.name
            );
            assert!(
                service.get("healthcheck").is_some(),
                "{}/{name}: without one it is routed while it starts",
                case.name
            );
            let url = case.service["urls"][0]["url"].as_str().unwrap();
            assert!(url.starts_with(if case.tls == "off" { "http://" } else { "https://" }), "{}: {url}", case.name);
        }
    }
    assert_eq!(
        routed.into_iter().collect::<Vec<_>>(),
        [
            "agent",
            "chat",
            "chatwoot",
            "flow",
            "hub",
            "maravia",
            "nexus-frontend",
            "nexus-whatsapp",
            "portainer",
            "typebot"
        ]
    );
}

#[test]
fn names_that_stacks_share_a_network_with_do_not_collide() {
    // a container on two networks may ask for a name that both know; what a stack asks for must be its own
    for case in cases() {
        for (name, service) in case.services() {
            let shared = networks(service).iter().any(|network| network != "internal");
            let asked: Vec<String> = service["environment"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(key, value)| {
                    let host = key.ends_with("HOST") || key.ends_with("_URL") || key == "BACKEND" || key == "SOCKETIO";
                    let text = value.as_str().unwrap_or_default();
                    let setting = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
                    let text = setting.map_or(text, |key| case.service["env"][key].as_str().unwrap());
                    let text = text.rsplit('@').next().unwrap().trim_start_matches("redis://");
                    (host && !text.is_empty() && !text.contains('.') && !text.starts_with("http"))
                        .then(|| text.split(':').next().unwrap().to_owned())
                })
                .collect();
            // what a dependency exports is on the shared network under a name that is nobody else's
            let exported = ["versatile-postgres", "versatile-redis", "versatile-mariadb"];
            for host in asked {
                assert!(
                    !shared || host.starts_with(&format!("{}-", case.package)) || exported.contains(&host.as_str()),
                    "{}/{name} asks for `{host}`",
                    case.name
                );
            }
        }
    }
}

/// services.md, section 0: what these programs do to people who do not know.
#[test]
fn traps_are_stepped_round() {
    for case in cases() {
        let service = |name: &str| &case.stack["services"][name];
        let probe = |name: &str| service(name)["healthcheck"]["test"].to_string();
        let owner = |path: &str| {
            let directories = case.service["directories"].as_array().unwrap();
            let found = directories.iter().find(|d| d["path"].as_str().unwrap().ends_with(path));
            found.unwrap_or_else(|| panic!("{}: {path} is not made", case.name))["owner"].as_str().unwrap().to_owned()
        };
        match case.package.as_str() {
            "infrastructure" => {
                // 7: older ones do not speak with Docker 29
                let image = service("traefik")["image"].as_str().unwrap();
                let version: Vec<u32> =
                    image.trim_start_matches("traefik:v").split('.').map(|n| n.parse().unwrap()).collect();
                assert!(version >= vec![3, 6, 2], "{image}");
                let command = service("traefik")["command"].to_string();
                assert!(command.contains("exposedbydefault=false"), "{}", case.name);
                assert_eq!(command.contains("acme"), case.tls == "acme", "{}", case.name);
                assert!(service("traefik")["volumes"].to_string().contains("docker.sock:ro"));
            }
            "hub" => {
                // 12: one owner for everything would break the database
                assert_eq!([owner("data/mariadb"), owner("data/sites")], ["999", "1000"]);
                // passwords that reach the jobs only
                assert!(!service("backend")["environment"].to_string().contains("PASSWORD"));
            }
            "chat" => {
                // 8: no curl in that image; /api is always 200
                assert!(probe("web").contains("wget") && probe("web").contains("data_services"));
                assert!(service("postgres")["image"].as_str().unwrap().starts_with("pgvector/"));
                // 9: whoever comes first would own it
                assert!(case.labels(service("web")).iter().any(|l| l.contains("!PathRegexp(`(?i)^/installation`)")));
                assert_eq!([owner("data/postgres"), owner("data/redis")], ["999", "999"]);
                let all = ["PRIMARY_KEY", "DETERMINISTIC_KEY", "KEY_DERIVATION_SALT"];
                assert!(
                    all.iter().all(|key| service("web")["environment"]
                        .get(format!("ACTIVE_RECORD_ENCRYPTION_{key}"))
                        .is_some())
                );
            }
            "flow" => {
                // 5: /healthz is 200 while it migrates; 9
                assert!(probe("n8n").contains("/healthz/readiness"));
                assert!(
                    case.labels(service("n8n")).iter().any(|l| l.contains("!PathRegexp(`(?i)^/rest/owner/setup`)"))
                );
                assert_eq!([owner("data/workflows"), owner("data/database")], ["1000", "999"]);
            }
            "agent" => {
                // 6: /healthz is 200 before it is ready
                assert!(probe("gateway").contains("/startupz"));
                assert_eq!(service("gateway")["stop_grace_period"], "340s");
            }
            _ => {}
        }
        for (name, service) in case.services() {
            // 10: from 18 on the data is elsewhere
            let image = service["image"].as_str().unwrap();
            let server = service.get("healthcheck").is_some();
            if server && (image.starts_with("postgres:") || image.starts_with("pgvector/")) {
                assert!(image.ends_with("17"), "{image}");
                assert!(
                    service["volumes"][0].as_str().unwrap().ends_with(":/var/lib/postgresql/data"),
                    "{}/{name}",
                    case.name
                );
                assert!(
                    service["healthcheck"]["test"].to_string().contains("127.0.0.1"),
                    "the socket answers too early"
                );
            }
            // a password in a command is in every process list
            let command = service["command"].to_string();
            assert!(!command.contains("${"), "{}/{name}: {command}", case.name);
        }
    }
}
