//! Giving back: from a pulled copy, and the latest of everything.

use super::{data, enter, must, run, spoil};

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
