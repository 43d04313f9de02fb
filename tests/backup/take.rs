//! Taking backups: what they are, what is left of failed ones, how long they stay, what can be seen meanwhile.

use serde_json::Value;

use super::{REST_PASSWORD, archives, enter, must, rest, run, snapshots, stage};

#[test]
fn archives_are_complete_and_the_last_ones_stay() {
    let Some((_turn, stage)) = enter("archives_are_complete_and_the_last_ones_stay") else { return };
    for _ in 0..4 {
        must(stage, "archives", &["backup", "--host", "a", "--services", "postgres,notes", "--yes"]);
    }
    let kept = archives(stage, "postgres");
    assert_eq!(kept.len(), 3, "backup_keep_last is 3, and nothing unfinished lies about: {kept:?}");
    let name = kept.last().unwrap();
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let stamp = name.strip_prefix("backup_").and_then(|rest| rest.strip_suffix(".sql.zip")).unwrap();
    assert!(stamp.len() == 15 && digits(&stamp[..8]) && &stamp[8..9] == "_" && digits(&stamp[9..]), "{name}");
    assert!(archives(stage, "notes").iter().all(|name| name.ends_with(".zip") && !name.contains(".sql.")));
    let folder = "/opt/ATS/VersatileHub/services/postgres/database/backups";
    assert_eq!(stage.inside("a", &format!("stat -c '%a %U' {folder} {folder}/*")).lines().next(), Some("700 root"));
    assert!(stage.inside("a", &format!("stat -c %a {folder}/*")).lines().all(|mode| mode == "600"));
    let inside = stage.inside("a", &format!("unzip -tqq {folder}/{name} && unzip -Z1 {folder}/{name}"));
    for part in ["postgres/shop.sql", "postgres/globals", "config.tar.age", "SHA256SUMS"] {
        assert!(inside.lines().any(|line| line == part), "{part} is not in\n{inside}");
    }
    // checked, then damaged
    must(stage, "check", &["backup", "check", "--host", "a", "--services", "postgres"]);
    let oldest = format!("{folder}/{}", kept[0]);
    stage.inside(
        "a",
        &format!("cp {oldest} /root/whole && printf X | dd of={oldest} bs=1 seek=300 conv=notrunc 2>/dev/null"),
    );
    let bad = run(stage, "check", &["backup", "check", "--host", "a", "--services", "postgres", "--yes"]);
    bad.expect(1);
    stage.inside("a", &format!("mv /root/whole {oldest}"));
    // the day after tomorrow all are old, and the newest stays
    must(
        stage,
        "prune",
        &["backup", "prune", "--host", "a", "--services", "postgres", "--before", "2999-01-01", "--yes"],
    );
    assert_eq!(archives(stage, "postgres"), std::slice::from_ref(name));
    let again = ["backup", "prune", "--host", "a", "--services", "postgres", "--before", "2999-01-01", "--yes"];
    must(stage, "prune", &again);
    assert_eq!(stage::counts(&stage::last_events(&stage.runs("prune")), "a", "changed"), 0);
}

#[test]
fn a_dump_that_fails_stores_nothing() {
    let Some((_turn, stage)) = enter("a_dump_that_fails_stores_nothing") else { return };
    let repository = rest(stage);
    let args = ["backup", "--host", "a", "--services", "postgres", "--yes", "-e", &repository];
    must(stage, "fails", &args);
    let before = (archives(stage, "postgres"), snapshots(stage, "postgres", &["-e", &repository]));
    assert!(!before.1.is_empty());
    // half a dump, then the end
    let path = "/usr/lib/postgresql/17/bin/pg_dump";
    let broken = "printf '#!/bin/sh\\necho CREATE TABLE half\\nexit 1\\n'";
    stage.inside(
        "a",
        &format!(
            "docker exec -u 0 versatile-postgres sh -c \"mv {path} {path}.whole; {broken} >{path}; chmod 755 {path}\""
        ),
    );
    let failed = run(stage, "fails", &args);
    stage.inside("a", &format!("docker exec -u 0 versatile-postgres mv {path}.whole {path}"));
    failed.expect(1);
    assert!(failed.stdout.contains("nothing was stored"), "{}", failed.stdout);
    assert_eq!((archives(stage, "postgres"), snapshots(stage, "postgres", &["-e", &repository])), before);
    let status: Value = serde_json::from_str(&stage.inside("a", "cat /var/lib/provision/backup/status.json")).unwrap();
    let mine = status.as_array().unwrap().iter().find(|one| one["service"] == "postgres").unwrap();
    assert_eq!((&mine["ok"], mine["last_success"].as_str().unwrap().len()), (&Value::Bool(false), 20), "{mine}");
    // one that did end well, from a server that was not running
    stage.inside("a", "docker stop versatile-postgres >/dev/null");
    must(stage, "fails", &args);
    assert_eq!(stage.inside("a", "docker inspect -f '{{.State.Running}}' versatile-postgres"), "false");
    stage.inside(
        "a",
        "docker start versatile-postgres >/dev/null; until docker exec versatile-postgres pg_isready -qU postgres; do sleep 0.2; done; ls -A /var/lib/provision/backup/work | grep . && exit 1; true",
    );
}

#[test]
fn what_a_killed_restic_locked_is_freed_and_the_retention_holds() {
    let Some((_turn, stage)) = enter("what_a_killed_restic_locked_is_freed_and_the_retention_holds") else { return };
    // over SFTP
    let repository = format!("backup_repository=sftp:operator@{}:restic", stage.address("b"));
    let args = [
        "backup",
        "--host",
        "a",
        "--services",
        "redis",
        "--yes",
        "-e",
        &repository,
        "-e",
        "backup_destinations=restic",
    ];
    must(stage, "sftp", &args);
    must(
        stage,
        "sftp",
        &["backup", "schedule", "--host", "a", "--services", "redis", "--yes", "-e", &repository, "--rehearse", "Mon"],
    );
    let lock = "/home/operator/restic/locks";
    assert_eq!(stage.inside("b", &format!("ls {lock} | wc -l")), "0");
    // a lock of this host's whose process is gone, as kill -9 leaves it
    let opened = r#"
        . /var/lib/provision/backup/redis.conf
        umask 077; mkdir -p /root/k; printf '%s\n' "$SSH_KEY" >/root/k/key; printf '%s\n' "$RESTIC_PASSWORD" >/root/k/password
        (echo x; sleep 60) | restic -q -o sftp.args="-i /root/k/key -o UserKnownHostsFile=/var/lib/provision/backup/known_hosts" \
            -r "$REPOSITORY" --password-file /root/k/password backup --stdin --host a >/dev/null 2>&1 &
        sleep 4
        pkill -9 -x restic; rm -rf /root/k
    "#;
    stage.inside("a", opened);
    assert_eq!(stage.inside("b", &format!("ls {lock} | wc -l")), "1", "a lock was left behind");
    let ran = must(stage, "sftp", &args);
    assert!(ran.stdout.contains("all well"), "{}", ran.stdout);
    assert_eq!(stage.inside("b", &format!("ls {lock} | wc -l")), "0");
    must(stage, "sftp", &args);
    let more = ["-e", repository.as_str(), "-e", "backup_destinations=restic"];
    assert_eq!(snapshots(stage, "redis", &more).len(), 2, "backup_retention is {{last: 2}}");
    // another password: loud, and nothing is made anew
    let wrong = [&args[..], &["-e", "backup_repository=/srv/other"]].concat();
    must(stage, "sftp", &wrong);
    stage.inside("a", "cd /srv/other && for key in keys/*; do mv $key /root/key; done; restic init -q -r /srv/third --insecure-no-password && cp /srv/third/keys/* keys/ && cp -f /srv/third/config config");
    let refused = run(stage, "sftp", &wrong);
    refused.expect(1);
    assert!(refused.stdout.contains("password does not open"), "{}", refused.stdout);
}

#[test]
fn the_timer_does_it_alone_and_twice_is_once() {
    let Some((_turn, stage)) = enter("the_timer_does_it_alone_and_twice_is_once") else { return };
    let args = ["backup", "schedule", "--host", "a", "--services", "redis,notes", "--yes", "--rehearse", "Sun"];
    must(stage, "schedule", &args);
    must(stage, "schedule", &args);
    assert_eq!(stage::counts(&stage::last_events(&stage.runs("schedule")), "a", "changed"), 0);
    assert_eq!(
        stage.inside("a", "stat -c %a /var/lib/provision/backup/redis.conf /var/lib/provision/backup/redis.sh"),
        "600\n700"
    );
    // for whoever stands before this server and has nothing else
    let page = stage.inside("a", "cat /opt/ATS/restic/sumary/redis.md");
    for said in
        ["local: /opt/ATS", "cada día a las 03:15, y los Sun", "redis.sh restore latest", "provision restore --host a"]
    {
        assert!(page.contains(said), "{said}: {page}");
    }
    let key = stage.inside("a", "sed -n 's/^REDIS_PASSWORD=//p' /opt/ATS/VersatileHub/services/redis/.env");
    let key = key.trim_matches(['"', '\'']);
    assert!(key.len() > 8 && !page.contains(key), "a page is for everybody on the host");
    let next = stage.inside("a", "systemctl show -p NextElapseUSecRealtime provision-backup-redis.timer");
    assert!(next.contains(" 03:"), "{next}");
    let before = archives(stage, "redis");
    stage.inside("a", "systemctl start provision-backup-redis.service");
    let after = archives(stage, "redis");
    assert_eq!(after.iter().filter(|name| !before.contains(name)).count(), 1, "{before:?} {after:?}");
    let journal = stage.inside("a", "journalctl -q -u provision-backup-redis --no-pager -o cat");
    assert!(journal.contains("redis: stored /opt/ATS"), "{journal}");
    let off = ["backup", "schedule", "--host", "a", "--services", "redis,notes", "--yes", "--off"];
    must(stage, "schedule", &off);
    let left = || {
        let files = "/etc/systemd/system/provision-* /etc/cron.d/provision-* /var/lib/provision/backup/*.conf /opt/ATS/restic/sumary/*";
        stage.inside("a", &format!("ls {files} 2>/dev/null; true"))
    };
    assert_eq!(left(), "");

    // the same host, as one that systemd did not boot
    let today = stage.inside("a", "mv /run/systemd/system /run/systemd/away; date +%a");
    let schedule = ["backup", "schedule", "--host", "a", "--services", "redis,notes", "--yes", "--rehearse", &today];
    let nothing = run(stage, "schedule", &schedule);
    stage.inside("a", "apt-get install -y -qq --no-install-recommends cron >/dev/null 2>&1 || { apt-get update -qq && apt-get install -y -qq --no-install-recommends cron; } >/dev/null 2>&1");
    let (once, twice) = (run(stage, "schedule", &schedule), run(stage, "schedule", &schedule));
    stage.inside("a", "mv /run/systemd/away /run/systemd/system");
    once.expect(0);
    twice.expect(0);
    assert_eq!(stage::counts(&stage::last_events(&stage.runs("schedule")), "a", "changed"), 0);
    nothing.expect(1);
    assert!(nothing.stdout.contains("neither systemd nor cron"), "{}", nothing.stdout);
    let before = archives(stage, "redis");
    stage.inside("a", AS_CRON);
    let after = archives(stage, "redis");
    assert_eq!(after.iter().filter(|name| !before.contains(name)).count(), 1, "{before:?} {after:?}");
    let journal = stage.inside("a", "journalctl -q -t provision-backup --no-pager -o cat");
    for said in ["redis: stored /opt/ATS", "redis: rehearsed with backup_"] {
        assert!(journal.contains(said), "{journal}");
    }
    must(stage, "schedule", &off);
    assert_eq!(left(), "");
}

/// What cron does with the line: five fields of time, the user, `\%` for `%`, and an environment of its own.
const AS_CRON: &str = r#"
    file=/etc/cron.d/provision-backup-redis
    line=$(sed -n 's/^[0-9]* [0-9]* \* \* \* root //p' $file | sed 's/\\%/%/g')
    [ -n "$line" ] || exit 1
    env -i SHELL=/bin/sh HOME=/root LOGNAME=root "$(sed -n '/^PATH=/p' $file)" sh -c "$line"
"#;

#[test]
fn no_secret_is_seen_while_a_backup_is_taken() {
    let Some((_turn, stage)) = enter("no_secret_is_seen_while_a_backup_is_taken") else { return };
    let repository = rest(stage);
    let watch = "while :; do cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' >>/root/seen; sleep 0.01; done";
    stage
        .inside("a", &format!("rm -f /root/seen; systemd-run -q --unit watch sh -c {}", provision::plan::quote(watch)));
    let ran = must(stage, "seen", &["backup", "--host", "a", "--yes", "-v", "-e", &repository]);
    stage.inside("a", "systemctl stop watch");
    let seen = stage.inside("a", "cat /root/seen; rm -f /root/seen");
    for program in ["pg_dump", "mariadb-dump", "redis-cli", "restic"] {
        assert!(seen.contains(program), "the watch is blind: no {program}");
    }
    let journal = stage.inside("a", "journalctl -q --no-pager -o cat");
    let open = "find /opt/ATS /var/lib/provision /tmp /etc /home -type f -perm /077 -size -4000k -exec cat {} + 2>/dev/null | LC_ALL=C tr -cd '\\11\\12\\40-\\176'";
    let open = stage.inside("a", open);
    let mut kept = String::new();
    for entry in std::fs::read_dir(stage.runs("seen")).unwrap().flatten() {
        kept += &std::fs::read_to_string(entry.path().join("events.jsonl")).unwrap_or_default();
    }
    let mut secrets = vec![REST_PASSWORD.to_owned()];
    for name in [
        "backup/BACKUP_PASSWORD",
        "postgres/POSTGRES_PASSWORD",
        "redis/REDIS_PASSWORD",
        "mariadb/MARIADB_ROOT_PASSWORD",
    ] {
        secrets.push(must(stage, "get", &["secrets", "get", name, "--host", "a"]).stdout.trim().to_owned());
    }
    for secret in &secrets {
        assert!(secret.len() > 10);
        let places = [
            ("process list", &seen),
            ("journal of the host", &journal),
            ("readable file", &open),
            ("journal of runs", &kept),
        ];
        for (place, text) in places.into_iter().chain([("output", &ran.stdout), ("talk", &ran.stderr)]) {
            // the test itself starts the REST server on the other host
            assert!(!text.contains(secret.as_str()), "a secret is in the {place}");
        }
    }
}
