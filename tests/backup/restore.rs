//! Giving back: onto the same host, onto a new one, from every kind of repository and from a pulled copy.

use super::{data, enter, must, rest, run, spoil};

/// The newest backup of MariaDB with a dump that was damaged before its checksums were made.
const BREAK: &str = r#"
    set -e
    rm -rf /root/broken COPY; mkdir /root/broken; cd /root/broken
    unzip -q "$(ls /opt/ATS/VersatileHub/services/mariadb/database/backups/*.zip | tail -n 1)"
    sed -i 'EDIT' mariadb/_3c94.sql
    find . -type f ! -name SHA256SUMS -exec sha256sum {} + >/root/sums; mv /root/sums SHA256SUMS
    zip -qr COPY .; rm -r /root/broken
"#;

/// How it is damaged, what is said of it, and where it is: its end is missing; half a statement; a view that could only
/// be made while the old tables are there, which comes to light when they have gone.
const BROKEN: [(&str, &str, &str); 3] = [
    ("/^INSERT/,$d", "the dump of _3c94 is not complete", "/root/end.zip"),
    ("s/^\\(INSERT INTO .doc. V\\).*/\\1/", "You have an error in your SQL syntax", "/root/half.zip"),
    (
        "/^-- Dump completed/i CREATE VIEW late AS SELECT x FROM _3c94.junk;",
        "putting _3c94 back as it was",
        "/root/late.zip",
    ),
];

#[test]
fn everything_comes_back_and_nothing_is_overwritten_silently() {
    let Some((_turn, stage)) = enter("everything_comes_back_and_nothing_is_overwritten_silently") else { return };
    let whole = data(stage);
    must(stage, "back", &["backup", "--host", "a", "--yes"]);
    must(stage, "back", &["restore", "--host", "a", "--rehearse", "--yes"]);
    assert_eq!(data(stage), whole, "rehearsing touches nothing");
    for (edit, _, copy) in BROKEN {
        stage.inside("a", &BREAK.replace("EDIT", edit).replace("COPY", copy));
    }
    spoil(stage);
    let spoilt = data(stage);
    assert_ne!(spoilt, whole);
    // no terminal: refused, whatever --yes says
    let refused = run(stage, "back", &["restore", "--host", "a", "--yes"]);
    refused.expect(2);
    assert!(refused.stderr.contains("--yes-really"), "{}", refused.stderr);
    must(stage, "back", &["restore", "--host", "a", "--check", "--yes-really"]);
    assert_eq!(data(stage), spoilt, "looking touches nothing");
    for (edit, why, copy) in BROKEN {
        let args = ["restore", "--host", "a", "--services", "mariadb", "--yes-really", "--from", copy];
        let failed = run(stage, "broken", &args);
        failed.expect(1);
        assert!(failed.stdout.contains(why), "{edit}: {}", failed.stdout);
        assert_eq!(data(stage), spoilt, "a broken copy costs nothing: {edit}");
    }
    must(stage, "back", &["restore", "--host", "a", "--yes-really"]);
    assert_eq!(data(stage), whole);
    // what was there before was kept, and says why
    let list = must(stage, "list", &["backup", "list", "--host", "a"]).stdout;
    let safety = list.lines().filter(|line| line.contains("before restoring local backup_")).count();
    assert!(safety >= 4, "{list}");
    let left = stage
        .inside("a", "find /opt/ATS /var/lib/provision -name '*.outgoing' -o -name '*.incoming' -o -name '.incoming'");
    assert_eq!(left, "");
}

#[test]
fn a_lost_host_comes_back_from_a_repository() {
    let Some((_turn, stage)) = enter("a_lost_host_comes_back_from_a_repository") else { return };
    let repository = rest(stage);
    let whole = data(stage);
    must(stage, "lost", &["backup", "--host", "a", "--yes", "-e", &repository]);
    stage.lose("a");
    must(stage, "lost", &["--host", "a", "--yes"]);
    must(stage, "lost", &["restore", "--host", "a", "--yes-really", "-e", &repository]);
    assert_eq!(data(stage), whole);
}

#[test]
fn a_pulled_copy_is_encrypted_and_restores() {
    let Some((_turn, stage)) = enter("a_pulled_copy_is_encrypted_and_restores") else { return };
    let whole = data(stage);
    must(stage, "pull", &["backup", "--host", "a", "--yes"]);
    let folder = stage.scratch.join("copies");
    must(stage, "pull", &["backup", "--host", "a", "--services", "notes", "--yes", "--pull", folder.to_str().unwrap()]);
    let copies: Vec<_> =
        std::fs::read_dir(folder.join("a/notes")).unwrap().flatten().map(|entry| entry.path()).collect();
    let [copy] = copies.as_slice() else { panic!("{copies:?}") };
    let bytes = std::fs::read(copy).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/") && copy.to_string_lossy().ends_with(".zip.age"));
    assert!(!bytes.windows(8).any(|window| window == b"page one"));
    assert_eq!(stage.inside("a", "ls -A /var/lib/provision/backup/work"), "");
    spoil(stage);
    must(
        stage,
        "pull",
        &["restore", "--host", "a", "--services", "notes", "--yes-really", "--from", copy.to_str().unwrap()],
    );
    let pages = |all: &str| {
        all.lines()
            .filter(|line| line.contains("./pages") || line.contains("./state"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(pages(&data(stage)), pages(&whole));
    assert_eq!(stage.inside("a", "ls -A /var/lib/provision/backup | grep incoming; true"), "");
    // a copy of another service is not taken for this one's, and nothing is lost by trying
    let other = run(
        stage,
        "pull",
        &["restore", "--host", "a", "--services", "redis", "--yes-really", "--from", copy.to_str().unwrap()],
    );
    other.expect(1);
    assert!(other.stdout.contains("this is a backup of `notes`"), "{}", other.stdout);
    must(stage, "pull", &["restore", "--host", "a", "--services", "postgres,redis,mariadb", "--yes-really"]);
    assert_eq!(data(stage), whole, "the latest is not what was kept before a restore");
}

#[test]
fn another_host_takes_over_and_keeps_what_it_has() {
    let Some((_turn, stage)) = enter("another_host_takes_over_and_keeps_what_it_has") else { return };
    let repository = rest(stage);
    let of = |host: &str| {
        let script = "cd /opt/ATS/VersatileHub/services/notes/data && find . -printf '%p %y %m %U %G %l\n' | sort && \
            find . -type f -exec sha256sum {} + | sort";
        stage.inside(host, script)
    };
    let to = |more: &[&str]| {
        let args = ["restore", "--host", "a", "--to", "b", "--services", "notes", "-e", &repository];
        run(stage, "to", &[&args, more].concat())
    };
    let secrets = stage.options.dir.join("vps_data/b");
    must(stage, "to", &["run", "playbooks/bootstrap.yml", "--limit", "b", "-e", "firewall_enabled=false"]);
    must(stage, "to", &["backup", "--host", "a", "--services", "notes", "--yes", "-e", &repository]);
    // only read there: nothing is kept of the source's secrets
    to(&["--rehearse", "--yes"]).expect(0);
    to(&["--check"]).expect(0);
    assert!(!secrets.exists());
    to(&["--yes-really"]).expect(0);
    assert_eq!(of("b"), of("a"));
    assert!(secrets.join("notes.env.age").exists() && secrets.join("backup.env.age").exists());

    // what it has by now is its own
    stage.inside("b", "echo own >/opt/ATS/VersatileHub/services/notes/data/pages/own");
    let own = of("b");
    let refused = to(&["--yes-really"]);
    refused.expect(2);
    assert!(refused.stderr.contains("`b` has data of its own: notes: it is installed"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--overwrite"), "{}", refused.stderr);
    assert_eq!(of("b"), own);
    to(&["--overwrite", "--yes-really"]).expect(0);
    assert_eq!(of("b"), of("a"));
    let kept = must(stage, "list", &["backup", "list", "--host", "b", "--services", "notes"]).stdout;
    assert!(kept.contains("before restoring restic"), "{kept}");
    stage.inside("b", "docker rm -f $(docker ps -q) >/dev/null; rm -rf /opt/ATS /var/lib/provision");
    std::fs::remove_dir_all(secrets).unwrap();
}
