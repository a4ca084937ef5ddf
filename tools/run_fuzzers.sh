#!/bin/bash
# run_fuzzers.sh - runs each libFuzzer program from its kept corpus for a while.
#
# run_fuzzers.sh DIR SECONDS. New inputs go to a temporary folder, so that a short run leaves the tree as
# it was; a crashing input is kept in DIR and named. Last line: "N passed, N failed, N skipped".
set -u
cd "$(dirname "$0")/.." || exit 1
dir=${1:?usage: run_fuzzers.sh DIR SECONDS}
seconds=${2:-10}
passed=0 failed=0
found=$(mktemp -d)
trap 'rm -rf "$found"' EXIT

for source in tests/fuzz/fuzz_*.c; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .c)
    corpus=tests/fuzz/corpus/${name#fuzz_}
    mkdir -p "$found/$name"
    set -- "$found/$name"
    [ -d "$corpus" ] && set -- "$@" "$corpus"
    if "$dir/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -close_fd_mask=1 \
        -artifact_prefix="$dir/$name-" "$@" >"$found/$name.log" 2>&1; then
        passed=$((passed + 1))
        echo "$name: ok, $(grep -oE 'Done [0-9]+ runs in [0-9]+' "$found/$name.log") s"
    else
        failed=$((failed + 1))
        echo "$name: FAILED"
        tail -n 40 "$found/$name.log" | sed 's/^/    /'
    fi
done
[ $((passed + failed)) -gt 0 ] || { echo "no fuzzers in tests/fuzz" && failed=1; }
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
