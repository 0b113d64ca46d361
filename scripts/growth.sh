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
need_root_and_fuse "it drops the page cache before what is measured cold"

need_packages python3 fuse3 gzip procps
need_ocifs
export PYTHONDONTWRITEBYTECODE=1
make_workplace "${OCIFS_BENCH_DIR:-/tmp}"
python3 scripts/bench/growth.py "$ocifs" "$work" ${arguments[@]+"${arguments[@]}"}
