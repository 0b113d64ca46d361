#!/usr/bin/env bash
# Measures ocifs beside its peers in one run, and holds it to its targets. One command on a fresh Debian machine:
# installs the peers, makes the reference images (once; some minutes, 4 GB), measures, prints a table.
#
#   scripts/bench.sh [--quick] [--only ROW]… [--repeat N] [--ocifs PATH]
#
# ROW is one of: config blob first-look second-mount metadata tar-cold tar-warm random readers memory index-size listing registry peers forms
# --quick takes small images, for trying this script: its figures mean nothing.
#
# Everything lies in ${OCIFS_BENCH_DIR:-target/bench}: images/ is kept; report.txt has the table and what it was measured
# on, results.tsv the table for programs, with every sample, samples.tsv the samples alone, speed.svg draws them. docs/performance.md has more.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
. scripts/bench/images.sh
. scripts/bench/registry.sh
. scripts/bench/peers.sh
. scripts/bench/forms.sh

all_rows=(config blob first-look second-mount metadata tar-cold tar-warm random readers memory index-size listing registry peers forms)
only=() quick='' repeat=3 ocifs=''
while [ $# -gt 0 ]; do
    case $1 in
        --quick) quick=1 ;;
        --only) only+=("${2:?--only wants a row}") && shift ;;
        --repeat) repeat=${2:?--repeat wants a number} && shift ;;
        --ocifs) ocifs=$(realpath "${2:?--ocifs wants a program}") && shift ;;
        *) die "unknown argument $1; usage: scripts/bench.sh [--quick] [--only ROW]… [--repeat N] [--ocifs PATH]" ;;
    esac
    shift
done
for row in ${only[@]+"${only[@]}"}; do
    [[ " ${all_rows[*]} " = *" $row "* ]] || die "no row $row; there are: ${all_rows[*]}"
done
need_root_and_fuse "it drops the page cache before what is measured cold"

mkdir -p "${OCIFS_BENCH_DIR:-target/bench}"
base=$(realpath "${OCIFS_BENCH_DIR:-target/bench}")
images=$base/images${quick:+-quick}
work=$base/work
mnt=$work/mnt       # where ocifs mounts
peer=$work/peer     # where ratarmount does
log=$base/bench.log # what the programs say
rootfs=platforms/linux-amd64/rootfs
measure=(python3 scripts/bench/measure.py)

# Peers and images

need_packages ca-certificates fuse3 umoci skopeo pigz gzip zstd jq python3 python3-venv mmdebstrap docker-registry curl podman squashfuse \
    squashfs-tools archivemount
if [ ! -x "$base/venv/bin/ratarmount" ]; then
    say "installing ratarmount"
    python3 -m venv "$base/venv"
    "$base/venv/bin/pip" install -q ratarmount rapidgzip indexed_zstd matplotlib
fi
need_ocifs
make_images

# Unmounts what we mounted, whatever state it is in, and waits until its server is gone, so that it takes no time
# from what is measured next.
clear_mounts() {
    local at
    for at in "$mnt" "$peer"; do
        ! mountpoint -q "$at" || umount "$at" || umount -l "$at"
        wait_gone "$at"
    done
}

# Waits until no process has the mount point as its last argument, for a minute at most.
wait_gone() {
    local deadline=$((EPOCHSECONDS + 60))
    while pgrep -f -- " $1\$" >/dev/null; do
        [ $EPOCHSECONDS -lt $deadline ] || die "a server of $1 does not end"
        sleep 0.005
    done
}

finish() {
    clear_mounts
    registry_end
    rm -rf "$work"
}
for at in "$mnt" "$peer"; do
    ! mountpoint -q "$at" || die "$at is mounted: another run, or one that was killed"
done
trap finish EXIT
rm -rf "$work"
mkdir -p "$mnt" "$peer"
: >"$base/samples.tsv"
: >"$log"

# Measuring

sample() { printf '%s\t%s\n' "$1" "$2" >>"$base/samples.tsv"; }

# Reads `name value` lines and notes them under a row.
samples() {
    local name value
    while read -r name value; do sample "$1/$name" "$value"; done
}

# Runs a command, and leaves the microseconds it took in $elapsed.
timed() {
    local from to
    from=${EPOCHREALTIME/[.,]/}
    "$@" >/dev/null 2>>"$log"
    to=${EPOCHREALTIME/[.,]/}
    elapsed=$((to - from))
}

# Runs a command and notes the seconds it took under a label.
clock() {
    timed "${@:2}"
    sample "$1" "$(printf '%d.%06d' $((elapsed / 1000000)) $((elapsed % 1000000)))"
}

clock_ms() {
    timed "${@:2}"
    sample "$1" "$(printf '%d.%03d' $((elapsed / 1000)) $((elapsed % 1000)))"
}

# Notes how many megabytes a second the command measured last made of as many bytes as it counted.
speed() { sample "$1" "$(($(cat "$work/bytes") / elapsed))"; }

cold() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
}

times() { # times N COMMAND…
    local round
    for ((round = 0; round < $1; round++)); do "${@:2}"; done
}

# Through a pipe and a program that reads it, since tar reads no files when it writes to /dev/null.
tar_all() { tar -C "$1" -cf - . | wc -c >"$work/bytes"; }

# Mounts an image, with a cache directory of its own, and leaves the server's pid in $server.
start() {
    "$ocifs" -f --cache-dir "$work/cache/$1" "$images/$1" "$mnt" >>"$log" 2>&1 &
    server=$!
    until mountpoint -q "$mnt"; do
        kill -0 "$server" 2>/dev/null || die "ocifs ended: $(tail -1 "$log")"
        sleep 0.01
    done
}

stop() {
    umount "$mnt"
    wait "$server" || die "ocifs ended with status $?: $(tail -1 "$log")"
}

forget_index() { rm -rf "${work:?}/cache/$1"; }

# Sees to it that an image's layers are indexed in its cache directory.
need_index() {
    [ ! -d "$work/cache/$1" ] || return 0
    start "$1"
    ls "$mnt/$rootfs" >/dev/null
    stop
}

ratarmount() { "$base/venv/bin/ratarmount" "$@" --index-folders "$work/ratarmount" "${layers[@]}" "$peer"; }

# Python takes more than a second to read itself from a cold disk, which is not what we compare with.
cold_for_ratarmount() {
    cold
    "$base/venv/bin/ratarmount" --version >/dev/null
}

ratarmount_stop() {
    umount "$peer"
    wait_gone "$peer"
}

unpack() { umoci unpack --image "$images/ml:ml" "$work/unpacked"; }

# The rows

row_config() {
    need_index ml
    times $((repeat * 5)) config_once
}

config_once() {
    forget_index none
    config_of 'config/ml, no index' ml none platforms
    config_of 'config/ml, indexed' ml ml platforms
    config_of 'config/few images' many-few none 'images/library/image-00001:v1/platforms'
    local few=$elapsed
    config_of 'config/many images' many none 'images/library/image-00001:v1/platforms'
    local parsing
    parsing=$("${measure[@]}" parse "$images/many/index.json")
    sample 'config/2 x few + parsing' "$(jq -n "2 * $few / 1000 + ${parsing#ms }")"
}

config_of() { # config_of LABEL IMAGE CACHE PLATFORMS
    clock_ms "$1" mount_and_cat "${@:2}"
    umount "$mnt"
    wait_gone "$mnt"
}

mount_and_cat() {
    "$ocifs" --cache-dir "$work/cache/$2" "$images/$1" "$mnt"
    cat "$mnt/$3"/*/config.json
}

row_blob() { times "$repeat" blob_once; }

blob_once() {
    local blob=${layers[-1]}
    start ml
    cold
    clock 'blob/first read' cat "$mnt/blobs/sha256/${blob##*/}"
    clock 'blob/second read' cat "$mnt/blobs/sha256/${blob##*/}"
    stop
    cold
    clock 'blob/sha256sum' sha256sum "$blob"
    clock 'blob/cat' cat "$blob"
}

row_first-look() { times "$repeat" first_look_once; }

first_look_once() {
    first_look_of 'first-look/ocifs' ml
    first_look_of 'first-look/ocifs, zstd' ml-zstd
    cold_for_ratarmount
    clock 'first-look/ratarmount' ratarmount -c
    ratarmount_stop
    cold_for_ratarmount
    clock 'first-look/ratarmount -P 0' ratarmount -c -P 0
    ratarmount_stop
    cold
    clock 'first-look/pigz -dc' pigz -dc "${layers[-1]}"
    cold
    clock 'first-look/gzip -dc' gzip -dc "${layers[-1]}"
    local zstd_layers
    mapfile -t zstd_layers < <(layer_blobs "$images/ml-zstd")
    cold
    clock 'first-look/zstd -dc' zstd -dcq "${zstd_layers[-1]}"
    rm -rf "$work/unpacked"
    cold
    clock 'first-look/umoci unpack' unpack
}

first_look_of() {
    forget_index "$2"
    start "$2"
    cold
    clock "$1" ls "$mnt/$rootfs"
    stop
}

row_second-mount() {
    need_index ml
    ratarmount >/dev/null 2>>"$log"
    ratarmount_stop
    times "$repeat" second_mount_once
}

second_mount_once() {
    clock 'second-mount/ocifs' mount_and_find
    umount "$mnt"
    wait_gone "$mnt"
    clock 'second-mount/ratarmount' ratarmount_and_find
    ratarmount_stop
}

mount_and_find() {
    "$ocifs" --cache-dir "$work/cache/ml" "$images/ml" "$mnt"
    find "$mnt/$rootfs"
}

ratarmount_and_find() {
    ratarmount
    find "$peer"
}

row_metadata() {
    need_index files
    times "$repeat" metadata_once
}

metadata_once() {
    start files
    cold
    clock 'metadata/find' find "$mnt/$rootfs" -newermt 2030-01-01
    stop
    start files
    cold
    clock 'metadata/ls' ls -lR "$mnt/$rootfs"
    stop
}

row_tar-cold() {
    need_index ml
    need_index ml-zstd
    times "$repeat" tar_cold_once
}

tar_cold_once() {
    tar_cold_of 'tar-cold/ocifs' ml
    speed 'tar-cold/ocifs speed'
    tar_cold_of 'tar-cold/ocifs, zstd' ml-zstd
    speed 'tar-cold/ocifs, zstd speed'
    ratarmount >/dev/null 2>>"$log"
    cold
    clock 'tar-cold/ratarmount' tar_all "$peer"
    ratarmount_stop
    ratarmount -P 0 >/dev/null 2>>"$log"
    cold
    clock 'tar-cold/ratarmount -P 0' tar_all "$peer"
    ratarmount_stop
}

tar_cold_of() {
    start "$2"
    cold
    clock "$1" tar_all "$mnt/$rootfs"
    stop
}

row_tar-warm() {
    need_index ml
    [ -d "$work/unpacked" ] || unpack 2>>"$log"
    start ml
    tar_all "$mnt/$rootfs"
    tar_all "$work/unpacked/rootfs"
    times "$repeat" tar_warm_once
    stop
}

tar_warm_once() {
    clock 'tar-warm/ocifs' tar_all "$mnt/$rootfs"
    clock 'tar-warm/unpacked' tar_all "$work/unpacked/rootfs"
}

row_random() {
    need_index ml
    local seed
    for ((seed = 1; seed <= repeat; seed++)); do
        start ml
        "${measure[@]}" random "$mnt/$rootfs" "${quick:+20}${quick:-100}0" $seed | samples random
        stop
    done
}

row_readers() {
    need_index ml
    times "$repeat" readers_once
}

readers_once() {
    readers_of one 1
    readers_of four 4
}

readers_of() {
    start ml
    "${measure[@]}" readers "$mnt/$rootfs" "$2" | sed "s/^seconds/$1/; s|^MB/s|$1-MB/s|" | samples readers
    stop
}

# Once each: what they need does not come from chance.
row_memory() {
    forget_index ml
    start ml
    tar_all "$mnt/$rootfs"
    resident ml
    stop
    forget_index entries
    start entries
    find "$mnt/$rootfs" >/dev/null
    resident entries
    stop
}

resident() {
    sample "memory/$1" "$(awk '/^VmRSS/ { print $2 / 1024 }' "/proc/$server/status")"
    sample "memory/$1, peak" "$(awk '/^VmHWM/ { print $2 / 1024 }' "/proc/$server/status")"
}

row_index-size() {
    need_index ml
    sample index-size/index "$(find "$work/cache/ml" -type f -printf '%s\n' | jq -s 'add / 1e6')"
    sample index-size/blobs "$(stat -Lc %s "${layers[@]}" | jq -s 'add / 1e6')"
}

row_listing() { times "$repeat" listing_once; }

listing_once() {
    forget_index ml
    start ml
    cold
    ls "$mnt/$rootfs" >/dev/null &
    local looker=$!
    "${measure[@]}" listing "$mnt" $looker | samples listing
    wait $looker
    stop
}

# The run

describe() {
    printf 'ocifs      %s, %s\n' "$("$ocifs" --version)" "$(git log -1 --format='%h of %cs' 2>/dev/null || echo 'no git')"
    printf 'machine    %s, %s processors, %s, Linux %s\n' \
        "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" \
        "$(awk '/^MemTotal/ { printf "%.1f GiB", $2 / 1048576 }' /proc/meminfo)" "$(uname -r)"
    printf 'disk       %s (the unpacked tree is on it too)\n' "$(findmnt -no FSTYPE,SOURCE -T "$work" | tr -s ' ')"
    printf 'load       %s before the run\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
    printf 'peers      ratarmount %s, rapidgzip %s, ' \
        "$("$base/venv/bin/pip" list 2>/dev/null | awk '$1 == "ratarmount" { print $2 }')" \
        "$("$base/venv/bin/pip" list 2>/dev/null | awk '$1 == "rapidgzip" { print $2 }')"
    # shellcheck disable=SC2016
    dpkg-query -W -f='${Package} ${Version}, ' umoci skopeo pigz gzip zstd coreutils tar
    printf '\nimages     '
    local image
    for image in ml ml-zstd files entries many; do
        printf '%s %s MB; ' "$image" "$(du -sm "$images/$image" | cut -f1)"
    done
    printf '\nrepeated   %s times, medians%s\n\n' "$repeat" "${quick:+; QUICK: SMALL IMAGES, THE FIGURES MEAN NOTHING}"
}

if [ "$(awk '{ print ($1 > 0.5) }' /proc/loadavg)" = 1 ]; then
    printf '\n!!! something else is running here (load %s): do not trust the figures\n' "$(cut -d' ' -f1 /proc/loadavg)" >&2
fi
mapfile -t layers < <(layer_blobs "$images/ml")
describe >"$base/report.txt"
for row in "${only[@]-}"; do [ -n "$row" ] || only=("${all_rows[@]}"); done
for row in "${only[@]}"; do
    say "measuring $row"
    began=$EPOCHSECONDS
    # A row that fails must not hide the others. In `( … ) || …` bash would ignore errors within, hence this way.
    set +e
    (
        set -e
        "row_$row"
    )
    status=$?
    set -e
    clear_mounts
    if [ $status = 0 ]; then
        printf '%s: %d s\n' "$row" $((EPOCHSECONDS - began))
    else
        printf '!!! %s failed; the end of %s:\n' "$row" "$log" >&2
        tail -3 "$log" >&2
        failed=1
    fi
done

python3 scripts/bench/report.py "$base/samples.tsv" "$base/results.tsv" "${only[@]}" >>"$base/report.txt"
"$base/venv/bin/python" scripts/bench/plot.py "$base/samples.tsv" "$base/speed.svg"
say "results"
cat "$base/report.txt"
[ -z "${failed:-}" ] || die "a row could not be measured"
