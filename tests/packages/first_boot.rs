//! First boots in the lab's images: who becomes the owner of a fresh Chatwoot or n8n, what the probes say while they start,
//! what the proxy routes, and the passwords that databases take. Data services and OpenClaw are the real programs.
//!
//! Not here: the jobs of `hub` (hub.rs), a whole rollout (on lab hosts).

use std::collections::BTreeMap;
use std::path::Path;

use provision::services::{Catalogue, render};

use crate::stage::{Stage, docker, eventually, job, text, try_docker};

/// A password as a careful person makes it.
const HARD: &str = "p W$x'\"\\#@é1";
const HEX: &str = "0123456789abcdef0123456789abcdef";

const CHATWOOT: [&str; 4] = ["pgvector/pgvector:pg17", "redis:8.0", "chatwoot/chatwoot:v4.17.1", "traefik:v3.7.9"];

fn chatwoot_env(postgres: &str) -> Vec<(&'static str, &str)> {
    vec![
        ("POSTGRES_HOST", postgres),
        ("POSTGRES_PORT", "5432"),
        ("POSTGRES_USERNAME", "chatwoot"),
        ("POSTGRES_DATABASE", "chatwoot_production"),
        ("POSTGRES_PASSWORD", HARD),
        ("REDIS_URL", "redis://chat-redis:6379"),
        ("SECRET_KEY_BASE", HEX),
    ]
}

fn postgres(stage: &mut Stage, alias: &str, image: &str) -> String {
    let env = [("POSTGRES_USER", "chatwoot"), ("POSTGRES_DB", "chatwoot_production"), ("POSTGRES_PASSWORD", HARD)];
    let name = stage.run(alias, &env, &[], &[image]);
    eventually("PostgreSQL answers on TCP", 60, || {
        try_docker(&["exec", &name, "pg_isready", "-q", "-h", "127.0.0.1", "-U", "chatwoot"]).status.success()
    });
    name
}

/// Starts the proxy, which is then reached as `proxy`.
fn proxy(stage: &mut Stage) -> &'static str {
    let socket = ["-v", "/var/run/docker.sock:/var/run/docker.sock:ro"];
    let flags = [
        "traefik:v3.7.9",
        "--providers.docker=true",
        "--providers.docker.exposedbydefault=false",
        "--entrypoints.web.address=:80",
        "--ping=true",
    ];
    let name = stage.run("proxy", &[], &socket, &flags);
    eventually("the proxy is up", 20, || {
        try_docker(&["exec", &name, "traefik", "healthcheck", "--ping"]).status.success()
    });
    "proxy"
}

/// The labels of a container that the proxy routes by this rule.
fn routed(stage: &Stage, rule: &str, port: u16) -> [String; 5] {
    let network = &stage.network;
    [
        "traefik.enable=true".to_owned(),
        format!("traefik.docker.network={network}"),
        format!("traefik.http.routers.r-{network}.rule={rule}"),
        format!("traefik.http.routers.r-{network}.entrypoints=web"),
        format!("traefik.http.services.s-{network}.loadbalancer.server.port={port}"),
    ]
}

#[test]
fn chatwoot_gets_its_administrator_before_any_visitor() {
    let Some(mut stage) = Stage::open(&CHATWOOT) else { return };
    let database = postgres(&mut stage, "chat-postgres", "pgvector/pgvector:pg17");
    stage.run("chat-redis", &[], &[], &["redis:8.0"]);
    let env = chatwoot_env("chat-postgres");
    let image = "chatwoot/chatwoot:v4.17.1";
    let prepare = stage.run("prepare", &env, &[], &[image, "bundle", "exec", "rails", "db:chatwoot_prepare"]);
    assert_eq!(docker(&["wait", &prepare]), "0", "{}", text(&try_docker(&["logs", &prepare])));
    proxy(&mut stage);
    let host = format!("{}.example", stage.network);
    let labels = routed(&stage, &format!("Host(`{host}`) && !PathRegexp(`(?i)^/installation`)"), 3000);
    let mut options: Vec<&str> = labels.iter().flat_map(|label| ["-l", label]).collect();
    options.extend(["--health-cmd", "wget -qO- http://127.0.0.1:3000/api | grep -q '\"data_services\":\"ok\"'"]);
    options.extend(["--health-interval", "2s", "--health-start-period", "30s"]);
    let web = stage.run("web", &env, &options, &[image, "bundle", "exec", "rails", "s", "-p", "3000", "-b", "0.0.0.0"]);
    assert!(
        !try_docker(&["exec", &web, "which", "curl"]).status.success(),
        "trap 8: the real image has no curl either"
    );

    let through_proxy = |path: &str| {
        let header = format!("Host: {host}");
        text(&try_docker(&["exec", &web, "wget", "-SqO-", "--header", &header, &format!("http://proxy{path}")]))
    };
    assert!(through_proxy("/api").contains("404"), "while it starts there is no route");
    eventually("the proxy routes the healthy container", 40, || {
        through_proxy("/api").contains("\"queue_services\":\"ok\"")
    });

    let env = BTreeMap::from([
        ("CHAT_ADMIN_EMAIL", "Admin@Cliente.example"),
        ("CHAT_ADMIN_NAME", "Ñandú O'Neil"),
        ("CHAT_ACCOUNT_NAME", "Cliente A S.A."),
        ("CHAT_ADMIN_PASSWORD", HARD),
    ]);
    let inside =
        |path: &str| text(&try_docker(&["exec", &web, "wget", "-SqO-", &format!("http://127.0.0.1:3000{path}")]));
    assert!(inside("/installation/onboarding").contains("create the administrator"), "trap 9: open to whoever comes");
    for path in ["/installation/onboarding", "/Installation/onboarding", "//installation/onboarding"] {
        assert!(through_proxy(path).contains("404"), "{path} must not be routed");
    }
    let check = || job(&web, None, "chat", "jobs/admin-check.sh", &env);
    assert_ne!(check().rc, 0);
    for _ in 0..2 {
        let ran = job(&web, None, "chat", "jobs/admin.sh", &env);
        assert_eq!((ran.rc, check().rc), (0, 0), "{}", ran.text);
    }
    let users = "select count(*) || ' ' || min(email) || ' ' || min(name) || ' ' || min(type) from users";
    let psql = ["exec", &database, "psql", "-U", "chatwoot", "-tAc", users, "chatwoot_production"];
    assert_eq!(docker(&psql), "1 admin@cliente.example Ñandú O'Neil SuperAdmin");
    let login =
        format!("{{\"email\":\"admin@cliente.example\",\"password\":{}}}", serde_json::to_string(HARD).unwrap());
    let answer =
        text(&try_docker(&["exec", &web, "wget", "-qO-", "--post-data", &login, "http://127.0.0.1:3000/auth/sign_in"]));
    assert!(answer.contains("admin@cliente.example"), "{answer}");
}

#[test]
fn chatwoot_refuses_a_database_without_vectors() {
    let Some(mut stage) = Stage::open(&["postgres:17", CHATWOOT[1], CHATWOOT[2]]) else { return };
    postgres(&mut stage, "plain-postgres", "postgres:17");
    stage.run("chat-redis", &[], &[], &["redis:8.0"]);
    let image = [CHATWOOT[2], "bundle", "exec", "rails", "db:chatwoot_prepare"];
    let prepare = stage.run("prepare", &chatwoot_env("plain-postgres"), &[], &image);
    assert_eq!(docker(&["wait", &prepare]), "1");
    let said = text(&try_docker(&["logs", &prepare]));
    assert!(said.contains("vector"), "{said}");
}

#[test]
fn n8n_is_ready_late_owned_early_and_keeps_its_key() {
    let Some(mut stage) = Stage::open(&["postgres:17", "n8nio/n8n:2.40.7", "traefik:v3.7.9"]) else { return };
    postgres(&mut stage, "flow-postgres", "postgres:17");
    let proxy = proxy(&mut stage);
    let home = stage.volume("home");
    let mount = format!("{home}:/home/node/.n8n");
    let env = |key: &'static str| {
        vec![
            ("DB_TYPE", "postgresdb"),
            ("DB_POSTGRESDB_HOST", "flow-postgres"),
            ("DB_POSTGRESDB_DATABASE", "chatwoot_production"),
            ("DB_POSTGRESDB_USER", "chatwoot"),
            ("DB_POSTGRESDB_PASSWORD", HARD),
            ("N8N_ENCRYPTION_KEY", key),
        ]
    };
    let catalogue = Catalogue::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
    let stack = render::sample(&catalogue, catalogue.get("flow").unwrap(), "compose").unwrap();
    let host = format!("{}.example", stage.network);
    let rules: Vec<&str> = stack["services"]["n8n"]["labels"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|label| label.as_str()?.split_once(".rule="))
        .map(|(_, rule)| rule)
        .collect();
    let labels = routed(&stage, &rules[0].replace("flow.sample.example", &host), 5678);
    let mut options: Vec<&str> = labels.iter().flat_map(|label| ["-l", label]).collect();
    options.extend(["-v", &mount]);
    let n8n = stage.run("n8n", &env(HEX), &options, &["n8nio/n8n:2.40.7"]);
    let get = |path: &str| try_docker(&["exec", &n8n, "wget", "-qO-", &format!("http://127.0.0.1:5678{path}")]);
    eventually("it listens", 20, || get("/healthz").status.success());
    assert!(!get("/healthz/readiness").status.success(), "trap 5: /healthz is 200 while it still migrates");
    eventually("it is ready", 40, || get("/healthz/readiness").status.success());

    let settings = BTreeMap::from([
        ("FLOW_OWNER_EMAIL", "admin@cliente.example"),
        ("FLOW_OWNER_FIRST_NAME", "Ñandú"),
        ("FLOW_OWNER_LAST_NAME", "O'Neil"),
        ("FLOW_OWNER_PASSWORD", HARD),
    ]);
    let check = || job(&n8n, None, "flow", "jobs/owner-check.sh", &settings);
    assert_ne!(check().rc, 0);
    // trap 9: whoever comes first would own it; from outside nobody comes there, however it is spelt
    let header = format!("Host: {host}");
    let through_proxy = |path: &str| {
        text(&try_docker(&["exec", &n8n, "wget", "-SqO-", "--header", &header, &format!("http://{proxy}{path}")]))
    };
    eventually("the proxy routes it", 20, || through_proxy("/rest/settings").contains("\"showSetupOnFirstLoad\":true"));
    for path in ["/rest/owner/setup", "/REST/Owner/setup", "//rest/owner/setup", "/rest/owner/setup/"] {
        assert!(through_proxy(path).contains(" 404 "), "{path} must not be routed: {}", through_proxy(path));
    }
    let ran = job(&n8n, None, "flow", "jobs/owner.sh", &settings);
    assert_eq!((ran.rc, check().rc), (0, 0), "{}", ran.text);
    let login = format!(
        "{{\"emailOrLdapLoginId\":\"admin@cliente.example\",\"password\":{}}}",
        serde_json::to_string(HARD).unwrap()
    );
    let header = "Content-Type: application/json";
    let answer = try_docker(&[
        "exec",
        &n8n,
        "wget",
        "-qO-",
        "--header",
        header,
        "--post-data",
        &login,
        "http://127.0.0.1:5678/rest/login",
    ]);
    assert!(answer.status.success(), "{}", text(&answer));

    docker(&["rm", "-f", &n8n]);
    let other = stage.run("n8n-with-another-key", &env("another key"), &["-v", &mount], &["n8nio/n8n:2.40.7"]);
    assert_eq!(docker(&["wait", &other]), "1");
    assert!(text(&try_docker(&["logs", &other])).contains("Mismatching encryption keys"));
}

#[test]
fn databases_take_any_password_and_keep_the_first() {
    let Some(mut stage) = Stage::open(&["postgres:17", "mariadb:11.8", "redis:8.0"]) else { return };
    let volume = stage.volume("data");
    let mount = format!("{volume}:/var/lib/postgresql/data");
    // over the network: like the real image, it lets 127.0.0.1 in without a password
    let ask = |name: &str, password: &str| {
        let (env, host) = (format!("PGPASSWORD={password}"), name.rsplit('-').next().unwrap());
        try_docker(&["exec", "-e", &env, name, "psql", "-h", host, "-U", "postgres", "-tAc", "select 7"])
    };
    let first = stage.run("first", &[("POSTGRES_PASSWORD", HARD)], &["-v", &mount], &["postgres:17"]);
    eventually("it takes the password", 60, || text(&ask(&first, HARD)) == "7\n");
    docker(&["rm", "-f", &first]);
    let second = stage.run("second", &[("POSTGRES_PASSWORD", "other")], &["-v", &mount], &["postgres:17"]);
    eventually("the filled directory keeps the first one", 60, || text(&ask(&second, HARD)) == "7\n");
    assert!(!ask(&second, "other").status.success());

    let database = stage.run("maria", &[("MARIADB_ROOT_PASSWORD", HARD)], &[], &["mariadb:11.8"]);
    let env = format!("MYSQL_PWD={HARD}");
    eventually("it takes the password", 60, || {
        let asked =
            ["exec", "-e", &env, &database, "mariadb", "--skip-ssl", "-h", "127.0.0.1", "-uroot", "-NBe", "select 7"];
        text(&try_docker(&asked)) == "7\n"
    });

    // nothing is started without a password
    for (alias, image) in [("open-postgres", "postgres:17"), ("open-maria", "mariadb:11.8")] {
        let name = stage.run(alias, &[], &[], &[image]);
        assert_eq!(docker(&["wait", &name]), "1", "{image}");
    }
}

/// Trap 12: one owner for every `data` folder, as a well-meant `chown -R 1000:1000` makes it, stops a database.
#[test]
fn data_belongs_to_the_user_of_its_own_image() {
    let Some(mut stage) = Stage::open(&["redis:8.0"]) else { return };
    let mount = format!("{}:/data", stage.volume("data"));
    let owned_by = |owner: &str| {
        // an empty volume gets the owner of the image's folder whenever it is mounted
        let command = format!("touch /data/filled && chown -R {owner} /data && chmod 0700 /data");
        docker(&["run", "--rm", "-u", "0", "-v", &mount, "--entrypoint", "sh", "redis:8.0", "-c", &command]);
    };
    let options = ["-v", &mount, "-u", "999:999"];
    let command = ["redis:8.0", "redis-server", "--appendonly", "yes", "--dir", "/data"];
    owned_by("1000:1000");
    let broken = stage.run("broken", &[], &options, &command);
    let state = ["inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", &broken];
    eventually("it gives up", 20, || docker(&state) == "false 1");
    assert!(text(&try_docker(&["logs", &broken])).contains("Permission denied"));

    let catalogue = Catalogue::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
    let directory = &catalogue.get("redis").unwrap().manifest.directories[0];
    owned_by(&format!("{}:{}", directory.owner.as_deref().unwrap(), directory.group.as_deref().unwrap()));
    let redis = stage.run("redis", &[], &options, &command);
    eventually("it answers", 20, || text(&try_docker(&["exec", &redis, "redis-cli", "ping"])) == "PONG\n");
}

#[test]
fn the_proxy_refuses_what_the_real_one_refuses() {
    let Some(mut stage) = Stage::open(&["traefik:v3.7.9"]) else { return };
    let wrong = stage.run("wrong", &[], &[], &["traefik:v3.7.9", "--providers.docker=true", "--entrypoint.web=:80"]);
    assert_eq!(docker(&["wait", &wrong]), "1");
    assert!(text(&try_docker(&["logs", &wrong])).contains("field not found, node: entrypoint.web"));

    let socket = ["-v", "/var/run/docker.sock:/var/run/docker.sock:ro"];
    let flags = [
        "traefik:v3.7.9",
        "--providers.docker=true",
        "--providers.docker.exposedbydefault=false",
        "--entrypoints.web.address=:80",
        "--ping=true",
        "--log.level=INFO",
    ];
    let proxy = stage.run("proxy", &[], &socket, &flags);
    eventually("it is up", 20, || try_docker(&["exec", &proxy, "traefik", "healthcheck", "--ping"]).status.success());
    assert!(!try_docker(&["exec", &proxy, "traefik", "healthcheck"]).status.success(), "it wants to be told of --ping");
    // Traefik 2's list of hosts
    let rule = "traefik.http.routers.old.rule=Host(`a.example`, `b.example`)";
    let name = stage.run(
        "old",
        &[],
        &["-l", "traefik.enable=true", "-l", rule, "-l", "traefik.http.services.old.loadbalancer.server.port=1"],
        &["traefik:v3.7.9", "--ping=true"],
    );
    eventually("it says why", 20, || {
        text(&try_docker(&["logs", &proxy])).contains("unexpected number of parameters; got 2, expected one of [1]")
    });
    drop(name);
}

#[test]
fn openclaw_is_configured_without_a_download_and_is_alive_before_it_is_ready() {
    let Some(mut stage) = Stage::open(&["openclaw/openclaw:2026.9.6"]) else { return };
    const KEY: &str = "sk-planted-key-of-the-provider";
    let home = stage.volume("home");
    let mount = format!("{home}:/home/node");
    let env = [
        ("OPENCLAW_GATEWAY_TOKEN", HEX),
        ("OPENCLAW_DISABLE_BONJOUR", "1"),
        ("OPENCLAW_CONFIG_DIR", "/home/node/.openclaw"),
        ("OPENAI_API_KEY", KEY),
        ("ANTHROPIC_API_KEY", ""),
        ("AGENT_ORIGIN", "https://agent.cliente.example"),
    ];
    // the text that the rendered stack gives to the one-shot; no name can be looked up, so nothing can be fetched
    let catalogue = Catalogue::load(Path::new(env!("CARGO_MANIFEST_DIR")), &[]).unwrap();
    let stack = render::sample(&catalogue, catalogue.get("agent").unwrap(), "compose").unwrap();
    let script = stack["services"]["setup"]["command"][2].as_str().unwrap().replace("$$", "$");
    let offline = ["--init", "-v", &mount, "--dns", "127.0.0.1"];
    let image = "openclaw/openclaw:2026.9.6";
    let setup = stage.run("setup", &env, &offline, &[image, "sh", "-c", &script]);
    assert_eq!(docker(&["wait", &setup]), "0", "{}", text(&try_docker(&["logs", &setup])));

    let gateway = ["node", "dist/index.js", "gateway", "--bind", "lan", "--port", "18789"];
    let gateway = stage.run("gateway", &env, &offline, &[&[image][..], &gateway].concat());
    // one process that asks both until both are 200, and says whether the first ever was alone (trap 6)
    let ask = "const get = p => fetch('http://127.0.0.1:18789/' + p).then(r => r.ok, () => false);
        let alone = false;
        for (;;) {
            const alive = await get('healthz'), started = await get('startupz');
            alone ||= alive && !started;
            if (alive && started) { console.log(alone ? 'alive first' : 'at once'); break }
            await new Promise(r => setTimeout(r, 50));
        }";
    let answer = try_docker(&["exec", &gateway, "timeout", "150", "node", "--input-type=module", "-e", ask]);
    assert_eq!(text(&answer), "alive first\n");
    let choice = "node -p 'const c = require(\"/home/node/.openclaw/openclaw.json\"); \
        [c.agents.defaults.model.primary.split(\"/\")[0], c.models.providers.openai.agentRuntime.id, c.gateway.bind].join()'";
    assert_eq!(docker(&["exec", &gateway, "sh", "-c", choice]), "openai,openclaw,lan");
    let written = format!("grep -rlF -e {KEY} -e {HEX} /home/node; true");
    assert_eq!(docker(&["exec", &gateway, "sh", "-c", &written]), "", "configured by reference, never written down");
}
