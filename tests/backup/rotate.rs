//! `secrets rotate` on a real host: database users, administrators of servers, a failure that goes back, an interruption.

use super::processes::Sampler;
use super::{enter, must, run, stage};
use stage::Stage;

/// A stored value; the same flags as the program's.
fn get(stage: &Stage, name: &str) -> String {
    must_secrets(stage, &["get", name, "--host", "a"]).trim_end().to_owned()
}

fn secrets(stage: &Stage, args: &[&str]) -> stage::Ran {
    let args = [&["secrets", "--registry", "tests/backup/registry"], args].concat();
    stage.run(&stage.runs("rotate"), &args)
}

fn must_secrets(stage: &Stage, args: &[&str]) -> String {
    let ran = secrets(stage, args);
    ran.expect(0);
    ran.stdout
}

/// Does this password open the database from the network, as a service would come?
fn opens(stage: &Stage, engine: &str, user: &str, password: &str) -> bool {
    let script = match engine {
        "postgres" => format!(
            "docker exec -i -e PGPASSWORD versatile-ledger-pg-1 psql -w -h versatile-postgres -U {user} -d {} -Atc 'select 1'",
            if user == "postgres" { "postgres" } else { "ledger" }
        ),
        _ => format!(
            "docker exec -i -e MYSQL_PWD versatile-ledger-my-1 mariadb --skip-ssl -h versatile-mariadb -u {user} -e 'select 1'"
        ),
    };
    let script = format!(
        "export PGPASSWORD='{password}' MYSQL_PWD='{password}'; {script} >/dev/null 2>&1 && echo yes || echo no"
    );
    stage.inside("a", &script).trim() == "yes"
}

fn env(stage: &Stage, service: &str, key: &str) -> String {
    let root = "/opt/ATS/VersatileHub/services";
    stage.inside("a", &format!("sed -n 's/^{key}=//p' {root}/{service}/.env | tr -d \"'\\\"\"")).trim().to_owned()
}

/// A rotation that goes well, with the process lists of both sides watched meanwhile. → what it said
fn watched(stage: &Stage, name: &str, seen: &mut String) -> String {
    let sampler = Sampler::start();
    let said = must_secrets(stage, &["rotate", name, "--host", "a", "--yes"]);
    for line in sampler.end().0 {
        seen.push_str(&String::from_utf8_lossy(&line));
        seen.push('\n');
    }
    said
}

/// Nothing of a value in what is kept of the runs, nor in an argument list.
fn leaks(stage: &Stage, values: &[&str], seen: &str) {
    for program in ["psql", "mariadb", "docker"] {
        assert!(seen.contains(program), "the watch is blind: no {program}");
    }
    for value in values {
        assert!(!seen.contains(value), "an argument list holds a secret");
    }
    for file in walk(&stage.runs("rotate")) {
        let text = std::fs::read_to_string(&file).unwrap();
        for value in values {
            assert!(!text.contains(value), "{} holds a secret", file.display());
        }
    }
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn a_secret_changes_with_everything_that_uses_it_or_not_at_all() {
    let Some((_turn, stage)) = enter("a_secret_changes_with_everything_that_uses_it_or_not_at_all") else { return };
    must(stage, "deploy", &["--host", "a", "--services", "postgres,mariadb", "--yes"]);
    let root = get(stage, "mariadb/MARIADB_ROOT_PASSWORD");
    stage.set_secret("a", "ledger/MARIADB_ADMIN_PASSWORD", &root, &["--registry", "tests/backup/registry"]);
    must(stage, "deploy", &["--host", "a", "--services", "ledger", "--yes"]);
    let first = get(stage, "ledger/PG_PASSWORD");
    assert!(opens(stage, "postgres", "ledger", &first));

    // looking touches nothing
    let checked = secrets(stage, &["rotate", "ledger/PG_PASSWORD", "--host", "a", "--check"]);
    checked.expect(0);
    assert_eq!(get(stage, "ledger/PG_PASSWORD"), first);
    assert!(opens(stage, "postgres", "ledger", &first));
    assert_eq!(env(stage, "ledger", "PG_PASSWORD"), first);

    let mut seen = String::new();
    // one that goes well: the old password opens nothing, the new one does
    let said = watched(stage, "ledger/PG_PASSWORD", &mut seen);
    assert!(said.contains("a ledger/PG_PASSWORD: rotated; ledger made anew"), "{said}");
    let second = get(stage, "ledger/PG_PASSWORD");
    assert_ne!(first, second);
    assert_eq!(env(stage, "ledger", "PG_PASSWORD"), second);
    assert!(opens(stage, "postgres", "ledger", &second) && !opens(stage, "postgres", "ledger", &first));
    // a rollout has nothing to do after it, and a release that was kept comes back with the password of today
    must(stage, "after", &["--host", "a", "--services", "ledger", "--yes"]);
    assert_eq!(stage::counts(&stage::last_events(&stage.runs("after")), "a", "changed"), 0);
    let kept = stage.inside("a", "cat /var/lib/provision/releases/ledger/*/files/.env");
    assert!(kept.contains(&second) && !kept.contains(&first), "a kept release has the old password");

    // the application does not take the new one: everything goes back
    stage.inside("a", &format!("printf %s '{second}' >/opt/ATS/VersatileHub/services/ledger/data/state/pin"));
    let failed = secrets(stage, &["rotate", "ledger/PG_PASSWORD", "--host", "a", "--yes"]);
    failed.expect(1);
    assert!(failed.stdout.contains("everything is back on the old value, which works"), "{}", failed.stdout);
    assert!(failed.stdout.contains("a ledger/PG_PASSWORD: the old value is in force, as before"), "{}", failed.stdout);
    assert_eq!(get(stage, "ledger/PG_PASSWORD"), second);
    assert_eq!(env(stage, "ledger", "PG_PASSWORD"), second);
    assert!(opens(stage, "postgres", "ledger", &second));
    let health = "docker inspect -f '{{.State.Health.Status}}' versatile-ledger-pg-1";
    assert_eq!(stage.inside("a", health).trim(), "healthy");
    assert!(!must_secrets(stage, &["list", "--host", "a"]).contains("__NEXT"));
    stage.inside("a", "rm /opt/ATS/VersatileHub/services/ledger/data/state/pin");

    // killed in between: both values are kept, and the same command goes on with the same one
    let args =
        ["secrets", "--registry", "tests/backup/registry", "rotate", "ledger/PG_PASSWORD", "--host", "a", "--yes"];
    let mut going = stage.start(&stage.runs("rotate"), &args);
    assert!(going.reaches(|event| stage::is(event, "task_finished") && event["task"]["name"] == "Environment"));
    going.kill();
    going.end();
    let pending = get(stage, "ledger/PG_PASSWORD__NEXT");
    assert_eq!(get(stage, "ledger/PG_PASSWORD"), second);
    assert!(opens(stage, "postgres", "ledger", &second) || opens(stage, "postgres", "ledger", &pending));
    watched(stage, "ledger/PG_PASSWORD", &mut seen);
    assert_eq!(get(stage, "ledger/PG_PASSWORD"), pending);
    assert!(opens(stage, "postgres", "ledger", &pending));
    let back = secrets(stage, &["rotate", "ledger/PG_PASSWORD", "--host", "a", "--yes", "--back"]);
    back.expect(2);
    assert!(back.stderr.contains("nothing to go back from"), "{}", back.stderr);

    // an administrator's own, of which another service has a copy
    let said = watched(stage, "mariadb/MARIADB_ROOT_PASSWORD", &mut seen);
    assert!(said.contains("rotated; mariadb, ledger made anew"), "{said}");
    let new_root = get(stage, "mariadb/MARIADB_ROOT_PASSWORD");
    assert_ne!(root, new_root);
    assert_eq!(get(stage, "ledger/MARIADB_ADMIN_PASSWORD"), new_root);
    assert!(opens(stage, "mariadb", "root", &new_root) && !opens(stage, "mariadb", "root", &root));
    let admin = get(stage, "postgres/POSTGRES_PASSWORD");
    watched(stage, "postgres/POSTGRES_PASSWORD", &mut seen);
    let new_admin = get(stage, "postgres/POSTGRES_PASSWORD");
    assert!(opens(stage, "postgres", "postgres", &new_admin) && !opens(stage, "postgres", "postgres", &admin));
    must(stage, "after", &["--host", "a", "--services", "postgres,mariadb,ledger", "--yes"]);
    assert_eq!(stage::counts(&stage::last_events(&stage.runs("after")), "a", "changed"), 0);

    // what cannot be rotated is said by name
    let never = secrets(stage, &["rotate", "ledger/LEDGER_SEAL", "--host", "a", "--yes"]);
    never.expect(2);
    assert!(never.stderr.contains("could not be opened any more"), "{}", never.stderr);
    leaks(stage, &[&first, &second, &pending, &root, &new_root, &admin, &new_admin], &seen);
    must(stage, "down", &["down", "--host", "a", "--services", "ledger", "--yes"]);
    stage.inside(
        "a",
        "docker exec versatile-postgres psql -qU postgres -c 'drop database ledger' -c 'drop role ledger'",
    );
}

#[test]
fn other_changes_have_to_go_first() {
    let Some((_turn, stage)) = enter("other_changes_have_to_go_first") else { return };
    must(stage, "deploy", &["--host", "a", "--services", "notes", "--yes"]);
    stage.inside("a", "sed -i 's/\"digest\": \"../\"digest\": \"zz/' /var/lib/provision/services/notes.json");
    let token = get(stage, "notes/NOTES_TOKEN");
    let refused = run_rotate(stage);
    refused.expect(1);
    assert!(refused.stdout.contains("other changes of notes wait to be rolled out"), "{}", refused.stdout);
    assert!(refused.stdout.contains("a notes/NOTES_TOKEN: nothing was touched"), "{}", refused.stdout);
    assert_eq!((get(stage, "notes/NOTES_TOKEN"), env(stage, "notes", "NOTES_TOKEN")), (token.clone(), token.clone()));
    run(stage, "deploy", &["--host", "a", "--services", "notes", "--yes"]).expect(0);
    run_rotate(stage).expect(0);
    assert_ne!(get(stage, "notes/NOTES_TOKEN"), token);
    assert_eq!(env(stage, "notes", "NOTES_TOKEN"), get(stage, "notes/NOTES_TOKEN"));
}

fn run_rotate(stage: &Stage) -> stage::Ran {
    secrets(stage, &["rotate", "notes/NOTES_TOKEN", "--host", "a", "--yes"])
}
