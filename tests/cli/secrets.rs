//! `provision secrets`, every verb of it, through the program.

use crate::project::{Ended, Project, key};

const FILE: &str = "inventory/vps_data/ana/shop.env.age";

fn set(project: &Project, name: &str, value: &str) -> Ended {
    project.run_with(project.command(&["secrets", "set", name, "--host", "ana"]), value)
}

/// Runs `secrets edit shop` with a shell script as the editor; `$1` is the file.
fn edit(project: &Project, script: &str) -> Ended {
    let editor = project.file("editor.sh", &format!("set -eu\n{script}\n"));
    let mut command = project.command(&["secrets", "edit", "shop", "--host", "ana"]);
    command.env("EDITOR", format!("sh {}", editor.display()));
    project.run_with(command, "")
}

fn line_of<'t>(text: &'t str, key: &str) -> &'t str {
    text.lines().find(|line| line.starts_with(&format!("{key}="))).unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

#[test]
fn values_are_stored_listed_shown_made_and_forgotten() {
    let project = Project::with_key();
    let value = "a b $c \"d\" 'e' #f\\\nñ\n";
    assert_eq!(set(&project, "shop/API_KEY", value).stdout, "ana shop/API_KEY stored\n");
    assert_eq!(project.says(&["secrets", "get", "shop/API_KEY", "--host", "ana"]), format!("{value}\n"));
    // behind an alias is the same file
    assert_eq!(project.says(&["secrets", "get", "tienda/API_KEY", "--host", "ana"]), format!("{value}\n"));

    let made = ["secrets", "generate", "shop/DB_PASSWORD", "--kind", "hex", "--length", "16", "--host", "ana"];
    assert_eq!(project.says(&made), "ana shop/DB_PASSWORD generated\n");
    let first = project.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]);
    assert_eq!(first.trim().len(), 32);
    assert_eq!(project.says(&made), "ana shop/DB_PASSWORD kept (--force replaces it)\n");
    assert_eq!(project.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]), first);
    project.says(&[made.as_slice(), &["--force"]].concat());
    assert_ne!(project.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]), first);

    let list = project.says(&["secrets", "list"]);
    assert!(list.contains("API_KEY, DB_PASSWORD") && list.contains("ana"), "{list}");
    assert!(!list.contains(first.trim()));
    let text = project.read(FILE);
    assert!(!text.contains("$c") && text.contains("API_KEY=age:"), "{text}");

    assert_eq!(project.says(&["secrets", "remove", "shop/API_KEY", "--host", "ana"]), "ana shop/API_KEY removed\n");
    let gone = project.run(&["secrets", "get", "shop/API_KEY", "--host", "ana"]);
    assert_eq!(gone.code, 2);
    assert!(gone.stderr.contains("host `ana` has no stored `shop/API_KEY`"), "{}", gone.stderr);
}

#[test]
fn several_hosts_at_once_and_flags_on_either_side() {
    let project = Project::with_key();
    let out = project.says(&["secrets", "generate", "global/SMTP", "--host", "clients", "-i", "inventory"]);
    assert_eq!(out, "ana global/SMTP generated\nbeto global/SMTP generated\n");
    let out = project.says(&["secrets", "-i", "inventory", "get", "global/SMTP", "--host", "all"]);
    assert_eq!(out.lines().count(), 2);
    assert!(out.starts_with("ana "));
}

#[test]
fn wrong_names_are_refused() {
    let project = Project::with_key();
    for (args, says) in [
        (vec!["secrets", "generate", "shp/KEY", "--host", "ana"], "did you mean `shop`?"),
        (vec!["secrets", "generate", "KEY", "--host", "ana"], "`KEY` is not of the form service/KEY"),
        (vec!["secrets", "generate", "shop/A-B", "--host", "ana"], "`A-B` cannot be the name of a setting"),
        (vec!["secrets", "generate", "shop/K", "--kind", "hexx", "--host", "ana"], "`hexx` is not a kind of secret"),
        (vec!["secrets", "set", "shop/K", "--host", "ana"], "the value is empty"),
        (vec!["secrets", "get", "shp/K", "--host", "ana"], "did you mean `shop`?"),
        (vec!["secrets", "edit", "shop", "--host", "clients"], "`clients` are 2 hosts"),
        (vec!["secrets", "edit", "shop", "--host", "ana"], "no editor is named"),
    ] {
        let ended = project.run(&args);
        assert_eq!(ended.code, 2, "{args:?}: {}", ended.stdout);
        assert!(ended.stderr.contains(says), "{args:?}: {}", ended.stderr);
    }
    assert!(!project.path("inventory/vps_data").exists());
}

#[test]
fn init_takes_the_key_at_hand() {
    let recipients = "inventory/.age-recipients";
    let (private, public) = key();
    let by_flag = Project::new();
    by_flag.file("me.txt", &private);
    by_flag.says(&["secrets", "init", "--identity", "me.txt"]);
    assert!(by_flag.read(recipients).lines().any(|line| line == public), "{}", by_flag.read(recipients));
    assert!(by_flag.says(&["secrets", "init"]).contains("is there"));

    let by_variable = Project::new();
    let mut command = by_variable.command(&["secrets", "init"]);
    command.env("PROVISION_IDENTITY", by_variable.file("me.txt", &private));
    assert_eq!(by_variable.run_with(command, "").code, 0);
    assert!(by_variable.read(recipients).contains(&public));

    let by_ssh = Project::new();
    std::fs::create_dir(by_ssh.path("home/.ssh")).unwrap();
    let file = by_ssh.path("home/.ssh/id_ed25519");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&file).status();
    assert!(made.unwrap().success());
    by_ssh.says(&["secrets", "init"]);
    let key = by_ssh.read("home/.ssh/id_ed25519.pub").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    assert!(by_ssh.read(recipients).lines().any(|line| line == key));
    by_ssh.says(&["secrets", "generate", "shop/DB_PASSWORD", "--host", "ana"]);
    by_ssh.says(&["secrets", "get", "shop/DB_PASSWORD", "--host", "ana"]);

    let named = Project::new();
    named.says(&["secrets", "init", &public]);
    named.says(&["secrets", "init", &key]);
    assert!(named.read(recipients).contains(&public) && named.read(recipients).contains(&key));

    let none = Project::new();
    let ended = none.run(&["secrets", "init"]);
    assert!(ended.code == 2 && ended.stderr.contains("no public key to encrypt to"), "{}", ended.stderr);
    assert!(!none.path(recipients).exists());
    let ended = none.run(&["secrets", "init", "age1nonsense"]);
    assert!(ended.code == 2 && !none.path(recipients).exists(), "{}", ended.stderr);
}

#[test]
fn what_a_file_says_about_itself_can_be_done() {
    let project = Project::with_key();
    project.says(&["secrets", "generate", "shop/DB_PASSWORD", "--host", "ana"]);
    let text = project.read(FILE);
    let commands: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    assert_eq!(commands.len(), 2, "{text}");
    for command in commands {
        let words: Vec<&str> = command.split_whitespace().collect();
        let parsed = provision::cli::command().try_get_matches_from(&words);
        assert!(parsed.is_ok(), "{command}: {}", parsed.unwrap_err());
        assert!(command.contains("--host ana") && command.contains("shop"), "{command}");
    }
}

#[test]
fn edit_changes_only_what_was_changed() {
    let project = Project::with_key();
    for (name, value) in
        [("shop/KEEP", "kept value"), ("shop/CHANGE", "old"), ("shop/DROP", "x"), ("shop/LINES", "a\nb")]
    {
        set(&project, name, value);
    }
    let before = project.read(FILE);
    let seen = project.path("seen");
    let ended = edit(
        &project,
        &format!(
            "stat -c '%a %n' \"$1\" > {seen}; stat -f -c %T \"$1\" >> {seen}; cat \"$1\" >> {seen}
             sed -i -e 's/^CHANGE=.*/CHANGE=new #1/' -e '/^DROP=/d' \"$1\"; printf '%s\\n' 'ADD=\"x\\ny\"' >> \"$1\"; touch \"$1~\"",
            seen = seen.display()
        ),
    );
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(ended.stdout, "ana shop/DROP removed\nana shop/CHANGE changed\nana shop/ADD added\n");
    let seen = project.read("seen");
    let mut lines = seen.lines();
    let (mode, path) = lines.next().unwrap().split_once(' ').unwrap();
    assert_eq!((mode, lines.next()), ("600", Some("tmpfs")));
    assert!(seen.contains("\nKEEP=kept value\n") && seen.contains("\nLINES=\"a\\nb\"\n"), "{seen}");
    assert!(!std::path::Path::new(path).parent().unwrap().exists(), "{path} is still there");
    let after = project.read(FILE);
    for same in ["KEEP", "LINES"] {
        assert_eq!(line_of(&before, same), line_of(&after, same));
    }
    assert_ne!(line_of(&before, "CHANGE"), line_of(&after, "CHANGE"));
    for (key, value) in [("CHANGE", "new #1"), ("ADD", "x\ny"), ("LINES", "a\nb")] {
        assert_eq!(project.says(&["secrets", "get", &format!("shop/{key}"), "--host", "ana"]), format!("{value}\n"));
    }
    assert!(edit(&project, "true").stdout.contains("nothing was changed"));
    assert_eq!(project.read(FILE), after);
}

#[test]
fn an_edit_that_fails_changes_nothing_and_leaves_nothing() {
    let project = Project::with_key();
    set(&project, "shop/KEEP", "hunter2");
    let before = project.read(FILE);
    let seen = project.path("seen");
    let note = format!("echo \"$1\" > {}", seen.display());
    for (script, says) in [
        ("echo X=1 >> \"$1\"; exit 3", "ended with exit status: 3"),
        ("echo hunter2 >> \"$1\"", "line 4 of the edited file: this is not KEY=value"),
        ("echo 1X=hunter2 >> \"$1\"", "`1X` cannot be the name of a setting"),
        ("rm \"$1\"", "cannot read what the editor left"),
    ] {
        let ended = edit(&project, &format!("{note}; {script}"));
        assert_eq!(ended.code, 2, "{script}");
        assert!(ended.stderr.contains(says) && !ended.stderr.contains("hunter2"), "{script}: {}", ended.stderr);
        assert_eq!(project.read(FILE), before, "{script}");
        let path = project.read("seen");
        assert!(!std::path::Path::new(path.trim()).parent().unwrap().exists(), "{path} is still there");
    }
}

#[test]
fn the_editor_may_be_interrupted() {
    let project = Project::with_key();
    set(&project, "shop/KEEP", "hunter2");
    let seen = project.path("seen");
    // as Ctrl-C on a terminal: the program gets it as well as the editor
    let ended = edit(&project, &format!("echo \"$1\" > {}; kill -INT $PPID; sleep 0.3; exit 1", seen.display()));
    assert_eq!(ended.code, 2, "{}", ended.stderr);
    assert!(!std::path::Path::new(project.read("seen").trim()).parent().unwrap().exists());
}

#[test]
fn readers_come_and_go_and_what_they_could_read_is_listed() {
    let project = Project::with_key();
    set(&project, "shop/API_KEY", "value-of-the-key");
    project.says(&["secrets", "generate", "shop/DB_PASSWORD", "--host", "clients"]);
    let (hers, her_public) = key();
    let hers = project.file("hers.txt", &hers);
    let recipients = project.read("inventory/.age-recipients");
    project.file("inventory/.age-recipients", &format!("{recipients}\n# ana\n{her_public}\n"));
    let before = project.read(FILE);
    let said = project.says(&["secrets", "rekey", "--check"]);
    assert!(
        said.contains("ana/shop would be encrypted anew") && said.contains("2 of 2 files have other readers"),
        "{said}"
    );
    assert_eq!(project.read(FILE), before, "looking changes nothing");
    project.says(&["secrets", "rekey"]);
    assert!(project.says(&["secrets", "rekey"]).contains("0 of 2 files had other readers"));
    let as_her = |project: &Project| {
        let mut command = project.command(&["secrets", "get", "shop/API_KEY", "--host", "ana"]);
        command.env("PROVISION_IDENTITY", &hers).env("HOME", project.path("her-home"));
        project.run_with(command, "")
    };
    assert_eq!(as_her(&project).stdout, "value-of-the-key\n");

    // one broken file, and none is changed
    let beto = "inventory/vps_data/beto/shop.env.age";
    let whole = project.read(beto);
    project.file(beto, &whole.replace("DB_PASSWORD=age:", "DB_PASSWORD=age:AAAA"));
    let (text, people) = (project.read(FILE), project.read("inventory/.age-recipients"));
    let refused = project.run(&["secrets", "offboard", "ana"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("beto/shop.env.age"), "{}", refused.stderr);
    assert_eq!((project.read(FILE), project.read("inventory/.age-recipients")), (text.clone(), people));
    project.file(beto, &whole);

    let said = project.says(&["secrets", "offboard", "ana", "--check"]);
    assert!(said.contains("would be removed:"), "{said}");
    assert_eq!(project.read(FILE), text);
    let said = project.says(&["secrets", "offboard", "ana"]);
    assert!(said.contains(&format!("removed: {her_public}")), "{said}");
    assert!(said.contains("  provision secrets rotate shop/DB_PASSWORD --host ana,beto"), "{said}");
    assert!(!said.contains("value-of-the-key"));
    assert_eq!(project.read("inventory/.age-recipients").trim(), recipients.trim());
    assert_eq!(as_her(&project).code, 2);
    assert_eq!(project.says(&["secrets", "get", "shop/API_KEY", "--host", "ana"]), "value-of-the-key\n");
    let unknown = project.run(&["secrets", "offboard", "ana"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("no key in"), "{}", unknown.stderr);
    // the last one who can read stays
    let own = recipients.lines().find(|line| line.starts_with("age1")).unwrap();
    let last = project.run(&["secrets", "offboard", own]);
    assert!(last.code == 2 && last.stderr.contains("no recipients"), "{}", last.stderr);
}

#[test]
fn the_age_of_a_value_is_noted_and_asked_for() {
    let project = Project::with_key();
    project.says(&["secrets", "generate", "shop/DB_PASSWORD", "--host", "ana"]);
    assert_eq!(project.run(&["secrets", "check", "--older", "30"]).code, 0);
    let text = project.read(FILE);
    let line = text.lines().find(|line| line.starts_with("# since: DB_PASSWORD 20")).unwrap();
    project.file(FILE, &text.replace(line, "# since: DB_PASSWORD 2020-01-31"));
    let old = project.run(&["secrets", "check", "--older", "30"]);
    assert_eq!(old.code, 1);
    assert!(old.stdout.contains("ana shop/DB_PASSWORD: stored on 2020-01-31"), "{}", old.stdout);
    assert!(old.stdout.contains("provision secrets rotate shop/DB_PASSWORD --host ana"), "{}", old.stdout);
    project.says(&["secrets", "generate", "shop/OTHER", "--host", "ana"]);
    assert!(project.read(FILE).contains("# since: DB_PASSWORD 2020-01-31"), "the others keep their day");
    project.file(FILE, &project.read(FILE).replace("# since: DB_PASSWORD 2020-01-31\n", ""));
    assert!(
        project.run(&["secrets", "check", "--older", "30"]).stdout.contains("ana shop/DB_PASSWORD: of unknown age")
    );
}
