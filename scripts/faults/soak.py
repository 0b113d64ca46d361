#!/usr/bin/env python3
"""Mounts, reads and unmounts over and over beside one mount that stays. What that one holds must not grow.

  soak.py OCIFS WORK SECONDS     status 1 if memory or descriptors grow, or a byte is wrong

The mount that stays is read at random all the time; what it holds at the end is compared with what it held at half time.
"""

import sys
import time

from images import entries, large
from mounting import Mount, control_files
from readers import Readers, Seen, check_all

# What a mount may hold more at the end than at half time, in kB: the allocator and the threads move this much.
GROWTH = 16 << 10
# Readers come and go; so do a few descriptors, and the threads that are being started.
DESCRIPTORS = 8
SAMPLE = 1.0


def short(ocifs, work, image, number, seen):
    """One mount from its beginning to its end."""
    cache = f"{work}/cache-{number % 3}" if number % 4 else f"{work}/cache-new-{number}"
    mount = Mount(ocifs, image.root, f"{work}/short", "--cache-dir", cache)
    try:
        if not mount.wait_ready():
            sys.exit(f"does not mount: {mount.words()}")
        check_all(mount, image.truth, seen)
        status = mount.unmount()
        if status or mount.left():
            sys.exit(f"ended with {status}, left behind {mount.left()}")
    finally:
        mount.close()


def main():
    ocifs, work, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    control_files(f"{work}/connections")
    images = [entries(f"{work}/small-{n}", n) for n in (1, 200, 2_000)] + [large(f"{work}/large")]
    seen, samples, number = Seen(), [], 0
    long = Mount(ocifs, images[-1].root, f"{work}/long", "--cache-dir", f"{work}/cache-0")
    try:
        if not long.wait_ready():
            sys.exit(f"does not mount: {long.words()}")
        check_all(long, images[-1].truth, seen)
        readers = Readers(long, images[-1].truth, count=3)
        began = sampled = time.monotonic()
        while time.monotonic() - began < seconds or not samples:
            short(ocifs, work, images[number % len(images)], number, seen)
            number += 1
            if time.monotonic() - sampled >= SAMPLE:
                sampled = time.monotonic()
                samples.append((sampled - began, *long.memory()))
        read = readers.stop()
        ended = long.unmount()
    finally:
        long.close()
    report(samples, number, seen, read, ended)


def report(samples, number, seen, read, ended):
    half = samples[len(samples) // 2:]
    kinds = ("resident, MB", 1, 1024), ("descriptors", 2, 1)
    print(f"{number} mounts beside one that stayed for {samples[-1][0]:.0f} s, was read {read.reads:,} times and used "
          f"{samples[-1][3]:.0f} s of processor")
    for name, column, unit in kinds:
        values = [sample[column] / unit for sample in samples]
        print(f"{name}: first {values[0]:.0f}, half time {half[0][column] / unit:.0f}, last {values[-1]:.0f}, most {max(values):.0f}")
    faults = [*seen.wrong, *read.wrong, *map(str, seen.errors), *map(str, read.errors)][:5]
    faults += ["readers hung"] * bool(read.hung) + [f"the mount that stayed ended with {ended}"] * bool(ended)
    # The least of the last ones: a peak says nothing of what stays.
    tail = half[len(half) // 2:]
    if min(s[1] for s in tail) > half[0][1] + GROWTH:
        faults.append("memory grows")
    if min(s[2] for s in tail) > half[0][2] + DESCRIPTORS:
        faults.append("descriptors grow")
    for text in faults:
        print(f"NOT RIGHT: {text}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
