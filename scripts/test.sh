#!/usr/bin/env bash
# Every check of the project in one command, on a fresh Debian too: installs what the tests need, then format,
# lints, documentation, dependency rules and all tests, with real mounts.
#
#   scripts/test.sh [--long]     --long runs the property tests with many more cases, the tests that take long,
#                                every fuzz target for some minutes instead of some seconds, all faults of
#                                scripts/faults.sh and a soak, tries the Debian package in a clean system, and
#                                looks for data races and wild memory (x86-64)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

long=
for argument in "$@"; do
    case $argument in
        --long) long=1 ;;
        *) die "unknown argument $argument; usage: scripts/test.sh [--long]" ;;
    esac
done

need_packages gcc libc6-dev pkg-config ca-certificates fuse3 skopeo umoci buildah attr jq python3 uidmap rsync \
    busybox-static docker-registry openssl podman containerd zstd xz-utils bzip2 shellcheck
command -v cargo >/dev/null || die "cargo is missing: install Rust 1.88 or later (https://rustup.rs)"

# Without this device no test can mount, and a test that cannot mount fails rather than being skipped.
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"

say "scripts: shellcheck"
shellcheck -x scripts/*.sh scripts/package/*.sh scripts/picture/*.sh .ci/run

say "format"
cargo fmt --check

say "lints"
cargo clippy --locked --all-targets -- -D warnings
cargo clippy --locked --no-default-features -- -D warnings

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items

say "dependencies: licences, bans, sources, advisories"
if ! cargo deny --version >/dev/null 2>&1; then
    # A debug build: it is used once, and compiles in a third of the time.
    cargo install --locked --debug cargo-deny || cargo_deny_missing=1
fi
if [ -n "${cargo_deny_missing:-}" ]; then
    printf '\n%s\n%s\n\n' "!!! cargo-deny is not there and cannot be installed (no network?):" \
        "!!! LICENCES, BANS AND SOURCES OF THE DEPENDENCIES ARE UNCHECKED IN THIS RUN" >&2
else
    cargo deny --locked check licenses bans sources
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --locked check --disable-fetch advisories
    else
        printf '!!! the advisory database cannot be fetched: advisories are unchecked in this run\n' >&2
    fi
fi

scripts/assets.sh

say "programs of other architectures for the test images"
foreign_busybox target/busybox amd64 arm64 armhf

say "tests"
[ -z "$long" ] || export PROPTEST_CASES=20000
cargo test --locked
# The orders in which threads can meet in the single flight and in the cache of chunks.
cargo test --locked --manifest-path concurrency/Cargo.toml --lib orders
[ -z "$long" ] || cargo test --locked --test it -- --ignored
[ -z "$long" ] || scripts/test-package.sh
# Faults under real mounts: a few of them with the program just tested, all of them and a soak with the one that is shipped.
if [ -n "$long" ]; then
    scripts/faults.sh
    scripts/faults.sh --soak 300
else
    scripts/faults.sh --quick --ocifs "${CARGO_TARGET_DIR:-target}/debug/ocifs"
fi
# A few seconds, from the same seed each time: that the targets build and hold; looking for more is --long's. Where two
# readers of tar are held against each other a finding may be the other's fault, which takes a person to say: only the
# seeds here.
if [ -n "$long" ]; then
    scripts/fuzz.sh 180
else
    targets=()
    for target in fuzz/fuzz_targets/*.rs; do
        target=$(basename "$target" .rs)
        [ "$target" = tar_differential ] || targets+=("$target")
    done
    FUZZ_SEED=1 scripts/fuzz.sh 5 "${targets[@]}"
    scripts/fuzz.sh 0 tar_differential
fi
# Behind the fuzz targets: what they have come upon is gone through again.
if [ -n "$long" ] && [ "$(uname -m)" = x86_64 ]; then
    scripts/sanitize.sh thread
    scripts/sanitize.sh address
fi

say "everything passed"
