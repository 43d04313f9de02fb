#!/bin/sh
# The first process of a lab host: what a VPS's firmware and cloud-init would have done, then systemd.
# On cgroup v2 the container sees its own subtree, but Docker mounts it read-only; systemd needs to write.
if [ -e /sys/fs/cgroup/cgroup.controllers ] && [ ! -w /sys/fs/cgroup/cgroup.procs ]; then
    mount -o remount,bind,rw /sys/fs/cgroup || mount -o remount,rw /sys/fs/cgroup || \
        echo "lab: /sys/fs/cgroup stays read-only, systemd will not start" >&2
fi
# Docker mounts these three; on a real server they are plain files that can be replaced. Changed ones are kept on reboot.
for file in hostname hosts resolv.conf; do
    cp "/etc/$file" "/run/lab.$file"
    umount "/etc/$file" || continue
    [ -s "/etc/$file" ] || cat "/run/lab.$file" >"/etc/$file"
    chmod 644 "/etc/$file"
done
# Docker's resolver at 127.0.0.11 lives in firewall rules that the host's own firewall and Docker may remove
if [ -n "$LAB_NAMESERVERS" ] && grep -q '127\.0\.0\.11' /etc/resolv.conf; then
    for server in $LAB_NAMESERVERS; do echo "nameserver $server"; done >/etc/resolv.conf
fi
if [ ! -s /etc/machine-id ]; then tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id; fi
if [ ! -s /etc/ssh/ssh_host_ed25519_key ]; then
    ssh-keygen -q -t ed25519 -N '' -C '' -f /etc/ssh/ssh_host_ed25519_key
fi
unset LAB_NAMESERVERS
exec /sbin/init
