#!/usr/bin/env bash
# Every test program, two at a time (TEST_JOBS): those on lab hosts wait more than they work. What a program printed
# appears in one piece when it has ended. Ends with 101 if a test failed, like `cargo test`, and names the programs.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
jobs=${TEST_JOBS:-2}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# the longest first, so that none of them begins when everything else is done
first="rollout seeds packs checks update backup months runs packages docker_modules cli lane lab_up engine_runs shelf"

# "Executable tests/lane/main.rs (target/debug/deps/lane-…)", "Executable unittests src/lib.rs (…)" → name, path
built=$("$cargo" test --no-run 2>&1 | tee /dev/stderr | sed -nE 's/^ *Executable .*\((.*\/([a-z_0-9]+)-[0-9a-f]+)\)$/\2 \1/p')
[ -n "$built" ] || { echo 'nothing was built' >&2; exit 101; }
ordered=$(
    for name in $first; do grep -E "^$name " <<<"$built" || true; done
    grep -vE "^(${first// /|}) " <<<"$built"
)

one() {
    local name=$1 path=$2 code=0 out=$dir/${2##*/}
    printf '     Begun %s\n' "$name" >&2
    "$path" >"$out" 2>&1 || code=$?
    # one at a time
    (
        flock 9
        printf '     Running %s (%s)\n' "$name" "$path"
        cat "$out"
        if [ "$code" != 0 ]; then echo "$name" >>"$dir/failed"; fi
    ) 9>"$dir/printing"
}
export -f one
export dir

xargs -P "$jobs" -L 1 bash -c 'one "$@"' one <<<"$ordered"
"$cargo" test --doc || echo doc >>"$dir/failed"
if [ -s "$dir/failed" ]; then
    printf 'error: test failed, in: %s\n' "$(paste -sd ' ' "$dir/failed")" >&2
    exit 101
fi
