
# Behind host.sh, for hosts that come with Docker, as many providers' images do: installed and never started, so that
# its first start heeds the settings of whoever uses it.
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
echo 'step: host image: installing Docker'
apt-get update -q
apt-get install -y -q --no-install-recommends docker.io docker-cli docker-compose jq openssl ufw
systemctl disable docker.service docker.socket containerd.service ufw.service 2>/dev/null
rm -f /usr/sbin/policy-rc.d
apt-get clean
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/apt /var/log/dpkg.log
