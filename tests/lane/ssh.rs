//! The lane over a real sshd on this machine: what goes wrong on the way to a host, and becoming another user.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use provision::event::Cause;
use provision::lane::{ActError, Become, BecomeMethod, Connections, Target, Trouble};
use provision::plan::{Answer, Destination, Freight, Operation, Query, Script, Secret, Upload, Write};
use tokio_util::sync::CancellationToken;

use crate::common;
use crate::common::delay::Delay;
use crate::common::skip;
use crate::common::sshd::{Sshd, free_port, is_root, keygen, user};

fn sh(text: &str) -> Query {
    Query::Run(Script::new().operator(text))
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Output(output) => output.stdout_text(),
        other => panic!("not an output: {other:?}"),
    }
}

async fn refused(target: &Target) -> Trouble {
    let connections = Connections::new(4).expect("connections");
    match connections.open(target, &CancellationToken::new()).await {
        Ok(connection) => {
            connection.close().await;
            panic!("connected")
        }
        Err(trouble) => trouble,
    }
}

/// How many processes have this in their command line.
fn processes(text: &str) -> usize {
    let all = fs::read_dir("/proc").expect("proc").flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[tokio::test]
async fn a_connection_comes_works_and_goes() {
    let Some(sshd) = Sshd::start() else { return };
    let connections = Connections::new(4).expect("connections");
    let target = sshd.target("127.0.3.7");
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    assert_eq!(connection.round_trips(), 0);
    assert_eq!(connection.hello(None).await.expect("hello").user, user());
    assert_eq!(connection.round_trips(), 3);
    let answers = connection.ask(None, &[sh("echo $SSH_CONNECTION"), sh("exit 127")]).await.expect("answers");
    assert!(said(&answers[0]).contains("127.0.3.7"));
    assert!(matches!(&answers[1], Answer::Output(output) if output.rc == 127));
    assert_eq!(connection.round_trips(), 4);
    let mark = format!("Port={}", sshd.port);
    assert!(processes(&mark) > 0);
    connection.close().await;
    // the master says that it goes, and then goes
    for _ in 0..100 {
        if processes(&mark) == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the master is still there");
}

#[tokio::test]
async fn the_counter_counts_what_a_long_way_costs() {
    let round_trip = Duration::from_secs(1);
    let Some(sshd) = Sshd::start() else { return };
    let line = Delay::start(([127, 0, 0, 1], sshd.port).into(), round_trip);
    let connections = Connections::new(4).expect("connections");
    let args = vec!["-o".into(), "HostKeyAlias=[127.0.0.1]:".to_owned() + &sshd.port.to_string()];
    let target = Target { port: Some(line.port), ssh_args: args, ..sshd.target("127.0.0.1") };
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    let started = Instant::now();
    connection.hello(None).await.expect("hello");
    let questions: Vec<Query> =
        (0..50).map(|n| Query::Stat { path: format!("/etc/{n}"), follow: false, checksum: true }).collect();
    connection.ask(None, &questions).await.expect("answers");
    let path = sshd.dir.path().join("x").to_string_lossy().into_owned();
    let to = Destination { path, ..Destination::default() };
    let write = Operation::Write(Write { to, content: b"x".to_vec() });
    connection.act(None, &[write.clone(), write, Operation::run(Script::new().raw("true"))]).await.expect("acts");
    // a large file: a channel of its own, its end, and its being put in place
    let path = sshd.dir.path().join("large").to_string_lossy().into_owned();
    let to = Destination { path, ..Destination::default() };
    let large = Operation::Write(Write { to, content: vec![b'x'; 100_000] });
    connection.act(None, &[large]).await.expect("uploads");
    assert_eq!(connection.round_trips(), 9);
    let trips = started.elapsed().as_secs_f64() / round_trip.as_secs_f64();
    // nothing is waited for that is not counted
    assert!((9.0..10.5).contains(&trips), "{trips}");
    connection.close().await;
}

#[tokio::test]
async fn a_killed_program_leaves_nothing_that_needs_a_hand() {
    let Some(sshd) = Sshd::start() else { return };
    let runtime_dir = tempfile::tempdir().expect("directory");
    let held = |file: &str| runtime_dir.path().join(file);
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "ssh::the_program_that_is_killed"])
        .env("XDG_RUNTIME_DIR", runtime_dir.path())
        .env("PV_TEST_PORT", sshd.port.to_string())
        .env("PV_TEST_KEY", &sshd.key)
        .env("PV_TEST_KNOWN_HOSTS", &sshd.known_hosts)
        .env("PV_TEST_UP", held("up"))
        .stdout(Stdio::null())
        .spawn()
        .expect("starts");
    let deadline = Instant::now() + Duration::from_secs(30);
    while !held("up").exists() {
        assert!(Instant::now() < deadline && child.try_wait().expect("state").is_none(), "it did not connect");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let left = fs::read_dir(held("pv")).expect("sockets").count();
    child.kill().expect("killed");
    child.wait().expect("killed");
    let mark = format!("Port={}", sshd.port);
    assert!(left == 1 && processes(&mark) > 0);
    let deadline = Instant::now() + Duration::from_secs(40);
    while processes(&mark) > 0 || !sshd.sessions().is_empty() {
        assert!(Instant::now() < deadline, "the master stays: {}", sshd.log());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // the next run sweeps
    let again = Command::new(std::env::current_exe().expect("this test"))
        .args(["--ignored", "--exact", "ssh::the_program_that_is_killed"])
        .env("XDG_RUNTIME_DIR", runtime_dir.path())
        .stdout(Stdio::null())
        .status();
    assert!(again.is_ok_and(|status| status.success()));
    assert_eq!(fs::read_dir(held("pv")).expect("sockets").count(), 0);
}

/// Not a test of its own: the other half of the one above.
#[tokio::test]
#[ignore = "run by a_killed_program_leaves_nothing_that_needs_a_hand"]
async fn the_program_that_is_killed() {
    let connections = Connections::new(1).expect("connections");
    let Ok(port) = std::env::var("PV_TEST_PORT") else { return };
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let target = Target {
        address: "127.0.0.1".into(),
        port: port.parse().ok(),
        user: Some(user()),
        key_file: of("PV_TEST_KEY"),
        known_hosts: of("PV_TEST_KNOWN_HOSTS"),
        config_file: Some("/dev/null".into()),
        ..Target::default()
    };
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    connection.hello(None).await.expect("hello");
    fs::write(of("PV_TEST_UP").expect("where"), "").expect("up");
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test]
async fn many_hosts_connect_a_few_at_a_time() {
    let Some(sshd) = Sshd::with("MaxStartups 4:100:4") else { return };
    let connections = Connections::new(3).expect("connections");
    let cancel = CancellationToken::new();
    let targets: Vec<Target> = (1..=12).map(|n| sshd.target(&format!("127.0.4.{n}"))).collect();
    let opened = futures::future::join_all(targets.iter().map(|target| connections.open(target, &cancel))).await;
    for connection in opened {
        let connection = connection.expect("connects");
        assert!(connection.ask(None, &[sh("true")]).await.is_ok());
        connection.close().await;
    }
}

#[tokio::test]
async fn every_way_not_to_connect_has_its_cause() {
    let Some(sshd) = Sshd::start() else { return };
    let good = sshd.target("127.0.0.1");
    let dir = tempfile::tempdir().expect("directory");
    let empty = dir.path().join("empty");
    fs::write(&empty, "").expect("known hosts");
    let other = keygen(dir.path(), "other");
    let public = fs::read_to_string(other.with_extension("pub")).expect("key");
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, format!("[127.0.0.1]:{} {public}", sshd.port)).expect("known hosts");
    // accepts, and never says a word
    let deaf = TcpListener::bind("127.0.0.1:0").expect("listener");
    let deaf_port = deaf.local_addr().expect("address").port();

    let table = [
        (Target { key_file: Some(other), ..good.clone() }, Cause::Auth, "ssh-copy-id"),
        (Target { known_hosts: Some(empty.clone()), ..good.clone() }, Cause::HostKeyUnknown, "ssh-keyscan -p"),
        (Target { known_hosts: Some(wrong.clone()), ..good.clone() }, Cause::HostKeyChanged, "ssh-keygen -R"),
        (Target { port: Some(free_port()), ..good.clone() }, Cause::Refused, "port"),
        (Target { address: "no-such-host.invalid".into(), ..good.clone() }, Cause::Dns, "ansible_host"),
        (
            Target { port: Some(deaf_port), connect_timeout: Duration::from_secs(1), ..good.clone() },
            Cause::Timeout,
            "firewall",
        ),
        (Target { ssh_args: vec!["-o".into(), "Nonsense=yes".into()], ..good.clone() }, Cause::Local, "by hand"),
    ];
    for (target, cause, hint) in table {
        let trouble = refused(&target).await;
        assert_eq!(trouble.cause, cause, "{trouble}");
        assert!(trouble.hint.as_deref().unwrap_or_default().contains(hint), "{trouble}");
    }

    // the hints work
    let hint = refused(&Target { known_hosts: Some(wrong.clone()), ..good.clone() }).await.hint.unwrap_or_default();
    let command = hint.rsplit(": ").next().expect("command").to_owned();
    assert!(Command::new("sh").arg("-c").arg(&command).stderr(Stdio::null()).stdout(Stdio::null()).status().is_ok());
    let trouble = refused(&Target { known_hosts: Some(wrong.clone()), ..good.clone() }).await;
    assert_eq!(trouble.cause, Cause::HostKeyUnknown, "{command}");
    let hint = trouble.hint.unwrap_or_default();
    let command = hint.rsplit(": ").next().expect("command").to_owned();
    assert!(Command::new("sh").arg("-c").arg(&command).stderr(Stdio::null()).status().is_ok());
    let connections = Connections::new(1).expect("connections");
    let target = Target { known_hosts: Some(wrong), ..good.clone() };
    connections.open(&target, &CancellationToken::new()).await.expect(&command).close().await;
    // and unknown keys are accepted where the operator says so
    let target = Target { known_hosts: Some(empty), host_key_checking: false, ..good };
    connections.open(&target, &CancellationToken::new()).await.expect("connects").close().await;
}

/// Connects until sshd says its name, and then says nothing.
fn take_place(sshd: &Sshd) -> std::net::TcpStream {
    loop {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", sshd.port)).expect("connects");
        let mut greeting = [0u8; 7];
        if std::io::Read::read_exact(&mut stream, &mut greeting).is_ok() && greeting == *b"SSH-2.0" {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test]
async fn a_busy_sshd_is_tried_again() {
    let Some(sshd) = Sshd::with("MaxStartups 1:100:1\nLoginGraceTime 120") else { return };
    // a connection that does not log in takes the only place
    let taken = take_place(&sshd);
    let target = sshd.target("127.0.0.1");
    let release = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_millis(700));
        drop(taken);
    });
    let connections = Connections::new(1).expect("connections");
    let opened = connections.open(&target, &CancellationToken::new()).await;
    release.await.expect("released");
    opened.expect("connects in the end").close().await;
    let taken = take_place(&sshd);
    let trouble = refused(&target).await;
    assert_eq!(trouble.cause, Cause::Throttled, "{trouble}");
    drop(taken);
}

#[tokio::test]
async fn interrupting_ends_the_waiting() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("listener");
    let port = deaf.local_addr().expect("address").port();
    let connect_timeout = Duration::from_secs(120);
    let target = Target { port: Some(port), address: "127.0.0.1".into(), connect_timeout, ..Target::default() };
    let cancel = CancellationToken::new();
    let connections = Connections::new(1).expect("connections");
    let started = Instant::now();
    let soon = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cancel.cancel();
    };
    let (opened, ()) = tokio::join!(connections.open(&target, &cancel), soon);
    assert!(opened.is_err_and(|trouble| trouble.cause == Cause::Interrupted));
    assert!(started.elapsed() < connect_timeout / 2);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(processes(&format!("Port={port}")), 0, "ssh was left behind");
}

#[tokio::test]
async fn a_lost_connection_is_noticed_and_made_anew() {
    let Some(sshd) = Sshd::start() else { return };
    let connections = Connections::new(1).expect("connections");
    let target = sshd.target("127.0.0.1");
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    connection.hello(None).await.expect("hello");
    let cut = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        sshd.cut();
    };
    let operations = [Operation::run(Script::new().raw("sleep 5"))];
    let (result, ()) = tokio::join!(connection.act(None, &operations), cut);
    assert!(matches!(&result, Err(ActError::Trouble(trouble)) if trouble.cause == Cause::Lost), "{result:?}");
    let answers = connection.ask(None, &[sh("echo again")]).await.expect("connects again");
    assert_eq!(said(&answers[0]), "again\n");

    // between requests, and while reconnecting on purpose
    sshd.cut();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let trouble = connection.ask(None, &[sh("true")]).await.expect_err("lost");
    assert_eq!(trouble.cause, Cause::Lost, "{trouble}");
    let pid = connection.hello(None).await.expect("hello").pid;
    let operations = [Operation::Reconnect, Operation::run(Script::new().raw("echo $$"))];
    let outputs = connection.act(None, &operations).await.expect("reconnects");
    assert_ne!(outputs[1].stdout_text().trim(), pid.to_string());

    // switched off: whether the host refuses or is silent when it is tried again, the news is that it was lost
    sshd.cut();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let trouble = connection.ask(None, &[sh("true")]).await.expect_err("lost");
    assert_eq!(trouble.cause, Cause::Lost, "{trouble}");
    let port = sshd.port;
    drop(sshd);
    let trouble = connection.ask(None, &[sh("true")]).await.expect_err("nobody there");
    assert_eq!(trouble.cause, Cause::Lost, "{trouble}");
    assert!(trouble.msg.contains("was lost") && trouble.msg.contains("refused the connection"), "{trouble}");
    connection.close().await;
    assert_eq!(processes(&format!("Port={port}")), 0);
}

#[tokio::test]
async fn the_way_may_lead_over_another_host() {
    let Some(sshd) = Sshd::start() else { return };
    let dir = tempfile::tempdir().expect("directory");
    let config = dir.path().join("config");
    let text = format!(
        "Host jump\n HostName 127.0.5.1\nHost inner\n HostName 127.0.5.2\n ProxyJump jump\nHost *\n Port {}\n User {}\n \
         IdentityFile {}\n UserKnownHostsFile {}\n StrictHostKeyChecking yes\n LocalForward {} localhost:1\n RequestTTY force\n",
        sshd.port,
        user(),
        sshd.key.display(),
        sshd.known_hosts.display(),
        free_port(),
    );
    fs::write(&config, text).expect("config");
    let target =
        Target { name: "inner".into(), address: "inner".into(), config_file: Some(config), ..Target::default() };
    let connections = Connections::new(1).expect("connections");
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    let answers = connection.ask(None, &[sh("echo $SSH_CONNECTION; test -t 0 || echo none")]).await.expect("answers");
    assert!(said(&answers[0]).contains("127.0.5.2") && said(&answers[0]).contains("none"));
    connection.close().await;
}

/// A user of the machine for one test; gone with it.
struct Passenger {
    name: String,
    password: &'static str,
    home: tempfile::TempDir,
    sudoers: PathBuf,
}

impl Passenger {
    /// None, with the reason printed, where no user can be made.
    fn new(suffix: &str, shell: &str, sudoers_rule: &str) -> Option<Self> {
        if !is_root() || common::program("useradd").is_none() {
            skip("only root can make a user");
            return None;
        }
        let name = format!("pvt{}{suffix}", std::process::id() % 100_000);
        let home = tempfile::Builder::new().prefix("home").tempdir().expect("home");
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("mode");
        let added = Command::new("useradd").args(["-M", "-s", shell, "-d"]).arg(home.path()).arg(&name).status();
        assert!(added.is_ok_and(|status| status.success()), "useradd");
        let owned = Command::new("chown").arg(&name).arg(home.path()).status();
        assert!(owned.is_ok_and(|status| status.success()), "chown");
        let sudoers = PathBuf::from(format!("/etc/sudoers.d/{name}"));
        let passenger = Passenger { name, password: "it's a $ecret", home, sudoers };
        let mut child = Command::new("chpasswd").stdin(Stdio::piped()).spawn().expect("chpasswd");
        let line = format!("{}:{}\n", passenger.name, passenger.password);
        std::io::Write::write_all(child.stdin.as_mut().expect("stdin"), line.as_bytes()).expect("password");
        assert!(child.wait().is_ok_and(|status| status.success()), "chpasswd");
        if !sudoers_rule.is_empty() {
            let rule = format!("{} {sudoers_rule}\n", passenger.name);
            fs::write(&passenger.sudoers, rule).expect("sudoers");
            fs::set_permissions(&passenger.sudoers, fs::Permissions::from_mode(0o440)).expect("mode");
        }
        Some(passenger)
    }

    fn secret(&self) -> Option<Secret> {
        Some(Secret::new(self.password))
    }
}

impl Drop for Passenger {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.sudoers);
        let _ = Command::new("userdel").arg("-f").arg(&self.name).stderr(Stdio::null()).status();
    }
}

#[tokio::test]
async fn a_password_logs_in_and_is_seen_nowhere() {
    let Some(sshd) = Sshd::with("PasswordAuthentication yes\nKbdInteractiveAuthentication yes") else { return };
    let Some(passenger) = Passenger::new("p", "/bin/sh", "") else { return };
    let target = Target {
        user: Some(passenger.name.clone()),
        key_file: None,
        password: passenger.secret(),
        ..sshd.target("127.0.0.1")
    };
    let connections = Connections::new(1).expect("connections");
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    assert_eq!(connection.hello(None).await.expect("hello").user, passenger.name);
    let mark = format!("User={}", passenger.name);
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&mark) {
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&[line, environment].concat()).contains(passenger.password));
        }
    }
    connection.close().await;
    let trouble = refused(&Target { password: Some(Secret::new("wrong")), ..target }).await;
    assert_eq!(trouble.cause, Cause::Auth, "{trouble}");
}

#[tokio::test]
async fn sudo_with_and_without_a_password() {
    if common::program("sudo").is_none() {
        return skip("there is no sudo");
    }
    let Some(sshd) = Sshd::start() else { return };
    let Some(asked) = Passenger::new("a", "/bin/bash", "ALL=(ALL) ALL") else { return };
    let Some(free) = Passenger::new("f", "/bin/sh", "ALL=(ALL) NOPASSWD: ALL") else { return };
    let Some(none) = Passenger::new("n", "/bin/sh", "") else { return };
    // a login that talks
    fs::write(asked.home.path().join(".bashrc"), "echo noise; echo noise >&2\n").expect("bashrc");
    let connections = Connections::new(4).expect("connections");
    let open = |passenger: &Passenger| {
        let target = Target { user: Some(passenger.name.clone()), ..sshd.target("127.0.0.1") };
        let connections = &connections;
        async move { connections.open(&target, &CancellationToken::new()).await.expect("connects") }
    };
    let root = |password| Become::sudo("root", password);

    for (passenger, who) in [
        (&asked, root(asked.secret())),
        (&free, root(None)),
        // a password that nobody asks for does no harm
        (&free, root(Some(Secret::new("needless")))),
        (&free, Become::sudo("nobody", None)),
    ] {
        let connection = open(passenger).await;
        let hello = connection.hello(Some(&who)).await.expect("hello");
        assert_eq!(hello.user, who.user);
        let answers = connection.ask(Some(&who), &[sh("id -un; cat"), sh("echo $HOME")]).await.expect("answers");
        assert_eq!(said(&answers[0]), format!("{}\n", who.user));
        // both lanes side by side
        let answers = connection.ask(None, &[sh("id -un")]).await.expect("answers");
        assert_eq!(said(&answers[0]), format!("{}\n", passenger.name));
        // small, large and streamed files belong to the other user
        let dir = tempfile::Builder::new().prefix("sudo").tempdir().expect("directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        let to =
            |name: &str| Destination { path: format!("{}/{name}", dir.path().display()), ..Destination::default() };
        let large: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
        let from = sshd.dir.path().join("known_hosts");
        let sum = Command::new("sha256sum").arg(&from).output().expect("sha256sum").stdout;
        let checksum = String::from_utf8_lossy(&sum)[..64].to_owned();
        let back = sshd.dir.path().join("back");
        let operations = [
            Operation::Write(Write { to: to("small"), content: b"x".to_vec() }),
            Operation::Write(Write { to: to("large"), content: large.clone() }),
            Operation::Upload(Upload { to: to("streamed"), from: Freight::File(from), checksum }),
            Operation::Fetch { path: to("large").path, to: back.clone() },
        ];
        connection.act(Some(&who), &operations).await.expect("writes");
        for name in ["small", "large", "streamed"] {
            let found = fs::metadata(to(name).path).expect("file");
            assert_eq!((found.uid(), found.mode() & 0o777), (hello.uid, 0o644), "{name}");
        }
        assert_eq!(fs::read(back).expect("file"), large);
        // what hangs is ended as that user
        let slow = Script::new().raw("sleep 30").timeout(Duration::from_millis(300));
        let result = connection.act(Some(&who), &[Operation::run(slow)]).await;
        assert!(matches!(result, Err(ActError::Failed { .. })), "{result:?}");
        assert_eq!(
            said(&connection.ask(Some(&who), &[sh("id -un")]).await.expect("answers")[0]),
            format!("{}\n", who.user)
        );
        connection.close().await;
    }

    let su = Become { method: BecomeMethod::Su, user: asked.name.clone(), password: asked.secret() };
    let connection = open(&free).await;
    let answers = connection.ask(Some(&su), &[sh("id -un")]).await.expect("answers");
    assert_eq!(said(&answers[0]), format!("{}\n", asked.name));
    let itself = Become::sudo(free.name.clone(), None);
    assert_eq!(connection.hello(Some(&itself)).await.expect("hello").user, free.name);
    connection.close().await;

    for (passenger, who, why) in [
        (&asked, root(Some(Secret::new("wrong"))), "was not accepted"),
        (&asked, root(None), "needs a password"),
        (&none, root(None), "password"),
        (&none, root(none.secret()), "may not become"),
        (&free, Become::sudo("no-such-user", None), "does not exist"),
        (
            &none,
            Become { method: BecomeMethod::Su, user: "root".into(), password: Some(Secret::new("wrong")) },
            "not accepted",
        ),
        (&none, Become { method: BecomeMethod::Doas, user: "root".into(), password: none.secret() }, "terminal"),
    ] {
        let connection = open(passenger).await;
        let trouble = connection.hello(Some(&who)).await.expect_err(why);
        assert_eq!(trouble.cause, Cause::Become, "{trouble}");
        assert!(trouble.msg.contains(why) && trouble.hint.is_some(), "{why}: {trouble}");
        // the host itself is all right
        assert!(connection.ask(None, &[sh("true")]).await.is_ok());
        connection.close().await;
    }
}

#[tokio::test]
async fn any_login_shell_will_do() {
    let Some(sshd) = Sshd::start() else { return };
    let connections = Connections::new(4).expect("connections");
    for (suffix, shell) in [("b", "bash"), ("z", "zsh"), ("s", "fish"), ("t", "tcsh")] {
        let Some(program) = common::program(shell) else {
            // the other three are nobody's default, so a machine may be without zsh
            if shell != "zsh" {
                skip(&format!("there is no {shell}"));
            }
            continue;
        };
        let rule = if common::program("sudo").is_some() { "ALL=(ALL) NOPASSWD: ALL" } else { "" };
        let Some(passenger) = Passenger::new(suffix, &program.to_string_lossy(), rule) else { return };
        // what such a shell reads at every login, and it talks
        let (file, text) = match shell {
            "fish" => (".config/fish/config.fish", "echo noise; echo noise >&2; set -gx LANG C.UTF-8\n"),
            "tcsh" => (".tcshrc", "echo noise; setenv LANG C.UTF-8; alias sh 'echo no'\n"),
            "zsh" => (".zshenv", "echo noise; alias sh='echo no'\n"),
            _ => (".bashrc", "echo noise; alias sh='echo no'\n"),
        };
        let file = passenger.home.path().join(file);
        fs::create_dir_all(file.parent().expect("folder")).expect("folder");
        fs::write(&file, text).expect("start-up file");
        let target = Target { user: Some(passenger.name.clone()), ..sshd.target("127.0.0.1") };
        let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
        let root = Become::sudo("root", None);
        for who in [None, Some(&root)].into_iter().take(if rule.is_empty() { 1 } else { 2 }) {
            let user = who.map_or(passenger.name.as_str(), |who| who.user.as_str());
            assert_eq!(connection.hello(who).await.expect("hello").user, user, "{shell}");
            // words that each of these shells would take apart in its own way
            let odd = "a'b\\c\\'d \"e\" $HOME `f` !g ~ * {h,i} (j) #k\n\ttab\\n";
            let questions = [Query::Run(Script::new().raw("printf %s").arg(odd)), sh("echo $0; exit 3")];
            let answers = connection.ask(who, &questions).await.expect("answers");
            assert_eq!(said(&answers[0]), odd, "{shell}");
            assert!(matches!(&answers[1], Answer::Output(output) if output.rc == 3), "{shell}");
            // a channel of its own: its command line carries the path, which is odd too
            let dir = tempfile::Builder::new().prefix("it's $HOME !x \\ {a,b}").tempdir().expect("directory");
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
            let path = dir.path().join("la'rge !1\n\\'2").to_string_lossy().into_owned();
            let content: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
            let back = dir.path().join("back");
            let to = Destination { path: path.clone(), ..Destination::default() };
            let operations = [
                Operation::Write(Write { to, content: content.clone() }),
                Operation::Fetch { path: path.clone(), to: back.clone() },
            ];
            connection.act(who, &operations).await.unwrap_or_else(|error| panic!("{shell}: {error:?}"));
            assert_eq!(fs::read(&path).expect("file"), content, "{shell}");
            assert_eq!(fs::read(back).expect("file"), content, "{shell}");
        }
        connection.close().await;
    }
}

/// `/etc/doas.conf` with further rules, for one test. None, with the reason printed, where there is no doas.
struct Doas {
    before: Option<Vec<u8>>,
}

impl Doas {
    const CONFIG: &str = "/etc/doas.conf";

    fn allowing(rules: &str) -> Option<Self> {
        if common::program("doas").is_none() {
            skip("there is no doas");
            return None;
        }
        let before = fs::read(Self::CONFIG).ok();
        let text = [before.as_deref().unwrap_or_default(), b"\n", rules.as_bytes()].concat();
        fs::write(Self::CONFIG, text).expect("configuration");
        if before.is_none() {
            fs::set_permissions(Self::CONFIG, fs::Permissions::from_mode(0o400)).expect("mode");
        }
        Some(Doas { before })
    }
}

impl Drop for Doas {
    fn drop(&mut self) {
        let _ = match &self.before {
            Some(before) => fs::write(Self::CONFIG, before),
            None => fs::remove_file(Self::CONFIG),
        };
    }
}

#[tokio::test]
async fn doas_lets_us_through_without_a_password() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(free) = Passenger::new("d", "/bin/sh", "") else { return };
    let Some(asked) = Passenger::new("e", "/bin/sh", "") else { return };
    let Some(none) = Passenger::new("g", "/bin/sh", "") else { return };
    let rules = format!("permit nopass {}\npermit {}\n", free.name, asked.name);
    let Some(_doas) = Doas::allowing(&rules) else { return };
    let connections = Connections::new(4).expect("connections");
    let by_doas = |user: &str, password| Become { method: BecomeMethod::Doas, user: user.to_owned(), password };
    let open = |passenger: &Passenger| {
        let target = Target { user: Some(passenger.name.clone()), ..sshd.target("127.0.0.1") };
        let connections = &connections;
        async move { connections.open(&target, &CancellationToken::new()).await.expect("connects") }
    };
    let connection = open(&free).await;
    for who in [by_doas("root", None), by_doas("nobody", None), by_doas(&free.name, None)] {
        let hello = connection.hello(Some(&who)).await.expect("hello");
        assert_eq!(hello.user, who.user);
        let dir = tempfile::Builder::new().prefix("doas").tempdir().expect("directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("mode");
        let to =
            |name: &str| Destination { path: format!("{}/{name}", dir.path().display()), ..Destination::default() };
        let large: Vec<u8> = (0..=255u8).cycle().take(200_000).collect();
        let operations = [
            Operation::Write(Write { to: to("small"), content: b"x".to_vec() }),
            Operation::Write(Write { to: to("large"), content: large.clone() }),
            Operation::run(Script::new().raw("id -un; cat")),
        ];
        let outputs = connection.act(Some(&who), &operations).await.expect("acts");
        assert_eq!(outputs[2].stdout_text(), format!("{}\n", who.user));
        for name in ["small", "large"] {
            assert_eq!(fs::metadata(to(name).path).expect("file").uid(), hello.uid, "{name}");
        }
        let slow = Script::new().raw("sleep 30").timeout(Duration::from_millis(300));
        assert!(connection.act(Some(&who), &[Operation::run(slow)]).await.is_err());
        assert!(connection.ask(Some(&who), &[sh("true")]).await.is_ok(), "{}", who.user);
    }
    connection.close().await;
    for (passenger, who, why, what) in [
        (&asked, by_doas("root", None), "needs a password", "permit nopass"),
        (&asked, by_doas("root", asked.secret()), "terminal", "permit nopass"),
        (&none, by_doas("root", None), "may not become", "doas.conf"),
        (&free, by_doas("no-such-user", None), "does not exist", "become_user"),
    ] {
        let connection = open(passenger).await;
        let trouble = connection.hello(Some(&who)).await.expect_err(why);
        assert_eq!(trouble.cause, Cause::Become, "{trouble}");
        assert!(trouble.msg.contains(why), "{why}: {trouble}");
        assert!(trouble.hint.as_deref().unwrap_or_default().contains(what), "{what}: {trouble}");
        connection.close().await;
    }
}

#[tokio::test]
async fn a_login_without_a_shell_is_refused() {
    let Some(sshd) = Sshd::start() else { return };
    let Some(passenger) = Passenger::new("x", "/usr/sbin/nologin", "") else { return };
    let target = Target { user: Some(passenger.name.clone()), ..sshd.target("127.0.0.1") };
    let connections = Connections::new(1).expect("connections");
    let connection = connections.open(&target, &CancellationToken::new()).await.expect("connects");
    let trouble = connection.hello(None).await.expect_err("no shell");
    assert_eq!(trouble.cause, Cause::Shell, "{trouble}");
    connection.close().await;
}
