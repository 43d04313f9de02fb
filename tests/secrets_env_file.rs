//! The encrypted settings files, with real keys: round trips, readers, and every way to tamper with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use provision::plan::Secret;
use provision::secrets::{EnvFile, Identities, Recipients, SecretKind, generate};

struct Keys {
    dir: tempfile::TempDir,
}

impl Keys {
    fn new() -> Keys {
        Keys { dir: tempfile::tempdir().unwrap() }
    }
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }
    /// An age identity file; gives its public key.
    fn age(&self, name: &str) -> String {
        let secret = generate(&SecretKind::Age, 1).unwrap();
        self.write(name, &format!("# a comment\n{}\n", secret.reveal()));
        secret.reveal().parse::<age::x25519::Identity>().unwrap().to_public().to_string()
    }
    /// A key made by ssh-keygen; gives its public line. None (and a word about it) without ssh-keygen.
    fn ssh(&self, name: &str, kind: &[&str], passphrase: &str) -> Option<String> {
        let made = Command::new("ssh-keygen")
            .args(kind)
            .args(["-q", "-N", passphrase, "-C", "me@here", "-f"])
            .arg(self.path(name))
            .status();
        if !made.is_ok_and(|status| status.success()) {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "ssh-keygen is needed");
            println!("skipped: no ssh-keygen");
            return None;
        }
        Some(std::fs::read_to_string(self.path(&format!("{name}.pub"))).unwrap())
    }
    fn recipients(&self, lines: &[&str]) -> Recipients {
        Recipients::load(&self.write("recipients", &lines.join("\n"))).unwrap()
    }
    fn identities(&self, names: &[&str]) -> Identities {
        Identities::load(&names.iter().map(|name| self.path(name)).collect::<Vec<_>>()).unwrap()
    }
}

fn save(path: &Path, values: &[(&str, &str)], recipients: &Recipients) -> String {
    let mut file = EnvFile::default();
    for (key, value) in values {
        file.set(key, Secret::new(*value)).unwrap();
    }
    assert!(file.save(path, recipients).unwrap());
    std::fs::read_to_string(path).unwrap()
}

fn get(path: &Path, identities: &Identities, key: &str) -> Option<String> {
    EnvFile::load(path, identities).unwrap().get(key).map(|secret| secret.reveal().to_owned())
}

#[test]
fn every_reader_can_read_and_no_one_else() {
    let keys = Keys::new();
    let mut lines = vec![keys.age("one"), keys.age("two")];
    let stranger = keys.age("stranger");
    let mut readers = vec!["one", "two"];
    if let Some(line) = keys.ssh("ed", &["-t", "ed25519"], "") {
        lines.push(line);
        readers.push("ed");
        lines.push(keys.ssh("rsa", &["-t", "rsa", "-b", "2048"], "").unwrap());
        readers.push("rsa");
    }
    let recipients = keys.recipients(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let path = keys.path("vps_data/clienteA/hub.env.age");
    let text = save(&path, &[("PASSWORD", "p$s \"q\" #\\\nñ"), ("EMPTY", "")], &recipients);
    assert!(text.contains("\nPASSWORD=age:") && !text.contains("p$s"), "{text}");
    assert!(!text.contains("me@here"), "comments of keys stay out");
    for reader in &readers {
        let identities = keys.identities(&[reader]);
        assert_eq!(get(&path, &identities, "PASSWORD").as_deref(), Some("p$s \"q\" #\\\nñ"), "{reader}");
        assert_eq!(get(&path, &identities, "EMPTY").as_deref(), Some(""));
        assert_eq!(get(&path, &identities, "OTHER"), None);
    }
    assert_eq!(EnvFile::keys_of(&path).unwrap(), ["PASSWORD", "EMPTY"]);
    assert_eq!(EnvFile::recipients_of(&path).unwrap().len(), lines.len());
    let error = EnvFile::load(&path, &keys.identities(&["stranger"])).err().unwrap().to_string();
    for part in ["hub.env.age", "stranger", "tried", lines[0].trim()] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!error.contains(&stranger));
    let error = EnvFile::load(&path, &Identities::load(&[]).unwrap()).err().unwrap().to_string();
    assert!(error.contains("no identity was found"), "{error}");
}

#[test]
fn a_change_touches_only_its_own_line_and_the_seal() {
    let keys = Keys::new();
    let recipients = keys.recipients(&[&keys.age("me")]);
    let me = keys.identities(&["me"]);
    let path = keys.path("clienteA/hub.env.age");
    let before = save(&path, &[("A", "1111"), ("B", "2222"), ("C", "3333")], &recipients);
    let mut file = EnvFile::load(&path, &me).unwrap();
    assert!(!file.save(&path, &recipients).unwrap(), "nothing changed, nothing is written");
    file.set("A", Secret::new("1111")).unwrap();
    assert!(!file.save(&path, &recipients).unwrap(), "the same value is no change");
    file.set("B", Secret::new("new")).unwrap();
    assert!(file.save(&path, &recipients).unwrap());
    let after = std::fs::read_to_string(&path).unwrap();
    let differing: Vec<&str> = before
        .lines()
        .zip(after.lines())
        .filter(|(a, b)| a != b)
        .map(|(a, _)| a.split(['=', ':']).next().unwrap())
        .collect();
    assert_eq!(differing, ["B", "# seal"]);
    let mut file = EnvFile::load(&path, &me).unwrap();
    assert!(file.remove("C") && !file.remove("C"));
    assert!(file.save(&path, &recipients).unwrap());
    let file = EnvFile::load(&path, &me).unwrap();
    assert_eq!(file.keys().collect::<Vec<_>>(), ["A", "B"]);
    assert_eq!(file.get("B").unwrap().reveal(), "new");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn other_recipients_mean_new_ciphertexts_for_all() {
    let keys = Keys::new();
    let (one, two) = (keys.age("one"), keys.age("two"));
    let path = keys.path("clienteA/hub.env.age");
    let before = save(&path, &[("A", "1111"), ("B", "2222")], &keys.recipients(&[&one, &two]));
    let mut file = EnvFile::load(&path, &keys.identities(&["two"])).unwrap();
    assert!(!file.save(&path, &keys.recipients(&[&two, &one])).unwrap(), "the order of readers does not matter");
    assert!(file.save(&path, &keys.recipients(&[&one])).unwrap());
    let after = std::fs::read_to_string(&path).unwrap();
    assert!(after.lines().filter(|line| line.contains("=age:")).all(|line| !before.contains(line)));
    assert!(EnvFile::load(&path, &keys.identities(&["two"])).is_err());
    assert_eq!(get(&path, &keys.identities(&["one"]), "B").as_deref(), Some("2222"));
}

#[test]
fn tampering_is_one_clear_error_with_its_line() {
    let keys = Keys::new();
    let me = keys.age("me");
    let recipients = keys.recipients(&[&me]);
    let identities = keys.identities(&["me"]);
    let path = keys.path("clienteA/hub.env.age");
    let old = save(&path, &[("A", "1111"), ("B", "2222")], &recipients);
    let mut file = EnvFile::load(&path, &identities).unwrap();
    file.set("A", Secret::new("other")).unwrap();
    file.save(&path, &recipients).unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    let line = |text: &str, start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let (a, b, seal) = (line(&good, "A="), line(&good, "B="), line(&good, "# seal"));
    let elsewhere = keys.path("clienteB/hub.env.age");
    let foreign = save(&elsewhere, &[("A", "evil"), ("B", "evil2")], &recipients);
    let value = |line: &str| line.split_once('=').unwrap().1.to_owned();
    for (what, text, says) in [
        ("a line deleted", good.replace(&format!("{b}\n"), ""), "`B` is missing"),
        (
            "values swapped",
            good.replace(&a, &format!("A={}", value(&b))).replacen(&b, &format!("B={}", value(&a)), 2),
            "`A` is not the one",
        ),
        ("an old line back", good.replace(&a, &line(&old, "A=")), "`A` is not the one"),
        ("a line from another host", good.replace(&a, &line(&foreign, "A=")), "`A` is not the one"),
        ("a key renamed", good.replace("A=age", "Z=age"), "`Z` was added"),
        ("a line twice", good.replace(&a, &format!("{a}\n{a}")), "twice"),
        ("the seal gone", good.replace(&seal, ""), "seal at its end is missing"),
        ("an old seal", good.replace(&seal, &line(&old, "# seal")), "`A` is not the one"),
        ("another file's seal", good.replace(&seal, &line(&foreign, "# seal")), "belongs to another file"),
        ("another file's seal and values", foreign.clone(), "belongs to another file"),
        ("a character changed", good.replace(&a, &format!("{}AAAA", &a[..a.len() - 4])), "`A` is not the one"),
        ("not base64", good.replace(&a, "A=age:%%"), "`A` is not the one"),
        ("a reader added", good.replacen("# recipient: ", "# recipient: age1evil\n# recipient: ", 1), "recipients"),
        ("a merge", good.replace(&a, &format!("<<<<<<< HEAD\n{a}")), "merge"),
        ("plaintext", good.replace(&a, "A=hunter2"), "KEY=age:"),
    ] {
        std::fs::write(&path, &text).unwrap();
        let error = EnvFile::load(&path, &identities).err().unwrap_or_else(|| panic!("{what} was not detected"));
        let shown = error.to_string();
        assert!(shown.contains(says), "{what}: {shown}");
        assert!(shown.contains("hub.env.age:") && error.also.is_empty() && error.hint.is_some(), "{what}: {shown}");
        assert!(!shown.contains("1111") && !shown.contains("hunter2"), "{what}: {shown}");
    }
    std::fs::write(&path, &good).unwrap();
    assert_eq!(get(&path, &identities, "A").as_deref(), Some("other"));
    std::fs::rename(&path, keys.path("clienteA/chat.env.age")).unwrap();
    assert!(EnvFile::load(&keys.path("clienteA/chat.env.age"), &identities).is_err(), "moved to another service");
}

#[test]
fn a_forger_with_the_public_key_cannot_reseal_old_lines() {
    let keys = Keys::new();
    let recipients = keys.recipients(&[&keys.age("me")]);
    let identities = keys.identities(&["me"]);
    let path = keys.path("clienteA/hub.env.age");
    let good = save(&path, &[("A", "1111"), ("B", "2222")], &recipients);
    // the forger makes a file of their own for the same host and service, and puts one good line into it
    let forged_path = keys.path("forged/clienteA/hub.env.age");
    let forged = save(&forged_path, &[("A", "evil"), ("B", "evil2")], &recipients);
    let line = |text: &str, start: &str| text.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    let mixed = forged.replace(&line(&forged, "B="), &line(&good, "B="));
    std::fs::write(&path, mixed).unwrap();
    assert!(EnvFile::load(&path, &identities).err().unwrap().to_string().contains("`B` is not the one"));
}

#[test]
fn a_change_by_someone_else_is_not_overwritten() {
    let keys = Keys::new();
    let recipients = keys.recipients(&[&keys.age("me")]);
    let identities = keys.identities(&["me"]);
    let path = keys.path("clienteA/hub.env.age");
    save(&path, &[("A", "1111")], &recipients);
    let mut mine = EnvFile::load(&path, &identities).unwrap();
    let mut theirs = EnvFile::load(&path, &identities).unwrap();
    theirs.set("B", Secret::new("2222")).unwrap();
    theirs.save(&path, &recipients).unwrap();
    mine.set("C", Secret::new("3333")).unwrap();
    assert!(mine.save(&path, &recipients).unwrap_err().to_string().contains("someone else"));
    assert_eq!(get(&path, &identities, "B").as_deref(), Some("2222"));
}

#[test]
fn a_missing_file_is_empty_and_bad_names_and_keys_are_refused() {
    let keys = Keys::new();
    let me = keys.age("me");
    let identities = keys.identities(&["me"]);
    let path = keys.path("clienteA/none.env.age");
    let mut file = EnvFile::load(&path, &identities).unwrap();
    assert!(file.is_empty() && EnvFile::keys_of(&path).unwrap().is_empty());
    assert!(!file.save(&path, &keys.recipients(&[&me])).unwrap() && !path.exists());
    for bad in ["", "1A", "A-B", "A B", "ñ", "A=B"] {
        assert!(file.set(bad, Secret::new("x")).is_err(), "{bad}");
    }
    assert!(file.set("A", Secret::new("a\0b")).unwrap_err().to_string().contains("NUL"));

    for (lines, says) in
        [("", "no recipients"), ("age1nonsense", "recipients:1"), ("# ok\nssh-dss AAAA", "recipients:2")]
    {
        let error = Recipients::load(&keys.write("recipients", lines)).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
    let secret = generate(&SecretKind::Age, 1).unwrap();
    let error = Identities::load(&[keys.write("bad", &format!("\n{}X\n", secret.reveal()))]).err().unwrap().to_string();
    assert!(error.contains("bad:2") && !error.contains(secret.reveal()), "{error}");
    assert!(Identities::load(&[keys.path("not/there")]).is_err());
}

#[test]
fn an_ssh_key_with_a_passphrase_is_refused_clearly_without_a_terminal() {
    let keys = Keys::new();
    let Some(line) = keys.ssh("locked", &["-t", "ed25519"], "open sesame") else { return };
    let path = keys.path("clienteA/hub.env.age");
    save(&path, &[("A", "1111")], &keys.recipients(&[line.trim(), &keys.age("me")]));
    // another key that fits makes the passphrase unnecessary
    assert_eq!(get(&path, &keys.identities(&["locked", "me"]), "A").as_deref(), Some("1111"));
    if std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        println!("skipped: standard input is a terminal");
        return;
    }
    let error = EnvFile::load(&path, &keys.identities(&["locked"])).err().unwrap().to_string();
    assert!(error.contains("locked has a passphrase"), "{error}");
}

#[test]
fn what_age_itself_writes_and_reads_is_what_we_write_and_read() {
    let keys = Keys::new();
    let recipients = keys.recipients(&[&keys.age("me")]);
    let path = keys.path("clienteA/hub.env.age");
    let text = save(&path, &[("A", "1111")], &recipients);
    let packed = text.lines().find_map(|line| line.strip_prefix("A=age:")).unwrap();
    use base64::Engine as _;
    let ciphertext = base64::engine::general_purpose::STANDARD.decode(packed).unwrap();
    assert!(ciphertext.starts_with(b"age-encryption.org/v1\n"));
    let Some(tool) = ["age", "rage"].into_iter().find(|tool| Command::new(tool).arg("--version").output().is_ok())
    else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "age is needed");
        println!("skipped: neither age nor rage is installed");
        return;
    };
    std::fs::write(keys.path("value.age"), ciphertext).unwrap();
    let out = Command::new(tool).args(["-d", "-i"]).args([keys.path("me"), keys.path("value.age")]).output().unwrap();
    assert!(out.stdout.ends_with(b"\n1111"), "{out:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_value_comes_back_byte_for_byte(values in proptest::collection::vec("[^\0]{0,40}", 1..5)) {
        let keys = Keys::new();
        let recipients = keys.recipients(&[&keys.age("me")]);
        let path = keys.path("clienteA/hub.env.age");
        let mut file = EnvFile::default();
        for (n, value) in values.iter().enumerate() {
            file.set(&format!("K{n}"), Secret::new(value.as_str())).unwrap();
        }
        file.save(&path, &recipients).unwrap();
        let file = EnvFile::load(&path, &keys.identities(&["me"])).unwrap();
        let back: Vec<String> = file.iter().map(|(_, secret)| secret.reveal().to_owned()).collect();
        prop_assert_eq!(back, values);
    }
}
