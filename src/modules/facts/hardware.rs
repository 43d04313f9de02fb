//! What the minimum leaves out besides the network: memory, processors, file systems, the hypervisor, Docker.

use serde_json::{Value, json};

use super::{Sections, put};
use crate::plan::Object;

pub fn read(sections: &Sections<'_>, facts: &mut Object) {
    memory_and_cpu(sections, facts);
    mounts(sections, facts);
    virtualization(sections, facts);
    docker(sections, facts);
}

fn memory_and_cpu(sections: &Sections<'_>, facts: &mut Object) {
    let memory = sections.text("memory");
    let mb = |key: &str| -> u64 {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
    };
    let (total, free, swap_total, swap_free) = (mb("MemTotal"), mb("MemFree"), mb("SwapTotal"), mb("SwapFree"));
    let available = mb("MemAvailable");
    let cpu = sections.text("cpu");
    let values = |key: &str| -> Vec<&str> {
        let lines = cpu.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(name, _)| name.trim() == key).map(|(_, value)| value.trim()).collect()
    };
    let threads = values("processor").len().max(1);
    let mut sockets = values("physical id");
    sockets.sort_unstable();
    sockets.dedup();
    let count = sockets.len().max(1);
    let cores =
        values("cpu cores").first().and_then(|cores| cores.parse::<usize>().ok()).unwrap_or(threads / count).max(1);
    let nproc = sections.line("nproc", 0).parse().unwrap_or(threads);
    let mut processor = Vec::new();
    for (at, model) in values("model name").iter().enumerate() {
        processor.extend([at.to_string(), values("vendor_id").get(at).unwrap_or(&"").to_string(), model.to_string()]);
    }
    put(
        facts,
        json!({
            "memtotal_mb": total, "memfree_mb": free, "swaptotal_mb": swap_total, "swapfree_mb": swap_free,
            "memory_mb": {
                "real": {"total": total, "free": free, "used": total.saturating_sub(free)},
                "nocache": {"free": available, "used": total.saturating_sub(available)},
                "swap": {"total": swap_total, "free": swap_free, "used": swap_total.saturating_sub(swap_free), "cached": mb("SwapCached")},
            },
            "processor": processor,
            "processor_count": count,
            "processor_cores": cores,
            "processor_threads_per_core": (threads / (count * cores)).max(1),
            "processor_vcpus": threads,
            "processor_nproc": nproc,
            "uptime_seconds": sections.line("uptime", 0).split('.').next().and_then(|text| text.parse::<u64>().ok()),
            "system_vendor": sections.line("dmi", 0),
            "product_name": sections.line("dmi", 1),
            "product_version": sections.line("dmi", 2),
            "bios_version": sections.line("dmi", 3),
            "selinux": match sections.line("selinux", 0) {
                "1" => json!({"status": "enabled", "mode": "enforcing"}),
                "0" => json!({"status": "enabled", "mode": "permissive"}),
                _ => json!({"status": "disabled"}),
            },
            "apparmor": {"status": if sections.line("apparmor", 0) == "enabled" { "enabled" } else { "disabled" }},
        }),
    );
}

fn mounts(sections: &Sections<'_>, facts: &mut Object) {
    // Filesystem 1024-blocks Used Available Capacity Mounted-on
    let space = |line: &str| -> Option<(u64, u64, String)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, total, _, available, _, mount @ ..] = &words[..] else { return None };
        Some((total.parse().ok()?, available.parse().ok()?, mount.join(" ")))
    };
    let spaces: Vec<_> = sections.text("df").lines().filter_map(space).collect();
    let mounts: Vec<Value> = sections
        .text("mounts")
        .lines()
        .filter_map(|line| {
            let [device, mount, fstype, options, ..] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
            let real = (device.starts_with('/') || device.contains(":/")) && fstype != "none";
            let (total, available) =
                spaces.iter().find(|(.., at)| at == mount).map_or((0, 0), |(total, free, _)| (*total, *free));
            real.then(|| {
                json!({
                    "device": device, "mount": mount, "fstype": fstype, "options": options,
                    "size_total": total * 1024, "size_available": available * 1024,
                })
            })
        })
        .collect();
    let root = sections.text("root").lines().last().and_then(space);
    put(
        facts,
        json!({
            "mounts": mounts,
            "root_disk_total_mb": root.as_ref().map(|(total, ..)| total / 1024),
            "root_disk_free_mb": root.as_ref().map(|(_, free, _)| free / 1024),
        }),
    );
}

fn virtualization(sections: &Sections<'_>, facts: &mut Object) {
    let kind = match sections.line("virt", 0) {
        "" | "none" => match sections.line("dmi", 1) {
            "KVM" | "Standard PC (i440FX + PIIX, 1996)" | "Standard PC (Q35 + ICH9, 2009)" => "kvm",
            "VMware Virtual Platform" => "VMware",
            "VirtualBox" => "virtualbox",
            _ => "NA",
        },
        "oracle" => "virtualbox",
        "vmware" => "VMware",
        "microsoft" => "VirtualPC",
        "qemu" => "kvm",
        other => other,
    };
    put(facts, json!({"virtualization_type": kind, "virtualization_role": if kind == "NA" { "NA" } else { "guest" }}));
}

fn docker(sections: &Sections<'_>, facts: &mut Object) {
    // Docker version 26.1.5+dfsg1, build a72d7cd
    let docker =
        sections.line("docker", 0).strip_prefix("Docker version ").and_then(|rest| rest.split([',', ' ']).next());
    let compose = Some(sections.line("compose", 0).trim_start_matches('v')).filter(|text| !text.is_empty());
    put(facts, json!({"docker_version": docker, "compose_version": compose}));
}
