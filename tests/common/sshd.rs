//! A throw-away sshd on this machine: own host key, own configuration, own port, ended with the test. It listens on
//! 0.0.0.0, so 127.0.0.1 to 127.255.255.254 are as many hosts.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use provision::lane::Target;

pub struct Sshd {
    pub port: u16,
    pub dir: tempfile::TempDir,
    /// Accepted for the user who runs the test, and for root.
    pub key: PathBuf,
    /// Knows the host key under every address of `[127.*]:port`.
    pub known_hosts: PathBuf,
    child: Child,
}

impl Sshd {
    /// None, with the reason printed, where there is no sshd.
    pub fn start() -> Option<Sshd> {
        Sshd::with("")
    }

    /// With further lines of configuration, which win over ours.
    pub fn with(configuration: &str) -> Option<Sshd> {
        let Some(sshd) = super::program("sshd") else {
            super::skip("there is no sshd (openssh-server)");
            return None;
        };
        // sshd insists on its empty directory
        let _ = fs::create_dir_all("/run/sshd");
        let dir = tempfile::Builder::new().prefix("sshd").tempdir().expect("a temporary directory");
        let key = keygen(dir.path(), "user");
        let host_key = keygen(dir.path(), "host");
        let authorized = dir.path().join("authorized");
        fs::copy(key.with_extension("pub"), &authorized).expect("authorized keys");
        let port = free_port();
        let known_hosts = dir.path().join("known_hosts");
        let public = fs::read_to_string(host_key.with_extension("pub")).expect("host key");
        fs::write(&known_hosts, format!("[127.*]:{port},[localhost]:{port} {public}")).expect("known hosts");
        let config = dir.path().join("sshd_config");
        let text = format!(
            "{configuration}\nPort {port}\nListenAddress 0.0.0.0\nHostKey {host}\nAuthorizedKeysFile {authorized}\n\
             PidFile none\nStrictModes no\nPermitRootLogin yes\nUsePAM {pam}\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\n{startups}\nPrintMotd no\nAcceptEnv LANG LC_*\n",
            // of this one setting the last line wins
            startups = if configuration.contains("MaxStartups") { "" } else { "MaxStartups 500" },
            host = host_key.display(),
            authorized = authorized.display(),
            // a locked password (`!` in shadow) bars logins without PAM
            pam = if is_root() { "yes" } else { "no" },
        );
        fs::write(&config, text).expect("configuration");
        let log = fs::File::create(dir.path().join("log")).expect("log");
        let mut child = Command::new(sshd);
        child.args(["-D", "-e", "-f"]).arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = child.spawn().expect("sshd starts");
        let mut sshd = Sshd { port, dir, key, known_hosts, child };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = sshd.child.try_wait().expect("sshd's state");
            assert!(ended.is_none() && Instant::now() < deadline, "sshd did not start: {}", sshd.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(sshd)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// A host at this address, e.g. `127.0.1.7`, that can be logged in to.
    pub fn target(&self, address: &str) -> Target {
        Target {
            name: address.to_owned(),
            address: address.to_owned(),
            port: Some(self.port),
            user: Some(user()),
            key_file: Some(self.key.clone()),
            known_hosts: Some(self.known_hosts.clone()),
            // neither the tester's configuration nor the machine's
            config_file: Some("/dev/null".into()),
            connect_timeout: Duration::from_secs(10),
            ..Target::default()
        }
    }

    /// The processes that serve connections, without the listener.
    pub fn sessions(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            let children = format!("/proc/{parent}/task/{parent}/children");
            let children = fs::read_to_string(children).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            next += 1;
        }
        found.retain(|pid| {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            *pid != self.child.id() && name.starts_with("sshd")
        });
        found
    }

    /// Cuts every connection, as a broken line would.
    pub fn cut(&self) {
        for pid in self.sessions() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.cut();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

pub fn keygen(dir: &Path, name: &str) -> PathBuf {
    let file = dir.join(name);
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&file)
        .stdin(Stdio::null())
        .status();
    assert!(status.is_ok_and(|status| status.success()), "ssh-keygen");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("private key");
    file
}
