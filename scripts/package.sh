#!/usr/bin/env bash
# Makes the Debian package target/debian/ocifs_VERSION_ARCH.deb: the program, its man pages and completions, the mount
# helper and the systemd unit. Installs cargo-deb where it is missing. scripts/test-package.sh tries what comes out.
#
#   scripts/package.sh
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_packages gcc libc6-dev ca-certificates dpkg-dev python3 lintian
command -v cargo >/dev/null || die "cargo is missing: install Rust 1.88 or later (https://rustup.rs)"
if ! cargo deb --version >/dev/null 2>&1; then
    say "cargo-deb"
    cargo install --locked --debug cargo-deb
fi

scripts/assets.sh

say "building ocifs"
cargo build --locked --release

say "packing"
parts=target/package-parts
rm -rf "$parts"
mkdir -p "$parts"
# mount(8) looks for this name in /sbin; the program knows by it how it was called.
ln -s ../bin/ocifs "$parts/mount.fuse.ocifs"
ln -s ../man1/ocifs.1.gz "$parts/mount.fuse.ocifs.8.gz"
scripts/licenses.py >"$parts/third-party-licenses"
{ cat packaging/debian/copyright && sed '1,/^Copyright/d; s/^$/./; s/^/ /; 1d' LICENSE-MIT; } >"$parts/copyright"
version=$(cargo metadata --locked --no-deps --format-version 1 | python3 -c 'import json, sys; print(json.load(sys.stdin)["packages"][0]["version"])')
maintainer=$(sed -n 's/^maintainer = "\(.*\)"/\1/p' Cargo.toml)
when=$(git log -1 --format=%ct 2>/dev/null || date +%s)
printf 'ocifs (%s-1) unstable; urgency=medium\n\n  * Version %s: see changelog.gz.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$(date -Rud "@$when")" >"$parts/changelog.Debian"
gzip -9n "$parts/changelog.Debian" "$parts/third-party-licenses"
gzip -9nc CHANGELOG.md >"$parts/changelog.gz"
rm -rf target/debian
SOURCE_DATE_EPOCH=$when cargo deb --locked --no-build

say "lintian"
deb=$(echo target/debian/ocifs_*.deb)
lintian --fail-on error,warning --suppress-tags "$(grep -v '^#' packaging/debian/lintian-not-for-us | cut -d' ' -f1 | paste -sd,)" "$deb"
dpkg-deb --info "$deb" | sed -n '/Package/,$p'
dpkg-deb --contents "$deb"
