#!/usr/bin/env bash
# The demo: two fresh servers, the real rollout with this repository's own inventory, registry and playbooks, then the
# same command again. `make demo` calls it with the program to use.
set -euo pipefail
cd "$(dirname "$0")/../.."
provision=$(realpath "${1:-target/debug/provision}")
# the lab's own throw-away identity; nothing of the demo is readable with, or written for, a real one
export PROVISION_IDENTITY=$PWD/lab/identity.txt

began=$SECONDS
step() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
[ -t 1 ] && [ -z "${NO_COLOR-}" ] || step() { printf '\n==> %s\n' "$*"; }

step "two throw-away servers: Debian 13, systemd, sshd, no Docker"
"$provision" lab up --images tests/images

rollout=("$provision" -i inventory -i lab --host clienteA,clienteB --yes)
step "the rollout: provision ${rollout[*]:1}"
first=$SECONDS
"${rollout[@]}"
first=$((SECONDS - first))

step "the same command again: nothing is left to do"
again=$SECONDS
"${rollout[@]}"
again=$((SECONDS - again))

cat <<END

Done in $((SECONDS - began)) s: first rollout $first s, second $again s.

Look around:
  $1 status -i inventory -i lab         # what runs where
  $1 lab ssh clienteA                   # log in; sudo docker ps
  $1 history                            # both runs, task by task
Take it down:
  $1 lab down                           # the servers; make clean: everything built, too
END
