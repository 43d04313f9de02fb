#!/bin/sh
# As the real image: options or a subcommand of traefik come without the program's name.
set -e
case "${1-}" in -* | version | healthcheck) set -- traefik "$@" ;; esac
exec "$@"
