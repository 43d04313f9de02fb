//! Wrong input, each kind once: one clear error with its place and what to do, exit code 2, and nothing was touched: no
//! run begun, no secret stored, no file changed, nobody called.

use crate::project::{MANIFEST, Project, STACK, key};

/// What is wrong, how the project gets there, the command, and what the error must say.
struct Case {
    what: &'static str,
    make: fn(&Project),
    command: &'static [&'static str],
    says: &'static [&'static str],
}

const ROLLOUT: &[&str] = &["--host", "ana", "--services", "shop", "--yes"];

fn nothing(_: &Project) {}

fn replace(project: &Project, file: &str, from: &str, to: &str) {
    let text = project.read(file);
    assert!(text.contains(from), "{file}: {from}");
    project.file(file, &text.replacen(from, to, 1));
}

fn manifest(project: &Project, from: &str, to: &str) {
    replace(project, "registry/shop/manifest.json", from, to);
}

fn stack(project: &Project, text: &str) {
    project.file("registry/shop/stack.yml.j2", text);
}

fn playbook(project: &Project, task: &str) {
    project.file("site.yml", &format!("- hosts: all\n  tasks:\n    - name: Motd\n{task}"));
}

fn host_vars(project: &Project, text: &str) {
    project.file("inventory/host_vars/ana.yml", text);
}

fn lock(project: &Project, text: &str) {
    project.file("fleet.lock", text);
}

const CASES: &[Case] = &[
    Case {
        what: "an unknown host",
        make: nothing,
        command: &["--host", "anna", "--yes"],
        says: &["unknown host or group `anna`", "hint: did you mean `ana`?"],
    },
    Case {
        what: "an unknown group in a pattern",
        make: nothing,
        command: &["--host", "ana:&prod", "--yes"],
        says: &["unknown host or group `prod`", "hint: groups: all, clients; hosts: ana, beto"],
    },
    Case {
        what: "a pattern that selects nobody",
        make: nothing,
        command: &["--host", "ana:!clients", "--yes"],
        says: &["the pattern `ana:!clients` selects no host"],
    },
    Case {
        what: "an unknown service",
        make: nothing,
        command: &["--host", "ana", "--services", "shp", "--yes"],
        says: &["unknown service `shp`", "hint: did you mean `shop`?"],
    },
    Case {
        what: "an unknown service in the inventory",
        make: |project| host_vars(project, "domain: a.example\nservices: [shopp]\n"),
        command: &["--host", "ana", "--yes"],
        says: &[
            "inventory/host_vars/ana.yml:2",
            "unknown service `shopp`",
            "   2 | services: [shopp]",
            "did you mean `shop`?",
        ],
    },
    Case {
        what: "an unknown setting",
        make: |project| host_vars(project, "settings:\n  shop:\n    SHOP_DOMAN: x.example\n"),
        command: ROLLOUT,
        says: &[
            "inventory/host_vars/ana.yml:3: service `shop` has no setting `SHOP_DOMAN`",
            "   3 |     SHOP_DOMAN: x.example",
            "did you mean `SHOP_DOMAIN`?",
        ],
    },
    Case {
        what: "settings of an unknown service",
        make: |project| host_vars(project, "settings:\n  shoop:\n    SHOP_DOMAIN: x.example\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:2: `settings`: unknown service `shoop`", "did you mean `shop`?"],
    },
    Case {
        what: "a version that is a number",
        make: |project| host_vars(project, "versions:\n  shop: 1.10\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:2: the version of `shop` must be text", "hint: put it in quotes"],
    },
    Case {
        what: "a pin that names no version",
        make: |project| host_vars(project, "versions:\n  shop: {reason: the customer tests it}\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:2: the pin of `shop` names no version", "hint: shop: {version: v1.2.3"],
    },
    Case {
        what: "a pin with a slip in it",
        make: |project| host_vars(project, "versions:\n  shop: {version: v1, raeson: the customer tests it}\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:2: the pin of `shop` has a key `raeson`", "did you mean `reason`?"],
    },
    Case {
        what: "a fleet lock whose digest is cut off",
        make: |project| lock(project, "version: 1\nimages:\n  example/shop:1.2: sha256:12ab\n"),
        command: ROLLOUT,
        says: &["fleet.lock:3: `example/shop:1.2` has no digest", "hint: remove the line"],
    },
    Case {
        what: "a fleet lock that two branches wrote",
        make: |project| lock(project, "images:\n<<<<<<< ours\n  a:1: x\n=======\n"),
        command: ROLLOUT,
        says: &["fleet.lock:2: two branches wrote this file", "hint: keep either line"],
    },
    Case {
        what: "an exit code that nothing can give",
        make: nothing,
        command: &["update", "--host", "ana", "--detailed-exitcode", "--yes"],
        says: &["--detailed-exitcode is about --check"],
    },
    Case {
        what: "a proxy too old for the engine that new hosts have",
        make: |project| host_vars(project, "versions:\n  infrastructure: v3.5.3\n"),
        command: &["--host", "ana", "--services", "infrastructure", "--yes"],
        says: &[
            "registry/infrastructure/stack.yml.j2: host `ana`: service `traefik`: the image `traefik:v3.5.3`: it does not \
             speak with Docker 29",
            "hint: pin v3.6.2 or later",
        ],
    },
    Case {
        what: "a database whose data would be lost with its container",
        make: |project| host_vars(project, "versions:\n  postgres: pg18\n"),
        command: &["--host", "ana", "--services", "postgres", "--yes"],
        says: &["the image `pgvector/pgvector:pg18`: from 18 on its data is elsewhere", "hint: stay with 17"],
    },
    Case {
        what: "a health check by a program that the image lacks",
        make: |project| {
            stack(
                project,
                "services:\n  web:\n    image: chatwoot/chatwoot:v4.17.1\n    healthcheck: {test: [CMD, curl, -f, http://127.0.0.1:3000/api]}\n",
            );
        },
        command: ROLLOUT,
        says: &[
            "registry/shop/stack.yml.j2: host `ana`: service `web`: ",
            "there is no curl in it",
            "hint: use `wget -qO-`",
        ],
    },
    Case {
        what: "an unknown variable in a stack",
        make: |project| stack(project, "services:\n  web:\n    image: x:{{ SHOP_VERSON }}\n"),
        command: ROLLOUT,
        says: &[
            "registry/shop/stack.yml.j2:3: `SHOP_VERSON` is undefined",
            "   3 |     image: x:{{ SHOP_VERSON }}",
            "hint: ",
        ],
    },
    Case {
        what: "an unknown variable in a setting",
        make: |project| host_vars(project, "settings:\n  shop:\n    SHOP_DOMAIN: \"x.{{ domian }}\"\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:3: ", "`domian` is undefined", "SHOP_DOMAIN", "hint: "],
    },
    Case {
        what: "an unknown keyword in a playbook",
        make: |project| playbook(project, "      whenn: true\n      debug: {msg: x}\n"),
        command: &["run", "site.yml"],
        says: &["site.yml:4: ", "`whenn`", "   4 |       whenn: true", "did you mean `when`?"],
    },
    Case {
        what: "an unknown module",
        make: |project| playbook(project, "      coppy: {dest: /etc/motd, content: x}\n"),
        command: &["run", "site.yml"],
        says: &["site.yml:4: ", "unknown module `coppy`", "did you mean `copy`?"],
    },
    Case {
        what: "an unknown argument",
        make: |project| playbook(project, "      copy:\n        destt: /etc/motd\n        content: x\n"),
        command: &["run", "site.yml"],
        says: &["site.yml:5: ", "`destt`", "   5 |         destt: /etc/motd", "did you mean `dest`?"],
    },
    Case {
        what: "an unknown host in a playbook",
        make: |project| {
            project.file("site.yml", "- hosts: webb\n  tasks: []\n");
        },
        command: &["run", "site.yml"],
        says: &["site.yml:1: unknown host or group `webb`"],
    },
    Case {
        what: "an unknown module in the operator's own deploy tasks",
        make: |project| {
            project.file("playbooks/services/deploy.yml", "- name: Put\n  coppy: {dest: /x}\n");
        },
        command: ROLLOUT,
        says: &["playbooks/services/deploy.yml:2: ", "unknown module `coppy`", "did you mean `copy`?"],
    },
    Case {
        what: "an unknown argument in tasks that the operator's own deploy tasks include",
        make: |project| {
            project.file("playbooks/services/deploy.yml", "- name: More\n  include_tasks: more.yml\n");
            project.file("playbooks/services/more.yml", "- name: Put\n  file:\n    paht: /x\n");
        },
        command: ROLLOUT,
        says: &["playbooks/services/more.yml:3: ", "`paht`", "did you mean `path`?"],
    },
    Case {
        what: "a task file that the operator's own deploy tasks miss",
        make: |project| {
            project.file("playbooks/services/deploy.yml", "- name: More\n  include_tasks: mor.yml\n");
        },
        command: ROLLOUT,
        says: &["playbooks/services/deploy.yml:1: file `mor.yml` not found", "   1 | - name: More", "hint: looked at "],
    },
    Case { what: "a playbook that is not there", make: nothing, command: &["run", "sitte.yml"], says: &["sitte.yml"] },
    Case {
        what: "hosts in place of an inventory",
        make: nothing,
        command: &["status", "-i", "ana,"],
        says: &["a list of hosts in place of a file is not read", "--limit or --host"],
    },
    Case {
        what: "a broken inventory",
        make: |project| {
            project.file("inventory/hosts.yml", "all:\n  hosts:\n    ana: {ansible_host: 127.0.0.1\n    beto:\n");
        },
        command: ROLLOUT,
        says: &["inventory/hosts.yml:", " | "],
    },
    Case {
        what: "a broken file of variables, which has a password in its broken line",
        make: |project| host_vars(project, "a: 1\nansible_become_password: \"hunter2\n"),
        command: ROLLOUT,
        says: &["inventory/host_vars/ana.yml:"],
    },
    Case {
        what: "a broken playbook",
        make: |project| playbook(project, "      debug: {msg: \"x}\n    - name: y\n\tbad\n"),
        command: &["run", "site.yml"],
        says: &["site.yml:", " | "],
    },
    Case {
        what: "a broken manifest",
        make: |project| manifest(project, "\"version\": \"1.2\",", "\"version\": \"1.2\""),
        command: ROLLOUT,
        says: &["registry/shop/manifest.json:5: package `shop` is broken", "   5 |   \"extends\": null,"],
    },
    Case {
        what: "an unknown field of a manifest",
        make: |project| manifest(project, "\"secrets\"", "\"secretos\""),
        command: ROLLOUT,
        says: &["registry/shop/manifest.json:13: ", "unknown field `secretos`", "did you mean `secrets`?"],
    },
    Case {
        what: "missing settings, all of them, of all hosts, at once",
        make: |project| {
            manifest(
                project,
                "\"required\": false, \"validation\": \"email\"",
                "\"required\": true, \"validation\": \"email\"",
            );
            manifest(project, ", \"default\": \"shop.{{ domain }}\"", "");
        },
        command: &["--all", "--yes"],
        says: &[
            "host `ana`: service `shop` needs `SHOP_DOMAIN`",
            "host `ana`: service `shop` needs `SHOP_OWNER`",
            "host `beto`: service `shop` needs `SHOP_DOMAIN`",
            "host `beto`: service `shop` needs `SHOP_OWNER`",
            "host_vars/beto.yml (Dominio)",
            "provision secrets set shop/SHOP_OWNER --host beto",
        ],
    },
    Case {
        what: "values of the wrong kind",
        make: |project| {
            host_vars(
                project,
                "settings:\n  shop:\n    SHOP_DOMAIN: https://x.example\n    SHOP_OWNER: nobody\n    SHOP_PORT: 99999\n    API_KEY: hunter2\n",
            );
        },
        command: ROLLOUT,
        says: &[
            "inventory/host_vars/ana.yml:3: host `ana`: service `shop`: `SHOP_DOMAIN`: a domain stands without https://",
            "   3 |     SHOP_DOMAIN: https://x.example",
            "inventory/host_vars/ana.yml:4: host `ana`: service `shop`: `SHOP_OWNER`: ",
            "inventory/host_vars/ana.yml:5: host `ana`: service `shop`: `SHOP_PORT`: ",
            "inventory/host_vars/ana.yml:6: host `ana`: service `shop`: `API_KEY`: does not match `^sk-`",
        ],
    },
    Case {
        what: "the wrong identity",
        make: |project| {
            sealed(project);
            project.file("home/.config/provision/identity.txt", &key().0);
        },
        command: ROLLOUT,
        says: &[
            "inventory/vps_data/ana/shop.env.age: none of your identities",
            "identity.txt",
            "hint: ",
            "--identity",
            "readers are age1",
        ],
    },
    Case {
        what: "no identity",
        make: |project| {
            sealed(project);
            std::fs::remove_file(project.path("home/.config/provision/identity.txt")).unwrap();
        },
        command: ROLLOUT,
        says: &["inventory/vps_data/ana/shop.env.age: no identity was found", "hint: ", "--identity"],
    },
    Case {
        what: "an identity file that is not there",
        make: nothing,
        command: &["--host", "ana", "--yes", "--identity", "no-such.txt"],
        says: &["no-such.txt: cannot read the identity file"],
    },
    Case {
        what: "a tampered file of secrets",
        make: |project| {
            sealed(project);
            let text = project.read("inventory/vps_data/ana/shop.env.age");
            let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("DB_PASSWORD=")).collect();
            project.file("inventory/vps_data/ana/shop.env.age", &format!("{}\n", without.join("\n")));
        },
        command: ROLLOUT,
        says: &[
            "inventory/vps_data/ana/shop.env.age:",
            "was changed by hand",
            "the line of `DB_PASSWORD` is missing",
            "hint: take the last good version from git",
        ],
    },
    Case {
        what: "secrets of another host",
        make: |project| {
            sealed(project);
            let text = project.read("inventory/vps_data/ana/shop.env.age");
            project.file("inventory/vps_data/beto/shop.env.age", &text);
        },
        command: &["--host", "beto", "--yes"],
        says: &["inventory/vps_data/beto/shop.env.age:", "belongs to another file"],
    },
    Case {
        what: "secrets to be made, and nobody to read them",
        make: |project| std::fs::remove_file(project.path("inventory/.age-recipients")).unwrap(),
        command: ROLLOUT,
        says: &["there is no `inventory/.age-recipients`", "hint: create it with `provision secrets init`"],
    },
    Case {
        what: "a recipient that is none",
        make: |project| {
            project.file("inventory/.age-recipients", "# who\nage1nonsense\n");
        },
        command: ROLLOUT,
        says: &["inventory/.age-recipients:2: ", "not an age public key"],
    },
    Case {
        what: "services that need each other",
        make: |project| {
            manifest(project, "\"aliases\"", "\"dependencies\": [{\"service\": \"base\"}],\n  \"aliases\"");
            let base = MANIFEST.replace("\"shop\"", "\"base\"").replace("\"tienda\"", "\"b\"");
            let base = base.replace("\"aliases\"", "\"dependencies\": [{\"service\": \"shop\"}],\n  \"aliases\"");
            project.file("registry/base/manifest.json", &base);
            project.file("registry/base/stack.yml.j2", STACK);
        },
        command: ROLLOUT,
        says: &["services depend on each other in a circle: shop → base → shop", "hint: "],
    },
    Case {
        what: "a dependency that nobody provides",
        make: |project| {
            manifest(project, "\"aliases\"", "\"dependencies\": [{\"service\": \"postgress\"}],\n  \"aliases\"")
        },
        command: ROLLOUT,
        says: &["`shop` depends on `postgress`, which no package provides", "did you mean `postgres`?"],
    },
    Case {
        what: "a template with a syntax error",
        make: |project| stack(project, "services:\n{% if version %}\n  web: {image: x}\n"),
        command: ROLLOUT,
        says: &["registry/shop/stack.yml.j2:", "syntax error"],
    },
    Case {
        what: "a template with an unknown filter",
        make: |project| stack(project, "services:\n  web:\n    image: {{ version | uper }}\n"),
        command: ROLLOUT,
        says: &["registry/shop/stack.yml.j2:3: ", "filter `uper`", "did you mean `upper`?"],
    },
    Case {
        what: "a stack that is not YAML once rendered",
        make: |project| stack(project, "services:\n  web:\n    image: \"x:{{ version }}\n    labels: [a\n"),
        command: ROLLOUT,
        says: &["registry/shop/stack.yml.j2:", "the rendered stack is not YAML", " | ", "hint: "],
    },
    Case {
        what: "a rendered stack that is not YAML in the line of a secret",
        make: |project| {
            project.file("inventory/host_vars/ana.yml", "settings: {shop: {API_KEY: sk-hunter2}}\n");
            stack(project, "services:\n  web:\n    x: [\"{{ API_KEY }}\n");
        },
        command: ROLLOUT,
        says: &["registry/shop/stack.yml.j2:", "the rendered stack is not YAML"],
    },
    Case {
        what: "an inventory that is not there",
        make: nothing,
        command: &["--all", "--yes", "-i", "inventario"],
        says: &["there is no inventory `inventario`", "hint: name one with -i"],
    },
    Case {
        what: "-e that says nothing",
        make: nothing,
        command: &["--host", "ana", "--yes", "-e", "garbage"],
        says: &["-e garbage: neither key=value nor a mapping", "hint: write -e key=value"],
    },
    Case {
        what: "-e with an open quote",
        make: nothing,
        command: &["--host", "ana", "--yes", "-e", "password='hunter2"],
        says: &["-e password=…: a quote is opened and not closed", "hint: "],
    },
    Case {
        what: "-e with a space in a value",
        make: nothing,
        command: &["--host", "ana", "--yes", "-e", "password=some hunter2"],
        says: &["-e password=…: neither key=value nor a mapping", "quotes of its own"],
    },
    Case {
        what: "-e with broken YAML",
        make: nothing,
        command: &["--host", "ana", "--yes", "-e", "{password: \"hunter2"],
        says: &["-e:1: ", "hint: write -e '{key: value}'"],
    },
    Case {
        what: "-e with a file that is not there",
        make: nothing,
        command: &["--host", "ana", "--yes", "-e", "@no-such.yml"],
        says: &["no-such.yml"],
    },
    Case {
        what: "no client named",
        make: nothing,
        command: &["--services", "shop", "--yes"],
        says: &["no client is named", "hint: use --host NAME, or --all"],
    },
    Case {
        what: "every host without saying so",
        make: nothing,
        command: &["--host", "all", "--yes"],
        says: &["this would touch every one of the 2 hosts", "hint: say so with --all"],
    },
    Case {
        what: "every host by a glob",
        make: nothing,
        command: &["--host", "*", "--yes"],
        says: &["this would touch every one of the 2 hosts", "hint: say so with --all"],
    },
    Case {
        what: "nobody to confirm",
        make: nothing,
        command: &["--host", "ana", "--services", "shop"],
        says: &["there is no terminal to confirm on", "hint: add --yes"],
    },
    Case {
        what: "an unknown flag",
        make: nothing,
        command: &["--host", "ana", "--yess"],
        says: &["unexpected argument '--yess'", "'--yes'"],
    },
    Case {
        what: "a flag before the verb",
        make: nothing,
        command: &["--host", "ana", "status"],
        says: &["'status' cannot be used with", "hint: flags come behind the verb: provision status"],
    },
    Case {
        what: "@failed without a failure",
        make: nothing,
        command: &["--host", "@failed", "--yes"],
        says: &["no host failed in the last run", "provision history"],
    },
    Case {
        what: "a registry that is not there",
        make: nothing,
        command: &["--host", "ana", "--yes", "--registry", "no-such"],
        says: &["registry folder `no-such` does not exist"],
    },
    Case {
        what: "a runtime that does not exist",
        make: |project| host_vars(project, "runtime: podman\n"),
        command: ROLLOUT,
        says: &["host `ana`: unknown runtime `podman`", "hint: it is compose or swarm"],
    },
];

/// Stores secrets of `shop` for `ana`, as an earlier run would have.
fn sealed(project: &Project) {
    project.says(&["secrets", "generate", "shop/DB_PASSWORD", "--host", "ana"]);
    project.says(&["secrets", "generate", "shop/API_KEY", "--kind", "hex", "--host", "ana"]);
}

#[test]
fn each_gives_one_clear_error_and_touches_nothing() {
    let mut wrong = String::new();
    for case in CASES {
        let project = Project::with_key();
        (case.make)(&project);
        let before = project.snapshot();
        let ended = project.run(case.command);
        let mut complaints: Vec<String> = Vec::new();
        if ended.code != 2 {
            complaints.push(format!("exit code {}", ended.code));
        }
        if ended.stderr.lines().filter(|line| line.starts_with("error:")).count() != 1 {
            complaints.push("not one error".to_owned());
        }
        complaints.extend(
            case.says.iter().filter(|text| !ended.stderr.contains(**text)).map(|text| format!("does not say: {text}")),
        );
        if ended.stderr.contains("hunter2") || ended.stdout.contains("hunter2") {
            complaints.push("shows a secret".to_owned());
        }
        if case.what.contains("variable in a setting") && ended.stderr.contains("needs") {
            complaints.push("says it twice".to_owned());
        }
        if ended.stderr.contains("panicked") {
            complaints.push("panicked".to_owned());
        }
        let after = project.snapshot();
        let changed = after
            .iter()
            .filter(|file| !before.contains(file))
            .chain(before.iter().filter(|file| !after.contains(file)));
        complaints.extend(changed.map(|(path, _)| format!("touched {}", path.display())));
        if project.was_called() {
            complaints.push("called a host".to_owned());
        }
        if !complaints.is_empty() {
            wrong.push_str(&format!(
                "\n## {}\n  {}\n{}{}\n",
                case.what,
                complaints.join("\n  "),
                ended.stdout,
                ended.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The same project without a mistake goes further: it calls.
#[test]
fn the_project_itself_is_in_order() {
    let project = Project::with_key();
    let ended = project.run(&["--host", "ana", "--services", "shop", "--yes", "--check"]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(project.was_called(), "{}", ended.stderr);
}

#[test]
fn includes_that_never_end_are_stopped() {
    let project = Project::with_key();
    project.file("play.yml", "- {hosts: localhost, gather_facts: false, tasks: [{include_tasks: again.yml}]}\n");
    project.file("again.yml", "- block:\n    - include_tasks: again.yml\n");
    let ended = project.run(&["run", "play.yml"]);
    assert_eq!(ended.code, 1, "{}{}", ended.stdout, ended.stderr);
    assert!(ended.stdout.contains("blocks and includes are 80 deep here"), "{}", ended.stdout);
    assert!(ended.stdout.contains("again.yml:2"), "{}", ended.stdout);
}
