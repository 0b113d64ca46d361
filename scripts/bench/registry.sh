# shellcheck shell=bash
# The row `registry`: a registry on this machine behind a slow line, 20 ms there and back, 100 Mbit/s. Sourced by bench.sh.

registry_port=5999
line_port=5998
registry_pid='' line_pid=''

registry_start() {
    cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$registry_port"}
YML
    docker-registry serve "$work/registry.yml" >>"$log" 2>&1 &
    registry_pid=$!
    until curl -sf "http://127.0.0.1:$registry_port/v2/" >/dev/null; do
        kill -0 $registry_pid 2>/dev/null || die "docker-registry ended: $(tail -1 "$log")"
        sleep 0.05
    done
    local image
    for image in platforms one-layer estargz; do
        skopeo copy -q --all --preserve-digests --dest-tls-verify=false \
            "oci:$images/$image:$image" "docker://127.0.0.1:$registry_port/$image:1" 2>>"$log"
    done
}

registry_end() {
    local pid
    for pid in $line_pid $registry_pid; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    line_pid='' registry_pid=''
}

# Runs a command while the slow line stands, notes its seconds under a label, and leaves what went over the line in
# $down (kB), $connections and $requests.
over_line() { # over_line LABEL COMMAND…
    python3 "$bench_python/slow.py" $line_port $registry_port "$work/line" &
    line_pid=$!
    until (: <>/dev/tcp/127.0.0.1/$line_port) 2>/dev/null; do sleep 0.02; done
    cold
    clock "$@"
    ! mountpoint -q "$mnt" || umount "$mnt"
    wait_gone "$mnt"
    kill $line_pid
    wait $line_pid
    line_pid=''
    local name value
    while read -r name value; do declare -g "$name=$value"; done <"$work/line"
    down=$(jq -n "$down / 1000")
    # The one that looked whether the line stands.
    connections=$((connections - 1))
}

row_registry() {
    registry_start
    times "$repeat" registry_once
    registry_end
}

registry_once() {
    over_line 'registry/config' mount_remote platforms platforms/linux-arm64/config.json
    sample 'registry/config, round trips' $((connections + requests))
    sample 'registry/config, down' "$down"
    over_line 'registry/config, skopeo' pull_and_cat platforms etc/os-release --override-arch arm64
    sample 'registry/config, skopeo, down' "$down"

    over_line 'registry/first file' mount_remote one-layer "$rootfs/etc/nginx/nginx.conf"
    local layer
    layer=$(layer_blobs "$images/one-layer")
    over_line 'registry/layer' curl -sf -o /dev/null "http://127.0.0.1:$line_port/v2/one-layer/blobs/sha256:${layer##*/}"
    over_line 'registry/first file, skopeo' pull_and_cat one-layer etc/nginx/nginx.conf

    over_line 'registry/table' mount_remote estargz "$rootfs/etc/motd"
    sample 'registry/table, down' "$down"
    layer=$(layer_blobs "$images/estargz")
    sample 'registry/table, whole' "$(jq -n "$(stat -c %s "$layer") / 1000")"
    over_line 'registry/table, skopeo' pull_and_cat estargz etc/motd
}

# Nothing is in the cache directory: all of it comes over the line.
mount_remote() { # mount_remote IMAGE FILE
    rm -rf "$work/cache/remote"
    "$ocifs" --cache-dir "$work/cache/remote" "docker://127.0.0.1:$line_port/$1:1" "$mnt"
    cat "$mnt/$2"
}

pull_and_cat() { # pull_and_cat IMAGE FILE [SKOPEO'S OPTION]…
    rm -rf "$work/pulled" "$work/unpacked-remote"
    skopeo "${@:3}" copy -q --src-tls-verify=false "docker://127.0.0.1:$line_port/$1:1" "oci:$work/pulled:1"
    umoci unpack --image "$work/pulled:1" "$work/unpacked-remote"
    cat "$work/unpacked-remote/rootfs/$2"
}
