//! Giving back: onto the same host, onto a new one, from every kind of repository and from a pulled copy.

use super::{data, enter, lose_host, must, rest, run, spoil};

#[test]
fn everything_comes_back_and_nothing_is_overwritten_silently() {
    let Some((_turn, stage)) = enter("everything_comes_back_and_nothing_is_overwritten_silently") else { return };
    let whole = data(stage);
    must(stage, "back", &["backup", "--host", "a", "--yes"]);
    must(stage, "back", &["restore", "--host", "a", "--rehearse", "--yes"]);
    assert_eq!(data(stage), whole, "rehearsing touches nothing");
    spoil(stage);
    let spoilt = data(stage);
    assert_ne!(spoilt, whole);
    // no terminal: refused, whatever --yes says
    let refused = run(stage, "back", &["restore", "--host", "a", "--yes"]);
    refused.expect(2);
    assert!(refused.stderr.contains("--yes-really"), "{}", refused.stderr);
    must(stage, "back", &["restore", "--host", "a", "--check", "--yes-really"]);
    assert_eq!(data(stage), spoilt, "looking touches nothing");
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
    lose_host(stage);
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
