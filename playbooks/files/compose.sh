#!/bin/sh
# One command for all services of this host, as `docker compose` is for one of them:
#
#   ./compose ps                      ./compose logs -f --tail 20
#   ./compose up -d                   ./compose pull
#   ./compose restart chat            a service
#   ./compose up -d chat-web hub-db   parts of services
#
# Each service has a folder and a project of its own, and this runs `docker compose` in each. Written by provision; what
# is done here by hand is not recorded, and the next run of provision brings back what the client declares.
set -u
here=$(cd -- "$(dirname -- "$0")" && pwd) || exit 1
say() { printf '%s\n' "$*" >&2; }

if [ $# -eq 0 ] || [ "$1" = help ] || [ "$1" = --help ]; then
    sed -n '2,7s/^#//p' "$0"
    exit 0
fi
verb=$1
shift
case $verb in
exec | run | cp | attach | port | wait | scale)
    say "$verb is about one container: cd $here/services/SERVICE && docker compose $verb …"
    exit 2
    ;;
esac

docker compose version >/dev/null 2>&1 || { say "docker compose does not answer here"; exit 1; }

# the folders, infrastructure first; what goes down goes in the other order
folders=
for file in "$here"/*/docker-compose.yml "$here"/services/*/docker-compose.yml; do
    [ -f "$file" ] || continue
    folder=${file%/docker-compose.yml}
    case $verb in
    down | stop | rm | kill) folders="$folder
$folders" ;;
    *) folders="$folders
$folder" ;;
    esac
done
[ -n "$folders" ] || { say "there is no service below $here"; exit 1; }

# Prints a name's folder and the part of it that is meant.
meaning() {
    best=
    while IFS= read -r folder; do
        [ -n "$folder" ] || continue
        name=${folder##*/}
        case $1 in
        "$name") printf '%s\t\n' "$folder"; return ;;
        "$name"[-/]*)
            part=${1#"$name"?}
            if (cd "$folder" && docker compose config --services 2>/dev/null </dev/null | grep -qxF -e "$part"); then
                best=$folder
                found=$part
            fi
            ;;
        esac
    done <<EOF
$folders
EOF
    [ -z "$best" ] || printf '%s\t%s\n' "$best" "$found"
}

# words that name services are taken out of the flags, which go to every one of them
chosen=
count=$#
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    case $word in
    -v | --volumes)
        if [ "$verb" = down ]; then
            say "down $word would delete data of every service: provision down --purge does that for one, after a backup"
            exit 2
        fi
        ;;
    esac
    case $word in
    -*) ;;
    *)
        meant=$(meaning "$word")
        if [ -n "$meant" ]; then
            chosen="$chosen$meant
"
            continue
        fi
        # the value of a flag before it stays where it is; a bare word is a slip
        case ${before:-} in
        -?*) ;;
        *)
            say "nothing here is called $word; there is:" $(printf '%s\n' "$folders" | sed 's|.*/||')
            exit 2
            ;;
        esac
        ;;
    esac
    before=$word
    set -- "$@" "$word"
done

tab=$(printf '\t')
code=0
follow=
if [ "$verb" = logs ]; then
    for word in "$@"; do
        case $word in -f | --follow) follow=yes ;; esac
    done
fi
while IFS= read -r folder; do
    [ -n "$folder" ] || continue
    parts=
    if [ -n "$chosen" ]; then
        mine=$(printf '%s' "$chosen" | sed -n "s|^$folder$tab||p")
        printf '%s' "$chosen" | grep -q "^$folder$tab" || continue
        # one of the words was the whole service
        printf '%s\n' "$mine" | grep -qx '' || parts=$mine
    fi
    # shellcheck disable=SC2086
    if [ -n "$follow" ]; then
        (cd "$folder" && exec docker compose "$verb" "$@" $parts </dev/null) &
    else
        say "== ${folder##*/}"
        (cd "$folder" && exec docker compose "$verb" "$@" $parts </dev/null) || code=1
    fi
done <<EOF
$folders
EOF
wait
exit "$code"
