#!/bin/bash
# check_arm64.sh - compiles every source for 64-bit ARM Linux, warnings as errors, without linking.
#
# The cross compiler brings its own C library and no others, so the libraries' headers are this
# machine's: the few that differ by architecture agree between 64-bit Linux systems. This proves that the
# sources are well-formed there, and nothing about how they run.
set -u
cd "$(dirname "$0")/.." || exit 1
compiler=${ARM64_CC:-aarch64-linux-gnu-gcc}
if ! command -v "$compiler" >/dev/null; then
    echo "skipped: no $compiler; apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi
headers=$(mktemp -d)
trap 'rm -rf "$headers"' EXIT
host=/usr/include/$(cc -print-multiarch)
mkdir "$headers/openssl"
ln -s "$host"/openssl/*.h "$headers/openssl/"
[ -d "$host/hwloc" ] && ln -s "$host/hwloc" "$headers/hwloc"
CC=$compiler PKG_CONFIG=pkg-config PKGS=hwloc OPT=-O2 SAN='' FLAGS='' tools/build_info.sh "$headers/build_info.h"
tools/glossary.sh "$headers/glossary.h"
warnings=$(make -s warnings) || exit 1

passed=0 failed=0
for source in base/*.c device/*.c kernels/*.c kernels/{ref,arm,cuda}/*.c engine/*.c engine/*/*.c engine/*/*/*.c results/*.c report/*.c bench/*/*.c; do
    case $source in *'*'* | engine/metal/*) continue ;; esac
    # Functions are compiled for the instruction set that the file's name ends in, as in the Makefile.
    isa=
    case $source in *_neon_bf16.c) isa=-march=armv8.2-a+bf16 ;; *_neon_dot.c) isa=-march=armv8.2-a+dotprod ;; esac
    # shellcheck disable=SC2086
    if "$compiler" -std=c11 -D_GNU_SOURCE -DHAVE_PAPI=0 -DHAVE_CUDA=0 -O2 $warnings -Werror $isa -I. -I"$headers" \
        -c -o /dev/null "$source"; then
        passed=$((passed + 1))
    else
        echo "$source: does not compile for arm64"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
