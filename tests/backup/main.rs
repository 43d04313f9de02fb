//! Backup and restore on a real host: PostgreSQL, MariaDB, Redis, files and a package's own job; archives on the host,
//! restic in a folder, over SFTP and over REST; failures, locks, timers and copies. The data is compared byte for byte.

#[path = "../common/processes.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod processes;
mod restore;
mod rotate;
mod s3;
#[path = "../common/stage.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod stage;
mod take;

use std::sync::{MutexGuard, OnceLock};

use stage::{Ran, Stage};

/// `b` only keeps what `a` sends it.
static SCENE: stage::Scene = stage::Scene {
    prefix: "pv-backup-test",
    hosts: &["a", "b"],
    system: provision::lab::System::WithDocker,
    inventory: "tests/backup/inventory",
    images: &["pgvector/pgvector:pg17", "mariadb:11.8", "redis:8.0"],
};

/// In the URL of the REST repository; must be seen nowhere.
const REST_PASSWORD: &str = "rest-Hunter2-planted";

/// The program on this fleet, with the tests' package.
fn run(stage: &Stage, name: &str, args: &[&str]) -> Ran {
    stage.run(&stage.runs(name), &[args, &["--registry", "tests/backup/registry"]].concat())
}

fn must(stage: &Stage, name: &str, args: &[&str]) -> Ran {
    let ran = run(stage, name, args);
    ran.expect(0);
    ran
}

/// Two hosts: `a` with four services and data in them, `b` with a REST server.
fn enter(test: &str) -> Option<(MutexGuard<'static, ()>, &'static Stage)> {
    static DEPLOYED: OnceLock<()> = OnceLock::new();
    let (turn, stage) = stage::enter(&SCENE, test)?;
    DEPLOYED.get_or_init(|| {
        let serve = format!(
            "apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends rclone >/dev/null 2>&1 && \
            systemd-run -q --unit rest rclone serve restic --addr :8000 --user u --pass {REST_PASSWORD} /srv/rest"
        );
        std::thread::scope(|scope| {
            scope.spawn(|| stage.inside("b", &serve));
            must(stage, "deploy", &["--host", "a", "--yes"]);
        });
        let key = std::fs::read_to_string(stage.options.dir.join("id_ed25519")).unwrap();
        stage.set_secret("a", "backup/BACKUP_SSH_KEY", &key, &[]);
        stage.inside("a", FILL);
    });
    Some((turn, stage))
}

fn rest(stage: &Stage) -> String {
    format!("backup_repository=rest:http://u:{REST_PASSWORD}@{}:8000/", stage.address("b"))
}

/// Clients of the databases, as functions.
const CLIENTS: &str = r#"
    root=/opt/ATS/VersatileHub/services
    setting() { sed -n "s/^$2=//p" $root/$1/.env | tr -d "'\""; }
    pg() { docker exec -i versatile-postgres "$@"; }
    my() { MYSQL_PWD=$(setting mariadb MARIADB_ROOT_PASSWORD) docker exec -i -e MYSQL_PWD versatile-mariadb "$@"; }
    cli() { REDISCLI_AUTH=$(setting redis REDIS_PASSWORD) docker exec -i -e REDISCLI_AUTH versatile-redis redis-cli "$@"; }
"#;

/// The names of the services' containers do not change; their data is what makes a client's day.
const FILL: &str = r#"
    set -e
    root=/opt/ATS/VersatileHub/services
    docker exec -i versatile-postgres psql -qU postgres <<SQL
CREATE ROLE shop LOGIN PASSWORD 'shop-password';
CREATE DATABASE shop OWNER shop;
\c shop
CREATE EXTENSION vector;
CREATE TABLE orders(id serial PRIMARY KEY, note text, v vector(2));
INSERT INTO orders(note, v) SELECT 'ñandú "' || g || '"', '[1,2]' FROM generate_series(1, 3000) g;
ALTER TABLE orders OWNER TO shop;
SQL
    MYSQL_PWD=$(sed -n 's/^MARIADB_ROOT_PASSWORD=//p' $root/mariadb/.env | tr -d "'\"") docker exec -i -e MYSQL_PWD versatile-mariadb mariadb --default-character-set=utf8mb4 <<SQL
CREATE DATABASE _3c94;
CREATE USER '_3c94'@'%' IDENTIFIED BY 'site-password';
GRANT ALL ON \`_3c94\`.* TO '_3c94'@'%';
USE _3c94;
CREATE TABLE doc(id int AUTO_INCREMENT PRIMARY KEY, b blob, s varchar(90));
INSERT INTO doc(b, s) VALUES (x'00ff0a', 'ñandú'), (NULL, 'it''s');
CREATE VIEW titles AS SELECT s FROM doc;
CREATE TRIGGER loud BEFORE INSERT ON doc FOR EACH ROW SET NEW.s = upper(NEW.s);
CREATE TABLE \`tab Line\`(id int PRIMARY KEY, doc int, CONSTRAINT of_doc FOREIGN KEY (doc) REFERENCES doc(id));
INSERT INTO \`tab Line\` VALUES (7, 1);
CREATE PROCEDURE total() SELECT count(*) FROM doc;
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2040-01-01' DO DELETE FROM doc;
SQL
    REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' $root/redis/.env | tr -d "'\"") docker exec -i -e REDISCLI_AUTH versatile-redis redis-cli >/dev/null <<CLI
SET kept "ñandú"
RPUSH jobs one two three
SELECT 3
SET other 1
CLI
    printf 'page one' >$root/notes/data/pages/one
    mkdir -p "$root/notes/data/pages/a b" && head -c 70000 /dev/urandom >"$root/notes/data/pages/a b/two"
    chown 1234:999 $root/notes/data/pages/one; chmod 0640 $root/notes/data/pages/one; ln -s one $root/notes/data/pages/link
    echo 42 >$root/notes/data/state/value
"#;

/// All the data of `a`, as text that can be compared.
fn data(stage: &Stage) -> String {
    let script = r#"
        pg pg_dump -U postgres shop | grep -v restrict
        pg psql -U postgres -XAtc "select rolname, rolcanlogin, rolpassword from pg_authid where rolname = 'shop'"
        my mariadb-dump --skip-dump-date --routines --events --triggers --hex-blob _3c94
        my mariadb -NBe 'select user, host, plugin from mysql.user order by 1, 2; show grants for `_3c94`@`%`'
        cli get kept; cli lrange jobs 0 -1; cli -n 3 get other; cli dbsize
        cd $root/notes/data && find . -printf '%p %y %m %U %G %l\n' | sort && find . -type f -exec sha256sum {} + | sort
    "#;
    stage.inside("a", &format!("{CLIENTS}{script}"))
}

/// Loses everything there is, as an accident would.
fn spoil(stage: &Stage) {
    let script = r#"
        pg psql -qU postgres -d shop -c 'DELETE FROM orders WHERE id > 7; CREATE TABLE junk(x int)'
        my mariadb _3c94 -e "DROP TABLE \`tab Line\`; DELETE FROM doc; CREATE TABLE junk(x int); CREATE PROCEDURE junk() SELECT 1; ALTER USER '_3c94'@'%' IDENTIFIED BY 'another'"
        cli flushall >/dev/null; cli set junk 1 >/dev/null
        rm -rf $root/notes/data/pages/*; echo junk >$root/notes/data/pages/junk; echo 0 >$root/notes/data/state/value
    "#;
    stage.inside("a", &format!("{CLIENTS}{script}"));
}

/// Archives of a service on `a`, oldest first.
fn archives(stage: &Stage, service: &str) -> Vec<String> {
    let script = format!("ls -A /opt/ATS/VersatileHub/services/{service}/database/backups 2>/dev/null; true");
    stage.inside("a", &script).lines().map(str::to_owned).collect()
}

/// The snapshots of a service that `backup list` shows.
fn snapshots(stage: &Stage, service: &str, more: &[&str]) -> Vec<String> {
    let args = [&["backup", "list", "--host", "a", "--lines", "--services", service], more].concat();
    let said = must(stage, "list", &args).stdout;
    let all = said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    all.filter(|one| one["where"] == "restic").map(|one| one["id"].as_str().unwrap().to_owned()).collect()
}
