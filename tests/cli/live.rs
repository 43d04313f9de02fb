//! API keys are asked about before anything is touched: a refused one ends the run, whoever does not answer does not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::project::{MANIFEST, Project};

/// Who gives keys out: `sk-good` is one. Counts what it is asked.
fn giver() -> (String, Arc<Mutex<Vec<String>>>) {
    let door = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", door.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || door.incoming().flatten().for_each(|caller| answer(caller, &heard)));
    (address, asked)
}

fn answer(mut caller: TcpStream, heard: &Mutex<Vec<String>>) {
    let lines: Vec<String> =
        BufReader::new(&caller).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let good = lines.iter().any(|line| line.eq_ignore_ascii_case("authorization: bearer sk-good"));
    heard.lock().unwrap().push(lines[0].clone());
    let status = match (good, lines[0].contains("/moved")) {
        (_, true) => "307 Temporary Redirect\r\nLocation: /stolen",
        (true, _) => "200 OK",
        (false, _) => "401 Unauthorized",
    };
    let _ = write!(caller, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
}

fn project(url: &str) -> Project {
    let project = Project::with_key();
    let live = format!(
        "\"live_check\": {{\"url\": \"{url}\", \"headers\": {{\"Authorization\": \"Bearer {{{{ API_KEY }}}}\"}}}}, \"secret\": true"
    );
    assert!(MANIFEST.contains("\"secret\": true"));
    project.file("registry/shop/manifest.json", &MANIFEST.replacen("\"secret\": true", &live, 1));
    // nobody answers at the hosts' door
    project.file("inventory/group_vars/clients.yml", "ansible_timeout: 1\n");
    project
}

fn set(project: &Project, host: &str, value: &str) {
    let ended = project.run_with(project.command(&["secrets", "set", "shop/API_KEY", "--host", host]), value);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

#[test]
fn a_refused_key_ends_the_run_before_anybody_is_called() {
    let (address, asked) = giver();
    let project = project(&format!("{address}/v1/models"));
    // nobody is asked about a key that is not there
    project.run(&["up", "--host", "ana", "--check"]);
    assert!(asked.lock().unwrap().is_empty());
    assert!(project.was_called());
    while project.was_called() {}
    let runs = || std::fs::read_dir(project.path("runs")).map_or(0, Iterator::count);
    let before = runs();

    set(&project, "ana", "sk-wrong-4711");
    set(&project, "beto", "sk-wrong-4711");
    for words in [&["up", "--all", "--check"][..], &["--all", "--yes"], &["update", "--all", "--yes"]] {
        asked.lock().unwrap().clear();
        let ended = project.run(words);
        assert_eq!(ended.code, 2, "{}", ended.stderr);
        let says = format!("host `ana`: service `shop`: `API_KEY` is refused: {address}/v1/models answers 401");
        assert!(ended.stderr.contains(&says) && ended.stderr.contains("host `beto`"), "{}", ended.stderr);
        assert!(ended.stderr.contains("provision secrets set shop/API_KEY --host ana"), "{}", ended.stderr);
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("4711"));
        // the same key is asked about once
        assert_eq!(*asked.lock().unwrap(), ["GET /v1/models HTTP/1.1"]);
    }
    assert!(!project.was_called());
    assert_eq!(runs(), before, "no run began");

    asked.lock().unwrap().clear();
    project.run(&["up", "--host", "ana", "--check", "--no-live-check"]);
    assert!(project.was_called() && asked.lock().unwrap().is_empty());
    project.file("inventory/group_vars/clients.yml", "ansible_timeout: 1\nlive_check: false\n");
    project.run(&["up", "--host", "ana", "--check"]);
    assert!(asked.lock().unwrap().is_empty());
    project.file("inventory/group_vars/clients.yml", "ansible_timeout: 1\n");

    set(&project, "ana", "sk-good");
    let ended = project.run(&["up", "--host", "ana", "--check"]);
    assert!(ended.stderr.contains("ana/shop: API_KEY is taken"), "{}", ended.stderr);
    let ended = project.run(&["verify", "--host", "ana,beto"]);
    assert!(ended.stdout.contains("[OK] ana/shop key API_KEY: it is valid"), "{}", ended.stdout);
    assert!(ended.stdout.contains("[FAIL] beto/shop key API_KEY: "), "{}", ended.stdout);
}

#[test]
fn who_does_not_say_no_has_not_refused() {
    let (address, asked) = giver();
    let moved = project(&format!("{address}/moved"));
    set(&moved, "ana", "sk-good");
    let ended = moved.run(&["up", "--host", "ana", "--check"]);
    assert!(ended.stderr.contains("warning: ana/shop: whether API_KEY is valid is not known: "), "{}", ended.stderr);
    assert!(moved.was_called());
    // the key does not go where somebody else points
    assert_eq!(*asked.lock().unwrap(), ["GET /moved HTTP/1.1"]);
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gone = project(&format!("http://{gone}/"));
    set(&gone, "ana", "sk-good");
    let ended = gone.run(&["up", "--host", "ana", "--check"]);
    assert!(ended.stderr.contains("whether API_KEY is valid is not known") && gone.was_called(), "{}", ended.stderr);
}
