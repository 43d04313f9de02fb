#!/bin/sh
# Puts on this machine what the lab and the tests need: Docker's engine, debootstrap, ssh, a few small shells, a browser.
# Installs only what is missing, says first what that is, asks sudo only if it is needed. Debian and Ubuntu; elsewhere
# it lists what is missing. Not here: Rust, and anything on the lab's hosts.
set -eu
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

say() { printf 'prepare: %s\n' "$*" >&2; }
die() { say "$1"; exit 1; }

[ "$(uname -s)" = Linux ] || die "the lab needs Linux: elsewhere ssh cannot reach the containers of Docker by address"

if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo=sudo; fi

# command that shows it is there | package
needs="docker docker.io
debootstrap debootstrap
/usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
ssh openssh-client
ssh-keygen openssh-client
sshd openssh-server
busybox busybox
bash bash
zstd zstd
curl curl
git git
cc build-essential
iptables iptables
sudo sudo
fish fish
tcsh tcsh
doas opendoas
age age
openssl openssl
faketime faketime
/usr/lib/python3/dist-packages/yaml/__init__.py python3-yaml"

# The tests look at reports in a browser, any of these. Ubuntu has chromium only as a snap, which wants a running snapd
# and cannot read the tests' folders in /tmp: there it is said, and whoever runs the tests installs a .deb of a browser.
has_browser() { for name in chromium chromium-browser google-chrome google-chrome-stable; do command -v $name >/dev/null 2>&1 && return; done; return 1; }
if ! has_browser; then
    case $(. /etc/os-release 2>/dev/null && printf '%s' "${ID-}") in
        ubuntu) say "no chromium: Ubuntu has it only as a snap, which tests cannot use; install Google's chrome (.deb), else tests/cli skips what it looks at in a browser, and fails under CI=true" ;;
        *) needs="$needs
chromium chromium" ;;
    esac
fi

# old command lines end with 0 though no engine answers, so look at what they say
answer() { docker info --format 'engine {{.ServerVersion}}' 2>&1 || true; }
answers() { case $(answer) in "engine "[0-9]*) true ;; *) false ;; esac; }
# A client may be here without its engine. One that answers may run elsewhere (DOCKER_HOST, Docker Desktop).
answers || case $(answer) in *"permission denied"*) ;; *) needs="$needs
dockerd docker.io" ;; esac

missing=$(printf '%s\n' "$needs" | while read -r command package; do
    command -v "$command" >/dev/null 2>&1 || [ -f "$command" ] || printf '%s\n' "$package"
done | sort -u | tr '\n' ' ')

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || die "install these with this system's package manager, then run this again: $missing"
    [ -z "$sudo" ] || command -v sudo >/dev/null || die "needs root to install: $missing"
    say "installing with apt-get: $missing"
    # the test's own sshd is started by the tests; a new one for the whole machine would be a surprise
    keep_sshd_off=no
    case " $missing" in *" openssh-server "*) [ -e /etc/ssh/sshd_config ] || keep_sshd_off=yes ;; esac
    $sudo apt-get update -q >/dev/null
    # Debian 13 has the command in a package of its own
    case " $missing" in
        *" docker.io "*) if apt-cache show docker-cli >/dev/null 2>&1; then missing="$missing docker-cli"; fi ;;
    esac
    if ! $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/tmp/provision-prepare.$$ 2>&1; then
        tail -n 20 /tmp/provision-prepare.$$ >&2
        die "apt-get failed; the whole log is /tmp/provision-prepare.$$"
    fi
    rm -f /tmp/provision-prepare.$$
    if [ "$keep_sshd_off" = yes ] && [ -d /run/systemd/system ]; then
        $sudo systemctl disable --now ssh.socket ssh.service >/dev/null 2>&1 || true
        say "the new sshd is switched off for this machine; tests start one of their own"
    fi
fi

# sshd wants this, and makes it only when systemd starts it
[ -d /run/sshd ] || $sudo mkdir -p -m 755 /run/sshd

if ! answers; then
    case $(answer) in
        *"permission denied"*) ;;
        *)
            case ${DOCKER_HOST-} in
                '' | unix://*) ;;
                *) die "DOCKER_HOST is $DOCKER_HOST, and nothing answers there: unset it, or start that engine" ;;
            esac
            if [ -d /run/systemd/system ]; then
                say "starting Docker"
                $sudo systemctl start docker
            else
                say "starting Docker's engine in the background (log: /tmp/dockerd.log)"
                $sudo sh -c 'setsid dockerd >/tmp/dockerd.log 2>&1 </dev/null &'
            fi
            ;;
    esac
    tries=0
    until answers; do
        case $(answer) in *"permission denied"*) break ;; esac
        tries=$((tries + 1))
        if [ "$tries" -gt 120 ]; then
            tail -n 5 /tmp/dockerd.log >&2 2>/dev/null || true
            die "Docker's engine does not answer after 60 s: $(answer)"
        fi
        sleep 0.5
    done
fi

if ! answers; then
    user=$(id -un)
    say "letting $user talk to Docker: group docker (which is as much as root on this machine)"
    $sudo usermod -aG docker "$user"
    # the group counts from the next login on; until then the socket itself lets this user in
    command -v setfacl >/dev/null || $sudo apt-get install -y -q acl >/dev/null 2>&1 || true
    $sudo setfacl -m "u:$user:rw" /var/run/docker.sock 2>/dev/null || true
    answers || die "log out and in again, then repeat: $user is now in the group docker"
fi
