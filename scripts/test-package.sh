#!/usr/bin/env bash
# Tries the Debian package where somebody would install it: in a clean Debian with systemd, booted in a container of its
# own. There apt installs it, and it is asked for its version, its manuals and its completions, mounted by mount(8), by
# fstab, by an automount and by its service, and removed.
#
#   scripts/test-package.sh [DEB]      makes the package first, unless one is given
#
# Needs root and a network for Debian's packages; the clean system is kept in target/package-root.tar.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ "$(id -u)" = 0 ] || die "run this as root: it boots a container"
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"
[ -e /dev/autofs ] || die "/dev/autofs is missing: load the module (modprobe autofs4)"
need_packages mmdebstrap systemd-container umoci jq
if [ $# = 0 ]; then
    scripts/package.sh
    set -- target/debian/ocifs_*.deb
fi
deb=$(realpath "$1")
[ -f "$deb" ] || die "$deb: no such package"

clean=target/package-root.tar
if [ ! -f "$clean" ]; then
    say "making a clean Debian"
    mmdebstrap --quiet --format=tar --variant=apt --include=systemd,systemd-sysv,dbus,man-db,ca-certificates bookworm "$clean.new"
    mv "$clean.new" "$clean"
fi
foreign_busybox target/busybox amd64 arm64 armhf

root=$(mktemp -d -t ocifs-package.XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
tar -C "$root" -xf "$clean"
mkdir "$root/try"
cp "$deb" "$root/try/ocifs.deb"
cp scripts/package/inside.sh "$root/try/"
scripts/make-layout.sh "$root/try/layout" demo:1.0 >/dev/null
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cat >"$root/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=multi-user.target
SuccessAction=exit
FailureAction=exit
[Service]
Type=oneshot
Environment=LC_ALL=C.UTF-8
ExecStart=/bin/bash /try/inside.sh
StandardOutput=truncate:/try/log
StandardError=inherit
TimeoutStartSec=300
UNIT
ln -s ../try.service "$root/etc/systemd/system/multi-user.target.wants/try.service"

say "booting it, and trying the package in there"
# Its own machinery may not know this system's cgroups; then it says so in the log, which is shown.
timeout 400 systemd-nspawn --quiet --directory="$root" --register=no --keep-unit --boot --console=pipe \
    --machine=ocifs-try --bind=/dev/fuse --bind=/dev/autofs </dev/null >"$root/try/console" 2>&1 || status=$?
cat "$root/try/log" 2>/dev/null || tail -n 40 "$root/try/console"
if [ "${status:-0}" != 0 ] || [ ! -e "$root/try/passed" ]; then die "the package does not pass (status ${status:-0})"; fi
say "the package works"
