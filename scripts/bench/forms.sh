# shellcheck shell=bash
# The row `forms`: the image of 100,000 files, and ml with zstd layers, as ocifs, ratarmount and an unpacked tree on the disk show them.
# Sourced by bench.sh.
#
# Shown without targets: ratarmount cannot enter a zstd layer of one frame in the middle, so reading all of its files out of one takes
# hours, and is left out; umoci of Debian 12 does not unpack zstd.

# Longest that a peer may take for one of these, in seconds.
forms_limit=300

row_forms() {
    forms_ocifs files
    forms_ocifs ml-zstd
    forms_ratarmount files
    forms_ratarmount ml-zstd
    forms_unpacked
}

forms_ocifs() {
    first_look_of "forms/$1, ocifs, first ls" "$1"
    clock "forms/$1, ocifs, mount and find" forms_mount_and_find "$1"
    umount "$mnt"
    wait_gone "$mnt"
    forms_looks "$1, ocifs" "$mnt/$rootfs" start_cold stop "$1"
}

forms_mount_and_find() {
    "$ocifs" --cache-dir "$work/cache/$1" "$images/$1" "$mnt"
    find "$mnt/$rootfs"
}

start_cold() {
    start "$1"
    cold
}

# Lists and reads a tree, each time from a cold cache: `begin` and `end` make and unmake it.
forms_looks() { # forms_looks LABEL TREE BEGIN END ARGUMENT
    "$3" "$5"
    clock "forms/$1, find -newermt" find "$2" -newermt 2030-01-01
    "$4"
    "$3" "$5"
    clock "forms/$1, ls -lR" ls -lR "$2"
    "$4"
    "$3" "$5"
    clock "forms/$1, tar" tar_all "$2"
    "$4"
}

forms_ratarmount() {
    local layers
    mapfile -t layers < <(layer_blobs "$images/$1")
    rm -rf "$work/ratarmount-forms"
    cold_for_ratarmount
    clock "forms/$1, ratarmount, index" ratarmount_limited -c
    ratarmount_stop
    clock "forms/$1, ratarmount, mount and find" ratarmount_limited_and_find
    [ "$1" = ml-zstd ] || clock "forms/$1, ratarmount, find -newermt" timeout $forms_limit find "$peer" -newermt 2030-01-01
    [ "$1" = ml-zstd ] || clock "forms/$1, ratarmount, tar" tar_all "$peer"
    ratarmount_stop
}

ratarmount_limited() {
    timeout $forms_limit "$base/venv/bin/ratarmount" "$@" --index-folders "$work/ratarmount-forms" "${layers[@]}" "$peer"
}

ratarmount_limited_and_find() {
    ratarmount_limited
    timeout $forms_limit find "$peer"
}

forms_unpacked() {
    clock 'forms/files, umoci unpack' umoci unpack --image "$images/files:small" "$work/unpacked-files"
    forms_looks 'files, unpacked' "$work/unpacked-files/rootfs" cold true ''
    rm -rf "$work/unpacked-files"
}
