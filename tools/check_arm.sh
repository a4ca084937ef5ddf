#!/bin/sh
# check_arm.sh - the kernel check for AArch64 on another processor: cross-compiled, run by qemu.
#
# usage: tools/check_arm.sh [PATTERN [SEED]]
# Needs gcc-aarch64-linux-gnu and qemu-user. -cpu max has every extension a row asks for. Emulation
# proves results, never speed.
set -eu
cd "$(dirname "$0")/.."
CC=${CC:-aarch64-linux-gnu-gcc}
OUT=${BUILD:-build}/arm
FLAGS="-std=c11 -D_GNU_SOURCE -O3 -ffp-contract=off $(make -s warnings) -DHAVE_CUDA=0 -I."
mkdir -p "$OUT"
objects=
for file in tests/kernels/check_main.c base/status.c base/str.c base/words.c kernels/layout.c kernels/quant.c device/isa.c \
    kernels/registry.c kernels/probe.c kernels/linear.c kernels/attention.c kernels/check*.c \
    kernels/ref/*.c kernels/arm/*.c; do
    case $file in
    kernels/check_device.c) continue ;; # needs the pool, and with it hwloc
    *_neon_bf16.c) isa=-march=armv8.2-a+bf16 ;;
    *_neon_dot.c) isa=-march=armv8.2-a+dotprod ;;
    *) isa= ;;
    esac
    object=$OUT/$(echo "$file" | tr / _).o
    # shellcheck disable=SC2086
    $CC $FLAGS $isa -c -o "$object" "$file"
    objects="$objects $object"
done
# shellcheck disable=SC2086
$CC -o "$OUT/check" $objects -lm
exec qemu-aarch64 -cpu max -L /usr/aarch64-linux-gnu "$OUT/check" "$@"
