#!/usr/bin/env bash
# Runs the tests, and real mounts with several readers, in an ocifs that watches itself: for data races, or for memory it must not touch.
#
#   scripts/sanitize.sh thread       data races, by ThreadSanitizer: what threads share, and a mount that ends under its readers
#   scripts/sanitize.sh address      memory, by AddressSanitizer: all unit tests, and what the fuzz targets have come upon
#
# Both run on the stable compiler, which brings the sanitizers' libraries for x86-64; elsewhere this says so and does nothing. The first
# compiles the standard library anew, for what synchronises inside it would not be seen otherwise: rustup gets its source (4 MB). C
# libraries (zstd, bzip2, liblzma) are watched at malloc alone. What these cannot see, Miri could; it takes a nightly compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

what=${1:-}
case $what in
    thread) library=tsan ;;
    address) library=asan ;;
    *) die "usage: scripts/sanitize.sh thread|address" ;;
esac
sysroot=$(rustc --print sysroot)
target=$(rustc -vV | sed -n 's/^host: //p')
compgen -G "$sysroot/lib/rustlib/$target/lib/librustc-*_rt.$library.a" >/dev/null ||
    die "this compiler ($(rustc -V), $target) has no library for $what sanitizing: nothing was checked"

need_packages gcc libc6-dev fuse3 umoci util-linux
[ -e /dev/fuse ] || die "/dev/fuse is missing: load the module (modprobe fuse) or pass the device into the container"

export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=target/sanitize-$what
export RUSTFLAGS="-Zsanitizer=$what" PROPTEST_CASES=${PROPTEST_CASES:-16}
flags=(--locked --target "$target")
if [ "$what" = thread ]; then
    if [ ! -e "$sysroot/lib/rustlib/src/rust/library/Cargo.lock" ]; then
        say "the source of the standard library"
        rustup component add rust-src || die "without the source of the standard library there would be false alarms: nothing was checked"
    fi
    flags+=(-Zbuild-std)
else
    # The standard library as it comes is of another kind, by name; it calls nothing that would not fit.
    RUSTFLAGS+=" -Cunsafe-allow-abi-mismatch=sanitizer"
fi

work=$(mktemp -d)
point=$work/mnt
cleanup() {
    umount -l "$point" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
# Leaks are nobody's concern here: a mount that ends lets go of everything at once.
export ASAN_OPTIONS=detect_leaks=0

if [ "$what" = thread ]; then
    say "unit tests of what threads share"
    cargo test "${flags[@]}" --lib -- stream:: blob:: view:: layer:: side_by_side:: fuse:: source:: cache:: survey:: image::
else
    say "unit tests"
    cargo test "${flags[@]}" --lib
fi

say "mounts that end under their readers"
cargo build "${flags[@]}" --bin ocifs
ocifs=$CARGO_TARGET_DIR/$target/debug/ocifs
mkdir -p "$work/tree/d" "$point"
for n in $(seq 200); do echo "small $n" >"$work/tree/d/$n"; done
seq 3000000 >"$work/tree/large"
umoci init --layout "$work/layout"
umoci new --image "$work/layout:v1"
umoci insert --rootless --image "$work/layout:v1" "$work/tree" / >/dev/null

# Reads the mount as reader number $1.
read_all() {
    case $1 in
        1) cat "$image/rootfs/large" "$image"/layers/0 ;;
        2) find "$image" -ls -exec cat {} + ;;
        3) tar -C "$image/rootfs" -cf - . ;;
        4) cat "$image/diffs/0/large" "$point"/.ocifs/* "$image"/diffs/0/d/* ;;
    esac >/dev/null 2>&1 || true # a mount that ends gives errors; what this looks for is in the report
}

for round in $(seq 9); do
    # In the foreground, where what is reported has somewhere to go. Behind the first ones there is an index.
    "$ocifs" -f --cache-dir "$work/cache$((round % 4))" "$work/layout" "$point" 2>"$work/report" &
    server=$!
    until mountpoint -q "$point"; do
        kill -0 "$server" 2>/dev/null || { cat "$work/report" && die "does not mount"; }
        sleep 0.1
    done
    image=$(echo "$point"/platforms/*)
    readers=()
    for n in 1 2 3 4; do
        read_all "$n" &
        readers+=($!)
    done
    case $((round % 3)) in
        0) wait "${readers[@]}" && umount "$point" ;;
        1) sleep "0.$round" && umount -l "$point" ;;
        2) sleep "0.$round" && kill -TERM "$server" ;;
    esac
    wait "${readers[@]}"
    status=0
    wait "$server" || status=$?
    if [ "$status" != 0 ] || grep -q "Sanitizer:" "$work/report"; then
        cat "$work/report"
        die "round $round: ended with status $status; what was reported is above"
    fi
done

if [ "$what" = address ] && cargo fuzz --version >/dev/null 2>&1 && [ -d fuzz/corpus ]; then
    # Each target once over what it knows; looking for more is scripts/fuzz.sh.
    for target in fuzz/corpus/*; do
        say "fuzz ${target##*/}, what it has come upon"
        (cd fuzz && env -u CARGO_TARGET_DIR RUSTFLAGS=-Cunsafe-allow-abi-mismatch=sanitizer cargo fuzz run -s address --fuzz-dir . \
            "${target##*/}" -- -runs=0 -rss_limit_mb=4096 -timeout=60) >"$work/log" 2>&1 || {
            tail -n 60 "$work/log"
            die "${target##*/} found something"
        }
    done
fi
say "nothing found"
