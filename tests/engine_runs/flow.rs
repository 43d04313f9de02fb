//! Tables of plays: what runs in which order, what is skipped, rescued, retried, notified.

use crate::bench::Bench;
use serde_json::{Value, json};

/// Play texts on the host `one` and the stories they tell.
const STORIES: &[(&str, &str, &str)] = &[
    (
        "conditions",
        r#"
- hosts: all
  gather_facts: false
  vars: {a: 1, off_: false}
  tasks:
    - {name: holds, debug: {msg: x}, when: a == 1}
    - {name: fails, debug: {msg: x}, when: off_}
    - {name: both, debug: {msg: x}, when: [a == 1, off_]}
    - name: block
      when: off_
      block:
        - {name: inner, debug: {msg: x}}
    - {name: undefined loop is skipped, debug: {msg: x}, loop: "{{ nowhere }}", when: nowhere is defined}
"#,
        "one: holds [ok]\none: fails [skipped]\none: both [skipped]\none: inner [skipped]\none: undefined loop is skipped [skipped]",
    ),
    (
        "rescue and always",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - {name: breaks, command: "false"}
        - {name: never, debug: {msg: x}}
      rescue:
        - {name: what, debug: {msg: "{{ ansible_failed_task.name }}: {{ ansible_failed_result.rc }}"}}
      always:
        - {name: anyway, debug: {msg: x}}
    - {name: goes on, debug: {msg: x}}
"#,
        "one: breaks [failed, ignored]\none: what [ok]\none: anyway [ok]\none: goes on [ok]",
    ),
    (
        "a condition that cannot be read does not hide what failed",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - {name: breaks, fail: {msg: broken}, register: r, changed_when: r.stdout != ''}
      rescue:
        - {name: why, assert: {that: ["ansible_failed_result.msg is match('broken; then `changed_when`: ')"]}}
"#,
        "one: breaks [failed, ignored]\none: why [ok]",
    ),
    (
        "always after a failure that nobody rescues",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - {name: breaks, fail: {msg: broken}}
      always:
        - {name: anyway, debug: {msg: x}}
    - {name: never, debug: {msg: x}}
"#,
        "one: breaks [failed]\none: anyway [ok]",
    ),
    (
        "ignored failures",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: ignored, command: "false", ignore_errors: true, register: r}
    - {name: seen, assert: {that: [r is failed, r.rc == 1]}}
    - {name: not a failure, shell: "exit 3", register: r, failed_when: "r.rc not in [0, 3]", changed_when: false}
    - {name: a failure, shell: "echo bad", register: r, failed_when: "'bad' in r.stdout", ignore_errors: true}
"#,
        "one: ignored [failed, ignored]\none: seen [ok]\none: not a failure [ok]\none: a failure [failed, ignored]",
    ),
    (
        "handlers",
        r#"
- hosts: all
  gather_facts: false
  pre_tasks:
    - {name: pre, command: "true", notify: second}
  tasks:
    - {name: t1, command: "true", notify: [second, first]}
    - {name: t2, command: "true", notify: topic}
    - {name: unchanged, command: "true", changed_when: false, notify: third}
    - meta: flush_handlers
    - {name: t3, command: "true", notify: first}
  post_tasks:
    - {name: post, debug: {msg: x}}
  handlers:
    - {name: first, command: "true", notify: chained}
    - {name: second, command: "true"}
    - {name: third, command: "true"}
    - {name: listens, debug: {msg: x}, listen: topic}
    - {name: also listens, debug: {msg: x}, listen: [topic, other]}
    - {name: chained, debug: {msg: x}}
"#,
        "one: pre [changed]\none: second [changed]\none: t1 [changed]\none: t2 [changed]\none: unchanged [ok]\n\
         one: first [changed]\none: second [changed]\none: listens [ok]\none: also listens [ok]\none: chained [ok]\n\
         one: t3 [changed]\none: first [changed]\none: chained [ok]\none: post [ok]",
    ),
    (
        "no handlers after a failure",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: t, command: "true", notify: h}
    - {name: breaks, fail: {}}
  handlers:
    - {name: h, debug: {msg: x}}
"#,
        "one: t [changed]\none: breaks [failed]",
    ),
    (
        "forced handlers",
        r#"
- hosts: all
  gather_facts: false
  force_handlers: true
  tasks:
    - {name: t, command: "true", notify: h}
    - {name: breaks, fail: {}}
  handlers:
    - {name: h, debug: {msg: x}}
"#,
        "one: t [changed]\none: breaks [failed]\none: h [ok]",
    ),
    (
        "end_host and meta conditions",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - meta: end_host
      when: false
    - {name: here, debug: {msg: x}}
    - meta: end_host
    - {name: never, debug: {msg: x}}
- hosts: all
  gather_facts: false
  tasks:
    - {name: next play, debug: {msg: x}}
"#,
        "one: here [ok]\none: next play [ok]",
    ),
    (
        "loops",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: with, debug: {msg: "{{ item }}"}, with_items: [a, [b, c]]}
    - {name: dict, debug: {msg: "{{ item.key }}={{ item.value }}"}, with_dict: {k: v}}
    - {name: empty, debug: {msg: x}, loop: []}
    - name: some
      debug: {msg: "{{ thing }} {{ at }}"}
      loop: [1, 2, 3]
      loop_control: {loop_var: thing, index_var: at, label: "no {{ thing }}"}
      when: thing != 2
"#,
        "  one: with (a) [ok]\n  one: with (b) [ok]\n  one: with (c) [ok]\none: with [ok]\n  one: dict (k) [ok]\none: dict [ok]\n\
         one: empty [skipped]\n  one: some (no 1) [ok]\n  one: some (no 2) [skipped]\n  one: some (no 3) [ok]\none: some [ok]",
    ),
    (
        "nested blocks unwind one by one",
        r#"
- hosts: all
  gather_facts: false
  tasks:
    - block:
        - block:
            - {name: breaks, fail: {msg: inner}}
          rescue:
            - {name: breaks again, fail: {msg: outer}}
          always:
            - {name: inner always, debug: {msg: x}}
      rescue:
        - {name: outer rescue, debug: {msg: "{{ ansible_failed_result.msg }}"}}
"#,
        "one: breaks [failed, ignored]\none: breaks again [failed, ignored]\none: inner always [ok]\none: outer rescue [ok]",
    ),
];

#[tokio::test]
async fn stories() {
    for (name, play, expected) in STORIES {
        let bench = Bench::new(&["one"]);
        let ran = bench.run(play).await;
        assert_eq!(ran.story(), *expected, "{name}");
    }
}

/// Play tasks, and what the task called `look` says.
#[tokio::test]
async fn looks() {
    let table: Vec<(&str, &str, Value)> = vec![
        (
            "a looped register",
            r#"
    - {name: t, shell: "echo {{ item }}; exit {{ item }}", loop: [0, 3], register: r, ignore_errors: true}
    - {name: look, debug: {msg: ["{{ r.results | length }}", "{{ r.results[0].item }}", "{{ r.results[1].rc }}", "{{ r is failed }}", "{{ r.results[1].failed }}", "{{ r.changed }}", "{{ r.results[0].ansible_loop_var }}", "{{ r.results[0].stdout_lines }}"]}}"#,
            json!([2, 0, 3, true, true, true, "item", ["0"]]),
        ),
        (
            "skipped items are entries, a skipped task registers",
            r#"
    - {name: t, debug: {msg: x}, loop: [1, 2], when: item == 2, register: r}
    - {name: s, debug: {msg: x}, when: false, register: s}
    - {name: e, debug: {msg: x}, loop: [], register: e}
    - {name: look, debug: {msg: ["{{ r.results[0].skipped }}", "{{ r.results[0].false_condition }}", "{{ r is skipped }}", "{{ s is skipped }}", "{{ s is succeeded }}", "{{ s is changed }}", "{{ e.results }}", "{{ e.skipped }}"]}}"#,
            json!([true, "item == 2", false, true, true, false, [], true]),
        ),
        (
            "native types",
            r#"
    - {name: look, debug: {msg: ["{{ 1 + 1 }}", "{{ [1, 2] }}", "x{{ 1 }}", "{{ none }}"]}}"#,
            json!([2, [1, 2], "x1", null]),
        ),
        (
            "retries",
            r#"
    - {name: t, shell: "echo x >> {{ out }}/n; test $(wc -l < {{ out }}/n) -ge 3", register: r, until: r.rc == 0, retries: 5, delay: 0}
    - {name: look, debug: {msg: ["{{ r.attempts }}", "{{ r is failed }}"]}}"#,
            json!([3, false]),
        ),
        (
            "retries that run out",
            r#"
    - {name: t, command: "false", register: r, until: r.rc == 0, retries: 2, delay: 0, ignore_errors: true}
    - {name: look, debug: {msg: ["{{ r.attempts }}", "{{ r is failed }}"]}}"#,
            json!([3, true]),
        ),
        (
            "set_fact beats play vars and loses to include parameters",
            r#"
    - {set_fact: {v: set}}
    - {include_tasks: v.yml, vars: {v: param}}
    - {name: look, debug: {msg: "{{ v }} {{ seen }}"}}"#,
            json!("set param"),
        ),
        (
            "changed_when and failed_when see the result by its name",
            r#"
    - {name: t, shell: echo changed, register: r, changed_when: "'nothing' in r.stdout", failed_when: false}
    - {name: look, debug: {msg: ["{{ r.changed }}", "{{ r.failed }}"]}}"#,
            json!([false, false]),
        ),
        (
            "omit drops an argument",
            r#"
    - {name: t, copy: {content: x, dest: "{{ out }}/f", mode: "{{ nothing | default(omit) }}"}}
    - {name: look, debug: {msg: "fine"}}"#,
            json!("fine"),
        ),
        (
            "text from the host is not templated again",
            r#"
    - {name: t, shell: "echo '{''{ 1 + 1 }''}'", register: r}
    - {name: look, debug: {msg: "{{ r.stdout }}"}}"#,
            json!("{{ 1 + 1 }}"),
        ),
        (
            "!unsafe text is not templated",
            r#"
    - {set_fact: {u: !unsafe "{{ a }} {% b %}"}}
    - {name: look, debug: {msg: "{{ u }}"}}"#,
            json!("{{ a }} {% b %}"),
        ),
        (
            "environment",
            r#"
    - block:
        - {name: t, shell: "echo $A $B", register: r, environment: {B: "{{ 1 + 1 }}"}}
      environment: {A: outer, B: outer}
    - {name: look, debug: {msg: "{{ r.stdout }}"}}"#,
            json!("outer 2"),
        ),
        (
            "free form, args and k=v",
            r#"
    - {name: t, command: "pwd chdir={{ out }}", register: a}
    - {name: u, command: pwd, args: {chdir: "{{ out }}"}, register: b}
    - {name: v, action: command pwd chdir=/, register: c}
    - {name: w, local_action: "command echo 'a b'", register: d}
    - {name: x, command: {argv: [echo, "a  b"]}, register: e}
    - {name: look, debug: {msg: ["{{ a.stdout == out }}", "{{ b.stdout == out }}", "{{ c.stdout }}", "{{ d.stdout }}", "{{ e.stdout }}"]}}"#,
            json!([true, true, "/", "a b", "a  b"]),
        ),
        (
            "magic variables",
            r#"
    - {name: look, debug: {msg: ["{{ inventory_hostname }}", "{{ group_names }}", "{{ groups.all }}", "{{ ansible_play_hosts }}", "{{ ansible_check_mode }}", "{{ hostvars.one.inventory_hostname }}", "{{ playbook_dir is defined }}", "{{ provision_run_id is string }}", "{{ ansible_version.major }}"]}}"#,
            json!(["one", ["ungrouped"], ["one"], ["one"], false, "one", true, true, 2]),
        ),
        (
            "facts that the handshake brought",
            r#"
    - {name: look, debug: {msg: "{{ ansible_system }} {{ ansible_facts.system }}"}}"#,
            json!("Linux Linux"),
        ),
        (
            "include_vars and loops over includes",
            r#"
    - {include_vars: more.yml}
    - {include_tasks: w.yml, loop: [1, 2], loop_control: {loop_var: n}}
    - {name: look, debug: {msg: "{{ from_file }} {{ w1 }} {{ w2 }}"}}"#,
            json!("file it is 1 2"),
        ),
        (
            "debug of an undefined variable",
            r#"
    - {name: t, debug: {var: nothing}, register: r}
    - {name: look, debug: {msg: "{{ r.nothing }}"}}"#,
            json!("VARIABLE IS NOT DEFINED!"),
        ),
        (
            "a task's own variables",
            r#"
    - {name: t, debug: {msg: "{{ v }}{{ w }}"}, vars: {v: task, w: "{{ v }}!"}, register: r}
    - {name: look, debug: {msg: "{{ r.msg }} {{ v }}"}}"#,
            json!("tasktask! play"),
        ),
    ];
    for (name, tasks, expected) in table {
        let bench = Bench::new(&["one"]);
        bench.file("v.yml", "- set_fact: {seen: '{{ v }}'}\n");
        bench.file("w.yml", "- set_fact: {'w{{ n }}': '{{ n }}'}\n");
        bench.file("vars/more.yml", "what: it is\nfrom_file: 'file {{ what }}'\n");
        let text = format!("- hosts: all\n  gather_facts: false\n  vars: {{v: play}}\n  tasks:{tasks}\n");
        let ran = bench.run(&text).await;
        assert!(ran.story().contains("look"), "{name}\n{}\n{:#?}", ran.story(), ran.events);
        assert_eq!(ran.msg("look"), expected, "{name}\n{}", ran.story());
    }
}

#[tokio::test]
async fn no_log_hides_the_result_from_events_but_not_from_the_play() {
    let bench = Bench::new(&["one"]);
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: secret, shell: "echo {{ item }}", loop: [hunter2], no_log: true, register: r}
    - {name: secret failure, shell: "echo hunter2; exit 1", no_log: true, ignore_errors: true}
    - {name: known, assert: {that: "r.results[0].stdout == 'hunter' ~ '2'", quiet: true}}
"#,
        )
        .await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    let told = serde_json::to_string(&ran.events).unwrap();
    assert!(!told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn known_secrets_are_taken_out_of_every_event() {
    let bench = Bench::new(&["one"]);
    bench.redactor.add("s3cr3t-value");
    let ran = bench
        .run(
            r#"
- hosts: all
  gather_facts: false
  vars: {password: s3cr3t-value}
  tasks:
    - {name: "uses {{ password }}", shell: "echo {{ password }}; echo {{ password }} >&2; exit 1", ignore_errors: true}
    - {name: writes, copy: {content: "pw={{ password }}", dest: "{{ out }}/f"}}
    - {name: loops, debug: {msg: "{{ item }}"}, loop: ["{{ password }}"]}
"#,
        )
        .await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    let told = serde_json::to_string(&ran.events).unwrap();
    assert!(!told.contains("s3cr3t-value"), "{told}");
    assert!(told.contains("********"));
    assert_eq!(bench.read("f"), "pw=s3cr3t-value");
}

#[tokio::test]
async fn tags_and_imports() {
    let mut bench = Bench::new(&["one"]);
    bench.file("imported.yml", "- {name: imported, debug: {msg: x}}\n- {name: deep, debug: {msg: x}, tags: deep}\n");
    let play = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: plain, debug: {msg: x}}
    - {name: tagged, debug: {msg: x}, tags: [a, b]}
    - {name: always, debug: {msg: x}, tags: always}
    - {name: never, debug: {msg: x}, tags: [never, c]}
    - {import_tasks: imported.yml, tags: imp}
    - {name: dynamic, include_tasks: imported.yml, tags: dyn}
"#;
    let story = |text: String| text.replace("one: ", "").replace(" [ok]", "").replace('\n', " ");
    let table: &[(&[&str], &[&str], &str)] = &[
        (&[], &[], "plain tagged always imported deep dynamic imported deep"),
        (&["a"], &[], "tagged always"),
        (&["c"], &[], "always never"),
        (&["imp"], &[], "always imported deep"),
        (&["deep"], &[], "always deep"),
        (&["dyn"], &[], "always dynamic"),
        (&["dyn", "deep"], &[], "always deep dynamic deep"),
        (&[], &["b", "imp", "dyn"], "plain always"),
    ];
    for (tags, skip, expected) in table {
        bench.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        bench.skip_tags = skip.iter().map(|tag| (*tag).to_owned()).collect();
        assert_eq!(story(bench.run(play).await.story()), *expected, "{tags:?} {skip:?}");
    }
}

#[tokio::test]
async fn roles_bring_defaults_vars_files_templates_and_handlers() {
    let bench = Bench::new(&["one"]);
    bench.file("roles/app/defaults/main.yml", "port: 80\nname_of_it: default\n");
    bench.file("roles/app/vars/main.yml", "fixed: role\n");
    bench.file("roles/app/meta/main.yml", "dependencies: [base]\n");
    bench.file("roles/app/templates/app.j2", "{{ role_name }} {{ port }} {{ fixed }} {{ name_of_it }}\n");
    bench.file("roles/app/files/raw.txt", "raw {{ not templated }}\n");
    bench.file(
        "roles/app/tasks/main.yml",
        "- {name: t, template: {src: app.j2, dest: '{{ out }}/app-{{ port }}'}, notify: reload}\n\
         - {name: c, copy: {src: raw.txt, dest: '{{ out }}/raw'}}\n\
         - import_tasks: more.yml\n",
    );
    bench.file("roles/app/tasks/more.yml", "- {name: more, debug: {msg: '{{ role_path | basename }}'}}\n");
    bench.file("roles/app/tasks/other.yml", "- {name: other, debug: {msg: '{{ who }}'}, notify: 'app : reload'}\n");
    bench.file("roles/app/handlers/main.yml", "- {name: reload, shell: 'echo x >> {{ out }}/reloads'}\n");
    bench.file("roles/base/tasks/main.yml", "- {name: base, debug: {msg: x}}\n");
    let play = r#"
- hosts: all
  gather_facts: false
  roles:
    - {role: app, port: 81}
    - role: app
      vars: {port: 82}
    - base
  tasks:
    - include_role: {name: app, tasks_from: other}
      vars: {who: included}
    - import_role: {name: app, tasks_from: other}
      vars: {who: imported}
"#;
    let ran = bench.run(play).await;
    assert_eq!(ran.summary.exit_code, 0, "{}\n{:#?}", ran.story(), ran.events);
    assert_eq!(
        ran.story().replace("one: ", "").replace('\n', " "),
        "base [ok] t [changed] c [changed] more [ok] t [changed] c [ok] more [ok] include_role [ok] other [ok] other [ok] reload [changed]"
    );
    assert_eq!(bench.read("app-81"), "app 81 role default\n");
    assert_eq!(bench.read("app-82"), "app 82 role default\n");
    assert_eq!(bench.read("raw"), "raw {{ not templated }}\n");
    assert_eq!(bench.read("reloads"), "x\n");
}
