//! Where restic keeps things besides folders, SFTP and REST: an S3 server (moto, a real one from the Python package index, on
//! this machine), and a script of the operator's own. Backblaze's own addresses (`b2:`) are only passed on: no such server is
//! to be had.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::stage::{Stage, shell};
use super::{archives, enter, must, run, snapshots};

const MOTO: &str = "moto[server]==5.2.5";
const PAGES: &str = "/opt/ATS/VersatileHub/services/notes/data/pages";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Listens where the lab's hosts see this machine, and has a bucket.
    fn start(stage: &Stage) -> Server {
        let gateway =
            stage.inside("a", "ip -4 route show default | sed -n 's/.* via \\([0-9.]*\\).*/\\1/p' | head -n 1");
        let port = TcpListener::bind((gateway.as_str(), 0)).unwrap().local_addr().unwrap().port();
        let log = std::fs::File::create(stage.scratch.join("moto.log")).unwrap();
        let mut child = Command::new(installed().join("bin/moto_server"))
            .args(["-H", &gateway, "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let address = format!("{gateway}:{port}");
        let until = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(&address).is_err() {
            assert!(
                child.try_wait().unwrap().is_none(),
                "moto ended: see {}",
                stage.scratch.join("moto.log").display()
            );
            assert!(Instant::now() < until, "moto does not listen");
            std::thread::sleep(Duration::from_millis(100));
        }
        shell("curl -sf -X PUT \"http://$1/clients\" >/dev/null", &[&address]);
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A virtual environment below `target/`, made once.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-5.2.5");
    if !folder.join("complete").exists() {
        let make = "rm -rf \"$1\" && python3 -m venv \"$1\" && \"$1/bin/pip\" install -q --disable-pip-version-check \"$2\" >&2 && touch \"$1/complete\"";
        shell(make, &[folder.to_str().unwrap(), MOTO]);
    }
    folder
}

#[test]
fn a_repository_in_s3_keeps_and_gives_back() {
    let Some((_turn, stage)) = enter("a_repository_in_s3_keeps_and_gives_back") else { return };
    let server = Server::start(stage);
    let (id, key) = ("AKIAPLANTED", "planted-s3-key/Hunter2");
    stage.set_secret("a", "backup/AWS_ACCESS_KEY_ID", id, &[]);
    stage.set_secret("a", "backup/AWS_SECRET_ACCESS_KEY", key, &[]);
    let repository = format!("backup_repository=s3:http://{}/clients/a", server.address);
    let more = ["-e", repository.as_str(), "-e", "backup_destinations=restic"];
    let notes = |verb: &[&str], rest: &[&str]| {
        must(stage, "s3", &[verb, &["--host", "a", "--services", "notes"], rest, &more].concat())
    };
    let pages = || stage.inside("a", &format!("cd {PAGES} && find . -type f -exec sha256sum {{}} + | sort"));
    let whole = pages();
    for _ in 0..3 {
        let ran = notes(&["backup"], &["--yes"]);
        assert!(!format!("{}{}", ran.stdout, ran.stderr).contains(key));
    }
    let kept = snapshots(stage, "notes", &more);
    assert_eq!(kept.len(), 2, "backup_retention is {{last: 2}}, and what it does not keep can be deleted there");
    notes(&["backup", "check"], &["--part", "100%"]);
    notes(&["restore"], &["--rehearse", "--yes", "--from", kept.last().unwrap()]);
    stage.inside("a", &format!("rm -rf {PAGES}/*; echo junk >{PAGES}/junk"));
    notes(&["restore"], &["--yes-really", "--from", kept.last().unwrap()]);
    assert_eq!(pages(), whole);
    // it is there that it is, encrypted
    let listed = shell("curl -sf \"http://$1/clients?prefix=a/\"", &[&server.address]);
    assert!(listed.contains("<Key>a/config</Key>") && listed.contains("<Key>a/data/"), "{listed}");
}

#[test]
fn a_script_of_the_operators_own_is_believed_when_there_is_a_snapshot() {
    let Some((_turn, stage)) = enter("a_script_of_the_operators_own") else { return };
    let repository = ["-e", "backup_repository=/srv/own", "-e"];
    let notes = ["backup", "--host", "a", "--services", "notes", "--yes"];
    must(stage, "script", &[&notes[..], &repository, &["backup_destinations=restic"]].concat());
    let password = must(stage, "script", &["secrets", "get", "backup/BACKUP_PASSWORD", "--host", "a"]).stdout;
    let script = |body: &str| {
        let make = "mkdir -p /opt/ATS/restic/scripts && cd /opt/ATS/restic && umask 077 && printf %s \"$1\" >password && printf '#!/bin/sh\\n%s\\n' \"$2\" >scripts/backup.sh && chmod 700 scripts/backup.sh";
        let quoted = [make, password.trim(), body].map(provision::plan::quote);
        stage.inside("a", &format!("sh -c {} sh {} {}", quoted[0], quoted[1], quoted[2]));
    };
    let by_script = || run(stage, "script", &[&notes[..], &repository, &["backup_destinations=script"]].concat());
    let before = archives(stage, "notes");
    // it runs where it lies, as the operator's cron would run it
    script(&format!("[ \"$PWD\" = /opt/ATS/restic ] && restic -q -r /srv/own --password-file password backup {PAGES}"));
    by_script().expect(0);
    script("exit 0");
    let believed = by_script();
    believed.expect(1);
    assert!(believed.stdout.contains("there is no new snapshot"), "{}", believed.stdout);
    script("exit 3");
    let failed = by_script();
    failed.expect(1);
    assert!(failed.stdout.contains("could not be stored at: script"), "{}", failed.stdout);
    assert_eq!(archives(stage, "notes"), before);
    stage.inside("a", "rm -rf /opt/ATS/restic /srv/own");
}
