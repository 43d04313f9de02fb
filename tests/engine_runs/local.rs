//! Playbook texts → what happened, on this machine through the real lane.

use crate::bench::Bench;
use provision::event::Status;
use serde_json::json;

const FIRST: &str = r#"
- hosts: all
  vars:
    greeting: "hello {{ whom }}"
    whom: world
  tasks:
    - name: A folder
      file: {path: "{{ out }}/etc", state: directory, mode: "0750"}
    - name: A file
      copy: {content: "{{ greeting }}\n", dest: "{{ out }}/etc/motd", mode: "0644"}
    - name: A template
      template: {src: app.conf.j2, dest: "{{ out }}/etc/app.conf"}
      notify: Say so
    - name: A command
      command: touch {{ out }}/once creates={{ out }}/once
    - name: A shell
      shell: "echo $((40 + 2))"
      register: answer
      changed_when: false
    - name: The answer
      assert:
        that: answer.stdout == "42"
    - name: Several
      copy: {content: "{{ item.text }}", dest: "{{ out }}/{{ item.name }}"}
      loop:
        - {name: one, text: "1"}
        - {name: two, text: "2"}
  handlers:
    - name: Say so
      shell: "echo said >> {{ out }}/said"
"#;

#[tokio::test]
async fn the_main_path_runs_and_a_second_run_changes_nothing() {
    let bench = Bench::new(&["one"]);
    bench.file("templates/app.conf.j2", "{% for n in [1, 2] %}\nport {{ n }}\n{% endfor %}\n# {{ greeting }}\n");
    let first = bench.run(FIRST).await;
    assert_eq!(first.summary.exit_code, 0, "{}\n{:#?}", first.story(), first.events);
    assert_eq!(
        first.story(),
        "one: A folder [changed]\n\
         one: A file [changed]\n\
         one: A template [changed]\n\
         one: A command [changed]\n\
         one: A shell [ok]\n\
         one: The answer [ok]\n  \
           one: Several (one) [changed]\n  \
           one: Several (two) [changed]\n\
         one: Several [changed]\n\
         one: Say so [changed]"
    );
    assert_eq!(bench.read("etc/motd"), "hello world\n");
    assert_eq!(bench.read("etc/app.conf"), "port 1\nport 2\n# hello world\n");
    assert_eq!(bench.read("said"), "said\n");
    let second = bench.run(FIRST).await;
    assert_eq!(second.summary.hosts["one"].changed, 0, "{}", second.story());
    assert_eq!(second.outcome("A command").status, Status::Ok);
    assert_eq!(bench.read("said"), "said\n", "the handler was not notified again");
    assert_eq!(second.result("The answer")["changed"], json!(false));
}

#[tokio::test]
async fn check_mode_predicts_and_touches_nothing() {
    let mut bench = Bench::new(&["one"]);
    bench.file("templates/app.conf.j2", "x\n");
    bench.check = true;
    let ran = bench.run(FIRST).await;
    assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
    assert_eq!(std::fs::read_dir(bench.out("")).unwrap().count(), 0);
    for task in ["A folder", "A file", "A template"] {
        assert_eq!(ran.outcome(task).status, Status::Changed, "{task}");
    }
    assert_eq!(ran.outcome("The answer").status, Status::Uncertain, "the command did not run: {}", ran.story());
}
