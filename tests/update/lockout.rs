//! What locks the operator out is undone by the host: the packet filter, sshd, and the network as each of the programs has it
//! that bring one up.

use serde_json::Value;

use super::SCENE;
use super::stage::{self, Stage, counts, last_events};

const SAID: &str = "the change `rule` cut the connection; the host undid it by itself";

#[test]
fn what_locks_the_operator_out_is_undone_by_the_host() {
    let Some((_turn, stage)) = stage::enter(&SCENE, "what_locks_the_operator_out_is_undone_by_the_host") else {
        return;
    };
    let runs = stage.runs("lifeline");
    // while the network is whole
    let install = |host: &'static str, package: &str| {
        let quiet = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends";
        stage.inside(
            host,
            &format!("(apt-get update && {quiet} {package}) >/tmp/apt 2>&1 || {{ tail /tmp/apt >&2; exit 1; }}"),
        )
    };
    std::thread::scope(|scope| {
        scope.spawn(|| install("u1", "netplan.io"));
        install("u2", "ifupdown");
    });
    let left = |host: &str| {
        stage.inside(
            host,
            "ls /var/lib/provision/lifeline; systemctl list-units --all --plain --no-legend 'provision-lifeline-*'",
        )
    };
    // u1's address is the network daemon's to give, as on a server
    let network = "printf '[Match]\\nName=eth0\\n[Network]\\nAddress=%s\\nGateway=%s\\n' \
         \"$(ip -o -4 addr show eth0 | awk '{print $4}')\" \"$(ip route show default | awk '{print $3}')\" >/etc/systemd/network/10-lab.network && \
         systemctl unmask -q systemd-networkd.service systemd-networkd.socket && systemctl start systemd-networkd && \
         n=0; until networkctl status eth0 | grep -q 'State: routable (configured)'; do n=$((n+1)); [ $n -lt 100 ] || exit 1; sleep 0.2; done";
    stage.inside("u1", network);
    let state = || {
        [
            stage.inside(
                "u1",
                "cat /etc/systemd/network/*; ip -o -4 addr show eth0 | awk '{print $4}'; ip route show default",
            ),
            stage.inside("u2", "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; systemctl is-active ssh"),
            stage.inside("u3", "iptables -S INPUT"),
        ]
    };
    let before = state();
    let play = |[u1, u2, u3]: [&str; 3], code: i32| {
        let vars = serde_json::json!({ "rules": {"u1": u1, "u2": u2, "u3": u3} }).to_string();
        stage.must(&runs, &["run", "tests/update/lockout.yml", "-e", &vars], code)
    };
    // another subnet; an sshd that does not come up any more; a rule against everybody
    let ran = play(
        [
            "sed -i 's,^Address=.*,Address=203.0.113.7/24,; /^Gateway/d' /etc/systemd/network/10-lab.network && networkctl reload",
            "echo 'PermitNothing yes' >/etc/ssh/sshd_config.d/00-wrong.conf; systemctl restart ssh; ! systemctl is-active ssh",
            "iptables -I INPUT -p tcp --dport 22 -j DROP",
        ],
        1,
    );
    assert!(ran.stdout.contains("3 of 3 hosts failed") && ran.stdout.contains(SAID), "{}", ran.stdout);
    assert_eq!((state(), ["u1", "u2", "u3"].map(left)), (before.clone(), [""; 3].map(str::to_owned)));
    // what does no harm stays, and nothing is left that would undo it
    play(
        [
            "printf '[Route]\\nDestination=203.0.113.0/24\\nScope=link\\n' >>/etc/systemd/network/10-lab.network && networkctl reload",
            "echo 'LoginGraceTime 45' >/etc/ssh/sshd_config.d/00-fine.conf && systemctl reload ssh",
            "iptables -I INPUT -p tcp --dport 9999 -j DROP",
        ],
        0,
    );
    assert!(stage.inside("u1", "ip route").contains("203.0.113.0/24 dev eth0"), "{:?}", state());
    assert!(stage.inside("u2", "sshd -T").contains("logingracetime 45"), "{:?}", state());
    assert!(stage.inside("u3", "iptables -S INPUT").contains("--dport 9999 -j DROP"), "{:?}", state());
    assert_eq!(["u1", "u2", "u3"].map(left), [""; 3].map(str::to_owned));
    stage.inside(
        "u1",
        "systemctl mask -q --now systemd-networkd.socket systemd-networkd && rm /etc/systemd/network/10-lab.network",
    );
    stage.inside("u2", "rm /etc/ssh/sshd_config.d/00-fine.conf && systemctl reload ssh");
    stage.inside("u3", "iptables -D INPUT -p tcp --dport 9999 -j DROP");
    other_networks(stage);

    // a server's own firewall comes up behind such a lifeline, once
    let bootstrap = ["run", "playbooks/bootstrap.yml", "--limit", "u3", "-e", "{firewall_enabled: true}"];
    let armed =
        |events: &[Value]| events.iter().any(|event| stage::starts("u3", "An undo of `firewall` is armed")(event));
    stage.must(&runs, &bootstrap, 0);
    assert!(armed(&last_events(&runs)));
    assert!(stage.inside("u3", "ufw status").contains("22/tcp"), "{}", stage.inside("u3", "ufw status"));
    stage.must(&runs, &bootstrap, 0);
    let events = last_events(&runs);
    assert_eq!((counts(&events, "u3", "changed"), armed(&events), left("u3")), (0, false, String::new()));
    stage.inside("u3", "ufw --force reset >/dev/null");
}

/// The same for ifupdown on u2 and netplan on u1.
fn other_networks(stage: &Stage) {
    let runs = stage.runs("networks");
    stage.inside("u1", NETPLAN);
    stage.inside("u2", IFUPDOWN);
    let state = || {
        ["u1", "u2"].map(|host| {
            stage.inside(
                host,
                "cat /etc/netplan/* /etc/network/interfaces.d/* 2>/dev/null; ip -o -4 addr show eth0 | awk '{print $4}'; \
                 ip route | sort; systemctl is-active networking systemd-networkd; true",
            )
        })
    };
    let play = |[u1, u2]: [&str; 2], code: i32| {
        let vars = serde_json::json!({ "rules": {"u1": u1, "u2": u2} }).to_string();
        stage.must(&runs, &["run", "tests/update/lockout.yml", "--limit", "u1,u2", "-e", &vars], code)
    };
    // what does no harm stays
    play(
        [
            "sed -i 's,routes: .,&{to: 203.0.113.0/24\\, scope: link}\\, ,' /etc/netplan/10-lab.yaml && netplan apply",
            "echo '  up ip route add 203.0.113.0/24 dev eth0' >>/etc/network/interfaces.d/lab && systemctl restart networking",
        ],
        0,
    );
    let before = state();
    for text in &before {
        assert!(text.contains("203.0.113.0/24 dev eth0"), "{text}");
    }
    // another address in another subnet
    let ran = play(
        [
            "sed -i 's,addresses: .*,addresses: [198.51.100.7/24],; s/, {to: default[^}]*}//' /etc/netplan/10-lab.yaml && netplan apply",
            "ifdown eth0; sed -i 's,address .*,address 198.51.100.7/24,; /gateway/d' /etc/network/interfaces.d/lab; ifup eth0",
        ],
        1,
    );
    assert!(ran.stdout.contains("2 of 2 hosts failed") && ran.stdout.contains(SAID), "{}", ran.stdout);
    assert_eq!(state(), before);
    // one that ifup gives up on half-way: the old address is there still, and the service is not up
    let ran = play(
        [
            "true",
            "sed -i 's,address .*,address 203.0.113.7/24,' /etc/network/interfaces.d/lab; systemctl restart networking",
        ],
        1,
    );
    assert!(ran.stdout.contains("task failed: u2"), "{}", ran.stdout);
    // what the timer would begin
    let undo = "systemctl stop provision-lifeline-rule.timer; cd /var/lib/provision/lifeline/rule && sh undo \"$PWD\" 2>/dev/null; cat undone";
    stage.inside("u2", undo);
    assert_eq!(state(), before);
    stage.inside("u1", "rm /etc/netplan/10-lab.yaml /run/systemd/network/*; systemctl mask -q --now systemd-networkd.socket systemd-networkd; systemctl stop systemd-udevd");
    stage.inside("u2", "rm -r /etc/network/interfaces.d/lab /var/lib/provision/lifeline");
}

/// `netplan apply` asks udev to look at the devices again, which does not run where /sys cannot be written: here it runs.
const NETPLAN: &str = r#"set -e
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket; do
    mkdir -p /run/systemd/system/$unit.d
    printf '[Unit]\nConditionPathIsReadWrite=\n' >/run/systemd/system/$unit.d/lab.conf
done
systemctl daemon-reload
systemctl start systemd-udevd
systemctl unmask -q systemd-networkd.service systemd-networkd.socket
systemctl start systemd-networkd
umask 077
printf 'network:\n  version: 2\n  renderer: networkd\n  ethernets:\n    eth0:\n      addresses: [%s]\n      routes: [{to: default, via: %s}]\n' \
    "$(ip -o -4 addr show eth0 | awk '{print $4}')" "$(ip route show default | awk '{print $3}')" >/etc/netplan/10-lab.yaml
netplan apply"#;

const IFUPDOWN: &str = r#"set -e
printf 'auto eth0\niface eth0 inet static\n  address %s\n  gateway %s\n' \
    "$(ip -o -4 addr show eth0 | awk '{print $4}')" "$(ip route show default | awk '{print $3}')" >/etc/network/interfaces.d/lab
ip address flush dev eth0
systemctl restart networking"#;
