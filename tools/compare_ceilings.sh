#!/bin/sh
# compare_ceilings.sh - compares the ceilings of `bench machine` with an independently written probe.
#
# compare_ceilings.sh [ROUNDS] [BENCH]: builds tests/roof/probe_independent.c for this machine and runs the two in turn
# ROUNDS times (default 5). For each figure it prints the median of the probe, the median of the ceilings and their
# ratio. They run in turn because a shared host's bandwidth changes within seconds. So
# compared figures come from the same minute. The last column is the median of the ratios of each turn.
set -eu
rounds=${1:-5}
bench=${2:-build/bench}
here=$(dirname "$0")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

${CC:-cc} -O2 -march=native -o "$work/probe" "$here/../tests/roof/probe_independent.c" -lpthread
i=0
while [ $i -lt "$rounds" ]; do
    i=$((i + 1))
    "$work/probe" | sed "s/^/probe $i /" >>"$work/figures"
    # "  read  L1  1  202 GB/s ..." in the table for people; --json keeps all digits
    "$bench" machine --quick --json >"$work/json"
    tr -d ' "\n' <"$work/json" | sed 's/.*ceilings:\[//; s/},{/\n/g' |
        sed -n 's/.*name:\([a-z0-9_]*\),level:\([A-Za-z0-9]*\),.*threads:\([0-9]*\),.*value:\([-+.0-9e]*\),low.*/\1 \2 \3 \4/p' |
        sed "s/ null / - /; s/^/bench $i /" >>"$work/figures"
done

sort -k3,3 -k4,4 -k5,5n -k1,1 "$work/figures" | awk '
function median(list, n,    i, j, t) {
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && list[j] < list[j - 1]; j--) {
            t = list[j]; list[j] = list[j - 1]; list[j - 1] = t
        }
    return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
}
{
    key = $3 " " $4 " " $5
    if (!(key in seen)) { seen[key] = 1; order[++keys] = key }
    value[$1, key, $2] = $6
    if ($2 > turns) turns = $2
}
END {
    printf "%-9s %-5s %7s  %12s  %12s  %6s  %14s\n", "", "level", "threads", "probe", "ceiling",
           "ratio", "ratio by turns"
    for (k = 1; k <= keys; k++) {
        key = order[k]; n = 0
        for (t = 1; t <= turns; t++)
            if ((("probe", key, t) in value) && (("bench", key, t) in value)) {
                n++
                p[n] = value["probe", key, t]; b[n] = value["bench", key, t]; r[n] = b[n] / p[n]
            }
        split(key, word, " ")
        if (n == 0) { printf "%-9s %-5s %7d  measured by one of the two only\n", word[1], word[2], word[3]; continue }
        mp = median(p, n); mb = median(b, n)
        printf "%-9s %-5s %7d  %10.1f G  %10.1f G  %6.3f  %14.3f\n", word[1], word[2], word[3],
               mp / 1e9, mb / 1e9, mb / mp, median(r, n)
    }
}'
