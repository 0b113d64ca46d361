#!/usr/bin/env bash
# Makes a small multi-platform layout with real programs: busybox for amd64, arm64 and armhf, by umoci.
#
#   scripts/make-layout.sh DIR [NAME]      DIR must not exist; NAME is the image's name (demo:1.0)
#
# Each platform has two layers: the program, and a file of its own. An attestation-like manifest of platform
# unknown/unknown stands beside them in the index, as buildx writes it.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh

[ $# -ge 1 ] || die "usage: scripts/make-layout.sh DIR [NAME]"
layout=$1
name=${2:-demo:1.0}
[ ! -e "$layout" ] || die "$layout exists already"
for tool in umoci jq sha256sum; do
    command -v "$tool" >/dev/null || die "$tool is missing; scripts/test.sh installs it"
done
busybox=target/busybox
foreign_busybox "$busybox" amd64 arm64 armhf

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
created=2024-01-02T03:04:05Z

# Stores standard input as a blob and prints its digest and size.
put_blob() {
    cat >"$work/blob"
    local hex
    hex=$(sha256sum "$work/blob" | cut -d' ' -f1)
    cp "$work/blob" "$layout/blobs/sha256/$hex"
    printf 'sha256:%s %s\n' "$hex" "$(stat -c %s "$work/blob")"
}

mkdir -p "$(dirname "$layout")"
umoci init --layout "$layout"
entries='[]'
for row in amd64/amd64/ arm64/arm64/v8 armhf/arm/v7; do
    IFS=/ read -r debian arch variant <<<"$row"
    tag=build-$arch
    umoci new --image "$layout:$tag"
    umoci config --image "$layout:$tag" --os linux --architecture "$arch" --created "$created" \
        --config.entrypoint /bin/sh --config.env "PLATFORM=linux/$arch" --no-history
    mkdir -p "$work/$arch/0/bin" "$work/$arch/1/etc"
    cp "$busybox/busybox-$debian" "$work/$arch/0/bin/busybox"
    ln -s busybox "$work/$arch/0/bin/sh"
    printf 'NAME=demo\nARCHITECTURE=%s\n' "$arch" >"$work/$arch/1/etc/os-release"
    # Packed by tar itself: umoci's own `insert` leaves out the archive's end marker, which tar complains about.
    for layer in "0 add busybox for $debian" "1 add /etc/os-release"; do
        tar -C "$work/$arch/${layer%% *}" --sort=name --mtime="$created" --owner=0 --group=0 --numeric-owner \
            --mode=a+rX,u+w,go-w -cf "$work/layer.tar" .
        umoci raw add-layer --image "$layout:$tag" --history.created "$created" \
            --history.created_by "${layer#* }" "$work/layer.tar"
    done
    entry=$(jq -c --arg tag "$tag" --arg arch "$arch" --arg variant "$variant" '
        .manifests[] | select(.annotations["org.opencontainers.image.ref.name"] == $tag) | del(.annotations)
        | .platform = ({os: "linux", architecture: $arch} + if $variant == "" then {} else {variant: $variant} end)
        ' "$layout/index.json")
    entries=$(jq -c --argjson entry "$entry" '. + [$entry]' <<<"$entries")
done

# What buildx writes beside the platforms: a manifest that attests the first one.
first=$(jq -r '.[0].digest' <<<"$entries")
read -r statement statement_size < <(jq -nc --arg hex "${first#sha256:}" '
    {_type: "https://in-toto.io/Statement/v0.1", predicateType: "https://slsa.dev/provenance/v0.2",
     subject: [{name: "demo", digest: {sha256: $hex}}], predicate: {builder: {id: ""}}}' | put_blob)
read -r config config_size < <(jq -nc --arg diff "$statement" '
    {architecture: "unknown", os: "unknown", config: {}, rootfs: {type: "layers", diff_ids: [$diff]}}' | put_blob)
read -r attestation attestation_size < <(jq -nc --arg config "$config" --argjson config_size "$config_size" \
    --arg statement "$statement" --argjson statement_size "$statement_size" '
    {schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
     config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $config_size},
     layers: [{mediaType: "application/vnd.in-toto+json", digest: $statement, size: $statement_size,
               annotations: {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}}]}' | put_blob)
read -r index index_size < <(jq -nc --argjson entries "$entries" --arg first "$first" \
    --arg attestation "$attestation" --argjson attestation_size "$attestation_size" '
    {schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
     manifests: ($entries + [{mediaType: "application/vnd.oci.image.manifest.v1+json",
         digest: $attestation, size: $attestation_size, platform: {os: "unknown", architecture: "unknown"},
         annotations: {"vnd.docker.reference.type": "attestation-manifest",
                       "vnd.docker.reference.digest": $first}}])}' | put_blob)
jq -n --arg index "$index" --argjson size "$index_size" --arg name "$name" '
    {schemaVersion: 2, manifests: [{mediaType: "application/vnd.oci.image.index.v1+json",
     digest: $index, size: $size, annotations: {"org.opencontainers.image.ref.name": $name}}]}' \
    >"$work/index.json"
cp "$work/index.json" "$layout/index.json"
umoci gc --layout "$layout" # the manifests of the steps in between
chmod -R a+rX "$layout"    # umoci writes 0600; a layout is there to be read
