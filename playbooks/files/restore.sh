# The other half of backup.sh: giving a set back, and rehearsing that. Read before it; only functions here.
#
# Restoring loads beside what is there and changes places when all of it came; what was there stays until the end, and
# is put back if something fails.

# --- giving back --------------------------------------------------------------------------------------------------

# Which of the stack's services hold what is given back through them, and so have to run.
servers() {
    case $1 in postgres | mariadb | job) kept="$kept $3 " ;; esac
}

halt() {
    kept=
    items servers
    if [ "$RUNTIME" = swarm ]; then
        for one in $(docker service ls --filter "label=com.docker.stack.namespace=$PROJECT" --format '{{.Name}}={{.Mode}}={{.Replicas}}' | sed -n 's/^\(.*\)=replicated=[0-9]*\/\([0-9]*\).*/\1=\2/p'); do
            service=${one%%=*}
            case $kept in *" ${service#"${PROJECT}_"} "*) continue ;; esac
            [ "${one##*=}" = 0 ] || { halted="$halted $one"; docker service scale --detach=false "$service=0" >/dev/null || die "cannot stop $service"; }
        done
        return
    fi
    for id in $(docker ps -q --filter status=running --filter "label=com.docker.compose.project=$PROJECT"); do
        service=$(docker inspect --format '{{index .Config.Labels "com.docker.compose.service"}}' "$id")
        case $kept in *" $service "*) continue ;; esac
        halted="$halted $id"
    done
    [ -z "$halted" ] || docker stop $halted >/dev/null || die "cannot stop what writes"
}

resume() {
    for one in $halted; do
        if [ "$RUNTIME" = swarm ]; then docker service scale --detach=true "$one" >/dev/null; else docker start "$one" >/dev/null; fi ||
            say "could not be started again: $one"
    done
    halted=
}

present() { find "$set" -maxdepth 1 \( -name "$name" -o -name "$name.*" \) | grep -q .; }

give() {
    kind=$1 name=$2
    shift 2
    present || { say "$name is not in this backup: left as it is"; return 0; }
    say "restoring $name"
    "give_$kind" "$@" || die "$name could not be restored"
}

# Loads into a database of another name first; only when all of it is there do the two change places.
give_postgres() {
    password=$4
    awake "$1"
    pg_user "$2"
    if [ -f "$set/$name/globals" ]; then
        # what exists already is said to exist, which is no mistake; the administrator stays as the settings have it
        sed "/ROLE \"\{0,1\}$user\"\{0,1\}[ ;]/d" "$set/$name/globals" | pg psql -X -q -d template1 >/dev/null 2>&1
    fi
    for dump in "$set/$name"/*.sql; do
        db=$(basename "$dump" .sql)
        load_postgres "$db" "${db}_incoming" || return
        sql template1 >/dev/null <<SQL || return
select format('ALTER DATABASE %I ALLOW_CONNECTIONS false', datname) from pg_database where datname = '$db' \gexec
select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = '$db';
select format('ALTER DATABASE %I RENAME TO %I', datname, datname || '_outgoing') from pg_database where datname = '$db' \gexec
ALTER DATABASE "${db}_incoming" RENAME TO "$db";
DROP DATABASE IF EXISTS "${db}_outgoing";
SQL
    done
}

# database in the set, name that it gets
load_postgres() {
    tail -n 8 "$set/$name/$1.sql" | grep -q 'database dump complete' || { say "the dump of $1 is not complete"; return 1; }
    if [ "$(sql template1 -c "select count(*) from pg_database where datname = '$2'")" != 0 ]; then
        sql template1 -c "DROP DATABASE \"$2\"" || return
    fi
    sql template1 -c "CREATE DATABASE \"$2\" TEMPLATE template0 $(cat "$set/$name/$1.create")" || return
    sql "$2" >/dev/null <"$set/$name/$1.sql"
}

# The same for a server that cannot rename databases: all tables change places in one statement.
give_mariadb() {
    user=$2 password=$4
    awake "$1"
    for dump in "$set/$name"/*.sql; do
        db=$(basename "$dump" .sql)
        load_mariadb "$db" "${db}_incoming" && change_mariadb "$db" "$(cat "$set/$name/$db.create")"
        code=$?
        ask "DROP DATABASE IF EXISTS \`${db}_incoming\`" && [ "$code" = 0 ] || return 1
    done
    [ ! -s "$set/$name/users" ] || my client <"$set/$name/users"
}

# database in the set, name that it gets; a dump that ends too early loads without an error
load_mariadb() {
    tail -n 3 "$set/$name/$1.sql" | grep -q 'Dump completed' || { say "the dump of $1 is not complete"; return 1; }
    ask "DROP DATABASE IF EXISTS \`$2\`; CREATE DATABASE \`$2\` $(cat "$set/$name/$1.create")" || return
    my client "$2" <"$set/$name/$1.sql"
}

# What cannot be renamed (a table that has triggers cannot, either) is written down before and made again. Between the
# statement and its end the old tables are in `_outgoing`, from where they come back if anything fails.
change_mariadb() {
    ask "CREATE DATABASE IF NOT EXISTS \`$1\` $2; DROP DATABASE IF EXISTS \`$1_outgoing\`; CREATE DATABASE \`$1_outgoing\`" || return
    unnamed "$1" >"$work/old.sql" && unnamed "$1_incoming" >"$work/new.sql" || return
    if bare "$1" triggers views && bare "$1_incoming" triggers && renamed "$1" "$1_outgoing" "$1_incoming"; then
        bare "$1" routines events && ask "ALTER DATABASE \`$1\` $2" && my client "$1" <"$work/new.sql" &&
            { ask "DROP DATABASE \`$1_outgoing\`"; return; }
        bare "$1" triggers views && renamed "$1" "$1_incoming" "$1_outgoing" ||
            { say "the data of $1 as it was is in the database $1_outgoing"; return 1; }
    fi
    say "putting $1 back as it was"
    bare "$1" triggers views routines events && my client "$1" <"$work/old.sql"
    return 1
}

# All that is no table, as SQL.
unnamed() {
    my dump --no-data --no-create-info --routines --events --triggers "$1" </dev/null || return
    views=$(ask "select table_name from information_schema.views where table_schema = '$1'") || return
    [ -n "$views" ] || return 0
    printf '%s\n' "$views" >"$work/views"
    set -- "$1"
    while IFS= read -r view; do set -- "$@" "$view"; done <"$work/views"
    my dump --no-data --skip-triggers "$@" </dev/null
}

# database, which of it goes
bare() {
    db_bare=$1
    shift
    for what in "$@"; do
        case $what in
            triggers) columns="'TRIGGER', trigger_name" schema=trigger_schema ;;
            views) columns="'VIEW', table_name" schema=table_schema ;;
            routines) columns="routine_type, routine_name" schema=routine_schema ;;
            events) columns="'EVENT', event_name" schema=event_schema ;;
        esac
        ask "select concat_ws(' ', 'DROP', $(printf %s "$columns" | sed "s/, \(.*\)/, concat('\`$db_bare\`.\`', \1, '\`;')/")) from information_schema.$what where $schema = '$db_bare'" || return
    done >"$work/bare.sql" && my client <"$work/bare.sql"
}

# The first one's tables become the second's, and the third's the first's: all or none.
renamed() {
    for pair in "$1 $2" "$3 $1"; do
        ask "select concat('\`${pair% *}\`.\`', table_name, '\` TO \`${pair#* }\`.\`', table_name, '\`') from information_schema.tables where table_schema = '${pair% *}' and table_type <> 'VIEW'" || return
    done >"$work/renamed"
    sed -e '1s/^/RENAME TABLE /' -e '$!s/$/,/' -e '$s/$/;/' "$work/renamed" | my client
}

# An append-only file wins over a dump, so the dump becomes the base of a new one; without that mode it is read as it is.
give_redis() {
    new=$ROOT/$2.incoming
    rm -rf "$new"
    mkdir -p "$new/appendonlydir" || return
    cp "$set/$name.rdb" "$new/dump.rdb" && cp "$set/$name.rdb" "$new/appendonlydir/appendonly.aof.1.base.rdb" || return
    printf 'file appendonly.aof.1.base.rdb seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n' >"$new/appendonlydir/appendonly.aof.manifest"
    : >"$new/appendonlydir/appendonly.aof.1.incr.aof"
    owner=$(stat -c %u:%g "$ROOT/$2" 2>/dev/null || echo 999:999)
    chown -R "$owner" "$new" && chmod "$(stat -c %a "$ROOT/$2" 2>/dev/null || echo 700)" "$new" || return
    swap "$2" "$new"
}

give_files() {
    shift
    rm -rf "$ROOT/.incoming"
    mkdir "$ROOT/.incoming" && tar -C "$ROOT/.incoming" --numeric-owner -xpf "$set/$name.tar" || return
    for path in "$@"; do
        [ -e "$ROOT/.incoming/$path" ] || { say "$path is not in this backup: left as it is"; continue; }
        swap "$path" "$ROOT/.incoming/$path" || return
    done
    rm -rf "$ROOT/.incoming"
}

give_config() { say "$name stays: provision writes it from the client's settings"; }

give_job() {
    awake "$1"
    script=$(docker exec -i ${2:+--user "$2"} "$c" sh -c 'umask 077; f=$(mktemp) && cat >"$f" && echo "$f"' <<JOB
$4
JOB
) || return
    docker exec -i ${2:+--user "$2"} "$c" sh "$script" <"$set/$name.job" >&2
    code=$?
    docker exec "$c" rm -f "$script"
    return $code
}

# What was there stays beside it until everything else is restored too.
swap() {
    old=$ROOT/$1.outgoing
    rm -rf "$old"
    printf '%s\n' "$1" >>"$work/swapped"
    if [ -e "$ROOT/$1" ]; then mv "$ROOT/$1" "$old" || return; fi
    mkdir -p "$(dirname "$ROOT/$1")" && mv "$2" "$ROOT/$1"
}

put_back() {
    [ -f "$work/swapped" ] || return 0
    say "putting the files back as they were"
    while read -r path; do
        [ -e "$ROOT/$path.outgoing" ] || continue
        rm -rf "$ROOT/$path"
        mv "$ROOT/$path.outgoing" "$ROOT/$path"
    done <"$work/swapped"
}

restore() {
    [ -f "$ROOT/docker-compose.yml" ] || die "the service is not installed here"
    enter
    fetch "$1"
    halt
    items give
    [ ! -f "$work/swapped" ] || while read -r path; do rm -rf "$ROOT/$path.outgoing"; done <"$work/swapped"
    resume
    say "restored from ${found#* }"
}

# --- looking ------------------------------------------------------------------------------------------------------

# What a restore would overwrite.
room() {
    [ ! -e "/var/lib/provision/services/$SERVICE.json" ] || printf '@taken it is installed\n'
    [ -z "$(ls -A "$ROOT/data" 2>/dev/null)" ] || printf '@taken %s/data is not empty\n' "$ROOT"
    items shared
}

# A database on another service's server.
shared() {
    case $1${3-} in postgres*/* | mariadb*/*) container "$3" ;; *) return 0 ;; esac
    [ -n "$c" ] || return 0
    kind=$1 password=$6
    if [ "$kind" = postgres ]; then
        pg_user "$4"
        found=$(sql template1 -c "select datname from pg_database where datname = '$5'")
    else
        user=$4
        found=$(ask "select schema_name from information_schema.schemata where schema_name = '$5'")
    fi || die "the server of the database $5 does not answer"
    [ -z "$found" ] || printf '@taken the database %s is there\n' "$5"
}

# --- rehearsing ---------------------------------------------------------------------------------------------------

try() {
    kind=$1 name=$2
    shift 2
    present || { say "$name is not in this backup"; return 0; }
    "try_$kind" "$@" || die "the rehearsal of $name failed"
    printf '@same %s\n' "$name"
}

# A dump of what was loaded must be the dump that it was loaded from; newer servers mark each dump with a random word.
words() { sed -e '/^\\restrict /d' -e '/^\\unrestrict /d' -e '/^--/d' -e 's/ AUTO_INCREMENT=[0-9]*//' "$@"; }

try_postgres() {
    password=$4
    awake "$1"
    pg_user "$2"
    for dump in "$set/$name"/*.sql; do
        db=$(basename "$dump" .sql) beside=$(basename "$dump" .sql)_rehearsal
        load_postgres "$db" "$beside" && pg pg_dump -d "$beside" >"$work/again"
        code=$?
        sql template1 -c "DROP DATABASE IF EXISTS \"$beside\""
        [ "$code" = 0 ] || return 1
        same "$dump" "$work/again" || return
    done
}

try_mariadb() {
    user=$2 password=$4
    awake "$1"
    for dump in "$set/$name"/*.sql; do
        db=$(basename "$dump" .sql) beside=$(basename "$dump" .sql)_rehearsal
        load_mariadb "$db" "$beside" && my dump --single-transaction --quick --routines --events --triggers --hex-blob --skip-dump-date "$beside" </dev/null >"$work/again"
        code=$?
        ask "DROP DATABASE IF EXISTS \`$beside\`"
        [ "$code" = 0 ] || return 1
        same "$dump" "$work/again" || return
    done
}

same() {
    words "$1" >"$work/one" && words "$2" >"$work/two" && cmp -s "$work/one" "$work/two" || { say "$(basename "$1" .sql) came back different"; return 1; }
}

try_redis() {
    password=$3
    awake "$1"
    loaded=$(docker exec -i "$c" sh -c '
        d=$(mktemp -d) && cat >"$d/dump.rdb" || exit 1
        redis-server --port 0 --unixsocket "$d/socket" --dir "$d" --dbfilename dump.rdb --appendonly no --save "" --daemonize yes >/dev/null
        tries=0
        until redis-cli -s "$d/socket" ping 2>/dev/null | grep -q PONG; do tries=$((tries + 1)); [ $tries -lt 600 ] || break; sleep 0.1; done
        redis-cli -s "$d/socket" info persistence | tr -d "\r" | sed -n "s/^rdb_last_load_keys_\(loaded\|expired\)://p"
        redis-cli -s "$d/socket" shutdown nosave >/dev/null 2>&1
        rm -rf "$d"' <"$set/$name.rdb" | awk '{ sum += $1 } END { print sum + 0 }') || return
    [ "$loaded" = "$(cat "$set/$name.keys")" ] || { say "$loaded keys came back of $(cat "$set/$name.keys")"; return 1; }
}

try_files() {
    mkdir -p "$work/files" && tar -C "$work/files" --numeric-owner -xpf "$set/$name.tar" &&
        tar -C "$work/files" --numeric-owner -df "$set/$name.tar" >&2 && rm -rf "$work/files"
}

try_config() { [ -s "$set/$name.tar.age" ]; }
try_job() { [ -s "$set/$name.job" ]; }

rehearse() {
    enter
    fetch "$1"
    items try
    say "rehearsed with ${found#* }: everything came back equal"
}
