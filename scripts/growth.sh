#!/usr/bin/env bash
# Measures how ocifs's cost grows with entries, layers, images, mounts, readers and the length of a layer, and prints the tables of
# docs/performance.md. Needs root, 6 GB of disk and some ten minutes.
#
#   scripts/growth.sh [--quick] [--only TABLE]… [--ocifs PATH]     TABLE: entries layers images mounts readers length
#
# --quick takes small numbers, for trying this script. $OCIFS_BENCH_DIR is where it works instead of a directory below /tmp.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

arguments=() ocifs=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) arguments+=(--quick) ;;
        --only) arguments+=(--only "${2:?--only wants a table}") && shift ;;
        --ocifs) ocifs=$(realpath "${2:?--ocifs wants a program}") && shift ;;
        *) die "unknown argument $1; the head of this file says what there is" ;;
    esac
    shift
done
[ "$(id -u)" = 0 ] || die "run this as root: it drops the page cache before what is measured cold"
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"

need_packages python3 fuse3 gzip procps
if [ -z "$ocifs" ]; then
    say "building ocifs"
    cargo build --locked --release
    ocifs=$(realpath "${CARGO_TARGET_DIR:-target}/release/ocifs")
fi
export PYTHONDONTWRITEBYTECODE=1
work=$(mktemp -d "${OCIFS_BENCH_DIR:-/tmp}/ocifs-growth.XXXXXX")
# Whatever is still mounted below our directory when the script was killed.
cleanup() {
    local at
    while read -r at; do umount -l "$at" || true; done < <(awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo)
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
python3 scripts/bench/growth.py "$ocifs" "$work" ${arguments[@]+"${arguments[@]}"}
