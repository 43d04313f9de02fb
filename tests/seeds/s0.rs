//! Orion: the registry as the only place that knows a service, deployed to Docker Swarm. The catalogue is asked about the
//! seed's own manifest as it stands in the document, byte for byte; to be deployed it gets one more line, the extensions
//! that Chatwoot 4 wants from its database and may not create itself.

use std::path::Path;

use crate::stage::{self, Stage, counts, last_events, text};

const ANSWERS: [&str; 4] = ["-e", "URL_CHATWOOT=chat.orion.example", "-e", "ADMIN_EMAIL=admin@orion.example"];

#[test]
fn the_seed_s0_from_top_to_bottom() {
    let Some((_turn, stage)) = stage::enter(&crate::SCENE, "the_seed_s0_from_top_to_bottom") else { return };
    let runs = stage.runs("s0");
    let registry = text(&package(stage));
    let with = |words: &[&str], more: &[&str]| -> Vec<String> {
        [words, &["--registry", &registry], more].concat().iter().map(|word| (*word).to_owned()).collect()
    };
    let must = |words: Vec<String>, code: i32| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        stage.must(&runs, &words, code)
    };

    // §1, §3.1: the catalogue is what the folders say, by category; nothing was rebuilt for this package
    let listed = must(with(&["registry", "list"], &[]), 0).stdout;
    let row = listed.lines().find(|line| line.starts_with("chatwoot ")).unwrap_or_default();
    assert!(row.contains("Customer Support") && row.contains("latest"), "{listed}");
    let shown = must(with(&["registry", "show", "chatwoot"], &[]), 0).stdout;
    assert!(shown.contains("URL_CHATWOOT") && shown.contains("postgres"), "{shown}");

    extend(Path::new(&registry));

    // §3.2: what is missing is asked for; where nobody can be asked all of it is named, and nothing is touched
    let refused = must(with(&["--host", "s0", "--yes"], &[]), 2).stderr;
    for key in ["URL_CHATWOOT", "ADMIN_EMAIL"] {
        assert!(refused.contains(key), "{key}: {refused}");
    }
    let wrong = must(with(&["--host", "s0", "--yes", "-e", "URL_CHATWOOT=no_es_un_dominio"], &ANSWERS[2..]), 2).stderr;
    assert!(wrong.contains("URL_CHATWOOT") && wrong.contains("domain"), "{wrong}");
    assert_eq!(stage.inside("s0", "ls -A /opt"), "", "nothing was touched");

    // §4.4 to §4.9: what it depends on first, then databases, folders, files, the stack, and waiting until it is well
    let begun = must(with(&["--host", "s0", "--yes"], &ANSWERS), 0);
    let order: Vec<usize> =
        ["postgres ", "redis ", "chatwoot "].iter().map(|name| begun.stdout.find(name).unwrap()).collect();
    assert!(order.is_sorted(), "{}", begun.stdout);
    let stacks = stage.inside("s0", "docker stack ls --format '{{.Name}}' | sort | paste -sd' '");
    assert_eq!(stacks, "versatile-chatwoot versatile-postgres versatile-redis");
    let network = stage.inside("s0", "docker network inspect -f '{{.Driver}} {{.Attachable}}' orion_net");
    assert_eq!(network, "overlay true");
    let databases =
        "select string_agg(datname || ' ' || pg_get_userbyid(datdba), ' ') from pg_database where datname like 'chat%'";
    assert_eq!(sql(stage, "postgres", databases), "chatwoot_production chatwoot");
    assert_eq!(sql(stage, "chatwoot_production", "select count(*) > 0 from ar_internal_metadata"), "t", "migrated");
    let health = "docker inspect -f '{{.State.Health.Status}}' $(docker ps -q --filter name=versatile-chatwoot_web)";
    assert_eq!(stage.inside("s0", health), "healthy");

    // §3.2: made secrets are kept, readable by their names only, and stay what they are
    let kept = stage.options.dir.join("vps_data/s0/chatwoot.env.age");
    let before = std::fs::read_to_string(&kept).unwrap_or_else(|error| panic!("{}: {error}", kept.display()));
    assert!(before.contains("SECRET_KEY_BASE"), "{before}");
    let dotenv = stage.inside("s0", "cat /opt/ATS/VersatileHub/services/chatwoot/.env");
    let secret =
        dotenv.lines().find_map(|line| line.strip_prefix("SECRET_KEY_BASE=")).unwrap().trim_matches(['\'', '"']);
    assert!(secret.len() == 64 && secret.chars().all(|c| c.is_ascii_hexdigit()), "hex of 32 bytes");
    assert!(!before.contains(secret), "encrypted");

    // the same command again changes nothing
    must(with(&["--host", "s0", "--yes"], &ANSWERS), 0);
    assert_eq!(counts(&last_events(&runs), "s0", "changed"), 0);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), before);
    let status = must(with(&["status", "--host", "s0"], &ANSWERS), 0).stdout;
    let line = status.lines().find(|line| line.contains(" chatwoot ")).unwrap_or_default();
    assert!(line.contains("healthy 1/1") && line.contains("  no"), "{status}");

    // the server's password is a secret of the swarm; another one is another secret, and the old one is gone
    let secrets = || stage.inside("s0", "docker secret ls --format '{{.Name}}' | grep POSTGRES_PASSWORD_");
    let shown = || {
        stage.inside("s0", "docker service inspect versatile-postgres_postgres; cat /opt/ATS/VersatileHub/services/postgres/docker-compose.yml")
    };
    let password = || stage.inside("s0", "cat /opt/ATS/VersatileHub/services/postgres/.secrets/POSTGRES_PASSWORD");
    let before = (secrets(), password());
    assert!(shown().contains("/run/secrets/POSTGRES_PASSWORD") && !shown().contains(&before.1));
    must(with(&["secrets", "rotate", "postgres/POSTGRES_PASSWORD", "--host", "s0", "--yes"], &ANSWERS), 0);
    assert!(secrets() != before.0 && secrets().lines().count() == 1 && password() != before.1, "{}", secrets());
    assert!(!shown().contains(&password()));

    // what a swarm runs is backed up, with the databases that were only needed, and comes back
    let redis = |words: &str| {
        let setting = "sed -n 's/^REDIS_PASSWORD=//p' /opt/ATS/VersatileHub/services/redis/.env | tr -d \"'\\\"\"";
        let container = "$(docker ps -q --filter name=versatile-redis_redis)";
        stage.inside(
            "s0",
            &format!("REDISCLI_AUTH=$({setting}) docker exec -e REDISCLI_AUTH {container} redis-cli {words}"),
        )
    };
    sql(stage, "chatwoot_production", "create table day as select 'ñandú' as what");
    redis("set kept yes");
    must(with(&["backup", "--host", "s0", "--yes"], &ANSWERS), 0);
    sql(stage, "chatwoot_production", "drop table day");
    redis("flushall");
    must(with(&["restore", "--host", "s0", "--services", "postgres,redis", "--yes-really"], &ANSWERS), 0);
    assert_eq!(sql(stage, "chatwoot_production", "select what from day"), "ñandú");
    assert_eq!(redis("get kept"), "yes");
}

/// The folder of the seed: its manifest, a stack, and the variables that are required.
fn package(stage: &Stage) -> std::path::PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let registry = stage.scratch.join("s0");
    std::fs::create_dir_all(registry.join("chatwoot")).unwrap();
    for (from, to) in [
        ("fixtures/seed-s0-manifest.json", "manifest.json"),
        ("seeds/s0/stack.yml.j2", "stack.yml.j2"),
        ("seeds/s0/.env.example", ".env.example"),
    ] {
        std::fs::copy(here.join(from), registry.join("chatwoot").join(to)).unwrap();
    }
    registry
}

fn extend(registry: &Path) {
    let path = registry.join("chatwoot/manifest.json");
    let seed = std::fs::read_to_string(&path).unwrap();
    let line = "\"type\": \"postgres\",";
    assert_eq!(seed.matches(line).count(), 1);
    let extensions = "\"extensions\": [\"pg_stat_statements\", \"pg_trgm\", \"pgcrypto\", \"vector\"],";
    std::fs::write(&path, seed.replace(line, &format!("{line}\n      {extensions}"))).unwrap();
}

fn sql(stage: &Stage, database: &str, statement: &str) -> String {
    let container = "$(docker ps -q --filter name=versatile-postgres_postgres)";
    let statement = provision::plan::quote(statement);
    stage.inside("s0", &format!("docker exec {container} psql -U postgres -tAc {statement} {database}"))
}
