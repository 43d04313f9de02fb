//! The server of packages that share databases is lost: everything that they had comes back onto an empty one from a
//! repository on another host, and they go on where they were.

use crate::stage::{self, Stage};
use crate::{SCENE, s3, s4, sql};

const STORAGE: &str = "/opt/ATS/VersatileHub/services/chatwoot/data/storage";

/// What is asked of each database.
const ROWS: [(&str, &str); 5] = [
    ("chatwoot", "select what from day"),
    ("chatwoot", "select count(*) from users"),
    ("typebot", "select what from day"),
    ("nexus_db", "select what from day"),
    ("nexus_db", "select md5(string_agg(m::text, ';' order by m::text)) from chat_messages m"),
];

/// All of it as text, also the keys without which it cannot be read.
fn data(stage: &Stage) -> String {
    let rows = ROWS.map(|(database, statement)| sql(stage, database, statement));
    let files = format!(
        "cat {STORAGE}/imagen.png; stat -c ' %u:%g %a' {STORAGE}/imagen.png
        cd /opt/ATS/VersatileHub/services && for one in */.env; do echo \"$one $(sort $one | sha256sum)\"; done
        REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' redis/.env | tr -d \"'\\\"\") docker exec -e REDISCLI_AUTH versatile-redis redis-cli get kept"
    );
    format!("{}\n{}", rows.join("\n"), stage.inside("a", &files))
}

#[test]
fn a_lost_server_comes_back() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "a_lost_server_comes_back") else { return };
    let runs = stage.runs("lost");
    stage.must(&runs, &["--host", "a", "--yes"], 0);
    for (database, what) in [("chatwoot", "conversación"), ("typebot", "flujo"), ("nexus_db", "turno ñandú")] {
        let table = "DROP TABLE IF EXISTS day; CREATE TABLE day(what text); GRANT ALL ON day TO PUBLIC";
        sql(stage, database, &format!("{table}; INSERT INTO day VALUES ('{what}')"));
    }
    let fill = format!(
        "printf imagen >{STORAGE}/imagen.png
        REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /opt/ATS/VersatileHub/services/redis/.env | tr -d \"'\\\"\") docker exec -e REDISCLI_AUTH versatile-redis redis-cli set kept yes"
    );
    stage.inside("a", &fill);
    s3::ask(stage, "-X POST", "/memory/clear/prueba");
    assert_eq!(s3::chat(stage, "Hola")["messages"], 1);
    let message = stage::lab_token();
    assert!(s4::deliver(stage, "/webhook", &message, "hola").ends_with(" 200"));
    let whole = data(stage);
    for word in ["conversación", "flujo", "turno ñandú", "imagen", "yes"] {
        assert!(whole.contains(word), "{whole}");
    }
    let key = std::fs::read_to_string(stage.options.dir.join("id_ed25519")).unwrap();
    stage.set_secret("a", "backup/BACKUP_SSH_KEY", &key, &[]);
    let repository = format!("backup_repository=sftp:operator@{}:restic", stage.address("b"));
    let there = ["-e", repository.as_str(), "-e", "backup_destinations=restic"];
    stage.must(&runs, &[&["backup", "--host", "a", "--yes"], &there[..]].concat(), 0);

    stage.lose("a");
    stage.must(&runs, &["--host", "a", "--yes"], 0);
    stage.must(&runs, &[&["restore", "--host", "a", "--yes-really"], &there[..]].concat(), 0);
    assert_eq!(data(stage), whole);

    // nothing is left to do, and they go on with what they knew
    stage.must(&runs, &["--host", "a", "--yes"], 0);
    assert_eq!(stage::counts(&stage::last_events(&runs), "a", "changed"), 0);
    assert_eq!(s3::chat(stage, "Hola")["messages"], 2);
    assert!(s4::deliver(stage, "/webhook", &message, "hola").contains("duplicate"));
    stage.must(&runs, &["verify", "--host", "a"], 0);
}
