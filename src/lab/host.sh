# Makes a host of the lab out of a bare Debian 13: what a fresh VPS has, and no Docker. Runs once, as root, in a
# container of the bare system.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

rm -f /etc/apt/sources.list
cat >/etc/apt/sources.list.d/debian.sources <<'END'
Types: deb
URIs: http://deb.debian.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: trixie-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
END
# documentation is half of what packages unpack
cat >/etc/dpkg/dpkg.cfg.d/lab <<'END'
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
END
# services must not start while the image is made
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d

echo 'step: host image: installing systemd, sshd, sudo, curl'
apt-get update -q
apt-get install -y -q --no-install-recommends ca-certificates curl dbus iproute2 iptables kmod openssh-server procps \
    sudo systemd systemd-sysv tzdata
rm -f /usr/sbin/policy-rc.d

echo 'step: host image: configuring'
# Debian has a group of this name
useradd --create-home --gid operator --shell /bin/bash operator
printf 'operator ALL=(ALL:ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/operator
chmod 440 /etc/sudoers.d/operator
cat >/etc/ssh/sshd_config.d/lab.conf <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
PermitRootLogin prohibit-password
UseDNS no
END
# every host gets a key of its own on its first boot
rm -f /etc/ssh/ssh_host_*
# a container must not set the kernel's parameters of the machine it runs on
systemctl mask systemd-sysctl.service systemd-modules-load.service systemd-remount-fs.service getty.target \
    console-getty.service systemd-firstboot.service systemd-networkd.service systemd-resolved.service 2>/dev/null
ln -sf /lib/systemd/system/multi-user.target /etc/systemd/system/default.target
: >/etc/machine-id
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
