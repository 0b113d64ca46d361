#!/usr/bin/env python3
"""Draws what bench.sh measured: one picture, a panel for each thing that was timed, ocifs beside its peers.

  plot.py SAMPLES.tsv PICTURE.svg    panels of which nothing was measured are left out
"""

import statistics
import sys
from collections import defaultdict

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

OURS, PEERS = "#1f6feb", "#b0b7c0"

# A panel: its title, and the bars: label, sample. The first bar is ours.
PANELS = [
    ("first ls rootfs, nothing cached", [
        ("ocifs", "first-look/ocifs"),
        ("pigz -dc of one layer", "first-look/pigz -dc"),
        ("ratarmount, index", "first-look/ratarmount"),
        ("umoci unpack", "first-look/umoci unpack"),
    ]),
    ("mount again, and find", [
        ("ocifs", "second-mount/ocifs"),
        ("ratarmount", "second-mount/ratarmount"),
    ]),
    ("tar of everything, cold", [
        ("ocifs", "tar-cold/ocifs"),
        ("ratarmount", "tar-cold/ratarmount"),
    ]),
    ("first read of a blob, cold", [
        ("ocifs", "blob/first read"),
        ("sha256sum", "blob/sha256sum"),
    ]),
    ("registry, 100 Mbit/s: first file of a gzip layer", [
        ("ocifs", "registry/first file"),
        ("curl of the layer", "registry/layer"),
        ("skopeo copy, umoci unpack", "registry/first file, skopeo"),
    ]),
    ("registry: small file of a 500 MB eStargz", [
        ("ocifs", "registry/table"),
        ("skopeo copy, umoci unpack", "registry/table, skopeo"),
    ]),
]


def medians(path):
    samples = defaultdict(list)
    with open(path, encoding="utf-8") as file:
        for line in file:
            label, value = line.rstrip("\n").split("\t")
            samples[label].append(float(value))
    return {label: statistics.median(values) for label, values in samples.items()}


def draw(axes, title, bars):
    labels = [label for label, _ in bars]
    times = [time for _, time in bars]
    axes.barh(labels, times, color=[OURS] + [PEERS] * (len(bars) - 1))
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.set_xlim(0, max(times) * 1.2)
    axes.xaxis.set_visible(False)
    axes.tick_params(left=False, labelsize=9)
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)
    for place, time in enumerate(times):
        axes.text(time, place, f" {time:.3g} s", va="center", fontsize=9)


def main():
    source, picture = sys.argv[1:]
    measured = medians(source)
    panels = []
    for title, bars in PANELS:
        there = [(label, measured[sample]) for label, sample in bars if sample in measured]
        if len(there) > 1 and there[0][0] == "ocifs":
            panels.append((title, there))
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    plt.rcParams["svg.hashsalt"] = "ocifs"
    figure, grid = plt.subplots(rows, 2, figsize=(10, 1.7 * rows), squeeze=False, layout="constrained")
    for axes, panel in zip(grid.flat, panels):
        draw(axes, *panel)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    main()
