//! A real lab: hosts that boot, let their operator in, fail on purpose, come back and go without a trace.
//!
//! Its folder and prefix are its own, so a lab that runs beside it is not disturbed. Left out: Docker inside the
//! hosts and what is rolled out to them; the rollout's tests do that.

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use provision::lab::{self, Down, Fault, Lab, Options, Registry};

/// A lab that goes with its test, also when the test fails.
struct Throwaway {
    options: Options,
    _dir: tempfile::TempDir,
}

impl Throwaway {
    fn new(test: &str, names: &[&str], registry: Registry) -> Throwaway {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            dir: dir.path().join("lab"),
            prefix: format!("provision-{test}-{}", std::process::id()),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            registry,
            ..Options::default()
        };
        Throwaway { options, _dir: dir }
    }

    async fn up(&self) -> Lab {
        lab::up(&self.options, &mut |step| eprintln!("  {step}")).await.unwrap_or_else(|e| panic!("{e}"))
    }

    fn ssh(&self, host: &str, command: &str) -> Output {
        lab::ssh(&self.options, host, &[command.to_owned()]).unwrap().output().unwrap()
    }

    /// The stdout of a command that must succeed.
    fn says(&self, host: &str, command: &str) -> String {
        let output = self.ssh(host, command);
        assert!(output.status.success(), "{command}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Throwaway {
    fn drop(&mut self) {
        let filter = format!("label=provision.lab={}", self.options.prefix);
        let script = "docker ps -aq --filter \"$0\" | xargs -r docker rm -fv; docker network ls -q --filter \"$0\" | xargs -r docker network rm; \
                      docker volume ls -q --filter \"label=$1\" | xargs -r docker volume rm";
        let kept = format!("provision.lab.kept={}", self.options.prefix);
        let _ = Command::new("sh").args(["-c", script, &filter, &kept]).output();
    }
}

/// `false`, with the reason printed, where there is no engine; under CI that is a failure.
fn docker_is_there(test: &str) -> bool {
    let output = Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]).output();
    let there = output.is_ok_and(|output| output.status.success() && !output.stdout.trim_ascii().is_empty());
    if !there {
        println!("skipped: {test}: no Docker engine answers");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} may not be skipped under CI");
    }
    there
}

fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_lab_comes_up_is_used_and_goes_without_a_trace() {
    if !docker_is_there("a_lab_comes_up_is_used_and_goes_without_a_trace") {
        return;
    }
    let throwaway = Throwaway::new("up", &["clienteA", "clienteB"], Registry::Run);
    let made = throwaway.up().await;
    let names: Vec<&str> = made.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["clienteA", "clienteB"]);
    assert_ne!(made.hosts[0].address, made.hosts[1].address);

    // what a fresh VPS has, and has not
    assert_eq!(throwaway.says("clienteA", "whoami; sudo -n whoami; hostname"), "operator\nroot\nclienteA");
    assert_eq!(throwaway.says("clienteA", ". /etc/os-release; echo $ID $VERSION_ID"), "debian 13");
    assert_eq!(throwaway.says("clienteA", "systemctl is-system-running"), "running");
    for absent in ["docker", "python3", "ufw"] {
        assert!(!throwaway.ssh("clienteA", &format!("command -v {absent}")).status.success(), "{absent} is there");
    }
    // a host that sets its clock would set the machine's; /etc/hosts is a file that can be replaced, as on a server
    assert!(!throwaway.ssh("clienteA", "sudo date -s 2020-01-01").status.success());
    throwaway.says("clienteA", "sudo timedatectl set-timezone America/Bogota && sudo hostnamectl set-hostname otra");
    throwaway.says("clienteA", "sudo cp /etc/hosts /etc/hosts.new && sudo mv /etc/hosts.new /etc/hosts");
    let root = Command::new("ssh")
        .args(["-F", made.dir.join("ssh.cfg").to_str().unwrap(), "-l", "root", "clienteB", "id -u"])
        .output()
        .unwrap();
    assert_eq!(root.stdout, b"0\n", "{root:?}");
    // each host has keys and an identity of its own
    for file in ["/etc/ssh/ssh_host_ed25519_key.pub", "/etc/machine-id"] {
        let read = format!("cat {file}");
        assert_ne!(throwaway.says("clienteA", &read), throwaway.says("clienteB", &read), "{file}");
    }

    // the registry is asked as a host's Docker will ask it
    let registry = made.registry.unwrap();
    assert_eq!(throwaway.says("clienteB", &format!("curl -sf http://{registry}:5000/v2/")), "{}");
    docker(&["tag", lab::images::BASE, "provision-lab-test/bare:1"]);
    let pushed = lab::push(&throwaway.options, &["provision-lab-test/bare:1".to_owned()], &mut |_| ()).await;
    docker(&["rmi", "--no-prune", "provision-lab-test/bare:1"]);
    pushed.unwrap();
    let tags = format!("curl -sf http://{registry}:5000/v2/provision-lab-test/bare/tags/list");
    assert!(throwaway.says("clienteA", &tags).contains("\"1\""));

    // again: nothing is made
    let mut steps = Vec::new();
    let again = lab::up(&throwaway.options, &mut |step| steps.push(step.to_owned())).await.unwrap();
    assert_eq!(steps, Vec::<String>::new());
    assert_eq!(again.hosts[1].address, made.hosts[1].address);
    let status = lab::status(&throwaway.options).await.unwrap();
    assert_eq!(status.registry, Some(registry));
    assert_eq!(status.hosts.len(), 2);

    // another folder may not take this lab away
    let stranger = Options { dir: throwaway.options.dir.join("other"), ..throwaway.options.clone() };
    assert!(lab::down(&stranger, Down::Hosts).await.unwrap_err().text.contains("belongs to"));
    assert!(lab::up(&stranger, &mut |_| ()).await.unwrap_err().text.contains("belongs to"));

    let gone = lab::down(&throwaway.options, Down::Hosts).await.unwrap();
    assert_eq!(gone.iter().filter(|line| line.starts_with("container ")).count(), 3, "{gone:?}");
    assert_eq!(left_of(&throwaway.options.prefix), "");
    assert!(!Path::new(&made.dir).exists());
    // its images are kept for the next lab
    docker(&["volume", "inspect", &format!("{}-registry", throwaway.options.prefix)]);
}

#[tokio::test]
async fn a_host_fails_in_each_way_and_comes_back() {
    if !docker_is_there("a_host_fails_in_each_way_and_comes_back") {
        return;
    }
    let throwaway = Throwaway::new("faults", &["victim"], Registry::Leave);
    throwaway.up().await;
    let options = &throwaway.options;
    let quick = |command: &str| {
        let mut ssh = lab::ssh(options, "victim", &[command.to_owned()]).unwrap();
        let mut words = vec!["3".to_owned(), ssh.get_program().to_string_lossy().into_owned()];
        words.extend(ssh.get_args().map(|arg| arg.to_string_lossy().into_owned()));
        ssh = Command::new("timeout");
        ssh.args(words).output().unwrap()
    };
    let table = [
        (Fault::Paused, "true"),
        (Fault::Killed, "true"),
        (Fault::CutOff, "true"),
        (Fault::DiskFull("/opt/full".into()), "sudo cp /etc/services /opt/full/x"),
        (Fault::SudoBroken, "sudo -n true"),
    ];
    for (fault, command) in table {
        if !matches!(fault, Fault::DiskFull(_)) {
            assert!(quick(command).status.success(), "before {fault:?}");
        }
        lab::faults::inject(options, "victim", &fault).await.unwrap();
        let output = quick(command);
        assert!(!output.status.success(), "{fault:?} does not hurt: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        match fault {
            Fault::DiskFull(_) => assert!(stderr.contains("No space left on device"), "{stderr}"),
            Fault::SudoBroken => assert!(stderr.contains("password is required"), "{stderr}"),
            _ => {}
        }
        lab::faults::heal(options, "victim", &fault).await.unwrap();
        throwaway.up().await;
        if !matches!(fault, Fault::DiskFull(_)) {
            assert!(quick(command).status.success(), "after {fault:?}");
        }
    }
    // without `heal`, `up` itself brings a host back
    for fault in [Fault::Paused, Fault::Killed, Fault::CutOff] {
        lab::faults::inject(options, "victim", &fault).await.unwrap();
        throwaway.up().await;
        assert!(quick("true").status.success(), "`up` after {fault:?}");
    }
    let error = lab::faults::inject(options, "victin", &Fault::Paused).await.unwrap_err();
    assert!(error.to_string().contains("did you mean `victim`?"), "{error}");
}

/// Every container, network and volume that still carries the lab's label.
fn left_of(prefix: &str) -> String {
    let filter = format!("label=provision.lab={prefix}");
    [["ps", "-aq"].as_slice(), &["network", "ls", "-q"], &["volume", "ls", "-q"]]
        .iter()
        .map(|list| docker(&[list, ["--filter", &filter].as_slice()].concat()))
        .collect()
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// What is scheduled on a machine: by its systemd, also what was missed while it was off, and by cron where there is none.
#[tokio::test]
async fn schedules_start_by_timer_and_by_cron() {
    let docker = Command::new("docker").args(["info", "--format", "{{.ServerVersion}}"]).output();
    if !docker.is_ok_and(|said| said.status.success() && !said.stdout.trim_ascii().is_empty()) {
        println!("skipped: schedules_start_by_timer_and_by_cron: no Docker engine answers");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "may not be skipped under CI");
        return;
    }
    let lab = Throwaway::new("schedule", &["ops"], Registry::Leave);
    lab.up().await;
    let container = format!("{}-ops", lab.options.prefix);
    let copy = format!("{container}:/usr/local/bin/provision");
    assert!(Command::new("docker").args(["cp", env!("CARGO_BIN_EXE_provision"), &copy]).status().unwrap().success());
    let within = |script: &str| {
        let script = format!("cd /root/fleet 2>/dev/null; {script}");
        Command::new("docker").args(["exec", &container, "sh", "-c", &script]).output().unwrap()
    };
    let must = |script: &str| {
        let output = within(script);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{script}: {text}\n{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    let waits = |script: &str| {
        let begin = Instant::now();
        while !within(script).status.success() {
            assert!(
                begin.elapsed() < Duration::from_secs(150),
                "{script}: {}",
                must("journalctl -n 40 --no-pager; cat /root/did")
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    };
    must(
        "mkdir -p /root/fleet/inventory && cd /root/fleet && day=$(LC_ALL=C date -d '+2 days' +%a) && \
         printf 'all: {hosts: {here: {ansible_connection: local}, late: {ansible_connection: local, maintenance_window: \"%s 00:00-23:59\"}}}\n' \"$day\" >inventory/hosts.yml && \
         printf '%s\n' '- hosts: all' '  gather_facts: false' '  tasks:' '    - shell: echo {{ inventory_hostname }} >>/root/did' >play.yml",
    );
    let add = "provision schedule add nightly --verb 'run play.yml' --on 'Sun 03:00' --all --timezone America/Bogota";
    let checked = must(&format!("{add} --check"));
    assert!(checked.contains("would write /etc/systemd/system/provision-schedule-nightly.timer"), "{checked}");
    must("! ls schedules /etc/systemd/system/provision-schedule-* 2>/dev/null");
    must(add);
    assert_eq!(must(add), "nightly is scheduled already\n");
    let timer =
        must("systemctl is-enabled provision-schedule-nightly.timer; systemctl cat provision-schedule-nightly.timer");
    for part in ["enabled\n", "Persistent=true", "OnCalendar=Sun *-*-* 03:00:00 America/Bogota"] {
        assert!(timer.contains(part), "{timer}");
    }
    let list = must("provision schedule list");
    assert!(list.contains("nightly") && list.contains("run play.yml") && list.contains("Sun 20"), "{list}");

    // as the timer starts it: whoever is outside of the window is left out
    must("systemctl start provision-schedule-nightly.service");
    assert_eq!(must("cat /root/did"), "here\n");
    waits(
        "journalctl -u provision-schedule-nightly --no-pager | grep -q 'late is left out: its maintenance window is'",
    );
    // one that was missed is caught up
    must(
        "touch -d '-30 days' /var/lib/systemd/timers/stamp-provision-schedule-nightly.timer && systemctl restart provision-schedule-nightly.timer",
    );
    waits("[ \"$(wc -l </root/did)\" = 2 ]");

    // what cannot be is said, and nothing is written
    for (args, says) in [
        ("--verb 'run play.yml' --on 'Son 03:00' --all", "`Son` is no day"),
        ("--verb nosuch --on 03:00 --all", "would not start"),
        ("--verb 'run play.yml' --on 03:00 --all -- --nosuch", "`run play.yml` would not start: unexpected argument"),
        ("--verb backup --on 03:00 --all --timezone Mars/Base", "`Mars/Base` is no time zone"),
        ("--verb backup --on 03:00 --host nobody", "nobody"),
        ("--verb backup --on 03:00 --all --window 2-5", "`2-5` is no window"),
    ] {
        let refused = within(&format!("provision schedule add other {args}"));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(2) && text.contains(says), "{args}: {text}");
    }
    must("[ ! -e schedules/other.json ]");
    // outside of the schedule's own window nothing starts
    must(
        "day=$(LC_ALL=C date -d '+2 days' +%a); provision schedule add closed --verb 'run play.yml' --on 03:00 --all --window \"$day 00:00-23:59\"",
    );
    assert!(must("provision schedule run closed").contains("nothing is started outside of"));
    must("provision schedule remove closed && provision schedule remove nightly");
    must(
        "! ls /etc/systemd/system/provision-schedule-* schedules/*.json 2>/dev/null && ! systemctl list-timers --all | grep provision-schedule",
    );
    assert_eq!(must("wc -l </root/did"), "2\n");

    must(
        "apt-get update -qq >/dev/null && apt-get install -y -qq --no-install-recommends cron libpam-systemd >/dev/null 2>&1",
    );
    // somebody who is not root: by the user's own systemd, reached from a session that says nothing of it
    must(
        "useradd -m -s /bin/sh ana && cp -r /root/fleet /home/ana/ && sed -i s,/root/did,/home/ana/did, /home/ana/fleet/play.yml && \
          chown -R ana /home/ana && loginctl enable-linger ana",
    );
    waits("systemctl is-active --quiet \"user@$(id -u ana).service\"");
    let ana = |script: &str| {
        format!("runuser -u ana -- env -u XDG_RUNTIME_DIR HOME=/home/ana USER=ana sh -c 'cd ~/fleet && {script}'")
    };
    let added = must(&ana("provision schedule add own --verb \"run play.yml\" --on \"Sun 03:00\" --all"));
    assert!(added.contains("wrote /home/ana/.config/systemd/user/provision-schedule-own.timer"), "{added}");
    assert!(added.contains("own: run play.yml Sun 03:00; Sun 20"), "{added}");
    must(&ana("provision schedule add own --verb \"run play.yml\" --on \"Sun 03:00\" --all | grep -q already"));
    // as the timer does when a run was missed
    must(&ana("touch -d \"-30 days\" ~/.local/share/systemd/timers/stamp-provision-schedule-own.timer && \
         XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user restart provision-schedule-own.timer"));
    waits("[ \"$(cat /home/ana/did)\" = here ]");
    must(&ana("provision schedule remove own"));
    must("! ls /home/ana/.config/systemd/user/provision-* /home/ana/fleet/schedules/*.json 2>/dev/null");

    // the same where systemd does not run
    let without = "unshare -m sh -c 'mount -t tmpfs none /run/systemd && cd /root/fleet && ";
    let zone = within(&format!(
        "{without} provision schedule add often --verb \"run play.yml\" --on 03:00 --all --timezone Asia/Tokyo'"
    ));
    assert!(String::from_utf8_lossy(&zone.stderr).contains("cron starts at this machine's time"), "{zone:?}");
    let added = must(&format!(
        "{without} provision schedule add often --verb \"run play.yml\" --on $(date -d \"+70 seconds\" +%H:%M) --all'"
    ));
    assert!(added.contains("wrote /etc/cron.d/provision-often") && added.contains("not caught up"), "{added}");
    // and of a user, beside what is in the crontab already
    must("rm /home/ana/did; echo '0 0 1 1 * true # mine' | crontab -u ana -");
    let own = ana("provision schedule add mine --verb \"run play.yml\" --on $(date -d \"+70 seconds\" +%H:%M) --all");
    let unseen =
        |script: &str| format!("unshare -m sh -c {}", quoted(&format!("mount -t tmpfs none /run/systemd && {script}")));
    let added = must(&unseen(&own));
    assert!(added.contains("wrote crontab") && added.contains("not caught up"), "{added}");
    assert!(must("crontab -u ana -l").contains("# provision mine\n"));
    waits("[ \"$(wc -l </root/did)\" = 3 ]");
    must(&format!("{without} provision schedule remove often'"));
    must("[ ! -e /etc/cron.d/provision-often ]");
    waits("[ \"$(cat /home/ana/did)\" = here ]");
    must(&unseen(&ana("provision schedule remove mine")));
    assert_eq!(must("crontab -u ana -l"), "0 0 1 1 * true # mine\n");
}
