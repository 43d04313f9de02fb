#!/bin/bash
# The official image's behaviour, written anew: an empty PGDATA is initialised, on the socket only, then the server starts.
# POSTGRES_* act on an empty directory only; on a filled one they change nothing. Not here: POSTGRES_INITDB_WALDIR, arrays of args.
set -eu

from_file() { # VAR: VAR_FILE may hold it
    local file="${1}_FILE"
    if [ -n "${!1-}" ] && [ -n "${!file-}" ]; then echo "error: both $1 and $file are set (but are exclusive)" >&2; exit 1; fi
    if [ -n "${!file-}" ]; then export "$1=$(cat "${!file}")"; fi
    unset "$file"
}

case "${1-}" in -*) set -- postgres "$@" ;; esac
if [ "${1-}" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" && chmod 0700 "$PGDATA" && find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi

from_file POSTGRES_USER
from_file POSTGRES_PASSWORD
from_file POSTGRES_DB
user=${POSTGRES_USER:-postgres}
database=${POSTGRES_DB:-$user}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -z "${POSTGRES_PASSWORD-}" ] && [ "${POSTGRES_HOST_AUTH_METHOD-}" != trust ]; then
        echo "Error: Database is uninitialized and superuser password is not specified." >&2
        echo "       You must specify POSTGRES_PASSWORD to a non-empty value for the superuser." >&2
        exit 1
    fi
    initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD-}") --encoding=UTF8 --no-sync ${POSTGRES_INITDB_ARGS-}
    printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >>"$PGDATA/pg_hba.conf"
    PGUSER=$user pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
    export PGPASSWORD="${POSTGRES_PASSWORD-}"
    if [ "$database" != postgres ]; then
        psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --dbname postgres --set db="$database" <<<'CREATE DATABASE :"db";'
    fi
    for file in /docker-entrypoint-initdb.d/*; do
        case $file in
        *.sh) echo "running $file"; . "$file" ;;
        *.sql) echo "running $file"; psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --dbname "$database" -f "$file" ;;
        esac
    done
    unset PGPASSWORD
    PGUSER=$user pg_ctl -D "$PGDATA" -m fast -w stop
    echo 'PostgreSQL init process complete; ready for start up.'
fi
exec "$@" -c listen_addresses='*'
