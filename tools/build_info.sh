#!/bin/sh
# build_info.sh - writes build_info.h, the facts about a build that the store keeps with its figures.
#
# build_info.sh FILE; the file is touched only when its text changes. Environment: CC, PKG_CONFIG, PKGS,
# OPT, SAN, FLAGS, as the Makefile sets them.
set -u
out=$1

quote() { printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"; }

commit=unknown # a source archive has no history
if git -C "$(dirname "$0")" rev-parse HEAD >/dev/null 2>&1; then
    commit=$(git rev-parse HEAD)
    [ -z "$(git status --porcelain --untracked-files=no)" ] || commit="$commit-dirty"
fi
# A commit does not say what a changed tree or an archive holds. 12 digits tell builds apart.
sha256() { if command -v sha256sum >/dev/null 2>&1; then sha256sum; else shasum -a 256; fi; }
source=$(cd "$(dirname "$0")/.." && find base device kernels engine results report bench -type f \
    \( -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' \) | LC_ALL=C sort | xargs cat | sha256 | cut -c1-12)
case " $OPT " in
*" -O0 "*) optimized=0 ;;
*" -O"*) optimized=1 ;;
*) optimized=0 ;;
esac
libraries=
for package in $PKGS; do
    version=$(eval "$PKG_CONFIG" --modversion "$package" 2>/dev/null)
    libraries="$libraries{$(quote "$package"), $(quote "${version:-unknown}")}, "
done

text="// build_info.h - written by tools/build_info.sh.
#define BUILD_COMPILER $(quote "$($CC --version | head -n 1)")
#define BUILD_TARGET $(quote "$($CC -dumpmachine)")
#define BUILD_FLAGS $(quote "$FLAGS")
#define BUILD_COMMIT $(quote "$commit")
#define BUILD_SOURCE $(quote "$source")
#define BUILD_OPTIMIZED $optimized
#define BUILD_SANITIZERS $(quote "$SAN")
#define BUILD_LIBRARIES ${libraries%, }"
printf '%s\n' "$text" | cmp -s - "$out" || printf '%s\n' "$text" >"$out"
