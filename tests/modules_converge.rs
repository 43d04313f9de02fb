//! The host modules on this machine, by a real lane with each shell that is here, in scratch folders: check mode
//! predicts the run, a second run changes nothing.

#[path = "support/host.rs"]
mod support;

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use provision::lane::Target;
use serde_json::{Value, json};
use support::Host;

/// Runs a test once per shell, each time in a new folder.
fn with_shells(test: fn(&Host, &Path)) {
    for shell in ["dash", "bash", "busybox-sh"] {
        let folder = tempfile::tempdir().unwrap();
        let program = match shell {
            "busybox-sh" => {
                // busybox takes the name it is called by, and its own tools come first
                let bin = folder.path().join(".bin");
                std::fs::create_dir(&bin).unwrap();
                let linked = std::process::Command::new("busybox").arg("--install").arg("-s").arg(&bin).status();
                if !linked.is_ok_and(|status| status.success()) {
                    skipped("busybox is not installed");
                    continue;
                }
                let start = bin.join("start");
                let text = format!("#!{0}/sh\nPATH={0}:$PATH\nexport PATH\nexec {0}/sh \"$@\"\n", bin.display());
                std::fs::write(&start, text).unwrap();
                std::fs::set_permissions(&start, std::fs::Permissions::from_mode(0o755)).unwrap();
                start.display().to_string()
            }
            name => name.to_owned(),
        };
        let files = folder.path().join("files");
        let work = folder.path().join("work");
        std::fs::create_dir(&files).unwrap();
        std::fs::create_dir(&work).unwrap();
        println!("with {shell}");
        let target = Target { shell: program, ..Target::local(shell) };
        test(&Host::at(target, &files), &work);
    }
}

fn skipped(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
    println!("skipped: {why}");
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn files_directories_and_links() {
    with_shells(|host, work| {
        let at = |name: &str| work.join(name);
        let returned = host.converges("file", json!({"path": at("a/b c/d"), "state": "directory", "mode": "0750"}));
        assert_eq!(returned.values["mode"], "0750");
        assert_eq!((mode(&at("a")), mode(&at("a/b c/d"))), (0o750, 0o750));
        host.converges("file", json!({"path": at("a"), "mode": "o+x", "state": "directory"}));
        std::fs::write(at("a/f"), "x").unwrap();
        host.converges(
            "file",
            json!({"path": at("a"), "state": "directory", "recurse": true, "mode": "u=rwX,g=rX,o="}),
        );
        assert_eq!((mode(&at("a/f")), mode(&at("a/b c"))), (0o640, 0o750));
        host.converges("file", json!({"path": at("a"), "state": "directory", "recurse": "yes", "mode": "0700"}));
        assert_eq!(mode(&at("a/f")), 0o700);
        host.converges("file", json!({"path": at("a/f"), "mode": 420}));
        host.converges("file", json!({"src": at("a/f"), "dest": at("l"), "state": "link"}));
        host.converges("file", json!({"src": "a", "dest": at("l"), "state": "link"}));
        assert_eq!(std::fs::read_link(at("l")).unwrap(), Path::new("a"));
        host.rests("file", json!({"path": at("l"), "state": "directory"}));
        assert!(
            host.fails("file", json!({"src": "nowhere", "dest": at("m"), "state": "link"})).contains("does not exist")
        );
        host.converges("file", json!({"src": "nowhere", "dest": at("m"), "state": "link", "force": true}));
        host.converges("file", json!({"src": at("a/f"), "dest": at("h"), "state": "hard"}));
        assert_eq!(std::fs::metadata(at("h")).unwrap().ino(), std::fs::metadata(at("a/f")).unwrap().ino());
        assert!(host.fails("file", json!({"src": "a", "dest": at("h"), "state": "link"})).contains("will not replace"));
        host.converges("file", json!({"src": "a", "dest": at("h"), "state": "link", "force": true}));
        host.converges("file", json!({"path": at("t"), "state": "touch", "mode": "0600", "access_time": "preserve", "modification_time": "preserve"}));
        assert!(host.run("file", json!({"path": at("t"), "state": "touch"}), false).unwrap().changed);
        host.converges("file", json!({"path": at("a"), "state": "absent"}));
        assert!(!at("a").exists());
        assert!(host.fails("file", json!({"path": at("none")})).contains("is absent"));
        assert!(
            host.fails("file", json!({"path": at("t"), "state": "directory"})).contains("already exists as a file")
        );
    });
}

#[test]
fn copies_and_templates() {
    with_shells(|host, work| {
        let at = |name: &str| work.join(name);
        let content = "it's \"quoted\" $HOME `id` \\ é\n\n";
        let returned = host.converges("copy", json!({"content": content, "dest": at("c"), "mode": "0640"}));
        assert_eq!((read(&at("c")).as_str(), mode(&at("c"))), (content, 0o640));
        assert_eq!(returned.values["checksum"].as_str().map(str::len), Some(40));
        host.converges("copy", json!({"content": "new\n", "dest": at("c")}));
        assert_eq!(mode(&at("c")), 0o640);
        host.converges("copy", json!({"content": {"b": 1, "a": [true]}, "dest": at("j")}));
        assert_eq!(read(&at("j")), "{\"b\":1,\"a\":[true]}");
        host.rests("copy", json!({"content": "other", "dest": at("c"), "force": false}));
        let kept = host.converges("copy", json!({"content": "newer\n", "dest": at("c"), "backup": true}));
        assert_eq!(read(Path::new(kept.values["backup_file"].as_str().unwrap())), "new\n");
        let invalid = json!({"content": "bad", "dest": at("c"), "validate": "grep -q good %s"});
        host.fails("copy", invalid);
        assert_eq!(read(&at("c")), "newer\n");
        host.converges("copy", json!({"content": "good", "dest": at("c"), "validate": "grep -q good %s"}));
        assert!(host.fails("copy", json!({"content": "x", "dest": at("no/such/c")})).contains("does not exist"));

        let big: Vec<u8> = (0..3_000_000u32).flat_map(|n| n.to_le_bytes()).collect();
        std::fs::write(host.files.join("big"), &big).unwrap();
        host.converges("copy", json!({"src": "big", "dest": at("big"), "mode": "0600"}));
        assert!(std::fs::read(at("big")).unwrap() == big);
        assert_eq!(mode(&at("big")), 0o600);

        std::fs::create_dir_all(host.files.join("tree/sub")).unwrap();
        std::fs::write(host.files.join("tree/one"), "1").unwrap();
        std::fs::write(host.files.join("tree/sub/two"), "2").unwrap();
        host.converges("copy", json!({"src": "tree", "dest": at("into"), "directory_mode": "0750"}));
        assert_eq!((read(&at("into/tree/sub/two")).as_str(), mode(&at("into/tree/sub"))), ("2", 0o750));
        host.converges("copy", json!({"src": "tree/", "dest": at("flat")}));
        assert_eq!(read(&at("flat/sub/two")), "2");
        std::fs::write(at("flat/one"), "changed").unwrap();
        host.converges("copy", json!({"src": "tree/", "dest": at("flat")}));
        host.converges("copy", json!({"src": "tree/one", "dest": at("flat/sub/")}));
        assert_eq!(read(&at("flat/sub/one")), "1");
        host.converges("copy", json!({"src": "tree/sub/two", "dest": at("flat")}));
        assert_eq!(read(&at("flat/two")), "2");

        std::os::unix::fs::symlink(at("c"), at("link")).unwrap();
        host.converges("copy", json!({"content": "followed", "dest": at("link"), "follow": true}));
        assert!(at("link").is_symlink() && read(&at("c")) == "followed");
        host.converges("copy", json!({"content": "replaced", "dest": at("link")}));
        assert!(!at("link").is_symlink() && read(&at("c")) == "followed");

        host.converges("copy", json!({"src": at("c"), "dest": at("remote"), "remote_src": true, "mode": "0600"}));
        assert_eq!((read(&at("remote")).as_str(), mode(&at("remote"))), ("followed", 0o600));

        std::fs::write(host.files.join("t.j2"), "a\nb\n").unwrap();
        host.converges("template", json!({"src": "t.j2", "dest": at("crlf"), "newline_sequence": "\\r\\n"}));
        assert_eq!(read(&at("crlf")), "a\r\nb\r\n");
    });
}

#[test]
fn edits() {
    with_shells(|host, work| {
        let path = work.join("x.conf");
        std::fs::write(&path, "#Port 22\nListen all\r\nlast").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        host.converges("lineinfile", json!({"path": path, "regexp": "^#?Port", "line": "Port 2222"}));
        host.converges("lineinfile", json!({"path": path, "line": "new", "insertafter": "^Port"}));
        host.converges("blockinfile", json!({"path": path, "block": "one\ntwo", "mode": "0600"}));
        host.converges("replace", json!({"path": path, "regexp": "^t(wo)$", "replace": "T\\1"}));
        let block = "# BEGIN ANSIBLE MANAGED BLOCK\none\nTwo\n# END ANSIBLE MANAGED BLOCK\n";
        assert_eq!(read(&path), format!("Port 2222\nnew\nListen all\r\nlast\n{block}"));
        assert_eq!(mode(&path), 0o600);
        host.converges("lineinfile", json!({"path": work.join("deep/er/new"), "line": "x", "create": true}));
        let link = work.join("link");
        std::os::unix::fs::symlink("x.conf", &link).unwrap();
        host.converges("lineinfile", json!({"path": link, "regexp": "^Port", "state": "absent"}));
        assert!(link.is_symlink() && read(&path).starts_with("new\n"));
    });
}

#[test]
fn commands() {
    with_shells(|host, work| {
        let run = |module: &str, args: Value| host.run(module, args, false).map(|settled| settled.returned.values);
        let said =
            |module: &str, args: Value| run(module, args).unwrap()["stdout"].as_str().unwrap_or_default().to_owned();
        assert_eq!(said("command", json!({"_raw_params": "echo 'a  b' $NO_SUCH '\\n'"})), "a  b $NO_SUCH \\n");
        assert_eq!(said("command", json!({"argv": ["printf", "%s|", "a b", "c"]})), "a b|c|");
        assert_eq!(said("shell", json!({"cmd": "for i in 1 2; do echo $i; done | tac"})), "2\n1");
        assert_eq!(
            said("shell", json!({"cmd": "cat; pwd", "stdin": "in", "chdir": work})),
            format!("in\n{}", work.display())
        );
        assert_eq!(
            said("shell", json!({"cmd": "echo ${BASH_VERSION:+bash} \"$0\" 'it''s'", "executable": "/bin/bash"})),
            "bash /dev/fd/3 its"
        );
        let failed = run("shell", json!({"cmd": "echo out; echo err >&2; exit 3"})).unwrap_err();
        assert_eq!(
            (&failed.values["rc"], &failed.values["stdout_lines"], &failed.values["stderr"]),
            (&json!(3), &json!(["out"]), &json!("err"))
        );
        assert_eq!(run("command", json!({"_raw_params": "no-such-program-here"})).unwrap_err().values["rc"], 127);
        assert_eq!(said("raw", json!({"_raw_params": "uname -s"})), "Linux");
        host.converges("command", json!({"cmd": "touch made", "chdir": work, "creates": "made"}));
        host.converges("shell", json!({"cmd": "rm -f made", "chdir": work, "removes": "ma*e"}));
        std::fs::write(host.files.join("s.sh"), "#!/bin/sh\necho \"$0 $1\" | sed 's/.*\\///'\nexit 4\n").unwrap();
        let failed = run("script", json!({"_raw_params": "s.sh 'a b'"})).unwrap_err();
        assert_eq!(failed.values["rc"], 4);
        assert!(failed.values["stdout"].as_str().is_some_and(|text| text.ends_with(" a b")), "{failed:?}");
        // what is being run is in no process list
        let seen = said(
            "shell",
            json!({"cmd": "a=hunter2-marker; cat /proc/*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -o 'hunter2-[m]arker' | sort -u; :"}),
        );
        assert_eq!(seen, "");
    });
}

#[test]
fn looks() {
    with_shells(|host, work| {
        let path = work.join("f");
        std::fs::write(&path, "abc").unwrap();
        std::os::unix::fs::symlink("f", work.join("l")).unwrap();
        let stat = |args| host.rests("stat", args).values["stat"].clone();
        assert_eq!(stat(json!({"path": work.join("none")})), json!({"exists": false}));
        let seen = stat(json!({"path": path}));
        assert_eq!(seen["checksum"], "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!((&seen["isreg"], &seen["size"], &seen["readable"]), (&json!(true), &json!(3), &json!(true)));
        let seen = stat(json!({"path": work.join("l"), "checksum_algorithm": "md5"}));
        assert_eq!((&seen["islnk"], &seen["lnk_target"]), (&json!(true), &json!("f")));
        assert_eq!(
            stat(json!({"path": work.join("l"), "follow": true, "checksum_algorithm": "md5"}))["checksum"],
            "900150983cd24fb0d6963f7d28e17f72"
        );
        assert_eq!(stat(json!({"path": "/dev/null"}))["ischr"], true);
        assert_eq!(host.rests("slurp", json!({"src": path})).values["content"], "YWJj");
        assert!(host.fails("slurp", json!({"src": work.join("none")})).contains("not found"));
        assert_eq!(host.rests("ping", json!({})).values["ping"], "pong");
    });
}

#[test]
fn facts() {
    with_shells(|host, work| {
        std::fs::write(work.join("mine.fact"), "{\"a\": 1}").unwrap();
        let facts = host.rests("setup", json!({"fact_path": work})).facts;
        let text = |name: &str| facts[name].as_str().unwrap_or_default().to_owned();
        assert_eq!(text("system"), "Linux");
        assert!(!text("distribution").is_empty() && text("os_family") != "NA", "{facts:?}");
        assert!(facts["memtotal_mb"].as_u64().is_some_and(|mb| mb > 100), "{:?}", facts["memtotal_mb"]);
        assert!(facts["processor_vcpus"].as_u64().is_some_and(|count| count > 0));
        assert!(facts["root_disk_free_mb"].as_u64().is_some(), "{:?}", facts["root_disk_free_mb"]);
        assert!(facts["date_time"]["epoch"].as_str().is_some_and(|text| text.len() >= 10), "{:?}", facts["date_time"]);
        assert!(facts["env"]["PATH"].is_string());
        assert_eq!(facts["local"]["mine"]["a"], 1);
        assert!(facts.contains_key("docker_version") && facts.contains_key("default_ipv4"));
        let few = host.rests("setup", json!({"gather_subset": ["min"], "filter": "ansible_distribution*"})).facts;
        assert!(
            few.contains_key("distribution_version") && !few.contains_key("memtotal_mb") && !few.contains_key("kernel")
        );
        // facts of the handshake and of setup agree
        for name in ["user_id", "user_uid", "kernel", "architecture", "os_family", "distribution", "service_mgr"] {
            assert_eq!(facts[name], host.facts[name], "{name}");
        }
    });
}

/// A tiny web server on this machine: answers each path with its rule, for as long as the test runs.
fn serve() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !request.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut piece) {
                    Ok(n) if n > 0 => request.extend(&piece[..n]),
                    _ => break,
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let wanted: usize = text
                .lines()
                .find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.trim().parse().ok())
                })
                .unwrap_or(0);
            let head = text.find("\r\n\r\n").unwrap_or(0) + 4;
            while request.len() < head + wanted {
                match stream.read(&mut piece) {
                    Ok(n) if n > 0 => request.extend(&piece[..n]),
                    _ => break,
                }
            }
            let body = String::from_utf8_lossy(&request[head.min(request.len())..]).into_owned();
            let words: Vec<&str> = text.split(' ').collect();
            let auth = text.lines().any(|line| line == "X-Token: a \"b\"");
            let (status, kind, body) = match (words[0], words.get(1).copied().unwrap_or_default()) {
                ("GET", "/json") => ("200 OK", "application/json", "{\"up\": true}\n".to_owned()),
                ("GET", "/moved") => ("302 Found\r\nLocation: /json", "text/plain", String::new()),
                ("GET", "/token") if auth => ("200 OK", "text/plain", "in".to_owned()),
                ("POST", "/echo") => ("201 Created", "text/plain", body),
                ("GET", "/file.txt") => ("200 OK", "text/plain", "content\n".to_owned()),
                ("GET", "/SUMS") => {
                    let sum = provision::modules::sha256(b"content\n");
                    ("200 OK", "text/plain", format!("{sum}  file.txt\n"))
                }
                _ => ("404 Not Found", "text/plain", "no".to_owned()),
            };
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn requests_and_downloads() {
    if std::process::Command::new("curl").arg("--version").output().is_err() {
        return skipped("curl is not installed");
    }
    with_shells(|host, work| {
        let port = serve();
        let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let returned = host.rests("uri", json!({"url": url("/json")}));
        assert_eq!((&returned.values["status"], &returned.values["json"]["up"]), (&json!(200), &json!(true)));
        assert_eq!(host.rests("uri", json!({"url": url("/moved")})).values["url"], url("/json"));
        host.rests("uri", json!({"url": url("/moved"), "follow_redirects": "none", "status_code": 302}));
        let told =
            host.rests("uri", json!({"url": url("/token"), "headers": {"X-Token": "a \"b\""}, "return_content": true}));
        assert_eq!(told.values["content"], "in");
        let post = json!({"url": url("/echo"), "method": "POST", "body": {"k": "v\n\"é\""}, "body_format": "json", "status_code": 201, "return_content": true});
        assert_eq!(host.run("uri", post, false).unwrap().returned.values["content"], "{\"k\":\"v\\n\\\"é\\\"\"}");
        assert!(host.fails("uri", json!({"url": url("/none")})).contains("404"));
        assert!(host.fails("uri", json!({"url": "http://127.0.0.1:1/"})).contains("-1"));

        let to = work.join("got");
        host.converges("get_url", json!({"url": url("/file.txt"), "dest": to, "mode": "0600"}));
        assert_eq!((read(&to).as_str(), mode(&to)), ("content\n", 0o600));
        let sum = provision::modules::sha256(b"content\n");
        host.rests("get_url", json!({"url": url("/file.txt"), "dest": to, "checksum": format!("sha256:{sum}")}));
        std::fs::write(&to, "tampered").unwrap();
        host.converges(
            "get_url",
            json!({"url": url("/file.txt"), "dest": to, "checksum": format!("sha256:{}", url("/SUMS"))}),
        );
        assert_eq!(read(&to), "content\n");
        host.converges("get_url", json!({"url": url("/file.txt"), "dest": format!("{}/", work.display())}));
        assert!(work.join("file.txt").exists());
        let forced = host.run("get_url", json!({"url": url("/file.txt"), "dest": to, "force": true}), false).unwrap();
        assert!(!forced.changed);
        let wrong =
            json!({"url": url("/file.txt"), "dest": work.join("w"), "checksum": format!("sha256:{}", "0".repeat(64))});
        assert!(host.fails("get_url", wrong).contains("digest"));
        assert!(
            host.fails("get_url", json!({"url": url("/none"), "dest": work.join("w")}))
                .contains("could not be downloaded")
        );
        assert!(!work.join("w").exists());

        host.rests("uri", json!({"url": url("/json")}));
        let waited = host.run("wait_for", json!({"port": port, "timeout": 5}), false).unwrap();
        assert!(!waited.changed);
        assert!(host.fails("wait_for", json!({"port": 1, "timeout": 1})).contains("timeout of 1 s"));
        host.run("wait_for", json!({"port": 1, "state": "stopped", "timeout": 1}), false).unwrap();
        let late = work.join("late");
        let thread = {
            let late = late.clone();
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_millis(500));
                std::fs::write(late, "almost\nready now\n").unwrap();
            })
        };
        host.run("wait_for", json!({"path": late, "search_regex": "^ready", "timeout": 10}), false).unwrap();
        thread.join().unwrap();
    });
}
