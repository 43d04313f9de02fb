#!/bin/sh
# Stand-in. As the real entrypoint: waits for PostgreSQL, then runs the command. It does not migrate.
set -x
rm -rf /app/tmp/pids/server.pid
until pg_isready -q -h "$POSTGRES_HOST" -p "$POSTGRES_PORT" -U "$POSTGRES_USERNAME"; do sleep 1; done
exec "$@"
