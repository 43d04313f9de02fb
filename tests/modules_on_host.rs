//! The modules that change a whole system, on a throw-away host: a container that boots systemd from the lab's image.
//!
//! Needs Docker and the lab's host image (`provision lab up` builds it); skipped otherwise.

#[path = "support/host.rs"]
mod support;

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use provision::lane::Target;
use serde_json::json;
use support::Host;

const CAPABILITIES: &str = "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID \
    IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE \
    NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_NICE SYS_PACCT \
    SYS_PTRACE SYS_RAWIO SYS_TTY_CONFIG WAKE_ALARM";

fn said(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).output().map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

struct Container {
    name: String,
    folder: tempfile::TempDir,
}

impl Container {
    fn start() -> Result<Container, String> {
        said("docker", &["info"])?;
        let cache = provision::lab::Options::default().cache;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
        let image = runtime
            .block_on(provision::lab::images::host(provision::lab::System::Fresh, &cache, &mut |step| {
                eprintln!("  {step}")
            }))
            .map_err(|error| error.to_string())?;
        let name = format!("pvtest-host-{}", std::process::id());
        let mut args = vec!["run", "-d", "--rm", "--name", &name];
        let options = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
            -v /sys/fs/cgroup:/sys/fs/cgroup:rw --tmpfs /run --tmpfs /run/lock --tmpfs /tmp:exec -e container=docker";
        args.extend(options.split_whitespace());
        args.extend(CAPABILITIES.split_whitespace().flat_map(|capability| ["--cap-add", capability]));
        if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            args.extend([
                "-e",
                "SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
            ]);
        }
        args.extend([image.as_str(), "/sbin/init"]);
        said("docker", &args)?;
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let container = Container { name, folder };
        let enter = container.folder.path().join("enter");
        let text = format!("#!/bin/sh\nexec docker exec -i {} sh \"$@\"\n", container.name);
        std::fs::write(&enter, text).map_err(|error| error.to_string())?;
        std::fs::set_permissions(&enter, std::fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        for _ in 0..60 {
            let state = said("docker", &["exec", &container.name, "sh", "-c", "systemctl is-system-running; :"])?;
            if matches!(state.as_str(), "running" | "degraded") {
                return Ok(container);
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        Err("systemd does not come up in the container".to_owned())
    }

    fn host(&self) -> Host {
        let mut target = Target::local("container");
        target.shell = self.folder.path().join("enter").display().to_string();
        let mut host = Host::at(target, self.folder.path());
        let facts = host.rests("setup", json!({"gather_subset": "min"})).facts;
        host.facts.extend(facts);
        host
    }

    fn sh(&self, text: &str) -> String {
        said("docker", &["exec", &self.name, "sh", "-c", text]).unwrap_or_else(|why| panic!("{text}: {why}"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = said("docker", &["rm", "-f", "-v", &self.name]);
    }
}

#[test]
fn a_whole_system() {
    let container = match Container::start() {
        Ok(container) => container,
        Err(why) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {why}");
            return println!("skipped: {why}");
        }
    };
    let host = container.host();
    assert_eq!((&host.facts["service_mgr"], &host.facts["pkg_mgr"]), (&json!("systemd"), &json!("apt")));
    accounts(&container, &host);
    system(&container, &host);
    services(&container, &host);
    packages(&container, &host);
}

fn accounts(container: &Container, host: &Host) {
    host.converges("group", json!({"name": "operators", "gid": 2000}));
    host.converges("group", json!({"name": "operators", "gid": 2001}));
    host.converges("user", json!({"name": "hub", "groups": ["operators"], "shell": "/bin/sh", "comment": "The hub", "password": "$6$salt$abc"}));
    host.rests("user", json!({"name": "hub", "groups": "operators", "append": true}));
    host.converges(
        "user",
        json!({"name": "hub", "groups": ["operators", "adm"], "append": true, "shell": "/bin/bash"}),
    );
    host.converges("user", json!({"name": "hub", "groups": ["adm"], "password": "$6$salt$def", "password_lock": true}));
    assert_eq!(container.sh("id -nG hub; getent shadow hub | cut -d: -f2"), "hub adm\n!$6$salt$def");
    host.converges(
        "user",
        json!({"name": "worker", "system": true, "create_home": false, "uid": 990, "home": "/srv/worker"}),
    );
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEdQ0Yk6C1n2wbrEMqcJ6oIZbS4mH4WnVJmIMkVQ4y9x ana@laptop";
    host.converges("authorized_key", json!({"user": "hub", "key": key}));
    host.converges("authorized_key", json!({"user": "hub", "key": key, "key_options": "no-pty"}));
    assert_eq!(
        container.sh("stat -c '%a %U %G' /home/hub/.ssh /home/hub/.ssh/authorized_keys"),
        "700 hub hub\n600 hub hub"
    );
    host.converges("authorized_key", json!({"user": "hub", "key": key, "state": "absent"}));
    host.converges(
        "copy",
        json!({"content": "x", "dest": "/home/hub/f", "owner": "hub", "group": "operators", "mode": "04750"}),
    );
    host.converges("file", json!({"path": "/home/hub/f", "owner": "root"}));
    assert_eq!(container.sh("stat -c '%a %U %G' /home/hub/f"), "750 root operators");
    host.converges(
        "file",
        json!({"path": "/home/hub", "state": "directory", "recurse": true, "owner": "hub", "group": "hub"}),
    );
    host.converges("user", json!({"name": "hub", "state": "absent", "remove": true}));
    host.converges("group", json!({"name": "operators", "state": "absent"}));
    assert_eq!(container.sh("getent passwd hub; getent group operators; ls -d /home/hub 2>/dev/null; :"), "");
}

fn system(container: &Container, host: &Host) {
    host.converges("timezone", json!({"name": "America/Lima"}));
    assert_eq!(container.sh("date +%Z"), "-05");
    assert!(host.fails("timezone", json!({"name": "Mars/Olympus"})).contains("does not know"));
    host.converges("hostname", json!({"name": "clienta"}));
    assert_eq!(container.sh("uname -n; cat /etc/hostname"), "clienta\nclienta");
    let swap = json!({"name": "net.core.somaxconn", "value": 512, "sysctl_file": "/etc/sysctl.d/60-x.conf", "sysctl_set": true, "ignoreerrors": true});
    host.run("sysctl", swap, false).unwrap();
    assert_eq!(container.sh("cat /etc/sysctl.d/60-x.conf"), "net.core.somaxconn=512");
}

fn services(container: &Container, host: &Host) {
    let unit = |program: &str| json!({"dest": "/etc/systemd/system/demo.service", "content": format!("[Unit]\nDescription=Demo\n[Service]\nExecStart={program}\n[Install]\nWantedBy=multi-user.target\n")});
    assert!(host.fails("service", json!({"name": "demo", "state": "started"})).contains("could not find"));
    host.converges("copy", unit("/bin/sleep 1000"));
    host.converges("systemd", json!({"name": "demo", "state": "started", "enabled": true, "daemon_reload": true}));
    assert_eq!(container.sh("systemctl is-active demo; systemctl is-enabled demo"), "active\nenabled");
    host.converges("copy", unit("/bin/sleep 2000"));
    let reloaded =
        host.run("systemd", json!({"name": "demo", "state": "started", "daemon_reload": true}), false).unwrap();
    assert!(!reloaded.changed);
    assert_eq!(container.sh("systemctl show demo -p NeedDaemonReload"), "NeedDaemonReload=no");
    assert!(host.run("service", json!({"name": "demo", "state": "restarted"}), false).unwrap().changed);
    host.converges("service", json!({"name": "demo", "state": "stopped", "enabled": false}));
    host.converges("systemd", json!({"name": "systemd-tmpfiles-clean.timer", "masked": true}));
    host.converges("systemd", json!({"name": "systemd-tmpfiles-clean.timer", "masked": false}));
    host.converges("copy", unit("/bin/no-such-program"));
    let failure = host.run("systemd", json!({"name": "demo", "state": "started", "daemon_reload": true}), false);
    match failure {
        // with Type=simple systemd may notice only after `start` has returned
        Ok(settled) => assert!(settled.changed),
        Err(failure) => {
            assert!(failure.values["stderr"].as_str().is_some_and(|text| text.contains("demo")), "{failure:?}")
        }
    }
}

fn packages(container: &Container, host: &Host) {
    let update = host.run("apt", json!({"update_cache": true}), false);
    if let Err(failure) = update {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "cannot be skipped in CI: {failure:?}");
        return println!("skipped: the container reaches no package mirror");
    }
    host.rests("apt", json!({"update_cache": true, "cache_valid_time": 3600}));
    host.converges("apt", json!({"name": ["tree", "ufw"], "install_recommends": false}));
    host.rests("package", json!({"name": "tree", "state": "present"}));
    host.rests("apt", json!({"name": "tree", "state": "latest"}));
    let again = host.run("apt", json!({"name": "tree", "update_cache": true}), false).unwrap();
    assert!(!again.changed);
    host.converges("apt", json!({"name": "tree", "state": "absent", "purge": true}));
    assert!(host.fails("apt", json!({"name": "no-such-package-here"})).contains("Unable to locate"));
    assert!(host.fails("cron", json!({"name": "dump", "job": "true"})).contains("cron is not installed"));
    host.converges("apt", json!({"name": "cron"}));
    host.converges("cron", json!({"name": "dump", "minute": 5, "job": "echo '%H' \"$HOME\"", "user": "root"}));
    assert_eq!(container.sh("crontab -l"), "#Ansible: dump\n5 * * * * echo '%H' \"$HOME\"");
    host.converges("cron", json!({"name": "dump", "state": "absent"}));
    host.converges("cron", json!({"name": "dump", "minute": 5, "job": "true", "user": "root", "cron_file": "dump"}));
    assert_eq!(container.sh("cat /etc/cron.d/dump"), "#Ansible: dump\n5 * * * * root true");
    host.converges("cron", json!({"cron_file": "dump", "state": "absent"}));
    let repository = json!({"name": "local", "uris": "http://127.0.0.1/debian", "suites": "trixie", "components": "main", "enabled": false});
    host.converges("deb822_repository", repository);
    container.sh("apt-get check -q");
    host.converges("deb822_repository", json!({"name": "local", "state": "absent"}));

    // without an sshd's rule the firewall is not switched on
    assert!(host.fails("ufw", json!({"state": "enabled"})).contains("port 22"));
    host.converges("ufw", json!({"rule": "limit", "port": 22, "proto": "tcp", "comment": "ssh"}));
    host.converges("ufw", json!({"rule": "allow", "port": "80,443", "proto": "tcp"}));
    host.converges("ufw", json!({"rule": "allow", "port": 5432, "proto": "tcp", "src": "10.0.0.0/8"}));
    host.converges("ufw", json!({"rule": "deny", "port": 25, "direction": "out", "interface": "eth0"}));
    host.converges("ufw", json!({"rule": "deny", "from_ip": "2001:db8::/32"}));
    host.converges("ufw", json!({"rule": "allow", "name": "OpenSSH"}));
    host.converges("ufw", json!({"rule": "allow", "route": true, "interface_in": "eth0", "interface_out": "eth1", "port": 80, "proto": "tcp"}));
    host.converges("ufw", json!({"rule": "allow", "port": 9000, "log": true}));
    host.converges("ufw", json!({"rule": "allow", "port": 9000, "log": true, "delete": true}));
    host.converges("ufw", json!({"state": "enabled", "policy": "deny"}));
    host.converges("ufw", json!({"rule": "allow", "port": "80,443", "proto": "tcp", "delete": true}));
    host.converges("ufw", json!({"logging": "off"}));
    host.converges("ufw", json!({"state": "disabled"}));
}
