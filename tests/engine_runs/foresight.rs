//! Asking ahead changes only the clock; and how many round trips a converged host costs.

use crate::bench::Bench;

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
    bench
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

#[tokio::test]
async fn windows_change_only_the_clock() {
    // what depends on what: each task sees what the one before it did
    let entangled = r#"
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
    for play in [entangled, &converged(), W] {
        let mut stories = Vec::new();
        for window in [0, 1, 16] {
            let mut bench = bench();
            bench.window = window;
            let mut events = Vec::new();
            for _ in 0..2 {
                let ran = bench.run(play).await;
                let text = serde_json::to_string(&ran.timeless()).unwrap();
                let run = bench.dir.path().display().to_string();
                let id = bench.dir.path().file_name().unwrap().to_string_lossy().trim_start_matches('.').to_owned();
                events.push(text.replace(&run, "DIR").replace(&id, "RUN"));
            }
            stories.push(events);
        }
        assert_eq!(stories[0], stories[2], "window 0 and 16");
        assert_eq!(stories[0], stories[1], "window 0 and 1");
    }
}
