#!/bin/sh
# As the official image: options or a configuration file alone mean redis-server; root gives /data to redis and steps down.
# Debian's redis binds to 127.0.0.1 in its own configuration file only, so `protected-mode no` makes it reachable here.
set -e
if [ "${1#-}" != "$1" ] || [ "${1%.conf}" != "$1" ]; then set -- redis-server "$@"; fi
if [ "$1" = redis-server ] && [ "$(id -u)" = 0 ]; then
    find /data \! -user redis -exec chown redis '{}' + 2>/dev/null || true
    exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
if [ "$1" = redis-server ]; then
    case " $* " in *" --protected-mode "*) ;; *) set -- "$@" --protected-mode no ;; esac
fi
exec "$@"
