#!/bin/sh
# features.sh - which optional parts this machine has, and what is lost without the missing ones.
#
# features.sh             prints the table
# features.sh --required  prints nothing when everything needed to build is there; else one line with the
#                         command that installs it, and fails
# features.sh --missing   prints the packages that are missing, tests and report included, one line
# Environment: CC, PKG_CONFIG, NVCC, PAPI and CUDA (yes or no, as the Makefile decided).
set -u

: "${CC:=cc}" "${PKG_CONFIG:=pkg-config}" "${NVCC:=nvcc}"

has() { command -v "$1" >/dev/null 2>&1; }
pkg() { eval "$PKG_CONFIG $*" 2>/dev/null; } # PKG_CONFIG may set a variable before the program's name

# module or program | Debian package | Homebrew package
libraries='hwloc|libhwloc-dev|hwloc
jansson|libjansson-dev|jansson
libpcre2-8|libpcre2-dev|pcre2
libutf8proc|libutf8proc-dev|utf8proc
sqlite3|libsqlite3-dev|sqlite
libcrypto|libssl-dev|openssl@3
inih|libinih-dev|inih'
only_tests='cmocka|libcmocka-dev|cmocka'

system=$(uname -s)
package() { # DEBIAN HOMEBREW
    if [ "$system" = Darwin ]; then echo "$2"; else echo "$1"; fi
}

missing_libraries() {
    printf '%s\n' "$@" | while IFS='|' read -r module debian brew; do
        pkg --exists "$module" || package "$debian" "$brew"
    done
}

missing_tools() {
    has "$CC" || package build-essential gcc
    has make || package build-essential make
    has pkg-config || package pkg-config pkg-config
}

install_command() {
    if [ "$system" = Darwin ]; then
        echo "brew install $*"
    elif has apt-get; then
        echo "apt-get install $*"
    else
        echo "install what your system calls: $*"
    fi
}

has_papi() { echo 'int x;' | "$CC" -include papi.h -x c -c - -o /dev/null 2>/dev/null; }

missing_all() {
    missing_tools
    missing_libraries "$libraries" "$only_tests"
    has gnuplot || package gnuplot-nox gnuplot
    [ "$system" != Linux ] || has_papi || echo libpapi-dev
}

case "${1-}" in
--required)
    missing=$( { missing_tools; missing_libraries "$libraries"; } | sort -u | tr '\n' ' ')
    [ -z "$missing" ] && exit 0
    # shellcheck disable=SC2086
    echo "cannot build, missing: $missing- run ./setup.sh --install, or: $(install_command $missing)" >&2
    exit 1
    ;;
--missing)
    missing_all | sort -u | tr '\n' ' ' | sed 's/ $//'
    exit 0
    ;;
esac

row() { printf '  %-12s %-4s %-15s %s\n' "$1" "$2" "$3" "$4"; }
feature() { # NAME VERSION LOSS
    if [ -n "$2" ]; then row "$1" yes "$2" ""; else row "$1" no - "$3"; fi
}

# The first of these shared libraries that the loader would find.
loadable() {
    [ "$system" = Linux ] || return 0
    known=$(PATH="$PATH:/sbin" ldconfig -p 2>/dev/null)
    for name in "$@"; do
        case $known in *"	$name "*) echo "$name" && return 0 ;; esac
    done
}

papi_version() {
    [ "${PAPI:-yes}" = yes ] && has_papi || return 0
    version=$(pkg --modversion papi)
    echo "${version:-found}"
}

cuda_version() {
    [ "${CUDA:-yes}" = yes ] && has "$NVCC" || return 0
    "$NVCC" --version | sed -n 's/.*release \([0-9.]*\).*/nvcc \1/p'
}

cuda_loss() {
    if has "$NVCC"; then
        echo "no GPU code in this build: no driver here (CUDA=yes builds it all the same)"
    else
        echo "no GPU code in this build: no nvcc"
    fi
}

perf_row() {
    paranoid=/proc/sys/kernel/perf_event_paranoid
    no_hardware="no hardware counters: the bound rests on the analytic model alone"
    for device in /sys/bus/event_source/devices/cpu* /sys/bus/event_source/devices/armv8*; do
        [ -e "$device" ] && no_hardware=
    done
    if [ ! -r "$paranoid" ]; then
        row "perf events" no - "$no_hardware"
    else
        row "perf events" yes "paranoid $(cat "$paranoid")" "$no_hardware"
    fi
}

echo "features:"
feature hwloc "$(pkg --modversion hwloc)" "required: nothing builds"
feature PAPI "$(papi_version)" "CPU counters come from kernel perf events alone"
feature CUDA "$(cuda_version)" "$(cuda_loss)"
feature libcuda "$(loadable libcuda.so.1)" "cells on cuda are stored as unsupported"
feature CUPTI "$(loadable libcupti.so.13 libcupti.so.12 libcupti.so)" "no GPU activity trace or counters"
feature NVML "$(loadable libnvidia-ml.so.1)" "no GPU power, clocks or throttling reasons"
feature gnuplot "$(has gnuplot && gnuplot --version | awk '{print $2 "." $4}')" \
    "reports have tables and no pictures"
perf_row
[ -e engine/cuda ] || echo "  (this version has no CUDA backend: cells on cuda are stored as unsupported)"
