#!/bin/bash
# As the official image's healthcheck.sh, of whose tests two are here: --connect (a TCP connection is answered) and
# --innodb_initialized (the storage engine finished its start).
set -u
query() { mariadb --defaults-file=/var/lib/mysql/.my-healthcheck.cnf --protocol "$1" -h 127.0.0.1 --skip-column-names -B -e "$2" 2>&1; }
[ $# -gt 0 ] || { echo "healthcheck.sh: no test is given" >&2; exit 1; }
for test in "$@"; do
    case $test in
    --connect) out=$(query tcp 'select 1') || case $out in *"Access denied"*) ;; *) echo "healthcheck connect failed" >&2; exit 1 ;; esac ;;
    --innodb_initialized)
        [ "$(query socket "select 1 from information_schema.ENGINES where engine='innodb' and support in ('YES','DEFAULT','ENABLED')")" = 1 ] ||
            { echo "healthcheck innodb_initialized failed" >&2; exit 1; } ;;
    *) echo "healthcheck.sh: this image does not know $test" >&2; exit 1 ;;
    esac
done
