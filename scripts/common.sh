# shellcheck shell=bash
# What the scripts share. Sourced, never run; expects `set -euo pipefail`.

# Prints a heading.
say() { printf '\n== %s\n' "$*"; }

# Ends the script with one sentence on stderr.
die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Runs a command as root, through sudo where we are somebody else.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root, and there is no sudo: $*"
    fi
}

# Installs those of the named Debian packages that are missing; says nothing where none is.
need_packages() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ "${#missing[@]}" = 0 ] && return
    command -v apt-get >/dev/null || die "install these first (not a Debian, so do it by hand): ${missing[*]}"
    say "installing ${missing[*]}"
    as_root apt-get update -qq || true # one stale mirror must not stop us; the install says what it lacks
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Puts static busybox programs of the named Debian architectures into a directory, as busybox-ARCH.
#
# apt gets its own lists, cache and status file in a temporary directory, so that the machine's list of
# architectures and its package lists stay as they are, and no root is needed.
foreign_busybox() {
    local directory=$1 arch state missing=()
    shift
    mkdir -p "$directory"
    for arch in "$@"; do
        [ -x "$directory/busybox-$arch" ] || missing+=("$arch")
    done
    [ "${#missing[@]}" = 0 ] && return
    say "fetching busybox-static for ${missing[*]}"
    state=$(mktemp -d)
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$state/debs"
    : >"$state/status"
    local apt=(apt-get -qq -o "Dir::State::lists=$state/lists" -o "Dir::State::status=$state/status"
        -o "Dir::Cache=$state/cache" -o "APT::Architecture=${missing[0]}" -o Acquire::Languages=none)
    [ "$(id -u)" != 0 ] || apt+=(-o APT::Sandbox::User=root)
    for arch in "${missing[@]}"; do apt+=(-o "APT::Architectures::=$arch"); done
    "${apt[@]}" update >"$state/log" 2>&1 || true # suites without this architecture fail; the download tells
    for arch in "${missing[@]}"; do
        (cd "$state/debs" && "${apt[@]}" download "busybox-static:$arch" >>"$state/log" 2>&1) || {
            cat "$state/log" >&2
            die "cannot download busybox-static:$arch"
        }
        dpkg-deb --fsys-tarfile "$state"/debs/busybox-static_*_"$arch".deb |
            tar -xO --wildcards '*/bin/busybox' >"$state/busybox"
        chmod 755 "$state/busybox"
        mv "$state/busybox" "$directory/busybox-$arch"
    done
    rm -rf "$state"
}

# Ends the script unless it runs as root, which it needs for what is named, and there is FUSE.
need_root_and_fuse() {
    [ "$(id -u)" = 0 ] || die "run this as root: $1"
    [ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"
}

# Builds the program that is shipped, and leaves its path in $ocifs, unless there is one already.
need_ocifs() {
    [ -z "$ocifs" ] || return 0
    say "building ocifs"
    cargo build --locked --release
    ocifs=$(realpath "${CARGO_TARGET_DIR:-target}/release/ocifs")
}

# Makes a directory below the one named, for files and mounts, and leaves its path in $work. It goes with the script, and
# whatever is still mounted in it.
make_workplace() {
    work=$(mktemp -d "$1/ocifs-work.XXXXXX")
    trap clear_workplace EXIT
    trap 'exit 130' INT TERM
}

clear_workplace() {
    local at
    while read -r at; do umount -l "$at" || true; done < <(awk -v w="$work/" 'index($5, w) == 1 { print $5 }' /proc/self/mountinfo)
    rm -rf "$work"
}
