//! A throw-away project: an inventory of two clients, a small package, a key, and the program run in it.

use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The package that most tests use.
pub const MANIFEST: &str = r#"{
  "id": "shop",
  "name": "Shop",
  "version": "1.2",
  "extends": null,
  "aliases": ["tienda"],
  "variables": [
    {"key": "SHOP_DOMAIN", "prompt": "Dominio", "required": true, "validation": "domain", "default": "shop.{{ domain }}"},
    {"key": "SHOP_OWNER", "prompt": "Correo", "required": false, "validation": "email"},
    {"key": "SHOP_PORT", "prompt": "Puerto", "required": false, "validation": "port", "default": "8080"},
    {"key": "API_KEY", "prompt": "Clave", "required": false, "secret": true, "validation": {"regex": "^sk-"}}
  ],
  "secrets": [{"key": "DB_PASSWORD", "length": 24, "type": "hex"}]
}
"#;

pub const STACK: &str = r#"services:
  web:
    image: example/shop:{{ version }}
    healthcheck: {test: ["CMD", "true"]}
    environment:
      DB_PASSWORD: "${DB_PASSWORD}"
    labels:
      domain: {{ SHOP_DOMAIN }}
"#;

pub struct Project {
    dir: tempfile::TempDir,
    /// What every host's address leads to; nobody may ever call.
    door: TcpListener,
}

/// What the program did.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Project {
    /// Two clients, `ana` and `beto`, both in the group `clients`; `shop` declared on both.
    pub fn new() -> Project {
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        door.set_nonblocking(true).unwrap();
        let project = Project { dir: tempfile::tempdir().unwrap(), door };
        let port = project.door.local_addr().unwrap().port();
        project.file(
            "inventory/hosts.yml",
            &format!(
                "all:\n  vars: {{ansible_host: 127.0.0.1, ansible_port: {port}}}\n  children:\n    clients:\n      hosts:\n        ana:\n        beto:\n"
            ),
        );
        project
            .file("inventory/group_vars/all.yml", "services: [shop]\ndomain: \"{{ inventory_hostname }}.example\"\n");
        project.file("registry/shop/manifest.json", MANIFEST);
        project.file("registry/shop/stack.yml.j2", STACK);
        std::fs::create_dir(project.path("home")).unwrap();
        project
    }

    /// With an identity in the home, and a recipient for it.
    pub fn with_key() -> Project {
        let project = Project::new();
        let (private, public) = key();
        project.file("home/.config/provision/identity.txt", &private);
        project.file("inventory/.age-recipients", &public);
        project
    }

    /// Clients that are all this machine, each with a lock of its own, and whose service is updated without a container
    /// engine: the task file for that is the project's own, and fails on a client named `bad`.
    pub fn here(hosts: &[&str]) -> Project {
        let project = Project::with_key();
        let hosts_of = |list: &str| format!("all: {{hosts: {{{list}}}}}\n");
        project
            .file("inventory/hosts.yml", &hosts_of(&hosts.iter().map(|host| format!("{host}: ,")).collect::<String>()));
        // a folder that is not there would not be taken
        hosts.iter().for_each(|host| std::fs::create_dir_all(project.path("locks").join(host)).unwrap());
        project.file(
            "inventory/group_vars/all.yml",
            &format!(
                "ansible_connection: local\nansible_become: false\nservices: [shop]\ndomain: x.example\n\
                 provision_lock_dir: {}/{{{{ inventory_hostname }}}}\n",
                project.path("locks").display()
            ),
        );
        project.file("registry/shop/manifest.json", r#"{"id": "shop", "name": "Shop", "version": "1.2"}"#);
        let stack =
            "services:\n  web: {image: \"localhost:1/shop:{{ version }}\", healthcheck: {test: [CMD, \"true\"]}}\n";
        project.file("registry/shop/stack.yml.j2", stack);
        let tasks = "- name: As it is\n  fail: {msg: not today}\n  when: inventory_hostname == 'bad'\n";
        project.file("playbooks/services/update.yml", tasks);
        // whatever engine this machine has
        let docker = project.file("bin/docker", "#!/bin/sh\nexit 1\n");
        std::fs::set_permissions(docker, Permissions::from_mode(0o755)).unwrap();
        project
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
        command.args(args).current_dir(self.dir.path());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env_clear().env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("HOME", self.path("home"));
        command
    }

    /// Without a terminal, nothing on standard input.
    pub fn run(&self, args: &[&str]) -> Ended {
        self.run_with(self.command(args), "")
    }

    pub fn run_with(&self, mut command: Command, stdin: &str) -> Ended {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // who wants nothing may be gone before it is all written
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        Ended {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Must end well; its standard output.
    pub fn says(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!(ended.code, 0, "{args:?}\n{}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Was anybody at the hosts' door?
    pub fn was_called(&self) -> bool {
        self.door.accept().is_ok()
    }

    /// Every file of the project with its content, sorted.
    pub fn snapshot(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        collect(self.dir.path(), &mut found);
        found.sort();
        found
    }
}

fn collect(dir: &Path, found: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.push((path.clone(), Vec::new()));
            collect(&path, found);
        } else {
            let content = std::fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
}

/// A fresh age identity: the identity file's text and the public key.
pub fn key() -> (String, String) {
    use age::secrecy::ExposeSecret;
    let identity = age::x25519::Identity::generate();
    (format!("{}\n", identity.to_string().expose_secret()), identity.to_public().to_string())
}
