#!/bin/sh
# setup.sh - from a fresh machine to a report, or to the tests, in one command.
#
#   ./setup.sh            install what is missing, build, run the smoke suite into your own store,
#                         write a report; the last line is the report's path
#   ./setup.sh --test     install what is missing, build, run the tests;
#                         the last line is "N passed, N failed, N skipped"
#   ./setup.sh --install  install what is missing, and nothing else
#
# Packages come from apt on Debian and Ubuntu and from Homebrew on macOS. If nothing is missing, no package
# manager is called. A user who may not install packages gets the command to run as root, and exit 1.
set -eu
cd "$(dirname "$0")"

say() { printf '== %s\n' "$*"; }
die() {
    printf 'setup.sh: %s\n' "$*" >&2
    exit 1
}

install_apt() { # PACKAGES...
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || [ -t 0 ]; }; then
        as_root=sudo # asks for a password on a terminal only
    else
        die "packages are missing and this user may not install them; as root run:
apt-get update && apt-get install -y --no-install-recommends $*"
    fi
    say "installing: $*"
    $as_root apt-get update -qq
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

install_brew() { # PACKAGES...
    say "installing: $*"
    HOMEBREW_NO_AUTO_UPDATE=1 brew install "$@"
}

install_missing() {
    missing=$(tools/features.sh --missing)
    if [ -z "$missing" ]; then
        return
    fi
    if [ "$(uname -s)" = Darwin ]; then
        command -v brew >/dev/null || die "Homebrew is missing (see https://brew.sh); then run:
brew install $missing"
        # shellcheck disable=SC2086
        install_brew $missing
    elif command -v apt-get >/dev/null; then
        # shellcheck disable=SC2086
        install_apt $missing
    else
        die "no apt-get and no Homebrew here; install what your system calls: $missing"
    fi
    missing=$(tools/features.sh --missing)
    [ -z "$missing" ] || die "still missing after installing: $missing"
}

jobs() { getconf _NPROCESSORS_ONLN 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 2; }

case ${1-} in
--install)
    install_missing
    ;;
--test)
    install_missing
    say "building the tests"
    make -j "$(jobs)" tests
    exec make --no-print-directory test
    ;;
"")
    install_missing
    say "building"
    make -j "$(jobs)"
    say "running suites/smoke.conf"
    build/bench run suites/smoke.conf # into the user's own store, where list, show and report look
    say "writing the report"
    build/bench report smoke -o report-out
    [ -s report-out/index.html ] || die "the report was not written"
    echo "$PWD/report-out/index.html"
    ;;
*)
    sed -n 's/^#   /  /p' "$0" >&2
    exit 1
    ;;
esac
