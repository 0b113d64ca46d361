#!/usr/bin/env python3
"""Judges samples by the targets: prints the table, and writes every line of it with all its samples.

  report.py SAMPLES.tsv RESULTS.tsv [ROW...]    samples are `label<TAB>value` lines; the rows asked for, or all
"""

import statistics
import sys
from collections import defaultdict, namedtuple

# What is compared: the median under `ours`, on its own or against the best of `peers`. `better` says whether the target
# is an upper or a lower bound, on the value itself or on the ratio; a speed ratio is the peer's time over ours.
Line = namedtuple("Line", "row what ours unit target better peers ratio", defaults=("", None, "most", (), ""))


def alone(row, what, ours, unit, target, better="most"):
    return Line(row, what, ours, unit, target, better)


def ratio(row, what, ours, target, *peers, unit="s"):
    return Line(row, what, ours, unit, target, "most", peers, "time")


def speed(row, what, ours, target, *peers):
    return Line(row, what, ours, "s", target, "least", peers, "speed")


def shown(row, what, ours, unit):
    return Line(row, what, ours, unit)


RATARMOUNT_PASS = "first-look/ratarmount", "first-look/ratarmount -P 0"
RATARMOUNT_TAR = "tar-cold/ratarmount", "tar-cold/ratarmount -P 0"

LINES = [
    alone("config", "mount until cat config.json: ml, no index", "config/ml, no index", "ms", 15),
    alone("config", "mount until cat config.json: ml, indexed", "config/ml, indexed", "ms", 15),
    alone("config", "mount until cat config.json: few images", "config/few images", "ms", 15),
    ratio("config", "the same: many images", "config/many images", 1, "config/2 x few + parsing", unit="ms"),
    ratio("blob", "first read of a blob, cold", "blob/first read", 1.3, "blob/sha256sum"),
    speed("blob", "second read of a blob", "blob/second read", 0.8, "blob/cat"),
    ratio("first-look", "first ls rootfs, no index, cold", "first-look/ocifs", 0.6, *RATARMOUNT_PASS),
    ratio("first-look", "ambition: as fast as pigz", "first-look/ocifs", 1.0, "first-look/pigz -dc"),
    ratio("first-look", "ambition: umoci, 5 times", "first-look/ocifs", 0.2, "first-look/umoci unpack"),
    shown("first-look", "for comparison: zstd layers", "first-look/ocifs, zstd", "s"),
    shown("first-look", "for comparison: zstd -dc, largest layer", "first-look/zstd -dc", "s"),
    shown("first-look", "for comparison: gzip -dc, largest layer", "first-look/gzip -dc", "s"),
    ratio("second-mount", "second mount + find rootfs", "second-mount/ocifs", 0.15, "second-mount/ratarmount"),
    alone("metadata", "find -newermt, cold", "metadata/find", "s", 0.6),
    alone("metadata", "ls -lR, cold", "metadata/ls", "s", 0.6),
    ratio("tar-cold", "tar -c rootfs, indexed, cold", "tar-cold/ocifs", 0.35, *RATARMOUNT_TAR),
    alone("tar-cold", "the same, as speed", "tar-cold/ocifs speed", "MB/s", 400, "least"),
    shown("tar-cold", "for comparison: zstd layers, as speed", "tar-cold/ocifs, zstd speed", "MB/s"),
    speed("tar-warm", "the same again, warm", "tar-warm/ocifs", 0.7, "tar-warm/unpacked"),
    alone("random", "random 64 KiB, cold: p50", "random/p50", "ms", 1.5),
    alone("random", "random 64 KiB, cold: p99", "random/p99", "ms", 5),
    shown("random", "random 64 KiB, cold: longest", "random/max", "ms"),
    speed("readers", "four readers against one", "readers/four", 1.7, "readers/one"),
    alone("memory", "resident, ml indexed and read", "memory/ml", "MiB", 96),
    alone("memory", "the same: peak", "memory/ml, peak", "MiB", 96),
    alone("memory", "resident, 1,000,000 entries", "memory/entries", "MiB", 256),
    alone("memory", "the same: peak", "memory/entries, peak", "MiB", 256),
    ratio("index-size", "index of the gzip blobs", "index-size/index", 0.035, "index-size/blobs", unit="MB"),
    alone("listing", "ls of the root meanwhile: longest", "listing/mount-max", "ms", 5),
    shown("listing", "for comparison: the machine's own /", "listing/machine-max", "ms"),
    shown("listing", "the same: median", "listing/mount-p50", "ms"),
    shown("registry", "mount until cat config.json of one platform", "registry/config", "s"),
    shown("registry", "for comparison: skopeo copy, umoci unpack, cat", "registry/config, skopeo", "s"),
    alone("registry", "the same: round trips", "registry/config, round trips", "", 5),
    alone("registry", "the same: downloaded", "registry/config, down", "kB", 50),
    shown("registry", "for comparison: skopeo copy", "registry/config, skopeo, down", "kB"),
    ratio("registry", "first file of one gzip layer", "registry/first file", 1.1, "registry/layer"),
    shown("registry", "for comparison: skopeo copy, umoci unpack, cat", "registry/first file, skopeo", "s"),
    shown("registry", "one small file of an eStargz", "registry/table", "s"),
    ratio("registry", "the same: downloaded, of all", "registry/table, down", 0.02, "registry/table, whole", unit="kB"),
    shown("registry", "for comparison: skopeo copy, umoci unpack, cat", "registry/table, skopeo", "s"),
    shown("peers", "find, cold: ocifs, indexed", "peers/ocifs, find", "s"),
    shown("peers", "podman pull, which unpacks", "peers/podman pull", "s"),
    shown("peers", "podman image mount: find, cold", "peers/podman, find", "s"),
    shown("peers", "podman image mount: tar -c, cold", "peers/podman, tar", "s"),
    shown("peers", "mksquashfs of the unpacked tree", "peers/mksquashfs", "s"),
    shown("peers", "squashfuse: find, cold", "peers/squashfuse, find", "s"),
    shown("peers", "squashfuse: tar -c, cold", "peers/squashfuse, tar", "s"),
    shown("peers", "archivemount of the largest layer: mount", "peers/archivemount, mount", "s"),
    shown("peers", "archivemount: find, cold", "peers/archivemount, find", "s"),
    *(
        shown("forms", f"{image}, {who}: {what}", f"forms/{image}, {who}, {what}", "s")
        for image, who, looks in (
            ("files", "ocifs", ("first ls", "mount and find", "find -newermt", "ls -lR", "tar")),
            ("files", "ratarmount", ("index", "mount and find", "find -newermt", "tar")),
            ("files", "unpacked", ("find -newermt", "ls -lR", "tar")),
            ("ml-zstd", "ocifs", ("first ls", "mount and find", "find -newermt", "ls -lR", "tar")),
            ("ml-zstd", "ratarmount", ("index", "mount and find")),
        )
        for what in looks
    ),
    shown("forms", "files: umoci unpack", "forms/files, umoci unpack", "s"),
]


def judge(line, samples):
    """Returns (target, measured, peer, ratio, verdict) as text."""
    sign = {"most": "<=", "least": ">="}[line.better]
    if not samples[line.ours]:
        return "", "-", "", "", "not measured"
    ours = statistics.median(samples[line.ours])
    measured = f"{number(ours)} {line.unit}"
    if line.target is None:
        return "", measured, "", "", ""
    if not line.peers:
        compared, target, peer, shown_ratio = ours, f"{sign} {line.target} {line.unit}", "", ""
    else:
        label, theirs = min(
            ((peer.partition("/")[2], statistics.median(samples[peer])) for peer in line.peers if samples[peer]),
            key=lambda peer: peer[1], default=("", None),
        )
        target = f"{sign} {line.target} x"
        if theirs is None:
            return target, measured, "-", "", "not measured"
        compared = theirs / ours if line.ratio == "speed" else ours / theirs
        peer, shown_ratio = f"{label} {number(theirs)} {line.unit}", f"{compared:.3f}"
    met = compared <= line.target if line.better == "most" else compared >= line.target
    return target, measured, peer, shown_ratio, "met" if met else "NOT MET"


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def main():
    samples_path, results_path, rows = sys.argv[1], sys.argv[2], sys.argv[3:]
    samples = defaultdict(list)
    with open(samples_path, encoding="utf-8") as file:
        for line in file:
            label, value = line.rstrip("\n").split("\t")
            samples[label].append(float(value))
    table = [("row", "what", "target", "measured", "peer", "ratio", "")]
    with open(results_path, "w", encoding="utf-8") as out:
        print("row", "what", "target", "measured", "peer", "ratio", "verdict", "samples", sep="\t", file=out)
        for line in LINES:
            if rows and line.row not in rows:
                continue
            verdict = judge(line, samples)
            table.append((line.row, line.what, *verdict))
            kept = "; ".join(
                f"{label}: {' '.join(f'{value:g}' for value in samples[label])}"
                for label in (line.ours, *line.peers) if samples[label]
            )
            print(line.row, line.what, *verdict, kept, sep="\t", file=out)
    widths = [max(map(len, column)) for column in zip(*table)]
    for cells in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())


if __name__ == "__main__":
    main()
