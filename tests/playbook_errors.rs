//! Mistakes in playbooks: all of them, with their places, before anything runs.

use std::path::Path;

use provision::playbook::{self, Item};

fn errors(text: &str) -> String {
    match playbook::parse(text, Path::new("play.yml")) {
        Ok(_) => "no mistake".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn every_mistake_is_named_with_its_line() {
    // playbook, lines of the report
    let table: &[(&str, &[&str])] = &[
        (
            "- hosts: all\n  taks: []\n",
            &["play.yml:2: unknown keyword `taks` of a play", "hint: did you mean `tasks`?"],
        ),
        ("- name: x\n", &["play.yml:1: the play names no hosts"]),
        ("hosts: all\n", &["play.yml:1: a playbook must be a list of plays, not a mapping"]),
        (
            "- hosts: all\n  tasks:\n    - name: Install\n      file: {pth: /x, state: directory}\n",
            &["play.yml:4: task `Install`: unknown argument `pth`", "hint: did you mean `path`?"],
        ),
        (
            "- hosts: all\n  tasks:\n    - name: Install\n      flie: {path: /x}\n      whne: x\n",
            &[
                "play.yml:4: task `Install`: unknown keyword or module `flie`",
                "hint: did you mean `file`?",
                "play.yml:5: task `Install`: unknown keyword or module `whne`",
                "hint: did you mean `when`?",
            ],
        ),
        (
            "- hosts: all\n  tasks:\n    - flie: {path: /x}\n    - command: ls\n      copy: {}\n    - name: nothing\n",
            &[
                "play.yml:3: unknown module `flie`",
                "play.yml:5: a second module `copy`",
                "play.yml:6: task `nothing`: no module",
            ],
        ),
        (
            "- hosts: all\n  tasks:\n    - add_host: {name: x}\n    - command: x\n      debugger: on_failed\n    - command: x\n      poll: 0\n      async: 10\n",
            &[
                "play.yml:3: `add_host` is not supported",
                "hosts and groups are fixed when a run starts",
                "play.yml:5: `debugger` is not supported",
                "play.yml:7: `poll: 0` is not supported",
            ],
        ),
        (
            "- hosts: all\n  tasks:\n    - import_tasks: no-such.yml\n    - import_tasks: '{{ x }}.yml'\n    - import_role: {name: nowhere}\n",
            &[
                "play.yml:3: file `no-such.yml` not found",
                "play.yml:4: the file of `import_tasks` must be known when the playbook is read",
                "write `include_tasks`",
                "play.yml:5: role `nowhere` not found",
            ],
        ),
        (
            "- hosts: all\n  tasks:\n    - meta: flush_handler\n    - assert: {msg: x}\n    - debug: hello\n    - command: x\n      register: a-b\n",
            &[
                "play.yml:3: task `meta`: unknown meta action `flush_handler`",
                "hint: did you mean `flush_handlers`?",
                "play.yml:4: task `assert`: `that` is missing",
                "play.yml:5: task `debug`: expected `key=value`, found `hello`",
                "play.yml:7: `register` must be a name for a variable",
            ],
        ),
        (
            "- hosts: all\n  strategy: fast\n  vars: [a]\n  tasks:\n    - with_passwordstore: x\n      command: x\n    - block: x\n",
            &[
                "play.yml:2: `strategy` must be linear or free",
                "play.yml:3: `vars` must be a mapping, not a list",
                "play.yml:5: `with_passwordstore` is not supported",
                "play.yml:7: `block` must be a list of tasks, not a string",
            ],
        ),
        ("- import_playbook: nowhere.yml\n", &["play.yml:1: playbook `nowhere.yml` not found"]),
        (
            "- hosts: all\n  vars:\n    secret: !vault abc\n  tasks: []\n",
            &["play.yml:3: `!vault` values cannot be read", "vps_data"],
        ),
        ("- hosts: all\n  tasks:\n    - command: [\n", &["play.yml"]),
    ];
    for (text, expected) in table {
        let report = errors(text);
        let mut rest = report.as_str();
        for line in *expected {
            let Some(at) = rest.find(line) else {
                panic!("{line:?} is not in (or out of order)\n{report}\nof\n{text}")
            };
            rest = &rest[at + line.len()..];
        }
    }
}

#[test]
fn mistakes_in_files_that_will_be_included_are_found_too() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    };
    let play = file(
        "play.yml",
        "- hosts: all\n  tasks:\n    - include_tasks: more.yml\n    - include_role: {name: r}\n    - include_tasks: absent.yml\n",
    );
    file("more.yml", "- comand: ls\n");
    file("roles/r/tasks/main.yml", "- copy: {dst: /x}\n- include_tasks: main.yml\n");
    let report = playbook::load(&play).unwrap_err().to_string();
    assert!(report.contains("more.yml:1: unknown module `comand`"), "{report}");
    assert!(report.contains("did you mean `command`?"), "{report}");
    assert!(report.contains("main.yml:1: task `copy`: unknown argument `dst`"), "{report}");
    assert!(!report.contains("absent"), "a file that is made meanwhile may be included: {report}");
}

#[test]
fn what_blocks_say_is_copied_to_their_tasks() {
    let text = "
- hosts: all
  become: true
  tags: [play]
  environment: {A: '1'}
  tasks:
    - name: outer
      when: a
      become_user: app
      tags: block
      vars: {x: 1}
      block:
        - name: inner
          command: ls
          when: [b, c]
          tags: [own, block]
          environment: {B: '2'}
          no_log: true
";
    let plays = playbook::parse(text, Path::new("play.yml")).unwrap();
    let Item::Block(block) = &plays[0].tasks[0] else { panic!("a block") };
    let Item::Task(task) = &block.body[0] else { panic!("a task") };
    assert_eq!(task.when, ["a", "b", "c"]);
    assert_eq!(task.tags, ["play", "block", "own"]);
    assert_eq!(task.keywords.environment.len(), 2);
    assert_eq!(task.keywords.become_user, Some("app".into()));
    assert_eq!(task.keywords.r#become, Some(true.into()));
    assert_eq!(task.vars.len(), 1);
    assert_eq!(task.place.to_string(), "play.yml:13");
}
