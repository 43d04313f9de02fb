//! Every query and every operation, carried out by real shells: dash, bash and busybox ash (with busybox's programs).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use provision::event::Cause;
use provision::lane::{ActError, Become, BecomeMethod, Connection, Connections, Dialect, Target};
use provision::plan::{
    Answer, Destination, Expect, FileKind, FileStat, Freight, Operation, Output, Part, Query, Script, Secret, Upload,
    Write,
};
use tokio_util::sync::CancellationToken;

use crate::common;
use crate::common::skip;
use crate::common::sshd::is_root;

/// A place for one shell's test.
struct Ground {
    shell: &'static str,
    connections: Connections,
    target: Target,
    dir: tempfile::TempDir,
}

impl Ground {
    async fn open(&self) -> Connection {
        self.connections.open(&self.target, &CancellationToken::new()).await.expect("opens")
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_string_lossy().into_owned()
    }
}

/// One ground per shell that this machine has.
fn grounds() -> Vec<Ground> {
    let mut grounds = Vec::new();
    for shell in ["dash", "bash", "busybox"] {
        let Some(program) = common::program(shell) else {
            skip(&format!("there is no {shell}"));
            continue;
        };
        let dir = tempfile::Builder::new().prefix("lane").tempdir().expect("a temporary directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let sh = if shell == "busybox" { busybox_userland(&program, dir.path()) } else { as_sh(&program, dir.path()) };
        let target = Target { shell: sh.to_string_lossy().into_owned(), ..Target::local(shell) };
        grounds.push(Ground { shell, connections: Connections::new(4).expect("connections"), target, dir });
    }
    grounds
}

/// bash keeps to POSIX when it is called `sh`.
fn as_sh(program: &Path, dir: &Path) -> PathBuf {
    let bin = dir.join(".bin");
    fs::create_dir(&bin).expect("bin");
    symlink(program, bin.join("sh")).expect("sh");
    bin.join("sh")
}

fn busybox_userland(program: &Path, dir: &Path) -> PathBuf {
    let bin = as_sh(program, dir).parent().expect("bin").to_owned();
    let installed = Command::new(program).args(["--install", "-s"]).arg(&bin).status();
    assert!(installed.is_ok_and(|status| status.success()));
    let wrapper = bin.join("in-busybox");
    let text = format!("#!/bin/sh\nPATH={0}; export PATH\nexec {0}/ash \"$@\"\n", bin.display());
    fs::write(&wrapper, text).expect("wrapper");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("mode");
    wrapper
}

fn sh(text: &str) -> Query {
    Query::Run(Script::new().operator(text))
}

fn run(text: &str) -> Operation {
    Operation::run(Script::new().operator(text))
}

fn output(answer: &Answer) -> &Output {
    match answer {
        Answer::Output(output) => output,
        other => panic!("not an output: {other:?}"),
    }
}

fn write(path: String, content: &[u8]) -> Write {
    Write { to: Destination { path, ..Destination::default() }, content: content.to_vec() }
}

fn sha256(path: &str) -> String {
    let output = Command::new("sha256sum").arg(path).output().expect("sha256sum");
    String::from_utf8_lossy(&output.stdout).trim_start_matches('\\')[..64].to_owned()
}

/// Script, rc, stdout, stderr (None: whatever).
type Containment<'a> = (&'a str, i32, &'a [u8], Option<&'a [u8]>);

#[tokio::test]
async fn scripts_are_contained() {
    let big = format!("printf %s '{}' | wc -c", "x".repeat(300 << 10));
    let table: Vec<Containment> = vec![
        ("exit 7", 7, b"", Some(b"")),
        ("cd /; umask 000; A=1; export A; set -eu; trap 'echo bye' EXIT", 0, b"bye\n", Some(b"")),
        ("pwd | grep -c '^/$'; umask; echo ${A-unset}", 0, b"0\n0022\nunset\n", Some(b"")),
        ("set -e; false; echo not here", 1, b"", Some(b"")),
        ("if then", 2, b"", None),
        ("echo 'unclosed", 2, b"", None),
        (")", 2, b"", None),
        ("}; echo escaped", 2, b"", None),
        ("printf 'a\\000b\\377'; printf 'c\\000' >&2", 0, b"a\0b\xff", Some(b"c\0")),
        ("printf 'no newline'", 0, b"no newline", Some(b"")),
        ("exec printf 'gone'", 0, b"gone", Some(b"")),
        ("cat; echo end", 0, b"end\n", Some(b"")),
        ("sh -c 'kill -9 $PPID'; echo no", 137, b"", None),
        ("readonly HOME; alias ls=false; exit", 0, b"", Some(b"")),
        ("exec >&-; exec 2>&-; :", 0, b"", Some(b"")),
        ("cat <<E\na'b\"c$((1+1))\nE\n", 0, b"a'b\"c2\n", Some(b"")),
        ("echo x # a comment", 0, b"x\n", Some(b"")),
        ("printf '%s' \"it's \\\\ ä\"", 0, "it's \\ ä".as_bytes(), Some(b"")),
        ("echo out; echo err >&2; exit 3", 3, b"out\n", Some(b"err\n")),
        ("ls() { echo fooled; }; stat() { echo fooled; }; ls", 0, b"fooled\n", Some(b"")),
        ("break; continue; echo on", 0, b"on\n", None),
        (&big, 0, b"307200\n", Some(b"")),
        ("echo still here", 0, b"still here\n", Some(b"")),
    ];
    for ground in grounds() {
        let connection = ground.open().await;
        let queries: Vec<Query> = table.iter().map(|(script, ..)| sh(script)).collect();
        let together = connection.ask(None, &queries).await.expect("answers");
        for ((script, rc, stdout, stderr), answer) in table.iter().zip(&together) {
            let got = output(answer);
            let script = &script[..script.len().min(60)];
            if *rc == 2 {
                // shells differ in the number for a syntax error
                assert!(got.rc > 0, "{} {script}: {got:?}", ground.shell);
            } else {
                assert_eq!(got.rc, *rc, "{} {script}: {got:?}", ground.shell);
                assert_eq!(got.stdout, *stdout, "{} {script}: {}", ground.shell, got.stderr_text());
            }
            if let Some(stderr) = stderr {
                assert_eq!(got.stderr, *stderr, "{} {script}", ground.shell);
            }
        }
        // and one by one, on the same lane
        for ((query, answer), (script, .., stderr)) in queries.iter().zip(&together).zip(&table) {
            let alone = connection.ask(None, std::slice::from_ref(query)).await.expect("answers");
            let (alone, together) = (output(&alone[0]), output(answer));
            let same = (alone.rc, &alone.stdout) == (together.rc, &together.stdout);
            // some messages name the line of the request
            assert!(same && (stderr.is_none() || alone.stderr == together.stderr), "{} {script}", ground.shell);
        }
        connection.close().await;
    }
}

#[tokio::test]
async fn questions_cost_one_round_trip() {
    for ground in grounds() {
        let connection = ground.open().await;
        connection.hello(None).await.expect("hello");
        let before = connection.round_trips();
        let queries: Vec<Query> = (0..500)
            .map(|n| Query::Stat { path: format!("/etc/{n}"), follow: n % 2 == 0, checksum: true })
            .chain([sh("true"), Query::Read { path: "/etc/hostname".into(), limit: 100 }])
            .collect();
        let answers = connection.ask(None, &queries).await.expect("answers");
        assert_eq!(answers.len(), 502);
        assert!(answers[..500].iter().all(|answer| *answer == Answer::Stat(None)), "{}", ground.shell);
        assert_eq!(connection.round_trips() - before, 1);
        connection.close().await;
    }
}

#[tokio::test]
async fn the_handshake_says_who_and_where_we_are() {
    for ground in grounds() {
        let connection = ground.open().await;
        let hello = connection.hello(None).await.expect("hello");
        assert_eq!(hello.user, common::sshd::user());
        assert_eq!(hello.uid, rustix::process::getuid().as_raw());
        assert_eq!(hello.kernel, "Linux");
        assert_eq!(hello.shell, if ground.shell == "bash" { "bash" } else { "sh" });
        assert_eq!(hello.dialect, if ground.shell == "busybox" { Dialect::Busybox } else { Dialect::Gnu });
        assert!(hello.pid > 1 && hello.pgid > 1);
        assert_eq!(connection.round_trips(), 1);
        connection.close().await;
    }
}

/// Stats of the odd things that a directory may hold.
#[tokio::test]
async fn stat_sees_what_is_there() {
    let odd =
        ["plain", "two words", "new\nline", "quote'd \"$HOME\" `x`", "-dash", "back\\slash\\n", "ünïcødé", ":a:b:"];
    for ground in grounds() {
        let mut queries = Vec::new();
        for name in odd {
            fs::write(ground.dir.path().join(name), name).expect("file");
            for follow in [false, true] {
                queries.push(Query::Stat { path: ground.path(name), follow, checksum: true });
                queries.push(Query::Stat { path: ground.path(&format!("{name} not there")), follow, checksum: true });
            }
        }
        let connection = ground.open().await;
        let answers = connection.ask(None, &queries).await.expect("answers");
        for (query, answer) in queries.iter().zip(&answers) {
            let Query::Stat { path, .. } = query else { continue };
            let expected =
                fs::metadata(path).ok().map(|found| (found.ino(), found.size(), found.mtime(), sha256(path)));
            let Answer::Stat(stat) = answer else { panic!("{path}: {answer:?}") };
            let got = stat.clone().map(|stat| (stat.inode, stat.size, stat.mtime, stat.checksum.unwrap_or_default()));
            assert_eq!(got, expected, "{} {path:?}", ground.shell);
        }

        let dir = ground.dir.path();
        fs::set_permissions(dir.join("plain"), fs::Permissions::from_mode(0o4751)).expect("mode");
        symlink("two words", dir.join("link")).expect("link");
        symlink("nowhere\n", dir.join("dangling")).expect("link");
        symlink("loop", dir.join("loop")).expect("link");
        fs::create_dir(dir.join("sub")).expect("directory");
        let fifo = Command::new("mkfifo").arg(dir.join("fifo")).status();
        assert!(fifo.is_ok_and(|status| status.success()));
        let ask = |name: &str, follow| Query::Stat { path: ground.path(name), follow, checksum: true };
        let queries = [
            ask("plain", false),
            ask("link", false),
            ask("link", true),
            ask("dangling", false),
            ask("dangling", true),
            ask("loop", true),
            ask("sub", false),
            ask("fifo", false),
            ask("plain/below", false),
            ask("no/such/dir", true),
            ask("plain", false),
            Query::Stat { path: "/a\0b".into(), follow: false, checksum: false },
            Query::Stat { path: String::new(), follow: false, checksum: false },
        ];
        let answers = connection.ask(None, &queries).await.expect("answers");
        let stat = |n: usize| -> FileStat {
            match &answers[n] {
                Answer::Stat(Some(stat)) => stat.clone(),
                other => panic!("{} {n}: {other:?}", ground.shell),
            }
        };
        assert_eq!((stat(0).mode, stat(0).kind), (0o4751, FileKind::File));
        assert_eq!(stat(0).owner, common::sshd::user());
        assert_eq!((stat(1).kind, stat(1).target, stat(1).checksum), (FileKind::Link, Some("two words".into()), None));
        assert_eq!((stat(2).kind, stat(2).target, stat(2).size), (FileKind::File, None, 9));
        assert_eq!(stat(3).target.as_deref(), Some("nowhere\n"));
        assert_eq!((&answers[4], &answers[5]), (&Answer::Stat(None), &Answer::Stat(None)));
        assert_eq!((stat(6).kind, stat(6).checksum), (FileKind::Directory, None));
        assert_eq!(stat(7).kind, FileKind::Other);
        assert_eq!(answers[8], Answer::Refused("not a directory".into()));
        assert_eq!(answers[9], Answer::Stat(None));
        assert_eq!(stat(10), stat(0));
        assert!(matches!(answers[11], Answer::Refused(_)));
        assert_eq!(answers[12], Answer::Stat(None));
        connection.close().await;
    }
}

#[tokio::test]
async fn read_brings_exact_bytes() {
    let every_byte: Vec<u8> = (0..=255u8).cycle().take(70_000).collect();
    for ground in grounds() {
        let dir = ground.dir.path();
        fs::write(dir.join("bytes"), &every_byte).expect("file");
        fs::write(dir.join("empty"), b"").expect("file");
        fs::write(dir.join("no newline"), b"x\ny").expect("file");
        let ask = |name: &str, limit| Query::Read { path: ground.path(name), limit };
        let queries = [
            ask("bytes", 70_000),
            ask("bytes", 69_999),
            ask("empty", 0),
            ask("no newline", u64::MAX),
            ask("absent", 10),
            ask(".", 10),
            Query::Read { path: "/dev/zero".into(), limit: 10 },
            Query::Read { path: "/proc/self/status".into(), limit: 1 << 20 },
        ];
        let connection = ground.open().await;
        let answers = connection.ask(None, &queries).await.expect("answers");
        assert_eq!(answers[0], Answer::Bytes(Some(every_byte.clone())), "{}", ground.shell);
        assert_eq!(answers[1], Answer::TooLarge(70_000));
        assert_eq!(answers[2], Answer::Bytes(Some(Vec::new())));
        assert_eq!(answers[3], Answer::Bytes(Some(b"x\ny".to_vec())));
        assert_eq!(answers[4], Answer::Bytes(None));
        assert_eq!(answers[5], Answer::Refused("is a directory".into()));
        assert_eq!(answers[6], Answer::Refused("is not a regular file".into()));
        assert!(matches!(&answers[7], Answer::Bytes(Some(bytes)) if bytes.starts_with(b"Name:")), "{:?}", answers[7]);
        connection.close().await;
    }
}

#[tokio::test]
async fn what_may_not_be_seen_is_refused_and_not_absent() {
    for ground in grounds() {
        let dir = ground.dir.path();
        fs::create_dir(dir.join("closed")).expect("directory");
        fs::write(dir.join("closed/file"), b"x").expect("file");
        fs::write(dir.join("secret"), b"x").expect("file");
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o000)).expect("mode");
        fs::set_permissions(dir.join("secret"), fs::Permissions::from_mode(0o000)).expect("mode");
        // root may see everything, so look as nobody
        let nobody = Become { method: BecomeMethod::Su, user: "nobody".into(), password: None };
        let who = is_root().then_some(&nobody);
        let stat = |name: &str| Query::Stat { path: ground.path(name), follow: false, checksum: true };
        let read = |name: &str| Query::Read { path: ground.path(name), limit: 10 };
        let queries = [stat("closed/file"), read("closed/file"), read("secret"), stat("secret"), sh("id -un")];
        let connection = ground.open().await;
        let answers = connection.ask(who, &queries).await.expect("answers");
        let denied = Answer::Refused("permission denied".into());
        assert_eq!(answers[..3], [denied.clone(), denied.clone(), denied], "{}", ground.shell);
        assert!(matches!(&answers[3], Answer::Stat(Some(stat)) if stat.checksum.is_none()));
        if is_root() {
            assert_eq!(output(&answers[4]).stdout, b"nobody\n");
        }
        connection.close().await;
        fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o700)).expect("mode");
    }
}

#[tokio::test]
async fn a_script_gets_its_surroundings() {
    let every_byte: Vec<u8> = (0..=255u8).collect();
    for ground in grounds() {
        let connection = ground.open().await;
        let mut script = Script::new()
            .operator("pwd; umask; printf '%s|' \"$A\" \"$B\"; cat >input")
            .cwd(ground.path(""))
            .env("A", Part::Quoted("it's $HOME".into()))
            .env("B", Part::Secret(Secret::new("hunter2")))
            .stdin(every_byte.clone());
        script.umask = Some(0o027);
        let outputs = connection.act(None, &[Operation::run(script)]).await.expect("runs");
        let dir = ground.dir.path().canonicalize().expect("path");
        let expected = format!("{}\n0027\nit's $HOME|hunter2|", dir.display());
        let got = outputs[0].stdout_text().replace("/\n", "\n");
        assert_eq!(got, expected, "{}", ground.shell);
        assert_eq!(fs::read(ground.dir.path().join("input")).expect("input"), every_byte, "{}", ground.shell);

        let nowhere = Operation::run(Script::new().raw("touch here").cwd("/no/such/dir"));
        assert!(matches!(connection.act(None, &[nowhere]).await, Err(ActError::Failed { index: 0, .. })));
        // what nobody reads does not hang, even if it is a lot
        let deaf = Operation::run(Script::new().raw("true").stdin(vec![b'x'; 500_000]));
        assert!(connection.act(None, &[deaf]).await.is_ok());
        let refused = Query::Run(Script::new().raw("true").env("not a name", Part::Quoted(String::new())));
        assert!(matches!(connection.ask(None, &[refused]).await.expect("answers")[0], Answer::Refused(_)));
        connection.close().await;
    }
}

#[tokio::test]
async fn operations_stop_at_the_first_failure() {
    for ground in grounds() {
        let connection = ground.open().await;
        connection.hello(None).await.expect("hello");
        let before = connection.round_trips();
        let file = |name: &str| Operation::Write(write(ground.path(name), b"content"));
        let accepted = Operation::Run { script: Script::new().raw("exit 3"), accept: vec![0, 3] };
        let operations = [run("echo one"), file("a"), accepted, run("echo out; echo err >&2; exit 5"), file("b")];
        let Err(ActError::Failed { index, failure, cause, done }) = connection.act(None, &operations).await else {
            panic!("did not fail")
        };
        assert_eq!((index, cause, done.len()), (3, Cause::Task, 3), "{}", ground.shell);
        assert_eq!((done[0].stdout.as_slice(), done[2].rc), (&b"one\n"[..], 3));
        assert_eq!(failure.msg, "non-zero return code");
        assert_eq!((&failure.values["rc"], &failure.values["stderr"]), (&5.into(), &"err".into()));
        assert_eq!(connection.round_trips() - before, 1);
        assert!(ground.dir.path().join("a").exists() && !ground.dir.path().join("b").exists());
        connection.close().await;
    }
}

#[tokio::test]
async fn write_puts_exact_bytes_whole() {
    let every_byte: Vec<u8> = (0..=255u8).cycle().take(5000).collect();
    let large: Vec<u8> = (0..=250u8).cycle().take(300_000).collect();
    let contents: [&[u8]; 9] = [
        b"",
        b"plain\n",
        b"no newline",
        b"\n\n\n",
        b"%s \\n '\"$(id)` \\\\",
        "ünïcødé \u{1F600}\r\n".as_bytes(),
        b"-n -e",
        &every_byte,
        &large,
    ];
    for ground in grounds() {
        let connection = ground.open().await;
        let operations: Vec<Operation> = contents
            .iter()
            .enumerate()
            .map(|(n, content)| Operation::Write(write(ground.path(&format!("file '{n}'\n")), content)))
            .collect();
        connection.act(None, &operations).await.expect("writes");
        for (n, content) in contents.iter().enumerate() {
            let path = ground.path(&format!("file '{n}'\n"));
            assert_eq!(fs::read(&path).expect("file"), *content, "{} {n}", ground.shell);
            assert_eq!(fs::metadata(&path).expect("file").mode() & 0o7777, 0o644, "{}", ground.shell);
        }
        assert_eq!(left_over(ground.dir.path()), 0);
        connection.close().await;
    }
}

/// Temporary files of ours.
fn left_over(dir: &Path) -> usize {
    let names = fs::read_dir(dir).expect("directory").flatten().map(|entry| entry.file_name());
    names.filter(|name| name.to_string_lossy().starts_with(".pv-")).count()
}

#[tokio::test]
async fn write_keeps_or_sets_mode_and_owner() {
    for ground in grounds() {
        let connection = ground.open().await;
        let dir = ground.dir.path();
        let path = ground.path("file");
        fs::write(&path, b"old").expect("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o2751)).expect("mode");
        if is_root() {
            std::os::unix::fs::chown(&path, Some(12345), Some(54321)).expect("chown");
            // chown clears these bits
            fs::set_permissions(&path, fs::Permissions::from_mode(0o2751)).expect("mode");
        }
        let kept = |path: &str| fs::metadata(path).map(|found| (found.mode() & 0o7777, found.uid(), found.gid()));
        let before = kept(&path).expect("file");
        symlink("file", dir.join("link")).expect("link");
        connection.act(None, &[Operation::Write(write(ground.path("link"), b"new"))]).await.expect("writes");
        assert_eq!(kept(&path).expect("file"), before, "{}", ground.shell);
        assert_eq!(fs::read(&path).expect("file"), b"new");
        assert!(dir.join("link").is_symlink());

        let mut set = write(ground.path("new"), b"x");
        set.to.mode = Some(0o4600);
        if is_root() {
            (set.to.owner, set.to.group) = (Some("nobody".into()), Some("12".into()));
        }
        let large = Write { content: vec![b'x'; 100_000], ..set.clone() };
        for set in [set, large] {
            connection.act(None, &[Operation::Write(set)]).await.expect("writes");
            let (mode, uid, gid) = kept(&ground.path("new")).expect("file");
            assert_eq!(mode, 0o4600, "{}", ground.shell);
            assert!(!is_root() || (uid, gid) == (65534, 12));
        }
        connection.close().await;
    }
}

#[tokio::test]
async fn write_guards_what_it_replaces() {
    for ground in grounds() {
        let connection = ground.open().await;
        let dir = ground.dir.path();
        let path = ground.path("file");
        fs::write(&path, b"old").expect("file");
        fs::create_dir(dir.join("sub")).expect("directory");
        let old = sha256(&path);
        let to = |change: fn(&mut Destination)| {
            let mut write = write(path.clone(), b"new");
            change(&mut write.to);
            write
        };
        let mut other = write(path.clone(), b"new");
        other.to.expect = Expect::Checksum(old.replace(|c: char| c.is_ascii_digit(), "0"));
        // what is refused, and a word of why
        let table = [
            (to(|to| to.expect = Expect::Absent), "appeared"),
            (other, "changed since"),
            (to(|to| to.validate = Some("grep -q old %s".into())), "validation"),
            (to(|to| to.path.push_str("/below")), "does not exist"),
            (to(|to| to.path = to.path.replace("file", "sub")), "is a directory"),
            (to(|to| to.path = to.path.replace("file", "no/such")), "does not exist"),
            (to(|to| to.owner = Some("no-such-user".into())), "owner"),
        ];
        for (write, why) in table {
            let large = Write { content: vec![b'n'; 100_000], ..write.clone() };
            for write in [write, large] {
                let result = connection.act(None, &[Operation::Write(write)]).await;
                let Err(ActError::Failed { failure, .. }) = result else { panic!("{} {why}", ground.shell) };
                assert!(failure.msg.contains(why) || failure.values["rc"] == 94, "{why}: {failure:?}");
                assert_eq!(fs::read(&path).expect("file"), b"old", "{} {why}", ground.shell);
                assert_eq!(left_over(dir), 0, "{} {why}", ground.shell);
            }
        }
        let mut good = write(path.clone(), b"new");
        good.to.expect = Expect::Checksum(old);
        good.to.validate = Some("grep -q new %s".into());
        good.to.backup = true;
        let outputs = connection.act(None, &[Operation::Write(good)]).await.expect("writes");
        assert_eq!(fs::read(&path).expect("file"), b"new");
        assert_eq!(fs::read(outputs[0].stdout_text().trim_end()).expect("backup"), b"old", "{}", ground.shell);
        connection.close().await;
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_leaves_nothing() {
    if !is_root() {
        return skip("only root can make a small disk");
    }
    for ground in grounds() {
        let disk = ground.dir.path().join("disk");
        fs::create_dir(&disk).expect("directory");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&disk).status();
        if !mounted.is_ok_and(|status| status.success()) {
            return skip("no tmpfs can be mounted here");
        }
        let connection = ground.open().await;
        let path = ground.path("disk/file");
        fs::write(&path, b"old").expect("file");
        fs::write(disk.join("filler"), vec![0u8; 50_000]).expect("filler");
        let mut results = Vec::new();
        for size in [60_000, 600_000] {
            results.push(connection.act(None, &[Operation::Write(write(path.clone(), &vec![b'x'; size]))]).await);
        }
        let script = run(&format!("head -c 100000 /dev/zero | cat >{}", ground.path("disk/more")));
        results.push(connection.act(None, &[script]).await);
        let kept = (fs::read(&path), left_over(&disk));
        connection.close().await;
        let _ = Command::new("umount").arg(&disk).status();
        for result in results {
            let Err(ActError::Failed { cause, failure, .. }) = result else { panic!("{}", ground.shell) };
            assert_eq!(cause, Cause::DiskFull, "{}: {failure:?}", ground.shell);
            assert!(failure.hint.is_some());
        }
        assert_eq!((kept.0.expect("file"), kept.1), (b"old".to_vec(), 0), "{}", ground.shell);
    }
}

#[tokio::test]
async fn upload_and_fetch_are_exact() {
    let content: Vec<u8> = (0..=255u8).rev().cycle().take(3_000_000).collect();
    for ground in grounds() {
        let connection = ground.open().await;
        let from = ground.dir.path().join("from here");
        fs::write(&from, &content).expect("file");
        let checksum = sha256(&from.to_string_lossy());
        let to = Destination { path: ground.path("to 'there'"), mode: Some(0o600), ..Destination::default() };
        let upload = Upload { to, from: Freight::File(from), checksum };
        let back = ground.dir.path().join("new/back again");
        let fetch = Operation::Fetch { path: ground.path("to 'there'"), to: back.clone() };
        connection.act(None, &[Operation::Upload(upload.clone()), fetch]).await.expect("both ways");
        assert_eq!(fs::read(&back).expect("file"), content, "{}", ground.shell);

        let lie = Upload { checksum: "0".repeat(64), ..upload.clone() };
        let result = connection.act(None, &[Operation::Upload(lie)]).await;
        let Err(ActError::Failed { failure, .. }) = result else { panic!("{}", ground.shell) };
        assert!(failure.msg.contains("what arrived is not what was sent"), "{failure:?}");
        assert_eq!(left_over(ground.dir.path()), 0);
        let missing = Operation::Fetch { path: ground.path("absent"), to: back.clone() };
        assert!(matches!(connection.act(None, &[missing]).await, Err(ActError::Failed { .. })));
        assert_eq!(fs::read(&back).expect("file").len(), content.len());
        connection.close().await;
    }
}

#[tokio::test]
async fn what_takes_too_long_is_ended_with_its_children() {
    for ground in grounds() {
        let connection = ground.open().await;
        let pid = connection.hello(None).await.expect("hello").pid;
        let mark = ground.path("still-running");
        let text = format!("echo begun; (sleep 5; touch {mark}) & sh -c 'sleep 5; touch {mark}'; touch {mark}");
        let slow = Script::new().operator(text).timeout(Duration::from_millis(500));
        let operations = [run("echo first"), Operation::run(slow.clone()), run("echo never")];
        let Err(ActError::Failed { index, failure, done, .. }) = connection.act(None, &operations).await else {
            panic!("did not time out")
        };
        assert_eq!((index, done.len()), (1, 1), "{}", ground.shell);
        assert!(failure.msg.contains("timed out"), "{failure:?}");
        assert_eq!(failure.values["stdout"], "begun");
        // the lane is a new one, and a question that hangs leaves the others answered
        let answers = connection.ask(None, &[sh("echo a"), Query::Run(slow), sh("echo b")]).await.expect("answers");
        assert_eq!(
            (output(&answers[0]).stdout.as_slice(), output(&answers[2]).stdout.as_slice()),
            (&b"a\n"[..], &b"b\n"[..])
        );
        assert_eq!(output(&answers[1]).rc, 124);
        assert_ne!(connection.hello(None).await.expect("hello").pid, pid);
        tokio::time::sleep(Duration::from_millis(5200)).await;
        assert!(!Path::new(&mark).exists(), "{}: something went on", ground.shell);
        connection.close().await;
    }
}

#[tokio::test]
async fn a_lane_that_is_dropped_or_killed_is_replaced() {
    for ground in grounds() {
        let connection = ground.open().await;
        let mark = ground.path("still-running");
        let slow = [run(&format!("sleep 2; touch {mark}"))];
        let dropped = tokio::time::timeout(Duration::from_millis(300), connection.act(None, &slow)).await;
        assert!(dropped.is_err());
        let answers = connection.ask(None, &[sh("echo on")]).await.expect("answers");
        assert_eq!(output(&answers[0]).stdout, b"on\n");
        let Err(trouble) = connection.ask(None, &[sh("kill -9 $$")]).await else { panic!("{}", ground.shell) };
        assert_eq!(trouble.cause, Cause::Lost);
        assert!(connection.ask(None, &[sh("echo on")]).await.is_ok());
        tokio::time::sleep(Duration::from_millis(2200)).await;
        assert!(!Path::new(&mark).exists(), "{}", ground.shell);
        connection.close().await;
    }
}

#[tokio::test]
async fn background_children_do_not_hold_up_or_mix_in() {
    for ground in grounds() {
        let connection = ground.open().await;
        let (go, done) = (ground.path("go"), ground.path("done"));
        // it ends only after the operation has
        let child = format!("(until [ -e {go} ]; do sleep 0.1; done; echo late; : >{done}) & echo now");
        connection.act(None, &[run(&child)]).await.expect("runs");
        std::fs::write(&go, "").expect("written");
        let ends = async {
            while !Path::new(&done).exists() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ends).await.expect("the child goes on");
        let answers = connection.ask(None, &[sh("echo clean")]).await.expect("answers");
        assert_eq!(output(&answers[0]).stdout, b"clean\n", "{}", ground.shell);
        connection.close().await;
    }
}

#[tokio::test]
async fn much_output_on_both_streams_does_not_block() {
    for ground in grounds() {
        let connection = ground.open().await;
        let script =
            "i=0; while [ $i -lt 3000 ]; do echo $i; echo $i >&2; i=$((i+1)); done; head -c 20000000 /dev/zero";
        let answers = connection.ask(None, &[sh(script)]).await.expect("answers");
        let got = output(&answers[0]);
        assert_eq!(got.stderr.iter().filter(|byte| **byte == b'\n').count(), 3000, "{}", ground.shell);
        let said = String::from_utf8_lossy(&got.stdout[got.stdout.len() - 60..]).into_owned();
        assert!(said.contains("more bytes were not kept"), "{said}");
        connection.close().await;
    }
}

#[tokio::test]
async fn no_secret_is_in_any_process_list() {
    let secret = "Pl4nted-s3cret";
    for ground in grounds() {
        let connection = ground.open().await;
        let mut content = secret.as_bytes().to_vec();
        content.extend_from_slice(&[0, 255]);
        let look = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '";
        let script = Script::new()
            .raw("printf %s")
            .secret(Secret::new(secret))
            .raw("| { cat >/dev/null; ")
            .operator(look)
            .raw("; }");
        let fed = Script::new().operator(format!("cat >/dev/null; {look}")).stdin(content.clone());
        let mut validated = write(ground.path("file"), &content);
        validated.to.validate = Some(format!("sh -c \"{look} >{} # %s\"", ground.path("seen")));
        let operations = [Operation::run(script), Operation::run(fed), Operation::Write(validated)];
        let outputs = connection.act(None, &operations).await.expect("runs");
        let seen = fs::read(ground.dir.path().join("seen")).expect("seen");
        for list in [&outputs[0].stdout, &outputs[1].stdout, &seen] {
            assert!(list.len() > 100 && !String::from_utf8_lossy(list).contains(secret), "{}", ground.shell);
        }
        connection.close().await;
    }
}

#[tokio::test]
async fn questions_behind_operations_see_what_those_did_and_never_harm_them() {
    for ground in grounds() {
        let connection = ground.open().await;
        connection.hello(None).await.expect("hello");
        let file = ground.path("file");
        let large: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
        let read = Query::Read { path: file.clone(), limit: 1 << 20 };
        let stat = |path: &str| Query::Stat { path: path.to_owned(), follow: true, checksum: true };
        let questions = [read.clone(), stat(&file), sh("exit 3")];

        let trips = connection.round_trips();
        let operations = [Operation::Write(write(file.clone(), b"new")), run("printf done")];
        let acted = connection.act_then_ask(None, &operations, &questions).await.expect("acts");
        assert_eq!(connection.round_trips() - trips, 1, "{}", ground.shell);
        let answers = acted.answers.expect("answers");
        assert_eq!((acted.outputs.len(), answers.len()), (2, 3), "{}", ground.shell);
        assert_eq!(answers[0], Answer::Bytes(Some(b"new".to_vec())), "{}", ground.shell);
        assert!(matches!(&answers[1], Answer::Stat(Some(stat)) if stat.checksum.as_deref() == Some(&sha256(&file))));
        assert_eq!(output(&answers[2]).rc, 3, "{}", ground.shell);

        // an upload ends with a request of its own
        let operations = [Operation::Write(write(file.clone(), &large))];
        let acted = connection.act_then_ask(None, &operations, &questions).await.expect("uploads");
        assert_eq!(acted.answers.expect("answers")[0], Answer::Bytes(Some(large.clone())), "{}", ground.shell);

        // what comes after a failure is not begun, and not believed
        let operations = [run("exit 4"), Operation::Write(write(file.clone(), b"never"))];
        let failed = connection.act_then_ask(None, &operations, &questions).await;
        assert!(matches!(&failed, Err(ActError::Failed { index: 0, done, .. }) if done.is_empty()), "{failed:?}");
        assert_eq!(fs::read(&file).expect("file"), large, "{}", ground.shell);

        // one that hangs: the operations are done, and the lane works
        let operations = [Operation::Write(write(file.clone(), b"done"))];
        let hangs = Query::Run(Script::new().raw("sleep 30").timeout(Duration::from_millis(300)));
        let acted = connection.act_then_ask(None, &operations, &[hangs, read.clone()]).await.expect("acts");
        assert_eq!((acted.outputs.len(), acted.answers), (1, None), "{}", ground.shell);
        let answers = connection.ask(None, std::slice::from_ref(&read)).await.expect("answers");
        assert_eq!(answers, [Answer::Bytes(Some(b"done".to_vec()))], "{}", ground.shell);

        // one that ends the lane
        let deadly = sh("kill -9 $$");
        let operations = [Operation::Write(write(file.clone(), b"again"))];
        let acted = connection.act_then_ask(None, &operations, std::slice::from_ref(&deadly)).await.expect("acts");
        assert_eq!((acted.outputs.len(), acted.answers), (1, None), "{}", ground.shell);
        let further = [deadly.clone()];
        let (answers, further) = connection.ask_ahead(None, std::slice::from_ref(&read), &further).await.expect("asks");
        assert_eq!(answers, [Answer::Bytes(Some(b"again".to_vec()))], "{}", ground.shell);
        assert_eq!(further, None, "{}", ground.shell);
        // asked for its own sake it is an error
        assert!(connection.ask(None, &[deadly]).await.is_err(), "{}", ground.shell);
        assert!(connection.ask(None, &[read]).await.is_ok(), "{}", ground.shell);
        connection.close().await;
    }
}
