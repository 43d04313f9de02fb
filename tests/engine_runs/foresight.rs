//! Asking ahead changes only the clock; and how many round trips a converged host costs.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use serde_json::json;

use crate::bench::Bench;
use crate::hosts::Shelf;

/// 31 tasks of a typical bootstrap without Docker.
const W: &str = r#"
- hosts: all
  gather_facts: false
  vars: {port: 80, names: [a, b, c, d, e, f]}
  tasks:
    - {name: dir 1, file: {path: "{{ out }}/d1", state: directory, mode: "0755"}}
    - {name: dir 2, file: {path: "{{ out }}/d2", state: directory, mode: "0755"}}
    - {name: dir 3, file: {path: "{{ out }}/d3", state: directory, mode: "0755"}}
    - {name: dir 4, file: {path: "{{ out }}/d4", state: directory, mode: "0755"}}
    - {name: dir 5, file: {path: "{{ out }}/d5", state: directory, mode: "0755"}}
    - {name: dir 6, file: {path: "{{ out }}/d6", state: directory, mode: "0755"}}
    - {name: copy 1, copy: {content: "one\n", dest: "{{ out }}/d1/1"}}
    - {name: copy 2, copy: {content: "two\n", dest: "{{ out }}/d1/2"}}
    - {name: copy 3, copy: {content: "three\n", dest: "{{ out }}/d2/3"}}
    - {name: copy 4, copy: {content: "four\n", dest: "{{ out }}/d2/4"}}
    - {name: copy 5, copy: {content: "five\n", dest: "{{ out }}/d3/5", mode: "0600"}}
    - {name: copy 6, copy: {content: "six\n", dest: "{{ out }}/d3/6"}}
    - {name: copy 7, copy: {content: "seven\n", dest: "{{ out }}/d4/7"}}
    - {name: copy 8, copy: {content: "eight\n", dest: "{{ out }}/d4/8"}, notify: h}
    - {name: template 1, template: {src: t.j2, dest: "{{ out }}/d5/1"}}
    - {name: template 2, template: {src: t.j2, dest: "{{ out }}/d5/2"}, vars: {port: 81}}
    - {name: template 3, template: {src: t.j2, dest: "{{ out }}/d5/3"}, vars: {port: 82}}
    - {name: template 4, template: {src: t.j2, dest: "{{ out }}/d5/4"}, vars: {port: 83}}
    - {name: template 5, template: {src: t.j2, dest: "{{ out }}/d5/5"}, vars: {port: 84}}
    - {name: template 6, template: {src: t.j2, dest: "{{ out }}/d5/6"}, vars: {port: 85}}
    - {name: line 1, lineinfile: {path: "{{ out }}/d1/1", line: added}}
    - {name: line 2, lineinfile: {path: "{{ out }}/d5/1", regexp: "^port", line: "port 99"}}
    - {name: line 3, lineinfile: {path: "{{ out }}/d6/new", line: x, create: true}}
    - {name: link 1, file: {src: "{{ out }}/d1/2", dest: "{{ out }}/l1", state: link}}
    - {name: link 2, file: {src: "{{ out }}/d2/3", dest: "{{ out }}/l2", state: link}}
    - {name: user, user: {name: root}}
    - {name: stat, stat: {path: "{{ out }}/d1/2"}, register: s}
    - {name: assert, assert: {that: s.stat.exists, quiet: true}}
    - {name: command 1, command: "touch {{ out }}/c1 creates={{ out }}/c1"}
    - {name: command 2, command: "touch {{ out }}/c2 creates={{ out }}/c2"}
    - {name: loop, file: {path: "{{ out }}/d6/{{ item }}", state: directory}, loop: "{{ names }}"}
  handlers:
    - {name: h, command: "touch {{ out }}/h"}
"#;

fn bench() -> Bench {
    let bench = Bench::new(&["one"]);
    bench.file("templates/t.j2", "# {{ inventory_hostname }}\nport {{ port }}\n");
    bench.file("service.yml", SERVICE);
    bench.file("part.yml", PART);
    bench.file("again.yml", AGAIN);
    bench
}

fn job(bench: &Bench, play: &str) -> provision::engine::Job {
    let shelf = Shelf(vec![("base", &[]), ("web", &["base"]), ("mail", &[]), ("list", &["mail"])]);
    provision::engine::Job { services: Some(Arc::new(shelf)), ..bench.job(play) }
}

/// What the template and the line edit disagree about is left out of the converged play.
fn converged() -> String {
    W.replace("d1/1\", line: added", "d6/l\", line: added, create: true")
        .replace("d5/1\", regexp", "d6/r\", create: true, regexp")
}

#[tokio::test]
async fn a_converged_host_costs_few_round_trips() {
    let bench = bench();
    let play = converged();
    let first = bench.run(&play).await;
    assert_eq!(first.summary.exit_code, 0, "{}", first.story());
    let second = bench.run(&play).await;
    assert_eq!(second.summary.hosts["one"].changed, 0, "{}", second.story());
    let trips = second.summary.round_trips["one"];
    assert!(trips <= 8, "{trips} round trips");
    println!("first run {} round trips, second {trips}", first.summary.round_trips["one"]);
}

/// What is read on the way is asked about before it is read.
#[tokio::test]
async fn converged_services_and_included_files_cost_few_round_trips() {
    let bench = bench();
    for (run, most) in [(1, 60), (2, 12)] {
        let ran = bench.run_job(job(&bench, SHELF)).await;
        assert_eq!(ran.summary.exit_code, 0, "{}", ran.story());
        assert_eq!(ran.summary.hosts["one"].changed == 0, run == 2, "{}", ran.story());
        let trips = ran.summary.round_trips["one"];
        println!("run {run}: {trips} round trips");
        assert!(trips <= most, "run {run}: {trips} round trips");
    }
}

/// Services and files that are read on the way; the second run finds everything as it is to be.
const SHELF: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: dir, file: {path: "{{ out }}/s", state: directory}}
    - {name: all, include_services: {services: [base, web, mail, list], tasks: service.yml}}
    - {name: again, include_tasks: again.yml, vars: {level: 3}}
    - {name: last, stat: {path: "{{ out }}/s/base"}}
"#;
const SERVICE: &str = r#"
- {name: dir of it, file: {path: "{{ out }}/s/{{ service.id }}", state: directory}}
- {name: note, stat: {path: "{{ out }}/s/{{ service.id }}/note"}, register: note}
- {name: parts, include_tasks: part.yml, loop: [a, b], loop_control: {loop_var: part}}
- {name: only at first, include_tasks: part.yml, vars: {part: c}, when: not note.stat.exists}
- {name: is it well, command: "ls {{ out }}/s/{{ service.id }}", changed_when: false, register: listed}
- {name: note it, copy: {content: "{{ listed.stdout }}", dest: "{{ out }}/s/{{ service.id }}/note"}, when: not note.stat.exists}
"#;
const PART: &str = r#"
- {name: "part {{ part }}", copy: {content: "{{ service.id }} {{ part }}", dest: "{{ out }}/s/{{ service.id }}/{{ part }}"}}
- {name: "owner {{ part }}", file: {path: "{{ out }}/s/{{ service.id }}/{{ part }}", mode: "0600"}}
"#;
const AGAIN: &str = r#"
- {name: "level {{ level }}", copy: {content: "{{ level }}", dest: "{{ out }}/s/{{ level }}"}}
- {name: deeper, include_tasks: again.yml, loop: "{{ [level - 1] if level > 1 else [] }}", loop_control: {loop_var: level}}
"#;

/// What depends on what: each task sees what the one before it did.
const ENTANGLED: &str = r#"
- hosts: all
  tasks:
    - {name: dir, file: {path: "{{ out }}/d", state: directory}}
    - {name: absent, stat: {path: "{{ out }}/d/f"}, register: before}
    - {name: write, copy: {content: "1\n", dest: "{{ out }}/d/f"}, when: not before.stat.exists, notify: later}
    - {name: there, stat: {path: "{{ out }}/d/f"}, register: after}
    - {name: say, debug: {msg: "{{ before.stat.exists }} {{ after.stat.exists }}"}}
    - {name: edit, lineinfile: {path: "{{ out }}/d/f", line: "{{ item }}"}, loop: [a, b, c]}
    - {name: edit again, lineinfile: {path: "{{ out }}/d/f", line: "{{ item }}"}, loop: [a, b, c]}
    - {name: read, slurp: {src: "{{ out }}/d/f"}, register: text}
    - {name: content, debug: {msg: "{{ text.content | b64decode }}"}}
    - {name: fact, set_fact: {where: "{{ out }}/d/{{ 'x' if after.stat.exists else 'y' }}"}}
    - {name: use fact, copy: {content: z, dest: "{{ where }}"}}
    - {name: remove, file: {path: "{{ out }}/d/x", state: absent}}
    - {name: gone, stat: {path: "{{ out }}/d/x"}, register: gone}
    - {name: command, shell: "echo 2 >> {{ out }}/d/f"}
    - {name: read again, slurp: {src: "{{ out }}/d/f"}, register: text}
    - {name: content again, debug: {msg: "{{ text.content | b64decode }} {{ gone.stat.exists }}"}}
    - block:
        - {name: breaks, stat: {path: "{{ undefined_here }}"}}
      rescue:
        - {name: rescued, stat: {path: "{{ out }}/d/f"}}
  handlers:
    - {name: later, copy: {content: h, dest: "{{ out }}/h"}}
"#;

/// What can go wrong with a change or behind it: operations that fail first, last and among a loop's, handlers that
/// notify handlers, a change by another user, links that make one file two paths, a large upload.
const ROUGH: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: dir, file: {path: "{{ out }}/d", state: directory, mode: "0777"}, notify: [second, first]}
    - {name: fails, shell: "touch {{ out }}/d/by-failing; exit 3", ignore_errors: true}
    - {name: what it left, stat: {path: "{{ out }}/d/by-failing"}, register: left}
    - {name: invalid, copy: {content: x, dest: "{{ out }}/d/v", validate: "false %s"}, ignore_errors: true}
    - {name: not there, stat: {path: "{{ out }}/d/v"}, register: v}
    - {name: items, copy: {content: "{{ item }}", dest: "{{ out }}/d/{{ item }}", validate: "grep -v b %s"}, loop: [a, b, c], ignore_errors: true}
    - {name: items again, copy: {content: "{{ item }}!", dest: "{{ out }}/d/same"}, loop: [a, b, c, a], register: items}
    - {name: all of it, debug: {msg: "{{ items.results | map(attribute='changed') | list }} {{ v.stat.exists }} {{ left.stat.exists }}"}}
    - {name: link, file: {src: "{{ out }}/d", dest: "{{ out }}/l", state: link}}
    - {name: through the link, copy: {content: "1\n", dest: "{{ out }}/l/one"}, notify: first}
    - {name: the same file, lineinfile: {path: "{{ out }}/d/one", line: "2"}}
    - {name: as another, copy: {content: o, dest: "{{ out }}/d/other"}, become: true, become_method: su, become_user: "{{ other }}"}
    - {name: whose, stat: {path: "{{ out }}/d/other"}, register: whose}
    - {name: another again, shell: "echo more > {{ out }}/d/more", become: true, become_method: su, become_user: "{{ other }}", when: whose.stat.exists}
    - {name: theirs, slurp: {src: "{{ out }}/d/more"}}
    - {name: large, copy: {src: large, dest: "{{ out }}/d/large"}}
    - {name: edited, lineinfile: {path: "{{ out }}/d/large", line: end}}
    - {name: until, shell: "echo >> {{ out }}/d/tries; wc -l < {{ out }}/d/tries", register: tries, until: tries.stdout | int >= 2, delay: 0}
    - {name: tries, slurp: {src: "{{ out }}/d/tries"}}
    - block:
        - {name: in a block, file: {path: "{{ out }}/d/b", state: touch}, notify: first}
        - {name: breaks, command: "false"}
        - {name: never, stat: {path: "{{ out }}/d/b"}}
      rescue:
        - {name: rescued, file: {path: "{{ out }}/d/b", state: absent}}
      always:
        - {name: always, stat: {path: "{{ out }}/d/b"}}
    - meta: flush_handlers
    - {name: after them, stat: {path: "{{ out }}/h2"}}
    - {name: the end, copy: {content: "{{ ansible_facts.x | default('none') }}", dest: "{{ out }}/d/end"}, notify: first}
  handlers:
    - {name: first, copy: {content: "1", dest: "{{ out }}/h1"}, notify: third}
    - {name: second, shell: "cat {{ out }}/h1 > {{ out }}/h2"}
    - {name: third, lineinfile: {path: "{{ out }}/h1", line: third}}
"#;

/// Questions and changes that hang: each is the trouble of the task that wants it, and the lock is not lost over it.
const HANGING: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: changes, copy: {content: "1", dest: "{{ out }}/1"}}
    - {name: asks too long, user: {name: root}, environment: {PATH: "{{ bin }}/hangs:{{ path }}"}, timeout: 1, ignore_errors: true}
    - {name: changes more, copy: {content: "2", dest: "{{ out }}/2"}}
    - {name: acts too long, shell: "touch {{ out }}/3; sleep 20", timeout: 1, ignore_errors: true}
    - {name: looks, stat: {path: "{{ out }}/3"}}
    - {name: changes again, copy: {content: "4", dest: "{{ out }}/4"}}
    - {name: has the lock, shell: "ps -o args= -p $(sed -n 's/^holder=//p' {{ provision_lock_dir }}/provision.lock.by) | grep -c provision-lock"}
"#;

/// The same for what ends the lane.
const DEADLY: &str = r#"
- hosts: all
  gather_facts: false
  tasks:
    - {name: changes, copy: {content: "1", dest: "{{ out }}/1"}}
    - {name: ends the lane, user: {name: root}, environment: {PATH: "{{ bin }}/kills:{{ path }}"}, ignore_unreachable: true}
    - {name: changes again, copy: {content: "2", dest: "{{ out }}/2"}}
    - {name: looks, stat: {path: "{{ out }}/2"}}
    - {name: ends the lane in acting, shell: "touch {{ out }}/3; kill -9 0", ignore_unreachable: true}
    - {name: changes at last, copy: {content: "4", dest: "{{ out }}/4"}}
    - {name: has the lock, shell: "ps -o args= -p $(sed -n 's/^holder=//p' {{ provision_lock_dir }}/provision.lock.by) | grep -c provision-lock"}
"#;

/// Plays a text twice with each of the windows: the events must be the same but for the time.
async fn only_the_clock_changes(play: &str, windows: &[usize]) {
    let mut stories = Vec::new();
    for &window in windows {
        let mut bench = bench();
        bench.window = window;
        bench.file("files/large", &"0123456789abcdef\n".repeat(10_000));
        for (name, what) in [("hangs", "sleep 20"), ("kills", "kill -9 0")] {
            let file = bench.file(&format!("bin/{name}/getent"), &format!("#!/bin/sh\n{what}\n"));
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // root may become anybody without a password; somebody else stays who they are
        std::fs::set_permissions(bench.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let own = std::process::Command::new("id").arg("-un").output().unwrap().stdout;
        let own = String::from_utf8(own).unwrap().trim().to_owned();
        let other = if own == "root" { "nobody" } else { &own };
        let bin = bench.dir.path().join("bin").display().to_string();
        let path = std::env::var("PATH").unwrap();
        bench.extra = json!({"other": other, "bin": bin, "path": path}).as_object().unwrap().clone();
        let mut events = Vec::new();
        for _ in 0..2 {
            let ran = bench.run_job(job(&bench, play)).await;
            let text: Vec<String> = ran.timeless().iter().map(serde_json::Value::to_string).collect();
            let run = bench.dir.path().display().to_string();
            let id = bench.dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
            events.push(text.join("\n").replace(&run, "DIR").replace(&id, "RUN"));
        }
        stories.push((window, events));
    }
    for (window, events) in &stories[1..] {
        for (run, (plain, ahead)) in stories[0].1.iter().zip(events).enumerate() {
            let different = plain.lines().zip(ahead.lines()).find(|(one, other)| one != other);
            assert!(plain == ahead, "run {}, window {window}: {different:#?}", run + 1);
        }
    }
}

#[tokio::test]
async fn windows_change_only_the_clock() {
    for play in [ENTANGLED, SHELF, &converged(), W] {
        only_the_clock_changes(play, &[0, 1, 16]).await;
    }
}

#[tokio::test]
async fn windows_change_only_the_clock_when_things_go_wrong() {
    only_the_clock_changes(ROUGH, &[0, 1, 16, 32]).await;
}

#[tokio::test]
async fn windows_change_only_the_clock_when_questions_do_harm() {
    only_the_clock_changes(HANGING, &[0, 32]).await;
    only_the_clock_changes(DEADLY, &[0, 32]).await;
}
