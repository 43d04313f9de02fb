//! A client of the complete suite loses its server: everything that it had comes back onto an empty one from the copies
//! on the operator's machine, and the services work with it.

use std::path::Path;

use super::stage::{self, Stage};

const HOST: &str = "clienteB";
const WITH_DATA: [&str; 4] = ["hub", "chat", "flow", "agent"];

/// Functions to ask the databases with, and where things are.
const CLIENTS: &str = r#"
    root=/opt/ATS/VersatileHub/services
    site=$(ls -d $root/hub/data/sites/erp.*)
    setting() { sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p" "$site/site_config.json"; }
    my() { docker exec -i versatile-hub-db sh -c 'MYSQL_PWD=$MARIADB_ROOT_PASSWORD mariadb -NB -u root "$@"' sh "$@"; }
    chat() { docker exec -i versatile-chat-postgres psql -qXAt -U chatwoot -d chatwoot_production "$@"; }
    queue() { docker exec "$(docker ps -q --filter label=com.docker.compose.service=redis-queue)" redis-cli "$@"; }
    flow() { docker exec -i versatile-flow-postgres psql -qXAt -U n8n -d n8n "$@"; }
"#;

/// What a client's people put there in a day.
const FILL: &str = r#"
    set -e
    my "$(setting db_name)" -e "CREATE TABLE day(id int PRIMARY KEY, what text); INSERT INTO day VALUES (1, 'factura ñandú')"
    mkdir -p "$site/private/files"; printf 'adjunto' >"$site/private/files/adjunto.pdf"
    chown -R --reference="$site/site_config.json" "$site/private"
    chat -c "CREATE TABLE day(what text); INSERT INTO day VALUES ('conversación')"
    printf 'imagen' >$root/chat/data/storage/imagen.png
    flow -c "CREATE TABLE day(what text); INSERT INTO day VALUES ('flujo')"
    printf '{}' >$root/flow/data/workflows/flujo.json
    printf 'recuerdo' >$root/agent/data/memory/recuerdo.md
    queue set pendiente 'un trabajo' >/dev/null
"#;

/// All of it as text, also the keys without which it cannot be read.
const DATA: &str = r#"
    db=$(setting db_name); echo "db $db"; my "$db" -e 'select * from day'
    sha256sum "$site/site_config.json" | cut -c1-64
    # as the site itself does
    docker exec -i versatile-hub-db sh -c 'read -r p; MYSQL_PWD=$p mariadb -NB -u "$1" "$1" -e "select what from day"' sh "$db" <<EOF
$(setting db_password)
EOF
    cat "$site/private/files/adjunto.pdf"; echo
    queue get pendiente
    stat -c '%u:%g %a' "$site/private/files/adjunto.pdf" "$site/site_config.json"
    chat -c 'select what from day' -c 'select count(*) from accounts' -c 'select count(*) from users'
    cat $root/chat/data/storage/imagen.png; echo
    flow -c 'select what from day'
    cat $root/flow/data/workflows/flujo.json $root/agent/data/memory/recuerdo.md; echo
    for service in hub chat flow agent; do sort $root/$service/.env | sha256sum | cut -c1-64; done
"#;

pub fn a_lost_server_comes_back(stage: &Stage, runs: &Path) {
    let ask = || stage.inside(HOST, &format!("{CLIENTS}{DATA}"));
    stage.inside(HOST, &format!("{CLIENTS}{FILL}"));
    let whole = ask();
    for word in ["factura ñandú", "un trabajo", "conversación", "flujo", "recuerdo"] {
        assert!(whole.contains(word), "{whole}");
    }
    let copies = stage.scratch.join("copies");
    let services = WITH_DATA.join(",");
    let pull = stage::text(&copies);
    stage.must(runs, &["backup", "--host", HOST, "--services", &services, "--yes", "--pull", &pull], 0);

    stage.lose(HOST);
    stage.must(runs, &["--host", HOST, "--yes"], 0);
    for service in WITH_DATA {
        let copy = newest(&copies.join(HOST).join(service));
        let from = ["--from", &copy, "--yes-really"];
        stage.must(runs, &[&["restore", "--host", HOST, "--services", service], &from[..]].concat(), 0);
    }
    assert_eq!(ask(), whole);

    // and it is a client as before: nothing left to do, all well
    stage.must(runs, &["--host", HOST, "--yes"], 0);
    let events = stage::last_events(runs);
    assert_eq!(stage::counts(&events, HOST, "changed"), 0);
    assert_eq!(ask(), whole);
    for verb in ["diagnose", "verify"] {
        stage.must(runs, &[verb, "--host", HOST], 0);
    }
}

fn newest(folder: &Path) -> String {
    let copies = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut names: Vec<_> = copies.flatten().map(|entry| entry.path()).collect();
    names.sort();
    stage::text(names.last().unwrap())
}
