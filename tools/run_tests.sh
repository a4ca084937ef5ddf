#!/bin/bash
# run_tests.sh - runs every test program of a build from the repository root and adds up their results.
#
# run_tests.sh BUILD [NAME...]; a NAME ("base/test_stat", or "stat") picks programs. A failure is printed
# in full. The last line is "N passed, N failed, N skipped"; exit 1 when anything failed or a program
# died. Environment: TEST_TIMEOUT, seconds for one program (300).
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:?usage: run_tests.sh BUILD [NAME...]}
shift
limit=${TEST_TIMEOUT:-300}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0

limited() { # a program that hangs is ended; macOS has no timeout(1) of its own
    if command -v timeout >/dev/null; then
        timeout -k 5 "$limit" "$@"
    else
        perl -e 'alarm shift; exec @ARGV' "$limit" "$@"
    fi
}

wanted() {
    [ $# -eq 1 ] && return 0
    local program=$1 name
    shift
    for name; do
        case $program in *"$name"*) return 0 ;; esac
    done
    return 1
}

run() {
    local program=$1 name=${1#"$build/tests/"} code ok bad skip verdict=ok start=$SECONDS
    limited "$program" >"$log" 2>&1 </dev/null
    code=$?
    # cmocka prints one "[       OK ] name" a test; failures are repeated in a summary after [==========].
    ok=$(grep -c '^\[       OK \]' "$log")
    skip=$(awk '/^\[==========\].*run/ { exit } /^\[  SKIPPED \]/ { n++ } END { print n + 0 }' "$log")
    bad=$(awk '/^\[==========\].*run\./ { exit } /^\[  FAILED  \]/ { n++ } END { print n + 0 }' "$log")
    if [ "$code" -ne 0 ] && [ "$bad" -eq 0 ]; then
        bad=1
        verdict="died with status $code"
        [ "$code" -eq 124 ] && verdict="ended after $limit s"
    elif [ "$bad" -gt 0 ]; then
        verdict=FAILED
    elif [ "$((ok + skip))" -eq 0 ]; then
        bad=1
        verdict="ran no test"
    fi
    passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
    printf '%-32s %4d passed %3d failed %3d skipped %4d s  %s\n' "$name" "$ok" "$bad" "$skip" \
        $((SECONDS - start)) "$verdict"
    if [ "$bad" -gt 0 ]; then
        sed 's/^/    /' "$log"
    elif [ "$skip" -gt 0 ]; then
        grep -iE 'skip' "$log" | sort -u | sed 's/^/    /'
    fi
}

# One program for each source: a binary left over from a removed test does not count.
for source in tests/*/test_*.c; do
    program=$build/${source%.c}
    wanted "$program" "$@" || continue
    if [ -x "$program" ]; then
        run "$program"
    else
        echo "$program: not built"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
