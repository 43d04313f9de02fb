//! Inventories on disk, and what is read from them: formats, precedence rule by rule, and the mistakes people make.

use std::path::{Path, PathBuf};

use provision::inventory::Inventory;
use serde_json::{Value, json};

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn load(folder: &tempfile::TempDir, sources: &[&str]) -> provision::error::Result<Inventory> {
    let sources: Vec<PathBuf> = sources.iter().map(|source| folder.path().join(source)).collect();
    Inventory::load(&sources)
}

fn loaded(files: &[(&str, &str)], sources: &[&str]) -> Inventory {
    let folder = folder(files);
    load(&folder, sources).unwrap_or_else(|error| panic!("{error}"))
}

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.hosts().map(|host| host.name.as_str()).collect()
}

fn var(inventory: &Inventory, host: &str, key: &str) -> Value {
    inventory.vars(host).get(key).cloned().unwrap_or(Value::Null)
}

const YAML: &str = "\
all:
  hosts:
    bare.example:
  vars: {color: grey}
  children:
    web:
      hosts:
        web[01:02].example: {size: 0644}
        db.example:2222:
      vars: {color: blue}
    prod:
      children:
        web:
";

const INI: &str = "\
bare.example
; a comment
[web]
web[01:02].example size=420  # two of them
db.example:2222

[prod:children]
web

[web:vars]
color = blue

[all:vars]
color=grey
";

#[test]
fn yaml_and_ini_say_the_same() {
    for (file, text) in [("hosts.yml", YAML), ("hosts.ini", INI), ("hosts", INI), ("hosts", YAML)] {
        let inventory = loaded(&[(file, text)], &[file]);
        assert_eq!(names(&inventory), ["bare.example", "web01.example", "web02.example", "db.example"], "{file}");
        let groups = json!(inventory.groups());
        let web = json!(["web01.example", "web02.example", "db.example"]);
        assert_eq!(groups["web"], web);
        assert_eq!(groups["prod"], web);
        assert_eq!(groups["ungrouped"], json!(["bare.example"]));
        assert_eq!(groups["all"].as_array().unwrap().len(), 4);
        assert_eq!(inventory.host("web01.example").unwrap().groups, ["prod", "web"]);
        assert_eq!(inventory.host("bare.example").unwrap().groups, ["ungrouped"]);
        assert_eq!(var(&inventory, "web02.example", "size"), json!(420));
        assert_eq!(var(&inventory, "web02.example", "color"), json!("blue"));
        assert_eq!(var(&inventory, "bare.example", "color"), json!("grey"));
        assert_eq!(var(&inventory, "db.example", "ansible_port"), json!(2222));
        assert!(inventory.warnings().is_empty(), "{:?}", inventory.warnings());
    }
}

#[test]
fn ini_values_are_python_literals() {
    let text = "h a=True b=yes c=0644 d=\"['x', 1]\" e='two words' f=3 g=[1,2] i=\"{'k': 1}\"\n[g]\nh\n[g:vars]\n\
        list = ['x', 'y']\nquoted = 'it is'\ntext = no # comment here\n";
    let inventory = loaded(&[("hosts.ini", text)], &["hosts.ini"]);
    let expected = json!({
        "list": ["x", "y"], "quoted": "it is", "text": "no # comment here",
        "a": true, "b": "yes", "c": "0644", "d": ["x", 1], "e": "two words", "f": 3, "g": [1, 2], "i": {"k": 1},
    });
    assert_eq!(Value::Object(inventory.vars("h")), expected);
}

/// Every rule: what the files say of `x` for the host `h`, and which of them wins.
#[test]
fn precedence_rule_by_rule() {
    let hosts = "all:\n  vars: {x: all}\n  children:\n    a:\n      vars: {x: a}\n      hosts: {h: }\n    \
        b:\n      vars: {x: b}\n      hosts: {h: }\n";
    type Rule = (&'static str, &'static [(&'static str, &'static str)], &'static [&'static str], &'static str);
    let rules: &[Rule] = &[
        ("a group wins over all", &[], &["i"], "b"),
        ("of equal groups the later name wins", &[], &["i"], "b"),
        ("group_vars/all wins over groups in the file", &[("i/group_vars/all.yml", "x: gv-all")], &["i"], "gv-all"),
        (
            "group_vars of a group win over group_vars/all",
            &[("i/group_vars/all.yml", "x: gv-all"), ("i/group_vars/a.yml", "x: gv-a")],
            &["i"],
            "gv-a",
        ),
        (
            "group_vars of the later name win",
            &[("i/group_vars/a.yml", "x: gv-a"), ("i/group_vars/b", "x: gv-b")],
            &["i"],
            "gv-b",
        ),
        (
            "the host in the file wins over group_vars",
            &[("i/group_vars/b.yml", "x: gv-b"), ("i/z.yml", "a: {hosts: {h: {x: host}}}")],
            &["i"],
            "host",
        ),
        (
            "host_vars win over the host in the file",
            &[("i/z.yml", "a: {hosts: {h: {x: host}}}"), ("i/host_vars/h.yaml", "x: hv")],
            &["i"],
            "hv",
        ),
        ("a deeper group wins, whatever its name", &[("i/z.yml", "b: {children: {a: }}")], &["i"], "a"),
        (
            "depth is the longest way down",
            &[("i/z.yml", "m: {children: {n: {children: {a: }}}}\nq: {children: {b: }}")],
            &["i"],
            "a",
        ),
        (
            "priority decides between equally deep groups",
            &[("i/z.yml", "a: {vars: {ansible_group_priority: 10}}")],
            &["i"],
            "a",
        ),
        (
            "depth counts more than priority",
            &[("i/z.yml", "a: {children: {b: }, vars: {ansible_group_priority: 10}}")],
            &["i"],
            "b",
        ),
        ("a later file of a folder wins", &[("i/z.yml", "b: {vars: {x: z}}")], &["i"], "z"),
        ("a later source wins", &[("j/hosts.yml", "b: {vars: {x: j}}")], &["i", "j"], "j"),
        ("an earlier source loses", &[("j/hosts.yml", "b: {vars: {x: j}}")], &["j", "i"], "b"),
        (
            "a later source's group_vars of a lower group win",
            &[("i/group_vars/b.yml", "x: i-b"), ("j/hosts.yml", ""), ("j/group_vars/a.yml", "x: j-a")],
            &["i", "j"],
            "j-a",
        ),
        (
            "a later source's group_vars/all do not",
            &[("i/group_vars/b.yml", "x: i-b"), ("j/hosts.yml", ""), ("j/group_vars/all.yml", "x: j-all")],
            &["i", "j"],
            "i-b",
        ),
        (
            "files of a folder in the order of their names",
            &[("i/host_vars/h/1.yml", "x: one"), ("i/host_vars/h/2.yml", "x: two"), ("i/host_vars/h/3.md", "x: no")],
            &["i"],
            "two",
        ),
        ("JSON is fine, too", &[("i/host_vars/h.json", "{\"x\": \"json\"}")], &["i"], "json"),
    ];
    for (rule, more, sources, winner) in rules {
        let mut files = vec![("i/hosts.yml", hosts)];
        files.extend(more.iter());
        let inventory = loaded(&files, sources);
        assert_eq!(var(&inventory, "h", "x"), json!(winner), "{rule}");
        let last = inventory.layers("h").into_iter().rfind(|layer| layer.vars.contains_key("x")).unwrap();
        assert_eq!(last.vars["x"], json!(winner), "{rule}");
        assert!(last.places["x"].line > 0, "{rule}");
    }
}

#[test]
fn mappings_replace_each_other_and_layers_have_names_and_places() {
    let files = [
        ("hosts.yml", "prod:\n  hosts:\n    h:\n      own: 1\n  vars:\n    settings: {a: 1}\n"),
        ("group_vars/all.yml", "# first\nsettings: {b: 2}\n"),
        ("host_vars/h/main.yml", "settings: {c: 3}\n"),
        ("host_vars/h/more.yml", "deep:\n  er:\n    est: 1\n"),
    ];
    let folder = folder(&files);
    let inventory = load(&folder, &["."]).unwrap();
    assert_eq!(var(&inventory, "h", "settings"), json!({"c": 3}));
    let layers: Vec<String> = inventory
        .layers("h")
        .iter()
        .map(|layer| {
            let keys: Vec<String> =
                layer.places.iter().map(|(key, place)| format!("{key}@{}:{}", place.line, place.column)).collect();
            format!("{}: {}", layer.name, keys.join(" "))
        })
        .collect();
    let expected = [
        "hosts.yml, group prod: settings@6:5",
        "group_vars/all.yml: settings@2:1",
        "hosts.yml, host h: own@4:7",
        "host_vars/h/main.yml: settings@1:1",
        "host_vars/h/more.yml: deep@1:1",
    ];
    assert_eq!(layers, expected);
    let line = |layer: usize, path: &[&str]| inventory.layers("h")[layer].place(path).map(|place| place.line);
    assert_eq!(line(0, &["settings", "a"]), Some(6));
    assert_eq!(line(1, &["settings", "b"]), Some(2));
    assert_eq!(line(4, &["deep", "er", "est"]), Some(3));
    assert_eq!(line(4, &["deep", "er", "no"]), Some(2));
    assert_eq!(line(4, &["no"]), None);
    assert_eq!(inventory.data_dir(), folder.path());
}

#[test]
fn variables_beside_a_playbook_win_over_those_of_their_kind() {
    let folder = folder(&[
        ("i/hosts.yml", "g: {hosts: {h: }}"),
        ("i/group_vars/all.yml", "x: i-all\ny: i-all\nz: i-all\nw: i-all"),
        ("i/group_vars/g.yml", "y: i-g\nz: i-g\nw: i-g"),
        ("i/host_vars/h.yml", "w: i-h"),
        ("p/group_vars/all.yml", "x: p-all\ny: p-all"),
        ("p/group_vars/g.yml", "z: p-g\nw: p-g"),
    ]);
    let mut inventory = load(&folder, &["i"]).unwrap();
    inventory.beside_playbook(&folder.path().join("p")).unwrap();
    inventory.beside_playbook(&folder.path().join("i")).unwrap();
    let vars = Value::Object(inventory.vars("h"));
    assert_eq!(vars, json!({"x": "p-all", "y": "i-g", "z": "p-g", "w": "i-h"}));
}

#[test]
fn a_folder_holds_other_things_too() {
    let inventory = loaded(
        &[
            ("hosts.yml", "all: {hosts: {a: }}"),
            ("more/east.ini", "[east]\nb\n"),
            ("vps_data/a/hub.env.age", "{ not: yaml"),
            (".age-recipients", "age1…"),
            ("README.md", "# not: [yaml"),
            ("run.retry", "gone"),
            ("hosts.yml~", "all: {hosts: {old: }}"),
            (".hidden.yml", "]"),
            ("id_ed25519", "-----BEGIN OPENSSH PRIVATE KEY-----\n"),
            ("id_ed25519.pub", "ssh-ed25519 AAAA"),
            ("known_hosts", "a ssh-ed25519 AAAA"),
            ("ansible.cfg", "[defaults]\n"),
            ("group_vars/.gitkeep", ""),
        ],
        &["."],
    );
    assert_eq!(names(&inventory), ["a", "b"]);
    assert!(inventory.warnings().is_empty(), "{:?}", inventory.warnings());
}

#[test]
fn hosts_can_be_listed_on_the_command_line() {
    let inventory = Inventory::load(&[PathBuf::from("a.example,b.example:2222,")]).unwrap();
    assert_eq!(names(&inventory), ["a.example", "b.example"]);
    assert_eq!(var(&inventory, "b.example", "ansible_port"), json!(2222));
    assert_eq!(inventory.data_dir(), Path::new("."));
    let localhost = inventory.vars("localhost");
    assert_eq!(localhost["ansible_connection"], json!("local"));
    assert!(inventory.host("localhost").is_some() && inventory.host("nobody").is_none());
}

#[test]
fn warnings_name_what_is_surely_a_slip() {
    let inventory = loaded(
        &[
            ("hosts.yml", "prod:\n  hosts:\n    h:\n    h:\n"),
            ("group_vars/prdo.yml", "x: 1"),
            ("group_vars/prod.yml", "x: 1"),
            ("group_vars/prod/main.yml", "x: 2"),
            ("host_vars/g.yml", "x: 1\nx: 2"),
            ("host_vars/h.yml", "x: 3\nx: 4"),
        ],
        &["."],
    );
    let warnings: Vec<String> = inventory.warnings().iter().map(ToString::to_string).collect();
    let expected = [
        "the key `h` is already in line 3",
        "there is no group `prdo`\n       hint: did you mean `prod`?",
        "prod.yml: is not read, because",
        "there is no host `g`",
        "the key `x` is already in line 1",
    ];
    for text in expected {
        assert!(warnings.iter().any(|warning| warning.contains(text)), "{text}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
}

#[test]
fn mistakes_stop_the_run_with_their_place() {
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("hosts.yml", "all:\n  host:\n    a:\n")], "hosts.yml:2: unknown key `host` in group `all`"),
        (&[("hosts.yml", "all:\n  host:\n    a:\n")], "did you mean `hosts`?"),
        (&[("hosts.yml", "all:\n  color: red\n")], "a variable goes below `vars`"),
        (&[("hosts.yml", "hosts:\n  a:\n")], "hosts.yml:1: `hosts` stands at the top"),
        (&[("hosts.yml", "color: red\n")], "hosts.yml:1: unknown key `color`"),
        (&[("hosts.yml", "all:\n  hosts:\n    - a\n")], "hosts.yml:3: `hosts` of group `all` is a mapping"),
        (&[("hosts.yml", "all:\n  hosts: a\n")], "and this is a string"),
        (&[("hosts.yml", "all:\n  hosts:\n    a: 5\n")], "host `a` holds an integer"),
        (&[("hosts.yml", "all:\n  hosts:\n    a[3:1]:\n")], "hosts.yml:3: `[3:1]` runs backwards"),
        (&[("hosts.yml", "- a\n")], "an inventory is a mapping of groups"),
        (&[("hosts.yml", "plugin: aws_ec2\n")], "plugins and scripts are not supported"),
        (&[("hosts.yml", "all:\n  vars: {{ x }}\n")], "quote a value that starts with a template"),
        (&[("hosts.yml", "all:\n\tvars:\n")], "indent with spaces"),
        (&[("hosts.yml", "a: {children: {b: }}\nb: {children: {a: }}\n")], "a → b → a"),
        (&[("hosts.yml", "a: {children: {all: }}\n")], "in a circle"),
        (&[("hosts.yml", "a: {vars: {ansible_group_priority: high}}\n")], "is not an integer"),
        (&[("hosts.yml", "a: {vars: {p: !vault x}}\n")], "encrypted by ansible-vault"),
        (&[("hosts.ini", "[web:childs]\n")], "hosts.ini:1: unknown kind of section `childs`"),
        (&[("hosts.ini", "[web:children]\neast\n")], "hosts.ini:2: group `east` is not defined"),
        (&[("hosts.ini", "[wbe:vars]\nx=1\n[web]\na\n")], "hosts.ini:1: group `wbe` is not defined"),
        (&[("hosts.ini", "[web]\na x\n")], "hosts.ini:2: expected `name=value` behind the host"),
        (&[("hosts.ini", "[web]\na x='1\n")], "a quote is opened and not closed"),
        (&[("hosts.ini", "[web:vars]\nx: 1\n[web]\n")], "hosts.ini:2: expected `name=value`"),
        (&[("hosts.ini", "a:\n")], "this looks like YAML"),
        (&[("hosts.ini", "[web\n")], "bracket is not closed"),
        (&[("hosts.py", "")], "scripts are not supported"),
        (&[("hosts", "#!/bin/sh\n")], "scripts are not supported"),
        (&[("hosts.toml", "")], "TOML"),
        (
            &[("hosts.yml", "all: {hosts: {a: }}"), ("host_vars/a.yml", "x: 1\n y: 2\n")],
            "host_vars/a.yml:2: not readable",
        ),
        (&[("hosts.yml", "all: {hosts: {a: }}"), ("host_vars/a.yml", "- x\n")], "variables are `name: value` lines"),
        (&[("hosts.yml", "all: {hosts: {a: }}"), ("group_vars/all", "$ANSIBLE_VAULT;1.1;AES256\n")], "ansible-vault"),
    ];
    for (files, message) in table {
        let folder = folder(files);
        let error = load(&folder, &["."]).err().unwrap_or_else(|| panic!("was read: {files:?}")).to_string();
        assert!(error.contains(message), "{message}\n{error}");
    }
    let error = Inventory::load(&[PathBuf::from("no/such")]).unwrap_err().to_string();
    assert!(error.contains("`no/such` does not exist"), "{error}");
}

#[test]
fn all_mistakes_of_a_file_are_reported_together() {
    let folder = folder(&[("hosts.yml", "all:\n  host: {}\nweb:\n  var: {}\n  hosts: [a]\n")]);
    let error = load(&folder, &["hosts.yml"]).unwrap_err();
    assert_eq!(error.also.len(), 2, "{error}");
}

#[test]
fn unsafe_values_are_templates_of_themselves() {
    let inventory = loaded(&[("hosts.yml", "all: {hosts: {a: {x: !unsafe '{{ y }}'}}}")], &["."]);
    assert_eq!(var(&inventory, "a", "x"), json!("{{ '{{ y }}' }}"));
}

#[test]
fn a_range_is_a_thousand_hosts() {
    let text = "all:\n  children:\n    fleet:\n      hosts:\n        c[0001:1000].example: {domain: x}\n";
    let inventory = loaded(&[("hosts.yml", text), ("group_vars/all.yml", "y: 1")], &["."]);
    assert_eq!(inventory.hosts().count(), 1000);
    assert_eq!(inventory.select("fleet:!c0001.example", &[]).unwrap().len(), 999);
}

#[test]
fn the_shipped_fleet_is_in_order() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("inventory");
    let inventory = Inventory::load(&[folder]).unwrap_or_else(|error| panic!("{error}"));
    assert!(inventory.warnings().is_empty(), "{:?}", inventory.warnings());
    assert_eq!(names(&inventory), ["clienteA", "clienteB"]);
    assert_eq!(inventory.groups()["prod"], ["clienteA", "clienteB"]);
    assert_eq!(var(&inventory, "clienteA", "services"), json!(["infrastructure", "hub", "chat"]));
    assert_eq!(var(&inventory, "clienteB", "services"), json!(["infrastructure", "agent", "chat", "hub", "flow"]));
    for host in ["clienteA", "clienteB"] {
        let vars = inventory.vars(host);
        assert_eq!(vars["deploy_root"], json!("/opt/ATS/VersatileHub"));
        assert_eq!(vars["settings"]["hub"]["FRAPPE_SITE_NAME"], json!(format!("erp.{host}.example")));
        let settings = provision::inventory::connection::Settings::of(&vars).unwrap();
        assert!(settings.address.unwrap().starts_with("203.0.113.") && settings.escalate == Some(true));
    }
}
