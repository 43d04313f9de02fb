//! The containers of a lab: its network, its registry, its hosts; starting them and finding them again.
//!
//! Docker is the only memory: what belongs to a lab carries the label `provision.lab=<prefix>`.

use std::net::Ipv4Addr;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::Host;
use super::docker::{Cgroup, Engine, docker, feed};
use crate::error::{Error, Result};

/// The label that says which lab something belongs to.
const LAB: &str = "provision.lab";
/// The label of a host's name; the registry has none.
const HOST: &str = "provision.lab.host";
/// The label of the folder that the lab was made from.
const DIR: &str = "provision.lab.dir";
/// The label of a container's address, which it keeps for life.
const ADDRESS: &str = "provision.lab.address";
/// The state of a host that runs but is on no network.
const CUT_OFF: &str = "cut off";

/// What a host's systemd and Docker need. Named one by one instead of `--privileged`: that is refused where the
/// machine itself lacks one of them, and would give a host the machine's devices and consoles. Not SYS_TIME: a host's `timedatectl` would turn the machine's clock.
const CAPABILITIES: &str = "AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH \
    FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN \
    NET_BIND_SERVICE NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT \
    SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_TTY_CONFIG WAKE_ALARM";

/// Everything of a lab that is in Docker.
pub struct Found {
    pub hosts: Vec<Host>,
    pub registry: Option<Host>,
    /// The folder that the lab was made from.
    pub dir: Option<String>,
}

/// The containers of the lab, hosts in the order of their addresses.
pub async fn find(prefix: &str) -> Result<Found> {
    let columns = [HOST, ADDRESS, DIR].map(|label| format!("{{{{.Label \"{label}\"}}}}")).join("\t");
    let format = format!("{columns}\t{{{{.Names}}}}\t{{{{.State}}}}\t{{{{.Networks}}}}");
    let filter = format!("label={LAB}={prefix}");
    let said = docker(&["ps", "-a", "--filter", &filter, "--format", &format]).await?;
    let mut found = Found { hosts: Vec::new(), registry: None, dir: None };
    for line in said.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let &[name, address, dir, container, state, networks] = columns.as_slice() else { continue };
        let Ok(address) = address.parse() else { continue };
        let state = if state == "running" && networks.is_empty() { CUT_OFF } else { state };
        let host = Host { name: name.into(), address, container: container.into(), state: state.into() };
        found.dir.get_or_insert_with(|| dir.to_owned());
        match name {
            "" => found.registry = Some(host),
            _ => found.hosts.push(host),
        }
    }
    found.hosts.sort_by_key(|host| host.address);
    Ok(found)
}

/// The lab's network, made if it is not there; its first three numbers. A range that is for test networks and in
/// nobody's office (RFC 2544), so neither the operator's networks nor Docker's own ranges inside the hosts overlap.
pub async fn network(prefix: &str) -> Result<[u8; 3]> {
    const SUBNET: &str = "{{range .IPAM.Config}}{{.Subnet}}{{end}}";
    if let Ok(subnet) = docker(&["network", "inspect", "--format", SUBNET, prefix]).await {
        let address: Option<Ipv4Addr> = subnet.trim().split('/').next().and_then(|word| word.parse().ok());
        let [a, b, c, _] =
            address.ok_or_else(|| Error::new(format!("the network {prefix} has no address range")))?.octets();
        return Ok([a, b, c]);
    }
    let digest = Sha256::digest(prefix);
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mut refusal = Error::new(format!("no address range is free for the network {prefix}"));
    for attempt in 0..32u8 {
        let numbers = [198, 18 + (digest[0] & 1), digest[1].wrapping_add(attempt)];
        let [a, b, c] = numbers;
        // a range that the machine itself is in would cut the machine off; Docker does not look
        if routed(&routes, Ipv4Addr::new(a, b, c, 0)) {
            continue;
        }
        let subnet = format!("--subnet={a}.{b}.{c}.0/24");
        let gateway = format!("--gateway={a}.{b}.{c}.1");
        let label = format!("--label={LAB}={prefix}");
        match docker(&["network", "create", "--driver=bridge", &subnet, &gateway, &label, prefix]).await {
            Ok(_) => return Ok(numbers),
            // another `up` of the same lab was faster
            Err(e) if e.text.contains("already exists") => return Box::pin(network(prefix)).await,
            Err(e) if e.text.contains("overlap") => refusal = e,
            Err(e) => return Err(e),
        }
    }
    Err(refusal)
}

/// Whether a route other than the default one leads to this /24, by `/proc/net/route`.
fn routed(routes: &str, subnet: Ipv4Addr) -> bool {
    let number = |word: &str| u32::from_str_radix(word, 16).map(u32::from_be).ok();
    routes.lines().skip(1).any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(destination), Some(mask)) =
            (columns.get(1).and_then(|word| number(word)), columns.get(7).and_then(|word| number(word)))
        else {
            return false;
        };
        let mask = mask & 0xffff_ff00;
        mask != 0 && u32::from(subnet) & mask == destination & mask
    })
}

/// The first address that no host has: `.10` and up.
pub fn free_address([a, b, c]: [u8; 3], taken: &[Host]) -> Result<Ipv4Addr> {
    (10..250)
        .map(|last| Ipv4Addr::new(a, b, c, last))
        .find(|address| taken.iter().all(|host| host.address != *address))
        .ok_or_else(|| Error::new("a lab has room for 240 hosts"))
}

/// Starts the registry and waits until it answers. Its images are in a volume that outlives it.
pub async fn start_registry(prefix: &str, dir: &Path, [a, b, c]: [u8; 3], image: &str) -> Result<Host> {
    let address = Ipv4Addr::new(a, b, c, 2);
    let container = format!("{prefix}-registry");
    let mut args = common(prefix, dir, &container, address);
    let volume = format!("{prefix}-registry");
    docker(&["volume", "create", "--label", &format!("{LAB}.kept={prefix}"), &volume]).await?;
    // published on the loopback address too: only there does Docker push without TLS and without being told to
    args.extend([
        "--publish=127.0.0.1::5000".into(),
        format!("--mount=type=volume,src={volume},dst=/var/lib/registry"),
    ]);
    args.push(image.to_owned());
    docker(&args).await?;
    Ok(Host { name: String::new(), address, container, state: "running".into() })
}

/// Where this machine's Docker pushes to: `localhost:<port>`.
pub async fn push_port(prefix: &str) -> Result<u16> {
    let said = docker(&["port", &format!("{prefix}-registry"), "5000/tcp"]).await?;
    said.lines()
        .find_map(|line| line.rsplit(':').next()?.trim().parse().ok())
        .ok_or_else(|| Error::new("the lab's registry is not running").hint("start it: `provision lab up`"))
}

/// Starts a host; it has not booted when this returns.
pub async fn start(
    prefix: &str,
    dir: &Path,
    engine: &Engine,
    image: &str,
    name: &str,
    address: Ipv4Addr,
) -> Result<Host> {
    let container = format!("{prefix}-{name}");
    let mut args = common(prefix, dir, &container, address);
    args.extend([format!("--label={HOST}={name}"), format!("--hostname={name}")]);
    args.extend(CAPABILITIES.split_whitespace().map(|capability| format!("--cap-add={capability}")));
    args.extend(["seccomp", "apparmor", "systempaths"].map(|what| format!("--security-opt={what}=unconfined")));
    args.extend(["/run", "/run/lock", "/tmp:exec"].map(|path| format!("--tmpfs={path}")));
    // a volume, because overlay2 cannot sit on the overlay that the host's own files are in
    args.extend(
        ["/var/lib/docker", "/var/lib/containerd"]
            .map(|path| format!("--mount=type=volume,dst={path},volume-label={LAB}={prefix}")),
    );
    let memory = memory_of_a_host(engine.memory);
    args.extend([format!("--memory={memory}"), format!("--memory-swap={memory}"), "--pids-limit=8192".into()]);
    args.extend(["--stop-signal=SIGRTMIN+3".into(), "--env=container=docker".into()]);
    args.push(format!("--env=LAB_NAMESERVERS={}", nameservers()));
    args.extend(cgroup_options(engine.cgroup).iter().map(|&option| option.to_owned()));
    args.push(image.to_owned());
    docker(&args).await?;
    Ok(Host { name: name.into(), address, container, state: "running".into() })
}

/// Brings a container back that stands still for whatever reason.
pub async fn wake(prefix: &str, host: &Host) -> Result<()> {
    match host.state.as_str() {
        "running" => Ok(()),
        CUT_OFF => connect(prefix, host).await,
        "paused" => docker(&["unpause", &host.container]).await.map(drop),
        _ => docker(&["start", &host.container]).await.map(drop),
    }
}

/// Puts a host back on the lab's network, at its address.
pub async fn connect(prefix: &str, host: &Host) -> Result<()> {
    let ip = format!("--ip={}", host.address);
    docker(&["network", "connect", &ip, prefix, &host.container]).await.map(drop)
}

/// Lets a key in, as the operator and as root; the host's own public key.
pub async fn let_in(host: &Host, public_key: &str) -> Result<String> {
    const SCRIPT: &str = "set -eu\nread -r key\nfor who in root operator; do\n  \
        home=$(getent passwd $who | cut -d: -f6)\n  install -d -m 700 -o $who -g $who \"$home/.ssh\"\n  \
        printf '%s\\n' \"$key\" >\"$home/.ssh/authorized_keys\"\n  chown $who:$who \"$home/.ssh/authorized_keys\"\n  \
        chmod 600 \"$home/.ssh/authorized_keys\"\ndone\n\
        for i in 1 2 3 4 5 6 7 8 9 10; do [ -s /etc/ssh/ssh_host_ed25519_key.pub ] && break; sleep 0.2; done\n\
        cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub\n";
    let said = feed(&["exec", "-i", &host.container, "sh", "-c", SCRIPT], format!("{public_key}\n").as_bytes()).await;
    said.map(|key| key.trim().to_owned()).map_err(|e| e.context(format!("{} does not boot", host.name)))
}

/// Removes the lab's containers with their volumes, then its network; says what went.
pub async fn remove(prefix: &str) -> Result<Vec<String>> {
    let filter = format!("label={LAB}={prefix}");
    let mut removed = Vec::new();
    let containers = lines(&["ps", "-a", "--filter", &filter, "--format", "{{.Names}}"]).await?;
    if !containers.is_empty() {
        let mut args: Vec<&str> = vec!["rm", "-f", "-v"];
        args.extend(containers.iter().map(String::as_str));
        docker(&args).await?;
        removed.extend(containers.iter().map(|name| format!("container {name}")));
    }
    for volume in lines(&["volume", "ls", "-q", "--filter", &filter]).await? {
        docker(&["volume", "rm", &volume]).await?;
    }
    for network in lines(&["network", "ls", "--filter", &filter, "--format", "{{.Name}}"]).await? {
        docker(&["network", "rm", &network]).await?;
        removed.push(format!("network {network}"));
    }
    Ok(removed)
}

/// Removes the registry's images; says so.
pub async fn remove_kept(prefix: &str) -> Result<Vec<String>> {
    let volumes = lines(&["volume", "ls", "-q", "--filter", &format!("label={LAB}.kept={prefix}")]).await?;
    for volume in &volumes {
        docker(&["volume", "rm", volume]).await?;
    }
    Ok(volumes.iter().map(|name| format!("volume {name}")).collect())
}

async fn lines(args: &[&str]) -> Result<Vec<String>> {
    Ok(docker(args).await?.lines().map(str::to_owned).collect())
}

/// What the registry and the hosts have in common.
fn common(prefix: &str, dir: &Path, container: &str, address: Ipv4Addr) -> Vec<String> {
    vec![
        "run".into(),
        "--detach".into(),
        format!("--name={container}"),
        format!("--network={prefix}"),
        format!("--ip={address}"),
        format!("--label={LAB}={prefix}"),
        format!("--label={DIR}={}", dir.display()),
        format!("--label={ADDRESS}={address}"),
        // back after a restart of the engine or the machine; a host that shuts itself down comes back too, as a reboot
        "--restart=unless-stopped".into(),
    ]
}

/// Two hosts with every service fit into 24 GB and leave the machine some; a limit, not a reservation.
fn memory_of_a_host(machine: u64) -> u64 {
    const GIB: u64 = 1 << 30;
    (machine / 100 * 45).clamp(GIB, 12 * GIB)
}

/// Version 2: a subtree of the host's own, which `init.sh` makes writable. Version 1: the machine's tree, and two words
/// without which systemd 257 refuses to start on it.
fn cgroup_options(version: Cgroup) -> &'static [&'static str] {
    match version {
        Cgroup::V2 => &["--cgroupns=private"],
        Cgroup::V1 => &[
            "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
            "--env=SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
        ],
    }
}

/// The machine's own name servers, as far as a container can reach them. Empty: Docker's.
fn nameservers() -> String {
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .map(|text| reachable_nameservers(&text))
        .find(|servers| !servers.is_empty())
        .unwrap_or_default()
}

fn reachable_nameservers(resolv_conf: &str) -> String {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let reachable = servers.map(str::trim).filter(|word| word.parse::<Ipv4Addr>().is_ok_and(|ip| !ip.is_loopback()));
    reachable.collect::<Vec<_>>().join(" ")
}

/// Names of containers and ssh hosts; refused before anything is made.
pub fn check_name(name: &str) -> Result<()> {
    let inside = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(inside) && name.len() <= 40;
    match good && name != "registry" {
        true => Ok(()),
        false => Err(Error::new(format!("`{name}` cannot be the name of a lab host"))
            .hint("letters, digits, `-`, `.` and `_`, at most 40 characters, not `registry`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_servers_that_a_container_reaches_count() {
        let table = [
            ("nameserver 10.0.0.1\nsearch x\nnameserver 9.9.9.9\n", "10.0.0.1 9.9.9.9"),
            ("nameserver 127.0.0.53\noptions edns0\n", ""),
            ("# nameserver 1.1.1.1\nnameserver fe80::1\n", ""),
        ];
        for (text, expected) in table {
            assert_eq!(reachable_nameservers(text), expected, "{text}");
        }
    }

    #[test]
    fn names_that_docker_or_ssh_would_misread_are_refused() {
        for good in ["clienteA", "web-1", "a.b_c"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a b", "*", "ñ", "a/b", "registry", &"x".repeat(41)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn systemd_gets_the_cgroups_of_the_machine() {
        let (first, second) = (cgroup_options(Cgroup::V1).join(" "), cgroup_options(Cgroup::V2).join(" "));
        assert!(first.contains("/sys/fs/cgroup:/sys/fs/cgroup:rw") && first.contains("unified_cgroup_hierarchy=0"));
        // the machine's whole tree would be the host's to change, and the words of version 1 stop systemd from booting
        assert_eq!(second, "--cgroupns=private");
    }

    #[test]
    fn a_range_that_the_machine_is_in_is_not_taken() {
        let routes = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n\
                      eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                      eth0\t009B13C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                      tun0\t0A0013C6\t00000000\t0001\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n";
        let table = [([198, 19, 155], true), ([198, 19, 0], true), ([198, 19, 156], false), ([198, 18, 155], false)];
        for ([a, b, c], expected) in table {
            assert_eq!(routed(routes, Ipv4Addr::new(a, b, c, 0)), expected, "{a}.{b}.{c}");
        }
    }

    #[test]
    fn addresses_are_handed_out_once() {
        let host = |last| Host {
            name: "x".into(),
            address: Ipv4Addr::new(198, 18, 3, last),
            container: "x".into(),
            state: "running".into(),
        };
        assert_eq!(free_address([198, 18, 3], &[]).unwrap(), Ipv4Addr::new(198, 18, 3, 10));
        assert_eq!(free_address([198, 18, 3], &[host(10), host(12)]).unwrap(), Ipv4Addr::new(198, 18, 3, 11));
        let full: Vec<Host> = (10..250).map(host).collect();
        assert!(free_address([198, 18, 3], &full).is_err());
    }
}
