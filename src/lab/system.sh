# Makes a bare Debian 13 with debootstrap and packs it: $1 is where, $2 the owner of the result. Needs root.
set -eu
# the caller's may be stricter, and a system of folders that only root can enter does not boot
umask 022
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
root=$(mktemp -d "${TMPDIR:-/var/tmp}/provision-lab.XXXXXX")
chmod 755 "$root"
trap 'rm -rf "$root"' EXIT
trap 'exit 1' HUP INT TERM
debootstrap --variant=minbase trixie "$root" http://deb.debian.org/debian
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
tar -C "$root" --numeric-owner --exclude='./dev/*' -cf - . | gzip -1 >"$1.part"
chown "$2" "$1.part"
mv "$1.part" "$1"
