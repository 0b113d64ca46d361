#!/usr/bin/env bash
# Makes docs/pictures/tour.svg: what a terminal shows when ocifs is used. Everything in it is run, nothing is drawn.
#
#   scripts/picture.sh
#
# A shell runs scripts/picture/tour.sh on a terminal of its own, over the image of the demonstration; rich, from PyPI,
# turns what came out of that terminal into a picture.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_packages gcc libc6-dev ca-certificates fuse3 umoci jq attr python3 python3-venv bsdutils
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"
venv=target/picture-venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q 'rich==15.*'
fi
cargo build --locked
PATH=$PWD/target/debug:$PATH

columns=88
work=$(mktemp -d -t ocifs-picture.XXXXXX)
finish() {
    for at in "$work/mnt" "$work/bad"; do ! mountpoint -q "$at" || umount "$at"; done
    rm -rf "$work"
}
trap finish EXIT
scripts/make-layout.sh "$work/image" demo:1.0 >/dev/null
cp scripts/picture/tour.sh "$work/"
mkdir "$work/mnt"
(cd "$work" && env -i PATH="$PATH" HOME="$work" TERM=xterm-256color LC_ALL=C.UTF-8 \
    script --quiet --return --command "stty cols $columns rows 60; bash tour.sh" "$work/seen" >/dev/null) ||
    { cat "$work/seen"; die "a command of the tour failed"; }
mkdir -p docs/pictures
"$venv/bin/python" scripts/picture/svg.py "$work/seen" $columns >docs/pictures/tour.svg
wc -c docs/pictures/tour.svg
