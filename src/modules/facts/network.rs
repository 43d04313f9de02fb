//! The network facts: interfaces, addresses, default routes.
//!
//! Read from iproute2 where it is installed; from `hostname -I` and the kernel's routing table otherwise.

use serde_json::{Value, json};

use super::{Sections, put};
use crate::plan::Object;

pub fn read(sections: &Sections<'_>, facts: &mut Object) {
    let mut interfaces: Vec<Interface> = sections.text("links").lines().filter_map(Interface::parse).collect();
    for line in sections.text("addresses").lines() {
        // 2: eth0    inet 10.0.0.5/24 brd 10.0.0.255 scope global eth0
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, name, family, address, rest @ ..] = &words[..] else { continue };
        let Some((address, prefix)) = address.split_once('/') else { continue };
        let Some(interface) = interfaces.iter_mut().find(|interface| interface.name == *name) else { continue };
        let prefix = prefix.parse().unwrap_or_default();
        let after = |word: &str| rest.iter().position(|each| *each == word).and_then(|at| rest.get(at + 1)).copied();
        match *family {
            "inet" => interface.ipv4.push(ipv4(address, prefix, after("brd"))),
            "inet6" => {
                interface.ipv6.push(json!({"address": address, "prefix": prefix.to_string(), "scope": after("scope")}));
            }
            _ => {}
        }
    }
    let plain: Vec<&str> = sections.line("plain", 0).split_whitespace().collect();
    let has_ip = !interfaces.is_empty();
    let addresses = |pick: fn(&Interface) -> &Vec<Value>, skip: &str| -> Vec<Value> {
        let all = interfaces.iter().flat_map(pick).map(|entry| entry["address"].clone());
        all.filter(|address| !address.as_str().is_some_and(|text| text.starts_with(skip))).collect()
    };
    let (all4, all6) = match has_ip {
        true => (addresses(|interface| &interface.ipv4, "127."), addresses(|interface| &interface.ipv6, "::1")),
        false => (
            plain.iter().filter(|text| text.contains('.')).map(|text| json!(text)).collect(),
            plain.iter().filter(|text| text.contains(':')).map(|text| json!(text)).collect(),
        ),
    };
    let default4 = default_route(sections.text("route4"), &interfaces, |interface| &interface.ipv4);
    let default4 = default4.or_else(|| kernel_route(sections.text("plain"), &plain));
    let default6 = default_route(sections.text("route6"), &interfaces, |interface| &interface.ipv6);
    let names: Vec<&str> = interfaces.iter().map(|interface| interface.name.as_str()).collect();
    put(
        facts,
        json!({
            "interfaces": names,
            "all_ipv4_addresses": all4,
            "all_ipv6_addresses": all6,
            "default_ipv4": default4.unwrap_or_else(|| json!({})),
            "default_ipv6": default6.unwrap_or_else(|| json!({})),
        }),
    );
    for interface in &interfaces {
        facts.insert(interface.name.replace(['-', '.', ':'], "_"), interface.fact());
    }
}

struct Interface {
    name: String,
    up: bool,
    mtu: Option<u64>,
    mac: Option<String>,
    kind: &'static str,
    ipv4: Vec<Value>,
    ipv6: Vec<Value>,
}

impl Interface {
    /// `2: eth0@if5: <BROADCAST,UP> mtu 1500 … state UP …\    link/ether 02:42:… brd ff:…`
    fn parse(line: &str) -> Option<Interface> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.get(1)?.trim_end_matches(':').split('@').next()?.to_owned();
        let after = |word: &str| words.iter().position(|each| *each == word).and_then(|at| words.get(at + 1)).copied();
        let link = words.iter().position(|word| word.starts_with("link/"));
        let kind = match link.and_then(|at| words.get(at)).copied() {
            Some("link/ether") => "ether",
            Some("link/loopback") => "loopback",
            _ => "unknown",
        };
        Some(Interface {
            name,
            up: words.get(2).is_some_and(|flags| flags.trim_matches(['<', '>']).split(',').any(|flag| flag == "UP")),
            mtu: after("mtu").and_then(|text| text.parse().ok()),
            mac: link.and_then(|at| words.get(at + 1)).filter(|_| kind == "ether").map(|mac| (*mac).to_owned()),
            kind,
            ipv4: Vec::new(),
            ipv6: Vec::new(),
        })
    }

    fn fact(&self) -> Value {
        let mut fact = json!({
            "device": self.name, "active": self.up, "mtu": self.mtu, "type": self.kind,
            "ipv6": self.ipv6,
        });
        let Value::Object(values) = &mut fact else { return fact };
        if let Some(mac) = &self.mac {
            values.insert("macaddress".to_owned(), mac.as_str().into());
        }
        let mut addresses = self.ipv4.iter();
        if let Some(first) = addresses.next() {
            values.insert("ipv4".to_owned(), first.clone());
        }
        let others: Vec<Value> = addresses.cloned().collect();
        if !others.is_empty() {
            values.insert("ipv4_secondaries".to_owned(), others.into());
        }
        fact
    }
}

fn ipv4(address: &str, prefix: u32, broadcast: Option<&str>) -> Value {
    let mask = u32::MAX.checked_shl(32 - prefix.min(32)).unwrap_or(0);
    let network =
        address.parse::<std::net::Ipv4Addr>().map(|address| std::net::Ipv4Addr::from(u32::from(address) & mask));
    json!({
        "address": address,
        "prefix": prefix.to_string(),
        "netmask": std::net::Ipv4Addr::from(mask).to_string(),
        "network": network.map(|network| network.to_string()).unwrap_or_default(),
        "broadcast": broadcast.unwrap_or_default(),
    })
}

/// `default via 10.0.0.1 dev eth0 [src 10.0.0.5] …`
fn default_route(text: &str, interfaces: &[Interface], pick: fn(&Interface) -> &Vec<Value>) -> Option<Value> {
    let words: Vec<&str> = text.lines().next()?.split_whitespace().collect();
    let after = |word: &str| words.iter().position(|each| *each == word).and_then(|at| words.get(at + 1)).copied();
    let name = after("dev")?;
    let interface = interfaces.iter().find(|interface| interface.name == name)?;
    let addresses = pick(interface);
    let chosen = addresses.iter().find(|entry| entry["address"].as_str() == after("src"));
    let global = addresses.iter().find(|entry| entry["scope"] != "link");
    let mut entry = chosen.or(global).cloned().unwrap_or_else(|| json!({}));
    if let Value::Object(values) = &mut entry {
        values.insert("interface".to_owned(), name.into());
        values.insert("alias".to_owned(), name.into());
        values.insert("gateway".to_owned(), after("via").into());
        values.insert("macaddress".to_owned(), interface.mac.clone().into());
        values.insert("mtu".to_owned(), interface.mtu.into());
        values.insert("type".to_owned(), interface.kind.into());
    }
    Some(entry)
}

/// The default route of `/proc/net/route`, where addresses are little-endian hex.
fn kernel_route(text: &str, addresses: &[&str]) -> Option<Value> {
    let route = text.lines().skip(1).find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [interface, "00000000", gateway, ..] => Some((interface, u32::from_str_radix(gateway, 16).ok()?)),
            _ => None,
        }
    });
    let (interface, gateway) = route?;
    let gateway = std::net::Ipv4Addr::from(gateway.swap_bytes()).to_string();
    let address = addresses.iter().find(|text| text.contains('.'))?;
    Some(json!({"interface": interface, "alias": interface, "gateway": gateway, "address": address}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_and_without_iproute2() {
        let text = "
@links
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN mode DEFAULT group default qlen 1000\\    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
2: eth0@if7: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP mode DEFAULT group default \\    link/ether 02:42:ac:11:00:02 brd ff:ff:ff:ff:ff:ff
3: docker0: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN \\    link/ether 02:42:00:00:00:01 brd ff:ff:ff:ff:ff:ff

@addresses
1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever preferred_lft forever
2: eth0    inet 172.17.0.2/16 brd 172.17.255.255 scope global eth0\\       valid_lft forever
2: eth0    inet6 fe80::42/64 scope link \\       valid_lft forever

@route4
default via 172.17.0.1 dev eth0

@plain
172.17.0.2
Iface\tDestination\tGateway
eth0\t00000000\t010011AC\t0003
";
        let mut facts = Object::new();
        read(&Sections::parse(text), &mut facts);
        assert_eq!(facts["interfaces"], json!(["lo", "eth0", "docker0"]));
        assert_eq!(facts["all_ipv4_addresses"], json!(["172.17.0.2"]));
        assert_eq!(facts["default_ipv4"]["address"], "172.17.0.2");
        assert_eq!(facts["default_ipv4"]["gateway"], "172.17.0.1");
        assert_eq!(facts["default_ipv4"]["netmask"], "255.255.0.0");
        assert_eq!(facts["default_ipv4"]["network"], "172.17.0.0");
        assert_eq!(facts["eth0"]["macaddress"], "02:42:ac:11:00:02");
        assert_eq!(facts["docker0"]["active"], false);
        let bare = text.split("@plain").nth(1).map(|rest| format!("\n@plain{rest}")).unwrap();
        let mut facts = Object::new();
        read(&Sections::parse(&bare), &mut facts);
        assert_eq!(facts["default_ipv4"]["gateway"], "172.17.0.1");
        assert_eq!(facts["default_ipv4"]["address"], "172.17.0.2");
        assert_eq!(facts["all_ipv4_addresses"], json!(["172.17.0.2"]));
    }
}
