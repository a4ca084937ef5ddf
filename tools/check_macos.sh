#!/bin/bash
# check_macos.sh - compiles every source for macOS on Apple silicon, warnings as errors, without linking.
#
# Zig brings clang with the system headers of macOS (PyPI: ziglang); ZIG names its C compiler where it is
# not on the PATH. The libraries' headers are this machine's, as in check_arm64.sh. This proves that the
# sources are well-formed there, and nothing about how they run.
set -u
cd "$(dirname "$0")/.." || exit 1
read -r -a zig <<<"${ZIG:-zig}"
if ! command -v "${zig[0]}" >/dev/null; then
    echo "skipped: no ${zig[0]}; pip install ziglang, then ZIG='python3 -m ziglang'"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
host=/usr/include/$(cc -print-multiarch)
mkdir "$headers/openssl" "$headers/hwloc"
for name in hwloc jansson jansson_config sqlite3 pcre2 utf8proc ini; do
    for folder in /usr/include "$host"; do
        [ ! -e "$folder/$name.h" ] || ln -sf "$folder/$name.h" "$headers/"
    done
done
for folder in /usr/include "$host"; do
    cp -rsf "$folder"/openssl/* "$headers/openssl/" 2>/dev/null
    cp -rsf "$folder"/hwloc/* "$headers/hwloc/" 2>/dev/null
done
CC=cc PKG_CONFIG=pkg-config PKGS=hwloc OPT=-O1 SAN='' FLAGS='' tools/build_info.sh "$headers/build_info.h"
tools/glossary.sh "$headers/glossary.h"
read -r -a warnings <<<"$(make -s warnings)"
[ ${#warnings[@]} -gt 0 ] || exit 1

passed=0 failed=0
for source in base/*.c device/*.c kernels/*.c kernels/{ref,arm,cuda}/*.c engine/*.c engine/*/*.c engine/*/*/*.c results/*.c report/*.c bench/*/*.c; do
    case $source in *'*'* | *_linux.c | base/os_cgroup.c) continue ;; esac
    if "${zig[@]}" cc -target aarch64-macos -mcpu=apple_m2 -std=c11 -D_GNU_SOURCE -DHAVE_PAPI=0 -DHAVE_CUDA=0 -O1 \
        "${warnings[@]}" -Werror -I. -I"$headers" -c -o "$headers/out.o" "$source"; then
        passed=$((passed + 1))
    else
        echo "$source: does not compile for macOS"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
