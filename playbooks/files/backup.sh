# Backup and restore of one service, on the host that it runs on. The same text is what `provision backup` sends over
# standard input and what the timer of `provision backup schedule` runs, so there is one way only.
#
# In front of it stands the service's configuration, made by provision: SERVICE, PROJECT, ROOT … and the function
# `items`, which calls "$1" with each item of the manifest: kind, name and what that kind needs.
#
#   run [REASON]      make a set of all items and store it at every destination
#   list              what there is, for programs: lines `@local …` and `@restic …`
#   resolve FROM      the one backup that FROM names (latest, 20261125_031500, a snapshot's id, /a/file)
#   room              what is here that a restore would overwrite: lines `@taken …`
#   restore FROM      stop what writes, put everything back, start it again
#   rehearse FROM     load everything beside the real data, compare, remove it
#   prune [DAY]       keep what the retention keeps, or what is not older than the day
#   check [SUBSET]    read the backups back
#
# A set is stored whole or not at all: it is finished and verified in a folder of its own before any destination sees
# it. Passwords reach the programs through environments and files that only root can read, never through arguments.
set -u
umask 077
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
state=/var/lib/provision/backup
work=$state/work/$SERVICE
set=$work/set
lulled='' halted='' paused='' recording='' stored='' size=0 snapshot=''

say() { printf '%s\n' "$SERVICE: $*" >&2; }
die() { say "$*"; exit 1; }

enter() {
    mkdir -p "$state/work" && chmod 700 "$state" "$state/work" || die "cannot make $state"
    command -v flock >/dev/null || die "flock is missing (package util-linux)"
    exec 9>"$state/$SERVICE.lock"
    flock -n 9 || { say "another backup or restore of it runs; waiting"; flock -w 3600 9 || die "it still runs after an hour"; }
    rm -rf "$work"
    mkdir -p "$set" || die "cannot make $set"
    trap leave EXIT
    trap 'exit 130' INT TERM HUP
}

leave() {
    code=$?
    trap - EXIT INT TERM HUP
    unfreeze
    [ "$code" = 0 ] || put_back
    resume
    lull
    [ -z "$recording" ] || record "$code"
    rm -rf "$work"
    exit "$code"
}

# --- containers ---------------------------------------------------------------------------------------------------

# $c: the running container of one of the stack's services (or of another project's: project/service), or nothing
container() {
    case $1 in */*) set -- "${1#*/}" "${1%%/*}" ;; *) set -- "$1" "$PROJECT" ;; esac
    c=$(docker ps -q --no-trunc --filter status=running --filter "label=com.docker.compose.project=$2" \
        --filter "label=com.docker.compose.service=$1" --filter label=com.docker.compose.oneoff=False | head -n 1)
    [ -n "$c" ] || c=$(docker ps -q --no-trunc --filter status=running --filter "label=com.docker.swarm.service.name=${2}_$1" | head -n 1)
}

compose() { docker compose -p "$PROJECT" --project-directory "$ROOT" -f "$ROOT/docker-compose.yml" "$@"; }

# The same; one that is not running is started for the time being.
awake() {
    container "$1"
    [ -z "$c" ] || return 0
    case $RUNTIME$1 in swarm* | */*) die "no container of $1 is running" ;; esac
    if [ -n "$(compose ps -aq "$1" 2>/dev/null)" ]; then lulled="$lulled stop:$1"; else lulled="$lulled rm:$1"; fi
    say "$1 is not running: started for the time of this"
    compose up -d --no-deps --no-recreate --wait --wait-timeout 180 "$1" >&2 9>&- || die "$1 does not start"
    container "$1"
    [ -n "$c" ] || die "no container of $1 is running"
}

lull() {
    for one in $lulled; do
        case $one in
            stop:*) compose stop "${one#*:}" >&2 ;;
            rm:*) compose rm -sf "${one#*:}" >&2 ;;
        esac
    done
    lulled=
}

running() {
    docker ps -q --filter status=running --filter "label=com.docker.compose.project=$PROJECT"
    docker ps -q --filter status=running --filter "label=com.docker.stack.namespace=$PROJECT"
}

# Files that change together (a database of a program's own) are copied while nothing can write them.
freeze() {
    paused=$(running)
    [ -z "$paused" ] || docker pause $paused >/dev/null || die "cannot hold its containers still"
}
unfreeze() {
    [ -z "$paused" ] || docker unpause $paused >/dev/null || say "some containers are still paused: docker unpause" $paused
    paused=
}

# --- taking -------------------------------------------------------------------------------------------------------

# The server's administrator, unless the package names another.
pg_user() { user=${1:-$(docker exec "$c" sh -c 'printf %s "${POSTGRES_USER:-postgres}"')}; }
pg() { PGUSER=$user PGPASSWORD=$password docker exec -i -e PGUSER -e PGPASSWORD "$c" "$@"; }
sql() { pg psql -XAtq -v ON_ERROR_STOP=1 -d "$@"; }

# The option file holds the password; it is the container's, 0600 and gone afterwards.
my() {
    BACKUP_USER=${user:-root} BACKUP_PASSWORD=$(printf %s "$password" | sed 's/[\\"]/\\&/g') \
        docker exec -i -e BACKUP_USER -e BACKUP_PASSWORD "$c" sh -c '
        umask 077
        if [ -z "$BACKUP_PASSWORD" ]; then
            BACKUP_PASSWORD=$(printf %s "${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD-}}" | sed "s/[\\\\\"]/\\\\&/g")
        fi
        file=$(mktemp) || exit 1
        trap "rm -f $file" EXIT
        trap "exit 130" HUP INT TERM
        printf "[client]\nuser=\"%s\"\npassword=\"%s\"\n" "$BACKUP_USER" "$BACKUP_PASSWORD" >"$file"
        unset BACKUP_PASSWORD
        case $1 in
            dump) program=$(command -v mariadb-dump || command -v mysqldump) ;;
            *) program=$(command -v mariadb || command -v mysql) ;;
        esac || { echo "the image has no client of the database" >&2; exit 127; }
        shift
        "$program" --defaults-extra-file="$file" --default-character-set=utf8mb4 "$@"' sh "$@"
}
ask() { my client -NBre "$1" </dev/null; }

cli() { REDISCLI_AUTH=$password docker exec -i ${password:+-e REDISCLI_AUTH} "$c" redis-cli "$@"; }
info() { cli info "$1" | tr -d '\r' | sed -n "s/^$2://p"; }

plain_name() {
    case $1 in '' | *[!A-Za-z0-9_.@+=-]* | .*) die "the database name \`$1\` cannot be handled" ;; esac
}

take() {
    kind=$1 name=$2
    shift 2
    say "taking $name"
    "take_$kind" "$@" || die "$name could not be taken; nothing was stored"
}

# service, user, database (nothing: all of the server), password
take_postgres() {
    password=$4 databases=$3
    awake "$1"
    pg_user "$2"
    mkdir "$set/$name" || return
    if [ -z "$databases" ]; then
        databases=$(sql postgres -c "select datname from pg_database where datallowconn and not datistemplate order by 1") || return
        pg pg_dumpall --globals-only >"$set/$name/globals" || return
    fi
    for db in $databases; do
        plain_name "$db"
        sql postgres -c "select format('OWNER %I ENCODING %L LC_COLLATE %L LC_CTYPE %L', pg_get_userbyid(datdba),
            pg_encoding_to_char(encoding), datcollate, datctype) from pg_database where datname = '$db'" >"$set/$name/$db.create" || return
        pg pg_dump -d "$db" >"$set/$name/$db.sql" || return
        tail -n 8 "$set/$name/$db.sql" | grep -q 'database dump complete' || die "the dump of $db is not complete"
    done
}

# service, user, database (nothing: all of the server), password
take_mariadb() {
    user=$2 password=$4 databases=$3
    awake "$1"
    mkdir "$set/$name" || return
    if [ -z "$databases" ]; then
        databases=$(ask "select schema_name from information_schema.schemata where schema_name not in ('mysql', 'information_schema', 'performance_schema', 'sys') order by 1") || return
        users=$(ask "select concat(quote(user), '@', quote(host)) from mysql.user where host <> '' and user not in ('', 'root', 'mysql', 'mariadb.sys', 'healthcheck') order by 1") || return
        [ -z "$users" ] || printf '%s\n' "$users" | while IFS= read -r who; do
            rights=$(ask "show create user $who; show grants for $who") || exit 1
            printf 'DROP USER IF EXISTS %s;\n%s\n' "$who" "$(printf '%s\n' "$rights" | sed 's/$/;/')"
        done >"$set/$name/users" || return
    fi
    for db in $databases; do
        plain_name "$db"
        ask "select concat('CHARACTER SET ', default_character_set_name, ' COLLATE ', default_collation_name) from information_schema.schemata where schema_name = '$db'" >"$set/$name/$db.create" || return
        my dump --single-transaction --quick --routines --events --triggers --hex-blob --skip-dump-date "$db" </dev/null >"$set/$name/$db.sql" || return
        tail -n 3 "$set/$name/$db.sql" | grep -q 'Dump completed' || die "the dump of $db is not complete"
    done
}

# service, folder of its data, password
take_redis() {
    password=$3
    awake "$1"
    before=$(cli lastsave) || return
    # its clock ticks in seconds: a save within the same one would not be seen
    sleep 1.1
    cli bgsave schedule | grep -q 'Background saving' || return
    tries=0
    until [ "$(cli lastsave)" != "$before" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 6000 ] || die "BGSAVE does not end"
        [ "$(info persistence rdb_last_bgsave_status)" = ok ] || die "BGSAVE failed"
        sleep 0.1
    done
    [ "$(info persistence rdb_last_bgsave_status)" = ok ] || die "BGSAVE failed"
    file=$(cli config get dir | tail -n 1)/$(cli config get dbfilename | tail -n 1)
    docker exec "$c" cat "$file" >"$set/$name.rdb" || return
    docker exec -i "$c" sh -c 'f=$(mktemp) && cat >"$f" && redis-check-rdb "$f"; code=$?; rm -f "$f"; exit $code' <"$set/$name.rdb" >"$work/rdb" || return
    sed -n 's/.*\] \([0-9]*\) keys read.*/\1/p' "$work/rdb" >"$set/$name.keys"
}

# still (nothing or `pause`), paths…
take_files() {
    still=$1
    shift
    for path in "$@"; do
        [ -e "$ROOT/$path" ] || die "$ROOT/$path is not there"
    done
    [ -z "$still" ] || freeze
    tar -C "$ROOT" --numeric-owner -cpf "$set/$name.tar" -- "$@"
    code=$?
    unfreeze
    # 1: a file changed while it was read, which uploads and logs do
    [ "$code" = 0 ] || { [ "$code" = 1 ] && [ -z "$still" ]; }
}

take_config() {
    [ -n "$RECIPIENTS" ] || { say "nobody is named who could decrypt $name: left out"; return 0; }
    printf '%s\n' "$RECIPIENTS" >"$work/recipients"
    (cd "$ROOT" && tar --numeric-owner -cpf "$work/config.tar" -- $(ls -d .env docker-compose.yml 2>/dev/null)) || return
    age -R "$work/recipients" -o "$set/$name.tar.age" "$work/config.tar" || return
    rm -f "$work/config.tar"
}

# service, user, script that writes the backup to standard output, script that reads it
take_job() {
    awake "$1"
    printf '%s\n' "$3" | docker exec -i ${2:+--user "$2"} "$c" sh -s >"$set/$name.job" || return
    [ -s "$set/$name.job" ] || die "$name: its script wrote nothing"
}

# --- storing ------------------------------------------------------------------------------------------------------

seal_set() {
    printf 'service %s\nhost %s\nat %s\nversion %s\nreason %s\n' "$SERVICE" "$HOST" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$VERSION" "$reason" >"$set/ABOUT"
    (cd "$set" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + >"$work/sums" && mv "$work/sums" SHA256SUMS) || die "cannot sum up"
}

verify_set() {
    [ -s "$set/SHA256SUMS" ] || die "this is no backup of provision"
    (cd "$set" && sha256sum -c --quiet SHA256SUMS >&2) || die "the backup is damaged"
    of=$(sed -n 's/^service //p' "$set/ABOUT")
    [ "$of" = "$SERVICE" ] || die "this is a backup of \`$of\`"
}

# the set as an archive at a path, verified
pack() {
    case $1 in
        *.tar.gz*) tar -C "$set" -czf "$1" . && gzip -t "$1" ;;
        *.tar.zst*) tar -C "$set" -cf - . | zstd -q -o "$1" && zstd -tq "$1" ;;
        *) (cd "$set" && zip -q -X -r - . >"$1") && unzip -tqq "$1" ;;
    esac
}

unpack() {
    case $1 in
        *.tar.gz) tar -C "$set" -xzf "$1" ;;
        *.tar.zst) zstd -dcq "$1" | tar -C "$set" -xf - ;;
        *) unzip -q -o "$1" -d "$set" ;;
    esac || die "cannot read $1"
}

archives() { ls "$LOCAL_DIR" 2>/dev/null | grep -E '^backup_[0-9]{8}_[0-9]{6}\.(sql\.)?(zip|tar\.gz|tar\.zst)$'; }

archive_name() {
    ending=$FORMAT
    [ "$FORMAT" != zip ] || [ -z "$(find "$set" -name '*.sql')" ] || ending=sql.zip
    while stamp=$(date -u +%Y%m%d_%H%M%S); archives | grep -q "^backup_$stamp"; do sleep 1; done
    archive=backup_$stamp.$ending
}

store_local() {
    mkdir -p "$LOCAL_DIR" || return
    rm -f "$LOCAL_DIR"/.unfinished-*
    archive_name
    pack "$LOCAL_DIR/.unfinished-$archive" || { rm -f "$LOCAL_DIR"/.unfinished-*; return 1; }
    sync "$LOCAL_DIR/.unfinished-$archive" 2>/dev/null || sync
    mv "$LOCAL_DIR/.unfinished-$archive" "$LOCAL_DIR/$archive" || return
    size=$(wc -c <"$LOCAL_DIR/$archive")
    [ -n "$snapshot" ] || snapshot=$archive
    say "stored $LOCAL_DIR/$archive ($size bytes)"
}

# Only what this made is ever removed; one that was made for a reason leaves everything else alone.
thin_local() {
    archives | sort | head -n "-$KEEP_LAST" | while read -r old; do rm -f "$LOCAL_DIR/$old"; done
}

restic_ready() {
    [ "${ready-}" != yes ] || return 0
    command -v restic >/dev/null || die "restic is missing"
    version=$(restic version | sed -n 's/^restic \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    set -- $version
    [ "${1:-0}" -gt 0 ] || [ "${2:-0}" -ge 17 ] || die "restic ${1-?}.${2-?} is too old: 0.17 or later is needed"
    export RESTIC_REPOSITORY="$REPOSITORY" RESTIC_PASSWORD_FILE="$work/password" RESTIC_CACHE_DIR="$state/cache" RESTIC_PROGRESS_FPS=0.01
    printf '%s\n' "$RESTIC_PASSWORD" >"$RESTIC_PASSWORD_FILE"
    case $REPOSITORY in sftp:*) sftp_ready ;; esac
    # restic itself asks again for a quarter of an hour where a bucket is missing
    patience='timeout 120'
    rest --no-lock cat config >/dev/null
    ready=$?
    patience=
    case $ready in
        0) ;;
        10) say "making the repository"; rest init >&2 || die "cannot make the repository" ;;
        12) die "the password does not open the repository: is BACKUP_PASSWORD of this host another one? Nothing was touched" ;;
        124) die "the repository does not answer, or its bucket does not exist" ;;
        *) die "the repository does not answer" ;;
    esac
    ready=yes
}

sftp_ready() {
    options="-o BatchMode=yes -o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=$state/known_hosts"
    if [ -n "$SSH_KEY" ]; then
        printf '%s\n' "$SSH_KEY" >"$work/key"
        options="$options -i $work/key -o IdentitiesOnly=yes"
    fi
    SFTP_ARGS=$options
}

rest() {
    if [ -n "${SFTP_ARGS-}" ]; then ${patience-} restic -o "sftp.args=$SFTP_ARGS" "$@"; else ${patience-} restic "$@"; fi
}

# A lock that a killed restic left is removed by `unlock`, which leaves alone what is alive; that is waited for.
locked() {
    rest "$@"
    locked_code=$?
    [ "$locked_code" = 11 ] || return "$locked_code"
    say "the repository is locked"
    rest unlock >&2
    rest --retry-lock "$RETRY_LOCK" "$@"
}

store_restic() {
    restic_ready
    # what was there before a restore is nothing that `latest` may mean
    case $reason in 'before restoring'*) tags=$SERVICE,before-restoring ;; *) tags=$SERVICE ;; esac
    locked backup --json --host "$HOST" --tag "$tags" --group-by host,tags "$set" >"$work/said"
    code=$?
    made=$(sed -n 's/.*"message_type":"summary".*"snapshot_id":"\([0-9a-f]*\)".*/\1/p' "$work/said")
    # 3: something could not be read; a snapshot was made all the same, and it would be believed in
    if [ "$code" != 0 ]; then
        sed -n 's/.*"message_type":"error".*/&/p' "$work/said" >&2
        [ -z "$made" ] || locked forget "$made" >&2
        return 1
    fi
    snapshot=$(printf %.8s "$made")
    [ "$size" != 0 ] || size=$(sed -n 's/.*"total_bytes_processed":\([0-9]*\).*/\1/p' "$work/said")
    say "stored snapshot $snapshot in $REPOSITORY_SHOWN"
}

thin_restic() {
    [ -n "$RETENTION" ] || return 0
    restic_ready
    locked forget --prune --quiet --host "$HOST" --tag "$SERVICE" --group-by host,tags $RETENTION >&2
}

# The operator's own script, for servers that had one before; a repository that is known must have a new snapshot then.
store_script() {
    began=$(date -u +%s)
    sh -c "cd \"\$(dirname \"\$1\")/..\" && exec \"\$1\"" sh "$BACKUP_SCRIPT" >&2 9>&- || return
    [ -n "$REPOSITORY" ] || { say "$BACKUP_SCRIPT ended well; no repository is named in which a snapshot could be looked for"; return 0; }
    restic_ready
    latest=$(locked snapshots --json --latest 1 | snapshot_lines | tail -n 1)
    [ -n "$latest" ] && [ "$(date -u -d "${latest%% *}" +%s)" -ge "$began" ] || die "$BACKUP_SCRIPT ended well, but there is no new snapshot"
    latest=${latest#* }
    snapshot=${latest%% *}
}
thin_script() { :; }

run() {
    reason=$1
    [ -f "$ROOT/docker-compose.yml" ] || { say "not installed here, nothing to back up"; exit 0; }
    enter
    recording=yes
    items take
    seal_set
    for destination in $DESTINATIONS; do
        "store_$destination" || die "could not be stored at: $destination"
        stored=${stored:+$stored,}$destination
    done
    if [ "$PULL" = yes ]; then
        [ -n "$RECIPIENTS" ] || die "nobody is named who could decrypt a copy"
        archive_name
        sealed=$state/work/$SERVICE.pull
        rm -rf "$sealed"
        mkdir -p "$sealed"
        printf '%s\n' "$RECIPIENTS" >"$work/recipients"
        pack "$work/$archive" && age -R "$work/recipients" -o "$sealed/$archive.age" "$work/$archive" || die "the copy cannot be made"
        printf '@pull %s\n' "$sealed/$archive.age"
    fi
    [ -n "$reason" ] || for destination in $DESTINATIONS; do
        "thin_$destination" || die "stored, but old ones could not be removed at: $destination"
    done
}

# One file for all services, so that one look says how old each one's last good backup is.
record() {
    ok=false
    at=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    mkdir -p "$state/status"
    last=$(sed -n 's/.*"last_success":"\([^"]*\)".*/\1/p' "$state/status/$SERVICE.json" 2>/dev/null)
    if [ "$1" = 0 ]; then ok=true last=$at; fi
    printf '{"service":"%s","at":"%s","ok":%s,"destination":"%s","size":%s,"snapshot":"%s","last_success":"%s"}\n' \
        "$SERVICE" "$at" "$ok" "$stored" "${size:-0}" "$snapshot" "$last" >"$state/status/.$SERVICE" &&
        mv "$state/status/.$SERVICE" "$state/status/$SERVICE.json"
    {
        flock 8
        { printf '['; cat "$state"/status/*.json | sed '$!s/$/,/'; printf ']\n'; } >"$state/.status.json" && mv "$state/.status.json" "$state/status.json"
    } 8>"$state/.status.lock"
}

# --- looking ------------------------------------------------------------------------------------------------------

# `TIME ID` of what `restic snapshots --json` says, and a word behind those that were taken before a restore
snapshot_lines() {
    sed 's/},{"time"/}\n{"time"/g' | sed -n -e 's/.*"time":"\([^"]*\)".*"before-restoring".*"short_id":"\([0-9a-f]*\)".*/\1 \2 before-restoring/p' \
        -e t -e 's/.*"time":"\([^"]*\)".*"short_id":"\([0-9a-f]*\)".*/\1 \2/p'
}
has() { case " $DESTINATIONS " in *" $1 "*) true ;; *) false ;; esac; }
snapshots() { locked snapshots --json --host "$SOURCE" --tag "$SERVICE" "$@"; }

# what an archive says of itself
about() {
    case $1 in
        *.zip) unzip -p "$LOCAL_DIR/$1" ABOUT ;;
        *.gz) tar -xzOf "$LOCAL_DIR/$1" ./ABOUT ;;
        *) zstd -dcq "$LOCAL_DIR/$1" | tar -xOf - ./ABOUT ;;
    esac 2>/dev/null
}

list() {
    archives | sort | while read -r one; do
        why=$(about "$one" | sed -n 's/^reason //p')
        printf '@local %s %s %s\n' "$one" "$(wc -c <"$LOCAL_DIR/$one")" "$why"
    done
    [ -n "$REPOSITORY" ] || return 0
    enter
    restic_ready
    printf '@restic '
    snapshots && echo
}

# $found: kind and name of the backup that is meant
resolve() {
    found=
    case $1 in
        latest)
            newest=$(archives | sort -r | while read -r one; do
                about "$one" | grep -q '^reason before restoring' || { printf '%s\n' "$one"; break; }
            done)
            if [ "$SOURCE" = "$HOST" ] && [ -n "$newest" ]; then found="local $newest"; return; fi
            [ -n "$REPOSITORY" ] || die "there is no backup here"
            restic_ready
            newest=$(snapshots | snapshot_lines | sed '/ before-restoring$/d' | tail -n 1)
            [ -n "$newest" ] || die "there is no backup of $SERVICE of $SOURCE in $REPOSITORY_SHOWN"
            found="restic ${newest#* }" ;;
        /*) [ -f "$1" ] || die "there is no file $1"; found="file $1" ;;
        backup_* | [0-9]*_[0-9]*)
            one=$(archives | grep -F "${1#backup_}" | head -n 1)
            [ -n "$one" ] || die "there is no backup $1 in $LOCAL_DIR"
            found="local $one" ;;
        *)
            [ -n "$REPOSITORY" ] || die "no repository is named in which $1 could be"
            restic_ready
            one=$(snapshots | snapshot_lines | sed 's/ before-restoring$//' | sed -n "s/.* \($(printf %.8s "$1" | tr -cd 0-9a-f)\)\$/\1/p" | head -n 1)
            [ -n "$one" ] || die "there is no snapshot $1 of $SERVICE of $SOURCE in $REPOSITORY_SHOWN"
            found="restic $one" ;;
    esac
}

fetch() {
    resolve "$1"
    say "from ${found#* } ($(date -u +%H:%M:%S))"
    case $found in
        local\ *) unpack "$LOCAL_DIR/${found#* }" ;;
        file\ *) unpack "${found#* }" ;;
        restic\ *)
            locked restore "${found#* }" --target "$work/back" --quiet >&2 || die "cannot read the snapshot"
            inner=$(find "$work/back" -name SHA256SUMS | head -n 1)
            [ -n "$inner" ] || die "this is no backup of provision"
            rm -rf "$set" && mv "${inner%/*}" "$set" ;;
    esac
    verify_set
}

# --- keeping ------------------------------------------------------------------------------------------------------

prune() {
    enter
    if [ -z "$1" ]; then
        for destination in $DESTINATIONS; do "thin_$destination" || die "old ones could not be removed at: $destination"; done
        return
    fi
    day=$(printf %s "$1" | tr -d -)
    # the newest one always stays
    archives | sort | head -n -1 | while read -r one; do
        taken=${one#backup_}
        [ "${taken%%_*}" -ge "$day" ] || { rm -f "$LOCAL_DIR/$one"; printf '@removed %s\n' "$one"; }
    done
    [ -n "$REPOSITORY" ] || return 0
    restic_ready
    gone=$(snapshots | snapshot_lines | sort | head -n -1 | while read -r at id _; do
        [ "$(printf %.10s "$at" | tr -d -)" -ge "$day" ] || printf '%s\n' "$id"
    done)
    [ -z "$gone" ] || locked forget --prune --quiet $gone >&2 || die "old snapshots could not be removed"
    for id in $gone; do printf '@removed %s\n' "$id"; done
}

check() {
    enter
    for one in $(archives); do
        rm -rf "$set" && mkdir "$set" && unpack "$LOCAL_DIR/$one" && verify_set
        printf '@good %s\n' "$one"
    done
    [ -n "$REPOSITORY" ] || return 0
    restic_ready
    locked check --quiet --read-data-subset="${1:-5%}" >&2 || die "the repository is damaged: keep it, and ask restic what can be saved"
    printf '@good %s\n' "$REPOSITORY_SHOWN"
}

verb=$1
case $verb in
    run | list | room | restore | rehearse | prune | check) "$verb" "${2-}" ;;
    resolve) enter; resolve "$2"; printf '%s\n' "$found" ;;
    *) die "unknown word $verb" ;;
esac
