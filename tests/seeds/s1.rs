//! The orchestrator of VNM: the same verbs over ssh and on the machine itself, with the seed's names.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::SCENE;
use crate::stage::{self, Ran, Stage, text};

const ROOT: &str = "/opt/ATS/VersatileHub/services/vnm";

/// The seed's program on one host.
struct Vnm<'s> {
    stage: &'s Stage,
    runs: PathBuf,
}

impl Vnm<'_> {
    fn args(&self, args: &[&str]) -> Vec<String> {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        // before what is for the container
        let named = ["run", "exec", "tunnel"].contains(&args[0].as_str());
        let host = ["--host", "vnm"].into_iter().filter(|_| !named).map(str::to_owned);
        args.splice(1..1, ["--registry".to_owned(), text(&examples)].into_iter().chain(host).collect::<Vec<_>>());
        args
    }

    fn says(&self, args: &[&str], code: i32) -> Ran {
        let args = self.args(args);
        self.stage.must(&self.runs, &args.iter().map(String::as_str).collect::<Vec<_>>(), code)
    }

    /// A verb that does its work, and does nothing the second time.
    fn twice(&self, args: &[&str]) -> Ran {
        let first = self.says(args, 0);
        assert!(!first.stdout.contains("all well, 0 changed"), "{args:?} changed nothing: {}", first.stdout);
        let second = self.says(args, 0);
        assert!(second.stdout.contains("all well, 0 changed"), "{args:?} twice: {}", second.stdout);
        first
    }

    fn inside(&self, script: &str) -> String {
        self.stage.inside("vnm", script)
    }

    fn sql(&self, statement: &str) -> String {
        self.says(&["exec", "vnm", "postgres", "--", "psql", "-U", "vnm", "-tAc", statement], 0)
            .stdout
            .trim()
            .to_owned()
    }

    fn containers(&self) -> String {
        self.inside("docker ps --format '{{.Names}}' | sort | tr '\\n' ' '").trim().to_owned()
    }

    /// A verb that goes on until Ctrl-C, after it has done what `until` waits for.
    fn interrupted(&self, args: &[&str], until: impl Fn(&str) -> bool) -> String {
        let args = self.args(args);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = self.stage.scratch.join("interrupted.out");
        let file = std::fs::File::create(&output).unwrap();
        let mut command = self.stage.program(&self.runs, &args);
        let mut child = command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let said = loop {
            let said = std::fs::read_to_string(&output).unwrap();
            if until(&said) {
                break said;
            }
            assert!(child.try_wait().unwrap().is_none(), "{args:?} ended: {said}");
            assert!(began.elapsed() < Duration::from_secs(120), "{args:?}: {said}");
            std::thread::sleep(Duration::from_millis(50));
        };
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "{args:?}");
        said
    }
}

#[test]
fn the_seed_from_top_to_bottom() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "s1") else { return };
    let vnm = Vnm { stage, runs: stage.runs("s1") };
    vnm.says(&["run", "playbooks/bootstrap.yml", "--limit", "vnm"], 0);
    modes_and_links(&vnm);
    logs_and_terminals(&vnm);
    conflicts(&vnm);
    down_and_data(&vnm);
    anew(&vnm);
    nothing_is_left(&vnm);
    on_the_machine_itself(&vnm);
}

/// `iniciar`, in both modes; the table of URLs.
fn modes_and_links(vnm: &Vnm<'_>) {
    let up = vnm.twice(&["up", "--yes"]);
    let table = ["Frontend", "http://localhost:8000/docs", "tcp://localhost:5432", "http://localhost:8081/login"];
    assert!(table.iter().all(|word| up.stdout.contains(word)), "{}", up.stdout);
    assert!(!up.stdout.contains("5678"), "no debugger in production: {}", up.stdout);
    assert_eq!(vnm.containers(), "monitoreo_backend monitoreo_frontend monitoreo_pgadmin monitoreo_postgres");
    let up = vnm.twice(&["iniciar", "--modo", "debug", "--yes"]);
    let line = up.stdout.lines().find(|line| line.contains("tcp://localhost:5678")).unwrap_or_default();
    assert!(line.contains("Debug Server") && line.contains("open in"), "{}", up.stdout);
    assert_eq!(vnm.containers(), "vnm_backend_debug vnm_frontend_debug vnm_postgres_debug");
    assert!(vnm.inside("curl -s http://localhost:3000/@vite/client").contains("hot"));
}

fn logs_and_terminals(vnm: &Vnm<'_>) {
    let all = vnm.says(&["logs", "--tail", "20"], 0).stdout;
    for service in ["vnm/backend", "vnm/frontend", "vnm/postgres"] {
        assert!(all.lines().any(|line| line.starts_with(&format!("vnm {service} "))), "{service}: {all}");
    }
    let backend = vnm.says(&["logs", "backend", "--field", "puerto=5678", "--level", "debug"], 0).stdout;
    assert!(
        backend.lines().count() == 1 && backend.contains("DEBUG vnm.backend debugger listens puerto=5678"),
        "{backend}"
    );
    let json = vnm.says(&["logs", "backend", "--json", "--grep", "backend starts"], 0).stdout;
    let record: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&record["host"], &record["record"]["extra_fields"]["modo"]), (&"vnm".into(), &"debug".into()));
    let unknown = vnm.says(&["logs", "bakend"], 2);
    assert!(unknown.stderr.contains("nothing called bakend"), "{}", unknown.stderr);
    // what nobody may read is not read in the logs either
    let password = vnm.inside(&format!("sed -n 's/^POSTGRES_PASSWORD=//p' {ROOT}/.env | tr -d \"'\\\"\""));
    assert!(password.len() >= 32);
    vnm.says(&["exec", "vnm", "frontend", "--", "sh", "-c", &format!("echo clave {password} >/proc/1/fd/1")], 0);
    let logs = vnm.says(&["logs", "frontend"], 0).stdout;
    assert!(logs.contains("clave ********") && !logs.contains(&password), "{logs}");
    vnm.interrupted(&["logs", "-f", "backend", "--tail", "5"], |said| {
        vnm.inside("curl -s http://localhost:8000/");
        said.contains("GET / ruta=/")
    });
    let began = Instant::now();
    while vnm.inside("pgrep -f '[d]ocker logs' | wc -l") != "0" {
        assert!(began.elapsed() < Duration::from_secs(60), "it goes on there");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(vnm.sql("select count(*) from entidades"), "3");
    let code = vnm.says(&["exec", "vnm", "vnm/backend", "--", "sh", "-c", "exit 7"], 7);
    assert_eq!(code.stdout, "");
    let port = free_port();
    let local = port.to_string();
    vnm.interrupted(&["tunnel", "vnm", "8000", "--local", &local], |_| answers(port, "/docs"));
    vnm.interrupted(&["tunnel", "vnm", "backend:8000", "--local", &local], |_| answers(port, "/docs"));
    let top = vnm.says(&["top"], 0).stdout;
    assert!(top.lines().any(|line| line.contains("vnm/postgres") && line.contains("MiB")), "{top}");
    assert!(vnm.says(&["ps", "backend"], 0).stdout.contains("vnm/backend:1.0"));
    let unchanged = vnm.says(&["scale", "vnm/frontend=1", "--yes"], 0);
    assert!(unchanged.stdout.contains("0 changed"), "{}", unchanged.stdout);
}

fn conflicts(vnm: &Vnm<'_>) {
    vnm.twice(&["terminar", "--yes", "--sin-backup"]);
    vnm.inside("docker run -d --name intruso -p 127.0.0.1:3000:3000 vnm/frontend:1.0");
    let refused = vnm.says(&["up", "--yes", "--mode", "debug"], 1);
    assert!(refused.stdout.contains("container intruso (vnm/frontend:1.0) holds port 3000"), "{}", refused.stdout);
    assert!(refused.stdout.contains("--stop-conflicts"), "{}", refused.stdout);
    vnm.twice(&["up", "--yes", "--mode", "debug", "--stop-conflicts"]);
    assert_eq!(vnm.inside("docker inspect -f '{{.State.Running}}' intruso"), "false", "stopped, and not removed");
    vnm.inside("docker rm intruso");
}

/// `terminar` takes a backup and leaves the data; `restart`.
fn down_and_data(vnm: &Vnm<'_>) {
    vnm.sql("insert into entidades (nombre) values ('DE ANTES')");
    let id = "docker inspect -f '{{.Id}} {{.State.StartedAt}}' vnm_backend_debug";
    let before = vnm.inside(id);
    vnm.says(&["restart", "--yes", "--mode", "debug"], 0);
    let restarted = vnm.inside(id);
    assert!(restarted != before && restarted[..64] == before[..64], "the same container, started again");
    vnm.says(&["reiniciar", "--recreate", "--yes", "--mode", "debug"], 0);
    assert!(vnm.inside(id)[..64] != before[..64], "another container");
    vnm.twice(&["down", "--yes"]);
    assert_eq!(vnm.containers(), "");
    let backups = vnm.inside(&format!("ls {ROOT}/database/backups"));
    assert!(backups.lines().any(|name| name.starts_with("backup_") && name.ends_with(".sql.zip")), "{backups}");
    vnm.twice(&["up", "--yes", "--mode", "debug"]);
    assert_eq!(vnm.sql("select count(*) from entidades"), "4");
}

/// `regenerar` and `clean`: the data is gone, what was before is in the backups.
fn anew(vnm: &Vnm<'_>) {
    let backups =
        |vnm: &Vnm<'_>| vnm.inside(&format!("ls {ROOT}/database/backups | grep -c sql.zip")).parse::<u32>().unwrap();
    let before = backups(vnm);
    let habit = vnm.says(&["regenerar", "--yes", "--mode", "debug"], 2);
    assert!(habit.stderr.contains("--yes is not enough"), "{}", habit.stderr);
    vnm.says(&["regenerar", "--yes-really", "--mode", "debug"], 0);
    assert_eq!((vnm.sql("select count(*) from entidades").as_str(), backups(vnm)), ("3", before + 1));
    vnm.says(&["limpiar", "--yes-really", "--modo", "debug"], 0);
    assert_eq!((vnm.sql("select count(*) from entidades").as_str(), backups(vnm)), ("3", before + 2));
    // production's pgAdmin is of no use any more
    vnm.twice(&["prune", "--yes", "--unused"]);
    assert_eq!(vnm.inside("docker images -q dpage/pgadmin4"), "");
    assert_eq!(vnm.containers(), "vnm_backend_debug vnm_frontend_debug vnm_postgres_debug");
}

/// `terminar --limpiar-completo`.
fn nothing_is_left(vnm: &Vnm<'_>) {
    vnm.twice(&["terminar", "--limpiar-completo", "--yes-really"]);
    let left = "docker ps -aq; docker volume ls -q; docker network ls -q --filter label=com.docker.compose.project";
    assert_eq!(vnm.inside(left), "");
    assert_eq!(vnm.inside(&format!("find {ROOT} -type f | grep -v database/backups/; true")), "");
    assert_eq!(
        vnm.inside("ls /var/lib/provision/services /var/lib/provision/releases 2>/dev/null | grep vnm; true"),
        ""
    );
}

/// The program on the machine that it works on: `connection: local`, in debug without being told.
fn on_the_machine_itself(vnm: &Vnm<'_>) {
    let container = format!("{}-vnm", SCENE.prefix);
    let program = env!("CARGO_BIN_EXE_provision");
    stage::shell("docker cp \"$2\" \"$1:/usr/local/bin/provision\"", &[&container, program]);
    // a program that was built for tests reads what it ships from its own folder
    for folder in ["playbooks", "registry", "examples"] {
        let from = format!("{}/{folder}", env!("CARGO_MANIFEST_DIR"));
        stage::shell("docker cp \"$2\" \"$1:/root/\"", &[&container, &from]);
    }
    vnm.inside(
        "mkdir -p /root/inventory /root/.ssh && cd /root && ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519 && printf 'all: {hosts: {esta: {ansible_connection: local, services: [vnm]}}}\n' >inventory/hosts.yml \
         && provision secrets init >/dev/null",
    );
    let run = |args: &str| vnm.inside(&format!("cd /root && NO_COLOR=1 provision {args} --registry examples 2>&1"));
    let up = run("up --yes");
    assert!(up.contains("tcp://localhost:5678") && up.contains("open in"), "debug by itself: {up}");
    assert!(run("up --yes").contains("all well, 0 changed"));
    assert_eq!(vnm.containers(), "vnm_backend_debug vnm_frontend_debug vnm_postgres_debug");
    assert!(run("logs backend --tail 5").contains("esta vnm/backend "));
    assert!(run("restart --yes").contains("all well, 1 changed"));
    assert!(run("down --yes").contains("all well"));
    assert!(run("down --yes").contains("all well, 0 changed"));
    run("up --yes --mode produccion");
    assert_eq!(vnm.containers(), "monitoreo_backend monitoreo_frontend monitoreo_pgadmin monitoreo_postgres");
    run("down --purge --yes-really");
    assert_eq!(vnm.inside("docker ps -aq; docker volume ls -q"), "");
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn answers(port: u16, path: &str) -> bool {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else { return false };
    let _ = write!(stream, "GET {path} HTTP/1.0\r\n\r\n");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    text.starts_with("HTTP/1.1 200")
}
