# shellcheck shell=bash
# The reference images. Sourced by bench.sh, after common.sh; expects $images, $base and $quick.

bench_python=scripts/bench

# Wheels of one day, so that the image stays the same. Python 3.11 is Debian 12's, whatever the machine has.
wheels=(scipy==1.17.1 pandas==3.1.1 pyarrow==26.0.1 opencv-python-headless==5.0.0.93 tensorflow-cpu==2.21.0)
wheels_quick=(pandas==3.1.1 scipy==1.17.1)

# Makes an image with a command, once: it writes into a directory that gets its name when it is complete.
make_image() {
    local name=$1
    shift
    [ -d "$images/$name" ] && return
    say "making the image $name"
    local start=$EPOCHSECONDS
    rm -rf "$images/$name.new"
    "$@" "$images/$name.new"
    mv "$images/$name.new" "$images/$name"
    printf '%s: %d s\n' "$name" $((EPOCHSECONDS - start))
}

make_images() {
    mkdir -p "$images"
    if [ -n "$quick" ]; then
        make_image ml pack_ml_quick
        make_image files pack_small 10000
        make_image entries pack_small 100000
        make_image many-few pack_many 10
        make_image many pack_many 500
        make_image estargz pack_estargz 5 10000000
    else
        make_image ml pack_ml
        make_image files pack_small 100000
        make_image entries pack_small 1000000
        make_image many-few pack_many 10
        make_image many pack_many 10000
        make_image estargz pack_estargz 50 10000000
    fi
    make_image ml-zstd pack_zstd
    make_image one-layer pack_one_layer
    make_image platforms pack_platforms
}

fetch_wheels() {
    local directory=$1 platform options=()
    shift
    for platform in 2_17 2_24 2_27 2_28; do options+=(--platform "manylinux_${platform}_x86_64"); done
    "$base/venv/bin/pip" download -q --no-deps --only-binary=:all: --python-version 3.11 "${options[@]}" \
        -d "$directory" "$@"
}

# A Debian base, what python, nginx and a few tools add to it, and wheels.
pack_ml() {
    local work=$1.work
    rm -rf "$work"
    mkdir "$work"
    export SOURCE_DATE_EPOCH=1704164645
    mmdebstrap -q --variant=minbase bookworm "$work/base.tar"
    mmdebstrap -q --variant=minbase --include=python3,python3-pip,python3-dev,nginx,git,curl bookworm "$work/full.tar"
    python3 $bench_python/layers.py diff "$work/base.tar" >"$work/debian.tar"
    python3 $bench_python/layers.py diff "$work/full.tar" "$work/base.tar" >"$work/packages.tar"
    fetch_wheels "$work" "${wheels[@]}"
    python3 $bench_python/layers.py wheels "$work"/*.whl >"$work/wheels.tar"
    python3 $bench_python/layout.py pack "$1" ml "$work/debian.tar" "$work/packages.tar" "$work/wheels.tar"
    rm -rf "$work"
}

# Something of the same shape for trying the script: 170 MB.
pack_ml_quick() {
    local work=$1.work
    rm -rf "$work"
    mkdir "$work"
    fetch_wheels "$work" "${wheels_quick[@]}"
    python3 $bench_python/layers.py small 5000 >"$work/small.tar"
    python3 $bench_python/layers.py wheels "$work"/pandas*.whl >"$work/pandas.tar"
    python3 $bench_python/layers.py wheels "$work"/scipy*.whl >"$work/scipy.tar"
    python3 $bench_python/layout.py pack "$1" ml "$work/small.tar" "$work/pandas.tar" "$work/scipy.tar"
    rm -rf "$work"
}

# The image ml once more, as skopeo writes layers in zstd: one frame, 8 MiB window.
pack_zstd() {
    skopeo copy -q --dest-compress-format zstd "oci:$images/ml:ml" "oci:$1:ml"
    ! grep -q tar+gzip "$1"/blobs/sha256/"$(manifest_hex "$1")" || die "this skopeo kept the gzip layers"
}

pack_small() {
    python3 $bench_python/layers.py small "$1" >"$2.tar"
    python3 $bench_python/layout.py pack "$2" small "$2.tar"
    rm "$2.tar"
}

pack_many() {
    python3 $bench_python/layout.py many "$2" "$1"
}

# Files of random bytes in a layer with a table of contents.
pack_estargz() {
    python3 $bench_python/estargz.py "$3" estargz "$1" "$2"
}

# The second layer of ml alone: what python, nginx and a few tools bring.
pack_one_layer() {
    python3 $bench_python/layout.py layer "$1" one-layer "$images/ml" 1
}

# Three platforms of two layers each, small.
pack_platforms() {
    scripts/make-layout.sh "$1" platforms
}

# Prints the hex digits of the digest of a one-image layout's manifest.
manifest_hex() {
    jq -r '.manifests[0].digest | ltrimstr("sha256:")' "$1/index.json"
}

# Prints the paths of the layer blobs of a one-image layout, lowest first.
layer_blobs() {
    local hex
    jq -r '.layers[].digest | ltrimstr("sha256:")' "$1/blobs/sha256/$(manifest_hex "$1")" |
        while read -r hex; do printf '%s/blobs/sha256/%s\n' "$1" "$hex"; done
}
