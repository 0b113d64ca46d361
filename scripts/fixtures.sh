#!/usr/bin/env bash
# Makes tests/fixtures anew with the tools installed here: one small layout each by umoci, skopeo and buildah.
#
# The results are frozen in the repository: other versions write other bytes, and the point of a fixture is that
# it stays as one version wrote it. Run this to add a newer one, and say so in tests/fixtures/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

need_packages umoci skopeo buildah jq
out=tests/fixtures
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
created=2024-01-02T03:04:05Z
mkdir -p "$out"
printf 'hello from a layer\n' >"$work/hello"
printf 'second\n' >"$work/second"

rm -rf "$out/umoci" "$out/skopeo" "$out/buildah"

# umoci: two layers, one tag, mediaType in every document, history by its own.
umoci init --layout "$out/umoci"
umoci new --image "$out/umoci:v1"
umoci config --image "$out/umoci:v1" --os linux --architecture arm64 --created "$created" --no-history
for file in hello second; do
    umoci insert --rootless --image "$out/umoci:v1" --history.created "$created" \
        --history.created_by "insert $file" "$work/$file" "/etc/$file"
done
umoci gc --layout "$out/umoci"

# skopeo: a copy of it under a name with slash and colon, and once more with no name at all.
skopeo copy -q "oci:$out/umoci:v1" "oci:$out/skopeo:docker.io/library/hello:v1"
skopeo copy -q "oci:$out/umoci:v1" "oci:$out/skopeo"

# buildah: a manifest list of two platforms pushed as a layout.
store=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
"${store[@]}" manifest create list >/dev/null
for arch in amd64 arm64; do
    container=$("${store[@]}" from --name "c-$arch" scratch)
    "${store[@]}" copy -q "$container" "$work/hello" "/etc/hello" >/dev/null
    "${store[@]}" config --os linux --arch "$arch" --env "ARCH=$arch" "$container"
    "${store[@]}" commit -q --timestamp 1704164645 --manifest list "$container" >/dev/null
done
"${store[@]}" manifest push -q --all list "oci:$out/buildah:two"

chmod -R u=rwX,go=rX "$out"
du -sh "$out"/*/
