//! The lab's folder: everything by which its hosts are reached, and nothing else.
//!
//! `id_ed25519`, `known_hosts` and `ssh.cfg` for ssh; `inventory.yml` and `host_vars/` for `-i lab`;
//! `.age-recipients` and `identity.txt`, so that secrets made for the lab are never encrypted for, or mixed with,
//! those of clients. All of it can be thrown away and is written anew by the next `up`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use age::secrecy::ExposeSecret;

use super::Host;
use crate::error::{Error, Result};

/// Who logs in to the hosts; may use sudo without a password.
pub const USER: &str = "operator";

/// The paths of a lab's folder. Absolute, for an inventory must mean the same from everywhere.
#[derive(Clone, Debug)]
pub struct Folder {
    pub root: PathBuf,
}

impl Folder {
    pub fn new(dir: &Path) -> Result<Folder> {
        let root = std::path::absolute(dir).map_err(|e| trouble(dir, &e))?;
        Ok(Folder { root })
    }

    pub fn key(&self) -> PathBuf {
        self.root.join("id_ed25519")
    }

    pub fn known_hosts(&self) -> PathBuf {
        self.root.join("known_hosts")
    }

    pub fn ssh_config(&self) -> PathBuf {
        self.root.join("ssh.cfg")
    }

    /// Makes the folder, the ssh key and the age identity, if they are not there; the public ssh key.
    pub fn prepare(&self) -> Result<String> {
        fs::create_dir_all(&self.root).map_err(|e| trouble(&self.root, &e))?;
        let key = self.key();
        if !key.exists() {
            let status = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-C", "provision-lab", "-f"])
                .arg(&key)
                .status();
            if !status.is_ok_and(|status| status.success()) {
                return Err(Error::new(format!("ssh-keygen cannot make {}", key.display()))
                    .hint("install ssh's client: `sudo apt-get install openssh-client`"));
            }
        }
        let identity = self.root.join("identity.txt");
        if !identity.exists() {
            let made = age::x25519::Identity::generate();
            self.put("identity.txt", &format!("{}\n", made.to_string().expose_secret()))?;
            self.put(".age-recipients", &format!("# the lab's throw-away identity\n{}\n", made.to_public()))?;
        }
        let public = key.with_extension("pub");
        fs::read_to_string(&public).map(|text| text.trim().to_owned()).map_err(|e| trouble(&public, &e))
    }

    /// Writes what depends on the hosts: their keys, addresses and variables.
    pub fn describe(
        &self,
        hosts: &[Host],
        host_keys: &BTreeMap<String, String>,
        registry: Option<Ipv4Addr>,
    ) -> Result<()> {
        let mut known = String::new();
        let mut config = String::from("# `ssh -F` this file. Written by `provision lab up`.\n");
        let mut inventory = String::from(
            "# Written by `provision lab up`; use it as a further inventory: `-i inventory -i lab`.\nlab:\n  hosts:\n",
        );
        for host in hosts {
            if let Some(key) = host_keys.get(&host.name) {
                known.push_str(&format!("{},{} {key}\n", host.address, host.name));
            }
            config.push_str(&format!(
                "\nHost {name}\n  HostName {address}\n  User {USER}\n  IdentityFile \"{key}\"\n  IdentitiesOnly yes\n  \
                 UserKnownHostsFile \"{known}\"\n  StrictHostKeyChecking yes\n  ConnectTimeout 5\n  LogLevel ERROR\n",
                name = host.name,
                address = host.address,
                key = self.key().display(),
                known = self.known_hosts().display(),
            ));
            inventory.push_str(&format!("    {}:\n", quote(&host.name)));
            self.put(&format!("host_vars/{}.yml", host.name), &self.variables(host, registry))?;
        }
        self.put("known_hosts", &known)?;
        self.put("ssh.cfg", &config)?;
        self.put("inventory.yml", &inventory)
    }

    /// In `host_vars/` and not in `inventory.yml`, because there they win over what the real inventory says.
    fn variables(&self, host: &Host, registry: Option<Ipv4Addr>) -> String {
        let address = quote(&host.address.to_string());
        let mut text = format!(
            "ansible_connection: ssh\nansible_host: {address}\nansible_port: 22\nansible_user: {USER}\n\
             ansible_ssh_private_key_file: {}\nansible_ssh_known_hosts_file: {}\nansible_become: true\npublic_address: {address}\n\
             url_check_address: {address}\ntls: selfsigned\nhealth_start_interval: 1s\n\
             health_interval: 15s\n",
            quote(&self.key().display().to_string()),
            quote(&self.known_hosts().display().to_string()),
        );
        if let Some(registry) = registry {
            text.push_str(&format!(
                "docker_registry_mirrors: [\"http://{registry}:5000\"]\ndocker_insecure_registries: [\"{registry}:5000\"]\n"
            ));
        }
        text
    }

    /// Removes what `up` wrote, and the folder if nothing else is in it (secrets of the lab are: `vps_data`).
    pub fn remove(&self) -> Result<bool> {
        if !self.root.exists() {
            return Ok(false);
        }
        let files = [
            "known_hosts",
            "ssh.cfg",
            "inventory.yml",
            "id_ed25519",
            "id_ed25519.pub",
            "identity.txt",
            ".age-recipients",
        ];
        for file in files {
            remove_if_there(&self.root.join(file), |path| fs::remove_file(path))?;
        }
        // encrypted for the identity that has just gone
        for dir in ["host_vars", "vps_data"] {
            remove_if_there(&self.root.join(dir), |path| fs::remove_dir_all(path))?;
        }
        let _ = fs::remove_dir(&self.root);
        Ok(true)
    }

    /// Writes a file whole or not at all, readable by its owner only.
    fn put(&self, name: &str, text: &str) -> Result<()> {
        let path = self.root.join(name);
        let parent = path.parent().unwrap_or(&self.root);
        let written = fs::create_dir_all(parent)
            .and_then(|()| tempfile::NamedTempFile::new_in(parent))
            .and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file))
            .and_then(|file| file.persist(&path).map_err(|e| e.error));
        written.map(drop).map_err(|e| trouble(&path, &e))
    }
}

fn remove_if_there(path: &Path, remove: impl Fn(&Path) -> std::io::Result<()>) -> Result<()> {
    match remove(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(trouble(path, &e)),
        _ => Ok(()),
    }
}

fn trouble(path: &Path, error: &std::io::Error) -> Error {
    Error::new(format!("{}: {error}", path.display()))
}

/// A string that YAML reads as a string.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::plan::Secret;
    use crate::secrets::{EnvFile, Identities, Recipients};

    fn host(name: &str, last: u8) -> Host {
        let address = Ipv4Addr::new(198, 18, 0, last);
        Host { name: name.into(), address, container: format!("provision-lab-{name}"), state: "running".into() }
    }

    #[test]
    fn the_folder_names_each_host_its_key_and_its_address() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(&dir.path().join("my lab")).unwrap();
        assert!(folder.prepare().unwrap().starts_with("ssh-ed25519 "));
        let keys = BTreeMap::from([("a".to_owned(), "ssh-ed25519 AAAA".to_owned())]);
        folder.describe(&[host("a", 10), host("no", 11)], &keys, Some(Ipv4Addr::new(198, 18, 0, 2))).unwrap();
        let read = |name: &str| fs::read_to_string(folder.root.join(name)).unwrap();
        assert_eq!(read("known_hosts"), "198.18.0.10,a ssh-ed25519 AAAA\n");
        assert!(read("ssh.cfg").contains("Host a\n  HostName 198.18.0.10\n  User operator\n"));
        assert!(read("inventory.yml").ends_with("lab:\n  hosts:\n    \"a\":\n    \"no\":\n"));
        let variables: serde_yaml::Value = serde_yaml::from_str(&read("host_vars/no.yml")).unwrap();
        assert_eq!(variables["ansible_host"].as_str(), Some("198.18.0.11"));
        assert_eq!(variables["ansible_ssh_private_key_file"].as_str(), folder.key().to_str());
        assert_eq!(variables["health_start_interval"].as_str(), Some("1s"));
        assert_eq!(variables["health_interval"].as_str(), Some("15s"));
        assert_eq!(variables["docker_registry_mirrors"][0].as_str(), Some("http://198.18.0.2:5000"));
        let mode = fs::metadata(folder.root.join("identity.txt")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn keys_outlive_a_second_prepare_and_go_with_remove() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(&dir.path().join("lab")).unwrap();
        let first = folder.prepare().unwrap();
        let recipients = fs::read_to_string(folder.root.join(".age-recipients")).unwrap();
        assert_eq!(folder.prepare().unwrap(), first);
        assert_eq!(fs::read_to_string(folder.root.join(".age-recipients")).unwrap(), recipients);
        // what is encrypted for the one is opened by the other
        let identities = Identities::load(&[folder.root.join("identity.txt")]).unwrap();
        let file = folder.root.join("vps_data/a/x.env.age");
        let mut settings = EnvFile::load(&file, &identities).unwrap();
        settings.set("KEY", Secret::new("value of the lab")).unwrap();
        settings.save(&file, &Recipients::load(&folder.root.join(".age-recipients")).unwrap()).unwrap();
        assert!(EnvFile::load(&file, &identities).unwrap().get("KEY").is_some());
        assert!(folder.remove().unwrap());
        assert!(!folder.root.exists());
        assert!(!folder.remove().unwrap());
    }
}
