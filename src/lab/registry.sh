# Makes the lab's registry out of a bare Debian 13. Runs once, as root, in a container of the bare system.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
echo 'step: registry image: installing docker-registry'
apt-get update -q
apt-get install -y -q --no-install-recommends docker-registry
rm -f /usr/sbin/policy-rc.d
cat >/etc/docker/registry/config.yml <<'END'
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http: {addr: ":5000"}
END
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin
