#!/usr/bin/env bash
# Breaks things under real mounts and looks what readers get: kills, full disks, damaged caches, bad disks, changed blobs, registries that
# go, too few descriptors, too little memory, clocks that jump. Every byte that comes is compared. docs/faults.md has what came of it.
#
#   scripts/faults.sh [--quick] [--only WORD]… [--table] [--ocifs PATH]     status 1 if anything is not as it should be
#   scripts/faults.sh --soak SECONDS [--ocifs PATH]                         mounts, reads, unmounts; memory and descriptors must not grow
#
# --quick takes half a minute; --table writes docs/faults.md. Needs root: it mounts small disks and sets limits. Everything it makes goes at
# the end; $OCIFS_FAULTS_DIR is where it works instead of a directory below /tmp.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

arguments=() ocifs='' soak=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) arguments+=(--quick) ;;
        --only) arguments+=(--only "${2:?--only wants a word}") && shift ;;
        --table) arguments+=(--table docs/faults.md) ;;
        --soak) soak=${2:?--soak wants seconds} && shift ;;
        --ocifs) ocifs=$(realpath "${2:?--ocifs wants a program}") && shift ;;
        *) die "unknown argument $1; the head of this file says what there is" ;;
    esac
    shift
done
need_root_and_fuse "it mounts small disks and sets limits"

need_packages python3 python3-fusepy fuse3 zstd util-linux docker-registry skopeo faketime strace
need_ocifs

export PYTHONDONTWRITEBYTECODE=1
make_workplace "${OCIFS_FAULTS_DIR:-/tmp}"
if [ -n "$soak" ]; then
    python3 scripts/faults/soak.py "$ocifs" "$work" "$soak"
else
    python3 scripts/faults/run.py "$ocifs" "$work" ${arguments[@]+"${arguments[@]}"}
fi
