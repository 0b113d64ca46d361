#!/usr/bin/env bash
# Shows ocifs at work, in one command on a fresh machine: installs what is missing, builds, makes a small
# multi-platform image with real programs in it, mounts it, walks through it, and cleans up.
#
#   scripts/demo.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_packages gcc libc6-dev ca-certificates fuse3 umoci jq attr
command -v cargo >/dev/null || die "cargo is missing: install Rust 1.88 or later (https://rustup.rs)"
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"

say "building ocifs"
cargo build --locked --release
PATH=$PWD/target/release:$PATH

demo=$(mktemp -d -t ocifs-demo.XXXXXX)
export XDG_CACHE_HOME=$demo/cache
if [ "$(id -u)" = 0 ]; then unmount=umount; else unmount="fusermount3 -u"; fi
finish() {
    cd /
    ! mountpoint -q "$demo/img" || $unmount "$demo/img"
    rm -rf "$demo"
}
trap finish EXIT

say "making an image for linux/amd64, linux/arm64 and linux/arm/v7"
scripts/make-layout.sh "$demo/multi-layout" demo:1.0 >/dev/null
cd "$demo"
mkdir img

# Shows a command line and runs it; a command that fails ends the demonstration.
show() {
    printf '\n$ %s\n' "$1"
    eval "$1"
}

# The same for a command that must fail.
refuses() {
    printf '\n$ %s\n' "$1"
    ! eval "$1" 2>&1 || die "that should have failed: $1"
}

say "mounting it"
show 'ocifs multi-layout img'
show 'ls img img/images img/platforms img/platforms/linux-arm64'

say "the top entry of the layout: an index, so it may hold several platforms"
show 'grep mediaType img/index.json'

say "how many platforms there are (attestations are none), and the manifest of one of them"
show 'ls img/platforms | wc -l'
show 'cat img/platforms/linux-arm64/digest'

say "whether all platforms have the same ImageID: a line for each different one"
show 'cat img/platforms/*/image-id | sort | uniq -c'

say "one platform: its layers, its architecture, its ImageID and the proof"
show 'ls img/platforms/linux-arm64/layers | wc -l'
show 'grep architecture img/platforms/linux-arm64/pretty/config.json'
show 'cat img/platforms/linux-arm64/image-id'
show 'sha256sum img/platforms/linux-arm64/config.json'

say "what differs between two platforms"
show 'diff -r img/platforms/linux-{amd64,arm64}/pretty || true'

say "how it was made, and what is in a layer"
show 'cat img/platforms/linux-arm64/history'
show 'tar tvzf img/platforms/linux-arm64/layers/0'
show 'find img/platforms/linux-arm64/diffs -type f'

say "the root filesystem: what a container would see, which layer brought a file, and how two platforms differ"
show 'ls -l img/platforms/linux-arm64/rootfs img/platforms/linux-arm64/rootfs/bin'
show 'cat img/platforms/linux-arm64/rootfs/etc/os-release'
show 'getfattr -d -m "^user[.]oci" img/platforms/linux-arm64/rootfs/etc/os-release'
show 'diff -rq img/platforms/linux-{amd64,arm64}/rootfs || true'

say "a blob under several names is one file"
show 'find img -samefile img/platforms/linux-arm64/layers/0'
show 'getfattr -d -m "^user[.]oci" img/platforms/linux-arm64/layers/0'

say "a changed byte is an error, never other bytes"
digest=$(getfattr --only-values -n user.oci.digest img/platforms/linux-arm64/layers/1)
show "$unmount img"
printf '\n  (one byte of %s is overwritten)\n' "$digest"
printf 'X' | dd of="multi-layout/blobs/${digest/://}" bs=1 seek=60 conv=notrunc status=none
show 'ocifs multi-layout img'
refuses 'cat img/platforms/linux-arm64/layers/1'
refuses 'cat img/platforms/linux-arm64/rootfs/etc/os-release'
show 'cat img/.ocifs/problems'
show 'cat img/platforms/linux-arm64/layers/0 | wc -c    # its neighbour is fine'

say "done: unmounting and removing everything"
show "$unmount img"
