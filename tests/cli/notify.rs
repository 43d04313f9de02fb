//! `provision notify` and the messages after runs, against servers of the test's own on real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::project::{Ended, Project};

/// What came in: the first line (or the envelope), headers, body.
type Inbox = Arc<Mutex<Vec<(String, String, String)>>>;

/// Answers every request with a status.
fn http(status: &'static str) -> (u16, Inbox) {
    serve(move |stream, inbox| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut headers, mut length) = (String::new(), String::new(), 0);
        reader.read_line(&mut first).unwrap();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            if let Some(size) = line.to_lowercase().strip_prefix("content-length:") {
                length = size.trim().parse().unwrap();
            }
            headers.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        inbox.lock().unwrap().push((first, headers, String::from_utf8(body).unwrap()));
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno").unwrap();
    })
}

/// Takes mail, and one user with a password.
fn smtp() -> (u16, Inbox) {
    serve(|stream, inbox| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).unwrap();
        say("220 mail.test ESMTP");
        let (mut envelope, mut letter) = (String::new(), String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                break;
            }
            match line.split([' ', '\r']).next().unwrap_or_default() {
                "EHLO" => say("250-mail.test\r\n250 AUTH PLAIN"),
                "DATA" => {
                    say("354 go on");
                    loop {
                        let mut line = String::new();
                        reader.read_line(&mut line).unwrap();
                        if line == ".\r\n" {
                            break;
                        }
                        letter.push_str(&line);
                    }
                    say("250 taken");
                    inbox.lock().unwrap().push((envelope.clone(), String::new(), letter.clone()));
                }
                "QUIT" => {
                    say("221 bye");
                    break;
                }
                "AUTH" => {
                    envelope.push_str(&line);
                    say("235 welcome");
                }
                _ => {
                    envelope.push_str(&line);
                    say("250 ok");
                }
            }
        }
    })
}

fn serve(talk: impl Fn(&mut TcpStream, &Inbox) + Send + 'static) -> (u16, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, inbox) = (listener.local_addr().unwrap().port(), Inbox::default());
    let shared = inbox.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            talk(&mut stream.unwrap(), &shared);
        }
    });
    (port, inbox)
}

fn taken(inbox: &Inbox) -> Vec<(String, String, String)> {
    std::mem::take(&mut inbox.lock().unwrap())
}

fn project(notifications: &str) -> Project {
    let project = Project::with_key();
    // the tests of this machine must not be in each other's way
    project.file("inventory/host_vars/ana.yml", &format!("provision_lock_dir: {}\n", project.path("locks").display()));
    project.file("inventory/host_vars/beto.yml", &format!("provision_lock_dir: {}\n", project.path("locks").display()));
    std::fs::create_dir_all(project.path("locks")).unwrap();
    project
        .file("inventory/group_vars/all.yml", &format!("ansible_connection: local\nnotifications:\n{notifications}"));
    let play = "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: The disk\n      shell: |\n        echo \"token-hunter2 at $(date +%s%N)\"\n        ! [ -e \"$PWD/bad-{{ inventory_hostname }}\" ]\n      args: {chdir: \"{{ playbook_dir }}\"}\n";
    project.file("play.yml", play);
    project
}

fn store(project: &Project, name: &str, value: &str) {
    let command = project.command(&["secrets", "set", name, "--host", "controller"]);
    let ended = project.run_with(command, value);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn run(project: &Project) -> Ended {
    project.run(&["run", "play.yml"])
}

#[test]
fn a_failure_is_told_once_and_its_end_once_in_every_shape() {
    let (port, inbox) = http("200 OK");
    let (mail_port, letters) = smtp();
    let list = format!(
        "  - {{name: hook, kind: webhook, url: \"http://127.0.0.1:{port}/hook/{{{{ secrets.PATH }}}}\", headers: {{X-Key: k}}}}\n\
         \x20 - {{name: slack, kind: slack, url: \"http://127.0.0.1:{port}/slack\", events: [failure]}}\n\
         \x20 - {{name: discord, kind: discord, url: \"http://127.0.0.1:{port}/discord\", events: [failure]}}\n\
         \x20 - {{name: telegram, kind: telegram, api: \"http://127.0.0.1:{port}\", token: \"{{{{ secrets.BOT }}}}\", chat_id: -42, events: [failure]}}\n\
         \x20 - {{name: ntfy, kind: ntfy, url: \"http://127.0.0.1:{port}/alerts\", token: tk, events: [failure]}}\n\
         \x20 - {{name: mail, kind: email, server: 127.0.0.1, port: {mail_port}, tls: none, from: p@example.com, to: [ops@example.com], user: u, password: \"{{{{ secrets.MAIL }}}}\"}}\n"
    );
    let project = project(&list);
    store(&project, "notifications/PATH", "path-secret");
    store(&project, "notifications/BOT", "bot-secret");
    store(&project, "notifications/MAIL", "token-hunter2");

    assert_eq!(run(&project).code, 0);
    assert!(taken(&inbox).is_empty() && taken(&letters).is_empty(), "nothing is new");
    project.file("bad-ana", "");
    let failed = run(&project);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    let came = taken(&inbox);
    let body = |path: &str| -> Value {
        let one = came
            .iter()
            .find(|(first, _, _)| first.starts_with(&format!("POST {path} ")))
            .unwrap_or_else(|| panic!("{path}: {came:?}"));
        serde_json::from_str(&one.2).unwrap()
    };
    assert_eq!(came.len(), 5);
    let hook = body("/hook/path-secret");
    assert_eq!(
        (&hook["event"], &hook["failures"][0]["host"], &hook["failures"][0]["task"]),
        (&"failure".into(), &"ana".into(), &"The disk".into())
    );
    assert_eq!(hook["title"], "provision run: 1 of 2 clients failed");
    assert!(
        body("/slack")["text"]
            .as_str()
            .unwrap()
            .starts_with("*provision run: 1 of 2 clients failed*\nana: task failed in `The disk`")
    );
    assert_eq!(body("/discord")["allowed_mentions"]["parse"], Value::Array(vec![]));
    assert_eq!(body("/botbot-secret/sendMessage")["chat_id"], -42);
    let ntfy = body("/");
    assert_eq!((&ntfy["topic"], &ntfy["priority"]), (&"alerts".into(), &4.into()));
    assert!(came.iter().any(|(_, headers, _)| headers.to_lowercase().contains("authorization: bearer tk")));
    assert!(came.iter().any(|(_, headers, _)| headers.to_lowercase().contains("x-key: k")));
    let mails = taken(&letters);
    assert!(mails[0].0.contains("MAIL FROM:<p@example.com>") && mails[0].0.contains("AUTH PLAIN"), "{mails:?}");
    assert!(mails[0].2.contains("Subject: provision run: 1 of 2 clients failed"), "{mails:?}");
    // nothing secret in a message, a journal or on the screen
    for text in came.iter().map(|one| &one.2).chain([&mails[0].2, &failed.stdout, &failed.stderr]) {
        assert!(!text.contains("hunter2") && !text.contains("-secret"), "{text}");
    }

    assert_eq!(run(&project).code, 1);
    assert!(taken(&inbox).is_empty() && taken(&letters).is_empty(), "the same failure is told once");
    std::fs::remove_file(project.path("bad-ana")).unwrap();
    assert_eq!(run(&project).code, 0);
    let came = taken(&inbox);
    assert_eq!(came.len(), 1, "only one wants to hear of recoveries");
    assert!(came[0].2.contains("\"event\":\"recovery\"") && came[0].2.contains("well again: ana"), "{came:?}");
    assert_eq!(taken(&letters).len(), 1);
    assert_eq!(run(&project).code, 0);
    assert!(taken(&inbox).is_empty() && taken(&letters).is_empty());

    // of a schedule the end is told as well
    let mut command = project.command(&["run", "play.yml"]);
    command.env("PROVISION_SCHEDULE", "nightly");
    assert_eq!(project.run_with(command, "").code, 0);
    let came = taken(&inbox);
    assert!(came.len() == 1 && came[0].2.contains("schedule nightly: 2 clients, all well"), "{came:?}");
}

/// A registry with one image, whose tags are as they are said, and a webhook.
fn registry_and_hook(tags: Arc<Mutex<&'static str>>) -> (u16, Inbox) {
    serve(move |stream, inbox| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut first, mut length) = (String::new(), 0);
        // whoever asks for TLS first is not understood
        if reader.read_line(&mut first).is_err() || !first.contains(" HTTP/1.1") {
            return;
        }
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap_or(0) > 0 && !line.trim().is_empty() {
            if let Some(size) = line.to_lowercase().strip_prefix("content-length:") {
                length = size.trim().parse().unwrap();
            }
            line.clear();
        }
        let (head, body) = match first.split(' ').nth(1).unwrap_or_default() {
            path if path.contains("/manifests/") => {
                (format!("Docker-Content-Digest: sha256:{}\r\n", "b".repeat(64)), String::new())
            }
            path if path.contains("/tags/list") => {
                (String::new(), format!("{{\"name\": \"shop\", \"tags\": {}}}", tags.lock().unwrap()))
            }
            _ => {
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                inbox.lock().unwrap().push((first, String::new(), String::from_utf8(body).unwrap()));
                (String::new(), String::new())
            }
        };
        write!(stream, "HTTP/1.1 200 OK\r\n{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
            .unwrap();
    })
}

#[test]
fn a_scheduled_look_for_newer_images_tells_what_it_finds_once() {
    let tags = Arc::new(Mutex::new("[\"1.2\", \"1.3\", \"latest\"]"));
    let (port, inbox) = registry_and_hook(tags.clone());
    let project = Project::with_key();
    // nobody is there, so what runs is what fleet.lock says
    project.file("inventory/hosts.yml", "all: {hosts: {ana: {ansible_host: 127.0.0.1, ansible_port: 1}}}\n");
    project.file(
        "inventory/group_vars/all.yml",
        &format!(
            "services: [shop]\ndomain: x.example\nnotifications:\n  - {{name: hook, kind: webhook, url: \"http://127.0.0.1:{port}/hook\", events: [schedule]}}\n"
        ),
    );
    let image = format!("127.0.0.1:{port}/shop:1.2");
    project.file("registry/shop/stack.yml.j2", &crate::project::STACK.replace("example/shop:{{ version }}", &image));
    let lock = format!("version: 1\nimages:\n  {image}: sha256:{}\n", "a".repeat(64));
    project.file("fleet.lock", &lock);
    let words = ["schedule", "add", "images", "--verb", "update --check", "--on", "Mon 08:00", "--all", "--check"];
    assert!(project.says(&words).contains("would write"));
    assert!(!project.path("schedules").exists());
    let schedule = "{\"verb\": \"update --check\", \"on\": \"Mon 08:00\", \"host\": \"all\", \"args\": []}";
    project.file("schedules/images.json", schedule);
    let heard = || {
        let ended = project.run(&["schedule", "run", "images"]);
        let came = taken(&inbox).into_iter().map(|(_, _, body)| serde_json::from_str::<Value>(&body).unwrap());
        (came.collect::<Vec<_>>(), ended)
    };
    let (came, ended) = heard();
    assert_eq!(came.len(), 1, "{came:?}\n{}{}", ended.stdout, ended.stderr);
    assert_eq!(came[0]["title"], "schedule images: newer images for 1 services");
    assert_eq!(
        came[0]["newer"],
        serde_json::json!([format!("ana shop: {image}: tag 1.3, moved to sha256:{}", "b".repeat(12))])
    );
    assert!(heard().0.is_empty(), "the same is told once");
    *tags.lock().unwrap() = "[\"1.2\", \"1.3\", \"1.4\"]";
    let (came, _) = heard();
    assert!(came.len() == 1 && came[0]["text"].as_str().unwrap().contains("tag 1.4"), "{came:?}");
    assert_eq!(project.read("fleet.lock"), lock, "a look moves nothing");
}

#[test]
fn what_does_not_arrive_changes_no_run_and_is_told_later() {
    let (port, inbox) = http("503 Service Unavailable");
    // a server that takes the connection and says nothing
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let list = |port: u16| {
        format!(
            "  - {{name: hook, kind: webhook, url: \"http://127.0.0.1:{port}/path-planted\"}}\n\
             \x20 - {{name: mute, kind: slack, url: \"http://{}/\"}}\n",
            silent.local_addr().unwrap()
        )
    };
    let project = project(&list(port));
    project.file("bad-ana", "");
    let begin = std::time::Instant::now();
    let ended = run(&project);
    assert_eq!(ended.code, 1);
    assert!(begin.elapsed() < Duration::from_secs(100), "{:?}", begin.elapsed());
    assert!(ended.stderr.contains("notifications: hook (webhook): not delivered: answered 503"), "{}", ended.stderr);
    assert!(ended.stderr.contains("mute (slack): not delivered: cannot be reached"), "{}", ended.stderr);
    assert_eq!(taken(&inbox).len(), 1);
    let (well, inbox) = http("204 No Content");
    project.file(
        "inventory/group_vars/all.yml",
        &format!("ansible_connection: local\nnotifications:\n  - {{name: hook, kind: webhook, url: \"http://127.0.0.1:{well}/\"}}\n"),
    );
    assert_eq!(run(&project).code, 1);
    assert_eq!(taken(&inbox).len(), 1, "told now");
    assert_eq!(run(&project).code, 1);
    assert!(taken(&inbox).is_empty());
}

#[test]
fn destinations_are_listed_tried_and_looked_at() {
    let (port, inbox) = http("200 OK");
    let project = project(&format!("  - {{name: ops, kind: webhook, url: \"http://127.0.0.1:{port}/\"}}\n"));
    let list = project.says(&["notify", "list"]);
    assert!(
        list.contains("ops") && list.contains("failure, recovery, schedule") && list.contains("ana, beto"),
        "{list}"
    );
    assert_eq!(project.says(&["notify", "test"]), "ops (webhook): delivered\n");
    assert!(taken(&inbox)[0].2.contains("\"event\":\"test\""));
    let unknown = project.run(&["notify", "test", "--name", "opps"]);
    assert!(unknown.code == 2 && unknown.stderr.contains("did you mean `ops`"), "{}", unknown.stderr);
    for (written, says) in [
        ("- {kind: slack}", "slack needs `url`"),
        ("- {kind: email, to: [a@b.c], from: x@y.z}", "email needs `server`"),
        ("- {kind: slak, url: x}", "unknown variant `slak`"),
        ("- {kind: slack, ulr: x}", "unknown field `ulr`"),
        ("- {kind: slack, url: \"{{ secrets.NONE }}\"}", "NONE"),
    ] {
        project
            .file("inventory/group_vars/all.yml", &format!("ansible_connection: local\nnotifications:\n  {written}\n"));
        let refused = project.run(&["notify", "test"]);
        assert_eq!(refused.code, 2, "{written}");
        assert!(refused.stderr.contains(says) && refused.stderr.contains("group_vars/all.yml:"), "{}", refused.stderr);
        // a mistake there keeps no run from being one
        let ran = run(&project);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stderr.contains("notifications: "), "{}", ran.stderr);
    }
}
