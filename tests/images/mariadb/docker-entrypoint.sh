#!/bin/bash
# The official image's behaviour, written anew: an empty data directory is initialised with the network off, then the server
# starts. Also makes the user of healthcheck.sh. Not here: MARIADB_INITDB_SKIP_TZINFO, replication, secrets of other names.
set -eu

setting() { # NAME: MARIADB_NAME or MYSQL_NAME, or the content of the file named by …_FILE
    local prefix var file
    for prefix in MARIADB MYSQL; do
        var="${prefix}_$1"; file="${prefix}_$1_FILE"
        if [ -n "${!var-}" ]; then printf '%s' "${!var}"; return; fi
        if [ -n "${!file-}" ]; then cat "${!file}"; return; fi
    done
}

quoted() { # SQL string
    local text=${1//\\/\\\\} quote="'"
    printf "'%s'" "${text//$quote/$quote$quote}"
}

case "${1-}" in -*) set -- mariadbd "$@" ;; esac
if [ "${1-}" != mariadbd ] && [ "${1-}" != mysqld ]; then exec "$@"; fi
if [ "$(id -u)" = 0 ]; then
    find /var/lib/mysql /run/mysqld \! -user mysql -exec chown mysql: '{}' +
    exec setpriv --reuid mysql --regid mysql --init-groups "$0" "$@"
fi

if [ ! -d /var/lib/mysql/mysql ]; then
    root=$(setting ROOT_PASSWORD)
    if [ -z "$root" ] && [ -z "${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD-}" ]; then
        echo "[ERROR] [Entrypoint]: Database is uninitialized and password option is not specified" >&2
        echo "	You need to specify one of MARIADB_ROOT_PASSWORD, MARIADB_ROOT_PASSWORD_HASH, MARIADB_ALLOW_EMPTY_ROOT_PASSWORD and MARIADB_RANDOM_ROOT_PASSWORD" >&2
        exit 1
    fi
    mariadb-install-db --datadir=/var/lib/mysql --auth-root-authentication-method=normal --skip-test-db --cross-bootstrap >/dev/null
    "$@" --skip-networking --socket=/run/mysqld/init.sock &
    server=$!
    for _ in $(seq 60); do mariadb-admin --no-defaults --socket=/run/mysqld/init.sock -uroot ping >/dev/null 2>&1 && break; sleep 0.5; done
    health=$(head -c 24 /dev/urandom | base64 | tr -d '+/=')
    database=$(setting DATABASE) user=$(setting USER) password=$(setting PASSWORD)
    {
        echo "CREATE USER healthcheck@'127.0.0.1' IDENTIFIED BY '$health'; CREATE USER healthcheck@'::1' IDENTIFIED BY '$health';"
        echo "CREATE USER healthcheck@localhost IDENTIFIED BY '$health';"
        if [ -n "$database" ]; then echo "CREATE DATABASE IF NOT EXISTS \`$database\`;"; fi
        if [ -n "$user" ]; then
            echo "CREATE USER \`$user\`@'%' IDENTIFIED BY $(quoted "$password");"
            if [ -n "$database" ]; then echo "GRANT ALL ON \`${database//_/\\_}\`.* TO \`$user\`@'%';"; fi
        fi
        echo "CREATE USER root@'%' IDENTIFIED BY $(quoted "$root"); GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
        # mariadb-install-db leaves these two without a password
        echo "DROP USER IF EXISTS root@'127.0.0.1', root@'::1';"
        echo "ALTER USER root@localhost IDENTIFIED BY $(quoted "$root");"
    } | mariadb --no-defaults --default-character-set=utf8mb4 --socket=/run/mysqld/init.sock -uroot
    (umask 077; printf '[mariadb-client]\nport=3306\nsocket=/run/mysqld/mysqld.sock\nuser=healthcheck\npassword=%s\n' "$health" >/var/lib/mysql/.my-healthcheck.cnf)
    kill "$server"; wait "$server" || true
    echo 'MariaDB init process done. Ready for start up.'
fi
exec "$@"
