# shellcheck shell=bash
# The row `peers`: other ways to look into ml. Sourced by bench.sh.
#
# None of them does the same: podman pulls and unpacks first, squashfuse wants the files packed in a format made for it,
# archivemount shows one layer alone. So they are shown without a target, each with what it takes before the first file.

# mksquashfs packs at level 3, which is zstd's own default: at 15, its own, two processors take ten minutes.
row_peers() {
    need_index ml
    [ -d "$work/unpacked" ] || unpack 2>>"$log"
    peers_ocifs
    peers_podman
    peers_squashfuse
    peers_archivemount
}

peers_ocifs() {
    start ml
    cold
    clock 'peers/ocifs, find' find "$mnt/$rootfs"
    stop
}

podman_here() { podman --root "$work/podman" --runroot "$work/podman-run" "$@"; }

peers_podman() {
    clock 'peers/podman pull' podman_here pull -q "oci:$images/ml:ml"
    local id at
    id=$(podman_here images -q | head -1)
    at=$(podman_here image mount "$id")
    cold
    clock 'peers/podman, find' find "$at"
    cold
    clock 'peers/podman, tar' tar_all "$at"
    podman_here image unmount "$id" >/dev/null
    podman_here rmi -f "$id" >/dev/null 2>>"$log"
}

peers_squashfuse() {
    clock 'peers/mksquashfs' mksquashfs "$work/unpacked/rootfs" "$work/ml.squashfs" -no-progress -comp zstd -Xcompression-level 3
    clock 'peers/squashfuse, mount' squashfuse "$work/ml.squashfs" "$peer"
    cold
    clock 'peers/squashfuse, find' find "$peer"
    cold
    clock 'peers/squashfuse, tar' tar_all "$peer"
    umount "$peer"
    rm "$work/ml.squashfs"
}

# Of one layer: it knows no others. Reading its files is left out: it goes over the archive again for each.
peers_archivemount() {
    clock 'peers/archivemount, mount' archivemount -o readonly,nobackup "${layers[-1]}" "$peer"
    cold
    clock 'peers/archivemount, find' find_what_is_there "$peer"
    umount "$peer"
    wait_gone "$peer"
}

# archivemount lists some directories that it then does not find.
find_what_is_there() { find "$1" || true; }
