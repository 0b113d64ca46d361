#!/usr/bin/env bash
# Runs each fuzz target for a while, from seeds made by real tools; installs cargo-fuzz where it is missing.
#
#   scripts/fuzz.sh [SECONDS [TARGET…]]      SECONDS for each target, 60 unless told otherwise, 0 for the seeds alone;
#                                            all targets unless some are named
#
# FUZZ_SEED=N makes a run begin as the last one of that number did, as far as its time reaches. FUZZ_TARS names a
# directory with more tars to begin with. What a target finds lies in fuzz/artifacts and in fuzz/corpus, which are not
# in the repository: a finding becomes a test of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || die "usage: scripts/fuzz.sh [SECONDS [TARGET…]]"

need_packages g++ tar gzip zstd xz-utils bzip2
if ! cargo fuzz --version >/dev/null 2>&1; then
    say "cargo-fuzz"
    cargo install --locked --debug cargo-fuzz
fi

# Puts standard input, behind the bytes that a target reads first, into its corpus.
seed() {
    local target=$1 name=$2 head=$3
    mkdir -p "fuzz/corpus/$target"
    { printf '%b' "$head" && cat; } >"fuzz/corpus/$target/seed-$name"
}

say "seeds"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/dir" "$work/tree/$(printf 'long-%.0s' {1..30})"
printf 'text\n' >"$work/tree/dir/file"
ln -s dir/file "$work/tree/link"
ln "$work/tree/dir/file" "$work/tree/hard"
mkfifo "$work/tree/pipe"
truncate -s 1M "$work/tree/sparse"
printf 'end' >>"$work/tree/sparse"
for form in v7 ustar gnu pax; do
    tar -C "$work/tree" --format=$form --sparse -cf "$work/$form.tar" . 2>/dev/null || true
done
number=0
while read -r file; do
    number=$((number + 1))
    head -c 200000 "$file" | seed tar_entries "$number" '\x07'
    head -c 60000 "$file" | seed tar_differential "plain-$number" '\x00'
    # Decisions are best made by bytes that look like chance.
    head -c 20000 "$file" | gzip -n | seed tar_differential "made-$number" '\x02'
    head -c 20000 "$file" | gzip | seed gzip_resume "whole-$number" '\x00\x01'
    head -c 20000 "$file" | gzip | tail -c +11 | seed gzip_resume "bare-$number" '\x01\x01'
    head -c 20000 "$file" | seed gzip_resume "plain-$number" '\x02\x2b'
    head -c 40000 "$file" | seed gzip_abreast "plain-$number" '\x01\x16\x20'
    head -c 40000 "$file" | seed gzip_abreast "changed-$number" '\x02\x46\x20'
    head -c 40000 "$file" | gzip | tail -c +11 | seed gzip_abreast "bare-$number" '\x00\x02\x08'
    head -c 20000 "$file" | zstd -q | seed zstd_resume "whole-$number" '\x00\x01'
    head -c 20000 "$file" | seed zstd_resume "plain-$number" '\x01\x2b'
    head -c 20000 "$file" | xz -0 | seed xz_bzip2 "xz-$number" '\x00\x01'
    head -c 20000 "$file" | bzip2 | seed xz_bzip2 "bzip2-$number" '\x01\x01'
    head -c 8000 "$file" | seed xz_bzip2 "xz-streams-$number" '\x02\x07'
    head -c 8000 "$file" | seed xz_bzip2 "bzip2-streams-$number" '\x03\x07'
done < <(find "$work" ${FUZZ_TARS:+"$FUZZ_TARS"} -name '*.tar' -size -2M)
find tests/fixtures -type f \( -name '*.json' -o -path '*/blobs/*' \) -size -64k | while read -r file; do
    name=$(basename "$(dirname "$(dirname "$(dirname "$file")")")")-$(basename "$file")
    seed documents "$name" '' <"$file"
done
d=sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
table='{"version":1,"entries":[{"type":"dir","name":"d/","mode":16877,"xattrs":{"user.a":"Yg=="}},
{"type":"reg","name":"f","size":9,"offset":100,"chunkSize":4,"chunkDigest":"'$d'","modtime":"2019-08-20T10:30:43.5Z"},
{"type":"chunk","name":"f","chunkOffset":4,"chunkSize":2,"chunkType":"zeros"},
{"type":"chunk","name":"f","chunkOffset":6,"offset":100,"innerOffset":9,"chunkDigest":"'$d'"},
{"type":"symlink","name":"s","linkName":"f"},{"type":"char","name":"c","devMajor":1,"devMinor":3}]}'
printf '%s' "$table" | seed tables json '\x00'
printf '%s' "$table" | zstd -q | seed tables packed '\x01'
printf '%s' "$table" >"$work/stargz.index.json"
tar -C "$work" --format=ustar --owner=0 --group=0 --numeric-owner --mode=0 --mtime=@0 -c stargz.index.json | gzip | seed tables member '\x02'
printf '\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0%016xSTARGZ\x01\0\0\xff\xff\0\0\0\0\0\0\0\0' 100 | seed tables footer '\x02'
printf '{"digest":"%s","size":1000,"annotations":{"io.github.containers.zstd-chunked.manifest-position":"8:99:300:1","io.github.containers.zstd-chunked.manifest-checksum":"%s"}}' $d $d |
    seed tables claim '\x03'
config='{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["'$d'"]}}'
saved='[{"Config":"c.json","RepoTags":["app:v1"],"Layers":["l.tar"]}]'
{ printf '%s\xff%s\xff' "$saved" "$config" && cat "$work/pax.tar"; } | seed docker_archive plain ''
{ printf '%s\xff{}\xff' "$saved" && gzip -n <"$work/gnu.tar"; } | seed docker_archive packed ''
printf '[{"config":"c.json","layers":["a/layer.tar","none"]},{"Config":7}]\xff%s\xff' "$config" | seed docker_archive two ''
# Answers of a registry: a status (by its place in the target's table), headers, an empty line, a body; 0xff between two.
oci=application/vnd.oci.image
manifest='{"schemaVersion":2,"config":{"mediaType":"'$oci'.config.v1+json","digest":"'$d'","size":2},"layers":[{"mediaType":"'$oci'.layer.v1.tar","digest":"'$d'","size":90000}]}'
head="Content-Type: $oci.manifest.v1+json\nDocker-Content-Digest: {digest}\n\n"
{
    printf '\x08WWW-Authenticate: Bearer realm="http://127.0.0.1:{port}/token?a=b",service="s, t",scope="x"\n\n\xff'
    printf '\x00\n\n{"token":"t","access_token":"a","expires_in":300}\xff'
    printf '\x00%b%s\xff\x00\n\n{}\xff' "$head" "$manifest"
    printf '\x00Link: </v2/some/image/referrers/x?n=2>; rel="next"\n\n{"schemaVersion":2,"manifests":[]}\xff\x00\n\n{"manifests":[]}\xff'
    printf '\x0b\n\n{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}\xff\x0b\n\n\xff\x0b\n\n\xff'
    printf '\x05Location: http://127.0.0.1:{port}/blob?signed\n\n\xff\x03Content-Range: bytes 0-89999/90000\n\nabc\xff'
} | seed registry_answers token ''
printf '\x08WWW-Authenticate: Basic realm="x"\n\n\xff\x0a\n\n{"errors":[]}\xff' | seed registry_answers basic ''
printf '\x00%b%s\xff\x00\n\n{}\xff\x05Location: /elsewhere\n\n\xff\x0dRetry-After: 3600\n\n\xff!HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n' "$head" "$manifest" |
    seed registry_answers plain ''
printf '\x00\x00\x01\x20\x00\xff' | seed index_file edits '\x03'
printf '\x00\x00\x00\x04\x01\x00\x0f\x00\x00\x0b\x00\x00\x0d\x00\x00' | seed merge layers '\x01'
printf '\x00\x00\x00\x00' | seed merge records '\x00'

# No sanitizer: the crate has next to no unsafe code, and this way a stable compiler does.
targets=("${@:2}")
[ "${#targets[@]}" -gt 0 ] || mapfile -t targets < <(cd fuzz && cargo fuzz list)
for target in "${targets[@]}"; do
    say "fuzz $target, $seconds s"
    until=-max_total_time=$seconds
    [ "$seconds" -gt 0 ] || until=-runs=0
    # The limits are part of the test: neither memory nor time may grow with what the input claims.
    (cd fuzz && cargo fuzz run -s none --fuzz-dir . "$target" -- \
        ${FUZZ_SEED:+-seed="$FUZZ_SEED"} "$until" -rss_limit_mb=1024 -timeout=20 -max_len=65536 -print_final_stats=1) >"$work/log" 2>&1 || {
        grep -A 1 panicked "$work/log" || true
        tail -n 60 "$work/log"
        die "$target found something: fuzz/artifacts/$target"
    }
    grep -E 'stat::(number_of_executed_units|average_exec_per_sec|peak_rss_mb)' "$work/log"
done
