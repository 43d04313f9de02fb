//! The example fleet, rolled out by one command and then again: clienteA gets infrastructure, hub and chat, clienteB the
//! complete suite. The first run is watched for secrets through and through.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use provision::secrets::EnvFile;
use serde_json::Value;

use super::leaks::Search;
use super::processes::Sampler;
use super::stage::{self, Ran, Stage, counts, is};

const BOTH: &str = "clienteA,clienteB";
const DECLARED: [(&str, &[&str]); 2] = [
    ("clienteA", &["infrastructure", "hub", "chat"]),
    ("clienteB", &["infrastructure", "agent", "chat", "hub", "flow"]),
];
/// Services without an address of their own.
const WITHOUT_URL: [&str; 1] = ["infrastructure"];

/// One test, for each step stands on the one before: a first rollout takes minutes.
#[test]
fn the_fleet_is_rolled_out_by_one_command() {
    let Some((_turn, stage)) = super::enter("the_fleet_is_rolled_out_by_one_command") else { return };
    let runs = stage.runs("fleet");
    let registry = write_package(&stage.scratch.join("registry"));
    let planted = plant(stage, &registry);
    let since = SystemTime::now() - Duration::from_secs(1);

    let sampler = Sampler::start();
    let loud = |command: &mut std::process::Command| {
        command.env("RUST_LOG", "trace");
    };
    let first = stage.start_with(&runs, &["--host", BOTH, "--yes"], loud).end();
    first.expect(0);
    the_matrix_is_complete(&first, &stage::last_events(&runs));
    let arguments = ["--host", "clienteA", "--services", "testigo", "--registry", &registry, "--yes"];
    let package = stage.start_with(&runs, &arguments, loud).end();
    let (seen, looks) = sampler.end();
    assert!(looks as u64 > first.took.as_secs(), "only {looks} looks at the process lists");

    package.expect(0);
    a_package_of_two_files_is_there(stage, &planted);
    no_secret_is_anywhere(stage, &registry, &planted, &[&first, &package], seen, since);

    again_nothing_is_left_to_do(stage, &runs);
    status_says_so(stage, &runs);
    what_is_on_the_hosts(stage);
    super::lost::a_lost_server_comes_back(stage, &runs);
}

fn the_matrix_is_complete(ran: &Ran, events: &[Value]) {
    for (host, services) in DECLARED {
        let cells: BTreeMap<&str, &Value> = events
            .iter()
            .filter(|event| is(event, "service_finished") && event["host"] == host)
            .map(|event| (event["service"].as_str().unwrap(), event))
            .collect();
        let mut names: Vec<&str> = cells.keys().copied().collect();
        let mut expected = services.to_vec();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{host}");
        for (service, cell) in cells {
            assert_eq!(cell["status"], "changed", "{host} {service}: {cell}");
            assert!(cell["version"].as_str().is_some_and(|version| version.contains('.')), "{cell}");
            if !WITHOUT_URL.contains(&service) {
                assert!(cell["url"].as_str().is_some_and(|url| url.starts_with("https://")), "{cell}");
                assert!(cell["url_result"].as_str().is_some_and(|said| said.starts_with("200")), "{cell}");
            }
        }
        let row = ran.stdout.lines().find(|line| line.starts_with(host)).unwrap_or_default();
        assert!(row.contains("infrastructure") && row.contains("changed"), "the summary's row: {row}");
    }
    assert!(ran.stdout.contains("CLIENT") && ran.stdout.contains("all well"), "{}", ran.stdout);
}

fn again_nothing_is_left_to_do(stage: &Stage, runs: &Path) {
    let ran = stage.must(runs, &["--host", BOTH, "--yes"], 0);
    let events = stage::last_events(runs);
    let changed: Vec<String> = events
        .iter()
        .filter(|event| is(event, "task_finished") && event["outcome"]["status"] == "changed")
        .map(|event| format!("{} {} {}", event["host"], event["task"]["service"], event["task"]["name"]))
        .collect();
    assert_eq!(changed, Vec::<String>::new());
    for (host, services) in DECLARED {
        assert_eq!(counts(&events, host, "changed"), 0);
        assert_eq!(counts(&events, host, "failed"), 0);
        let cells = events.iter().filter(|event| is(event, "service_finished") && event["host"] == host);
        assert_eq!(cells.filter(|cell| cell["status"] == "ok").count(), services.len(), "{host}");
        let recap = ran.stdout.lines().find(|line| line.starts_with(host) && line.contains("changed="));
        assert!(recap.is_some_and(|line| line.contains("changed=0 ")), "{}", ran.stdout);
    }
}

fn status_says_so(stage: &Stage, runs: &Path) {
    let ran = stage.must(runs, &["status", "--host", BOTH, "--json"], 0);
    let rows: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (host, services) in DECLARED {
        for service in services {
            let row = rows.iter().find(|row| row["host"] == host && row["service"] == *service);
            let row = row.unwrap_or_else(|| panic!("{host} {service} is missing in {}", ran.stdout));
            assert!(row["state"].as_str().unwrap().starts_with("healthy "), "{row}");
            assert_eq!(row["drift"], "no", "{row}");
            assert_eq!(row["installed"], row["declared"], "{row}");
        }
    }
    // a fleet that is well has no trouble that is none
    for verb in ["diagnose", "verify", "doctor"] {
        let ran = stage.run(runs, &[verb, "--host", BOTH]);
        assert_eq!(ran.code, Some(0), "{verb}: {}{}", ran.stdout, ran.stderr);
    }
}

fn what_is_on_the_hosts(stage: &Stage) {
    for (host, services) in DECLARED {
        let modes = stage.inside(host, "find /opt/ATS/VersatileHub -name .env -exec stat -c '%a %U' {} +");
        assert!(modes.lines().count() >= services.len(), "{host}: {modes}");
        assert!(modes.lines().all(|line| line == "600 root"), "{host}: {modes}");
        for service in services {
            let record = stage.inside(host, &format!("cat /var/lib/provision/services/{service}.json"));
            let record: Value = serde_json::from_str(&record).unwrap();
            assert_eq!(record["service"], *service);
            assert!(record["version"].is_string() && record["digest"].is_string(), "{record}");
        }
        assert_eq!(stage.half_written(host), "");

        // databases, asked themselves
        let users = "docker exec versatile-hub-db sh -c 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -N -B -u root -e \
            \"select distinct host from mysql.user where user like \\\"\\\\_%\\\"\"'";
        assert_eq!(stage.inside(host, users), "%", "{host}: whence the site's database user may come");
        let tables = "docker exec versatile-chat-postgres psql -U chatwoot -d chatwoot_production -Atc \
            \"select count(*) from pg_tables where schemaname = 'public' and tablename in ('accounts', 'users')\"";
        assert_eq!(stage.inside(host, tables), "2", "{host}: Chatwoot's tables");
        let sites = stage.inside(host, "ls -d /opt/ATS/VersatileHub/services/hub/data/sites/erp.*.example");
        assert_eq!(sites.lines().count(), 1, "{host}: {sites}");
    }
    let company =
        "docker exec versatile-hub-backend sh -c 'printf %s \"$FRAPPE_COMPANY_NAME\"' | od -An -tx1 | tr -d ' \\n'";
    let bytes: String = "Cliente A S.A.".bytes().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(stage.inside("clienteA", company), bytes);
}

/// Two files that nobody has built into anything.
fn write_package(registry: &Path) -> String {
    let folder = registry.join("testigo");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join("manifest.json"),
        r#"{"id": "testigo", "name": "Testigo", "version": "8.0",
            "variables": [{"key": "TESTIGO_PLANTED", "prompt": "…", "required": true, "secret": true}],
            "secrets": [{"key": "TESTIGO_MADE", "length": 24, "type": "password"}]}"#,
    )
    .unwrap();
    std::fs::write(
        folder.join("stack.yml.j2"),
        "services:\n  main:\n    image: redis:{{ version }}\n    command: [sh, -c, \"exec sleep 100000\"]\n    \
         environment:\n      TESTIGO_PLANTED: \"${TESTIGO_PLANTED}\"\n      TESTIGO_MADE: \"${TESTIGO_MADE}\"\n    \
         healthcheck:\n      test: [CMD, \"true\"]\n      interval: 2s\n",
    )
    .unwrap();
    stage::text(registry)
}

/// Values of the operator's own, of the kind that is handled wrongly: name on the host, name in the store, value.
fn plant(stage: &Stage, registry: &str) -> Vec<(&'static str, &'static str, String)> {
    let word = stage::lab_token;
    let planted = vec![
        (
            "clienteA",
            "testigo/TESTIGO_PLANTED",
            format!("con huecos {} $HOME ${{X}} `id` #no \"d\" 'q' \\n ñandú 漢字\nsegunda línea={}", word(), word()),
        ),
        ("clienteA", "chat/SMTP_PASSWORD", format!("p$$w {}'\"# %s", word())),
        ("clienteB", "agent/ANTHROPIC_API_KEY", format!("sk-ant-{}\\{}", word(), word())),
    ];
    for (host, name, value) in &planted {
        stage.set_secret(host, name, value, &["--registry", registry]);
    }
    planted
}

fn a_package_of_two_files_is_there(stage: &Stage, planted: &[(&str, &str, String)]) {
    let (_, _, value) = planted.iter().find(|(_, name, _)| name.starts_with("testigo/")).unwrap();
    let read = "docker exec $(docker ps -qf label=com.docker.compose.project=versatile-testigo) \
        sh -c 'printf %s \"$TESTIGO_PLANTED\"'";
    assert_eq!(stage.inside("clienteA", read), *value, "byte for byte");
}

fn no_secret_is_anywhere(
    stage: &Stage,
    registry: &str,
    planted: &[(&str, &str, String)],
    ran: &[&Ran],
    seen: std::collections::HashSet<Vec<u8>>,
    since: SystemTime,
) {
    let mut secrets: Vec<(String, String)> =
        planted.iter().map(|(_, name, value)| ((*name).to_owned(), value.clone())).collect();
    secrets.extend(generated(stage, registry));
    assert!(secrets.len() > 15, "only {} secrets to look for", secrets.len());
    let search = Search::new(&secrets);
    let mut found = Vec::new();
    for ran in ran {
        assert!(ran.stderr.contains("TRACE"), "the program was not told to say everything");
        found.extend(search.text("stdout", ran.stdout.as_bytes()));
        found.extend(search.text("stderr", ran.stderr.as_bytes()));
    }
    for line in &seen {
        found.extend(search.text("process list", line));
    }
    found.extend(search.files(&stage.scratch, SystemTime::UNIX_EPOCH));
    found.extend(search.files(Path::new("/tmp"), since));
    found.extend(search.files(&stage.runtime, SystemTime::UNIX_EPOCH));
    for (host, _) in DECLARED {
        found.extend(search.host(host));
    }
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "secrets where none may be:\n{}", found.join("\n"));
}

/// Every secret that the program has made itself, as `secrets get` shows it.
fn generated(stage: &Stage, registry: &str) -> Vec<(String, String)> {
    let mut secrets = Vec::new();
    for (host, _) in DECLARED {
        let folder = stage.options.dir.join("vps_data").join(host);
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let file = entry.file_name().into_string().unwrap();
            let service = file.strip_suffix(".env.age").unwrap();
            for key in EnvFile::keys_of(&entry.path()).unwrap() {
                let name = format!("{service}/{key}");
                let args = ["secrets", "--registry", registry, "get", &name, "--host", host];
                let output = stage.program(&stage.runs("secrets"), &args).output().unwrap();
                assert!(output.status.success(), "secrets get {name}: {}", String::from_utf8_lossy(&output.stderr));
                let value = String::from_utf8(output.stdout).unwrap();
                secrets.push((format!("{host} {name}"), value.strip_suffix('\n').unwrap().to_owned()));
            }
        }
    }
    secrets
}
