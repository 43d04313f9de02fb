# W as a careful person writes it by hand, idempotent; the benchmark puts `here=…` and `name=…` in front.
set -eu
umask 022

dir() { [ -d "$here/$1" ] || mkdir -p "$here/$1"; [ "$(stat -c %a "$here/$1")" = "$2" ] || chmod "$2" "$here/$1"; }
# stdin → a file, only if it differs
put() {
  cat >"$here/.new"
  if ! cmp -s "$here/.new" "$here/$1"; then
    chmod "$2" "$here/.new"
    mv "$here/.new" "$here/$1"
  fi
  [ "$(stat -c %a "$here/$1")" = "$2" ] || chmod "$2" "$here/$1"
}
line() { grep -qxF "$2" "$here/$1" 2>/dev/null || printf '%s\n' "$2" >>"$here/$1"; }
site() {
  {
    printf '# %s on %s\nserver_name %s.example.org;\nworkers 4;\n' "$1" "$name" "$1"
    i=0
    for upstream in 10.0.0.1 10.0.0.2 10.0.0.3; do i=$((i + 1)); printf 'upstream %s weight=%s;\n' "$upstream" "$i"; done
  } | put "etc/$2" "$3"
}

uname -a >/dev/null
cat /etc/os-release >/dev/null
dir . 755; dir etc 755; dir etc/conf.d 755; dir data 750; dir logs 755; dir bin 755; dir secret 700
printf 'Managed by provision\n' | put etc/motd 644
[ -e "$here/etc/limits" ] || printf '* soft nofile 65536\n' | put etc/limits 644
printf 'not a real token\n' | put secret/token 600
printf '1.2.3\n' | put etc/version 644
for file in service second; do
  put etc/conf.d/$file.conf 644 <<E
[service]
listen = 0.0.0.0:8080
workers = 4
timeout = 30
log = /var/log/service.log
E
done
put bin/check 755 <<'E'
#!/bin/sh
# is the service up?
exec curl -fsS http://127.0.0.1:8080/health
E
[ -e "$here/etc/sysctl.conf" ] || put etc/sysctl.conf 644 <<'E'
net.core.somaxconn = 4096
vm.swappiness = 60
fs.inotify.max_user_watches = 524288
E
site one site1 644; site two site2 644; site three site3 644; site four site4 644; site five site5 644; site six site6 640
grep -q '^vm.swappiness = 10$' "$here/etc/sysctl.conf" || sed -i 's/^vm\.swappiness.*/vm.swappiness = 10/' "$here/etc/sysctl.conf"
line etc/limits '* hard nofile 65536'
line etc/hosts '10.0.0.9 registry.example.org'
[ "$(readlink "$here/current")" = "$here/data" ] || ln -sfn "$here/data" "$here/current"
[ "$(readlink "$here/bin/health")" = "$here/bin/check" ] || ln -sfn "$here/bin/check" "$here/bin/health"
id daemon >/dev/null
[ -x "$here/bin/check" ]
[ -e "$here/data/ready" ] || mkdir "$here/data/ready"
[ -e "$here/data/seeded" ] || touch "$here/data/seeded"
