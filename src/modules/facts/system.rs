//! Which system it is: distribution, kernel, names, package and service manager.

use serde_json::json;

use super::{Sections, put};
use crate::plan::Object;

pub fn read(sections: &Sections<'_>, facts: &mut Object) {
    distribution(sections, facts);
    platform(sections, facts);
}

/// Values of os-release without their quotes; the first file that has a key wins.
fn os_release<'a>(text: &'a str, key: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.unwrap_or_default().trim().trim_matches(['"', '\''])
}

fn distribution(sections: &Sections<'_>, facts: &mut Object) {
    let os = sections.text("os");
    let id = os_release(os, "ID");
    let name = match id {
        "debian" | "raspbian" => "Debian",
        "ubuntu" => "Ubuntu",
        "alpine" => "Alpine",
        "centos" => "CentOS",
        "rocky" => "Rocky",
        "almalinux" => "AlmaLinux",
        "fedora" => "Fedora",
        "rhel" => "RedHat",
        "ol" => "OracleLinux",
        "amzn" => "Amazon",
        "arch" => "Archlinux",
        "linuxmint" => "Linux Mint",
        _ => match os_release(os, "NAME") {
            "" => "NA",
            other => other,
        },
    };
    let like = format!("{id} {}", os_release(os, "ID_LIKE"));
    let family = like.split_whitespace().find_map(|id| match id {
        "debian" | "ubuntu" | "raspbian" => Some("Debian"),
        "rhel" | "centos" | "fedora" | "rocky" | "almalinux" | "ol" | "amzn" => Some("RedHat"),
        "alpine" => Some("Alpine"),
        "arch" => Some("Archlinux"),
        "suse" | "opensuse" | "sles" => Some("Suse"),
        _ => None,
    });
    // only Debian's own file names the point release
    let point = sections.line("debian", 0);
    let version = match name == "Debian" && point.starts_with(|c: char| c.is_ascii_digit()) {
        true => point,
        false => os_release(os, "VERSION_ID"),
    };
    let (major, minor) = version.split_once('.').unwrap_or((version, ""));
    let manager = |path: &str| match path.rsplit('/').next().unwrap_or_default() {
        "apt-get" => "apt",
        "dnf" => "dnf",
        "yum" => "yum",
        "apk" => "apk",
        "zypper" => "zypper",
        "pacman" => "pacman",
        _ => "unknown",
    };
    let service_mgr = match sections.line("init", 0) {
        "" => "sysvinit",
        other => other,
    };
    put(
        facts,
        json!({
            "distribution": name,
            "distribution_version": version,
            "distribution_major_version": major,
            "distribution_minor_version": minor,
            "distribution_release": match os_release(os, "VERSION_CODENAME") { "" => "NA", codename => codename },
            "os_family": family.unwrap_or(name),
            "pkg_mgr": sections.text("managers").lines().next().map_or("unknown", manager),
            "service_mgr": service_mgr,
            "lsb": {
                "id": name,
                "release": version,
                "major_release": major,
                "codename": os_release(os, "VERSION_CODENAME"),
                "description": os_release(os, "PRETTY_NAME"),
            },
        }),
    );
}

fn platform(sections: &Sections<'_>, facts: &mut Object) {
    let nodename = sections.line("uname", 3);
    let fqdn = match sections.line("fqdn", 0) {
        "" | "localhost" => nodename,
        fqdn => fqdn,
    };
    let machine = sections.line("uname", 2);
    let bits = match sections.line("bits", 0) {
        "" if machine.contains("64") => "64",
        "" => "32",
        bits => bits,
    };
    put(
        facts,
        json!({
            "system": sections.line("uname", 0),
            "kernel": sections.line("uname", 1),
            "kernel_version": sections.line("uname", 4),
            "machine": machine,
            "architecture": machine,
            "userspace_bits": bits,
            "nodename": nodename,
            "hostname": nodename.split('.').next().unwrap_or_default(),
            "fqdn": fqdn,
            "domain": fqdn.split_once('.').map_or("", |(_, domain)| domain),
        }),
    );
}
