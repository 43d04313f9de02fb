#!/bin/sh
# Builds the images that the lab's registry serves under their Docker Hub names, so that a rollout can be tried where
# nothing can be pulled. Databases, Redis and OpenClaw are the real programs (Debian, npm); Traefik, Frappe, Chatwoot, n8n
# and Typebot are stand-ins that keep the real interface. Every stand-in says so in its first lines. `n8n-real` is n8n
# itself; it is large, and built only when named.
#
#   tests/images/build.sh [--list] [IMAGE…]     # all that hosts pull, or the named ones; with what they stand on
#
# An image is built again only when its folder or the image under it changed (label provision.inputs).
# Prints one line per image on stdout: its name. Talk goes to stderr. Not here: starting Docker, pushing to a registry.
set -eu
cd "$(dirname "$0")"

base=provision-lab-base:trixie

# folder | the image under it | names it gets
recipes="
python   $base             provision-lab-python:trixie
node     python            provision-lab-node:trixie
postgres $base             postgres:17
pgvector postgres          pgvector/pgvector:pg17
mariadb  $base             mariadb:11.8
redis    $base             redis:8.0
traefik  python            traefik:v3.7.9
frappe   python            frappe/erpnext:v16.32.3
chatwoot python            chatwoot/chatwoot:v4.17.1
n8n      node              n8nio/n8n:2.40.7
openclaw node              openclaw/openclaw:2026.9.6
uvicorn  python            provision-lab-uvicorn:trixie
n8n-real node              provision-lab-n8n-real:2.40.7
typebot  python            baptistearno/typebot-builder:3.18.0
typebot-viewer typebot     baptistearno/typebot-viewer:3.18.0
vnm-backend  python        vnm/backend:1.0
vnm-frontend python        vnm/frontend:1.0
vnm-pgadmin  python        dpage/pgadmin4:9.9
docker   $base             provision-lab-docker:trixie
"
# What the hosts of a rollout pull.
served="postgres:17 pgvector/pgvector:pg17 mariadb:11.8 redis:8.0 traefik:v3.7.9 frappe/erpnext:v16.32.3
chatwoot/chatwoot:v4.17.1 n8nio/n8n:2.40.7 openclaw/openclaw:2026.9.6
baptistearno/typebot-builder:3.18.0 baptistearno/typebot-viewer:3.18.0"

say() { printf '%s\n' "$*" >&2; }

build_base() {
    docker image inspect "$base" >/dev/null 2>&1 && return
    say "$base: debootstrap (about half a minute)"
    command -v debootstrap >/dev/null || { say "debootstrap is missing: apt-get install debootstrap"; exit 1; }
    root=$(mktemp -d)
    debootstrap --variant=minbase trixie "$root" >&2
    rm -f "$root"/var/cache/apt/archives/*.deb
    tar -C "$root" -c . | docker import - "$base" >/dev/null
    rm -rf "$root"
}

field() { printf '%s' "$recipes" | awk -v dir="$1" -v n="$2" '$1 == dir { print $n }'; }

tag_of() { case $1 in *:*) printf '%s' "$1" ;; *) field "$1" 3 ;; esac; }

inputs() { # folder, image under it: one digest of everything that decides the result
    {
        docker image inspect --format '{{.Id}}' "$2"
        find "$1" -type f | LC_ALL=C sort | while read -r file; do sha256sum "$file"; stat -c %a "$file"; done
    } | sha256sum | cut -c1-32
}

build() { # folder
    under=$(tag_of "$(field "$1" 2)")
    tag=$(field "$1" 3)
    case " $done " in *" $1 "*) return ;; esac
    case $(field "$1" 2) in *:*) build_base ;; *) (build "$(field "$1" 2)") || exit 1 ;; esac
    digest=$(inputs "$1" "$under")
    have=$(docker image inspect --format '{{index .Config.Labels "provision.inputs"}}' "$tag" 2>/dev/null || true)
    if [ "$have" != "$digest" ]; then
        say "$tag: building"
        start=$(date +%s)
        context=$(mktemp -d)
        cp -a "$1/." "$context"
        # Where TLS is intercepted, pip and npm inside the build need the machine's own certificates.
        cp -L /etc/ssl/certs/ca-certificates.crt "$context/build-ca.crt" 2>/dev/null || : >"$context/build-ca.crt"
        if ! DOCKER_BUILDKIT=0 docker build --label "provision.inputs=$digest" -t "$tag" "$context" >"$context.log" 2>&1; then
            tail -n 30 "$context.log" >&2
            say "$tag: the build failed; whole log: $context.log"
            rm -rf "$context"
            exit 1
        fi
        rm -rf "$context" "$context.log"
        say "$tag: built in $(($(date +%s) - start)) s"
    fi
    done="$done $1"
    printf '%s\n' "$tag"
}

done=
case ${1-} in --list) printf '%s\n' $served; exit ;; esac
# One build at a time on this machine: two of them would build the same layers twice.
exec 9<"$PWD"
flock 9
build_named() {
    for name in "$@"; do
        dir=$(printf '%s' "$recipes" | awk -v want="$name" '$1 == want || $3 == want { print $1 }')
        [ -n "$dir" ] || { say "no image \`$name\`; there are: $(printf '%s' "$recipes" | awk 'NF { print $1 }' | tr '\n' ' ')"; exit 2; }
        build "$dir"
    done
}
if [ $# -gt 0 ]; then
    build_named "$@"
else
    # All that is served, on both of the usual two cores: what stands on Python beside what does not.
    build_base
    build_named redis postgres pgvector mariadb &
    build_named traefik frappe chatwoot n8n openclaw typebot-viewer
    wait $!
fi
