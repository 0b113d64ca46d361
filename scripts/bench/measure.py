#!/usr/bin/env python3
"""Measures what a shell cannot time. Prints one `label value` a line, seconds or milliseconds as the label says.

  measure.py random TREE COUNT SEED      COUNT reads of 64 KiB at random places in the tree's files, from a cold cache
  measure.py readers TREE WORKERS        the same eight large files in four shares, read by WORKERS processes, cold
  measure.py listing DIRECTORY PID       lists DIRECTORY again and again for as long as the process PID lives
  measure.py parse FILE                  reads and parses a JSON document
"""

import json
import os
import random
import select
import stat
import sys
import time

READ = 64 << 10
PIECE = 1 << 20
SHARES = 4


def files(tree, at_least):
    """Yields (size, path) of the tree's regular files, a file of several names once."""
    seen = set()
    for directory, _, names in os.walk(tree):
        for name in names:
            path = os.path.join(directory, name)
            what = os.lstat(path)
            if stat.S_ISREG(what.st_mode) and what.st_size >= at_least and what.st_ino not in seen:
                seen.add(what.st_ino)
                yield what.st_size, path


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


def percentile(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


def random_reads(tree, count, seed):
    """Every byte of the tree is as likely as any other. Opening the file is not timed."""
    found = sorted(files(tree, READ), key=lambda file: file[1])
    chooser = random.Random(seed)
    paths = [path for _, path in found]
    chosen = [
        (path, chooser.randrange(os.path.getsize(path) - READ + 1))
        for path in chooser.choices(paths, weights=[size for size, _ in found], k=count)
    ]
    drop_caches()
    times = []
    for path, offset in chosen:
        file = os.open(path, os.O_RDONLY)
        start = time.perf_counter()
        got = len(os.pread(file, READ, offset))
        times.append((time.perf_counter() - start) * 1000)
        os.close(file)
        if got != READ:
            sys.exit(f"{path}: {got} bytes at {offset}, expected {READ}")
    for name, part in ("p50", 0.50), ("p99", 0.99), ("max", 1):
        print(name, f"{percentile(times, part):.4f}")


def readers(tree, workers):
    """The files are cut to the length of the smallest of them, so that the shares are equal."""
    largest = sorted(files(tree, 1), reverse=True)[: 2 * SHARES]
    length = largest[-1][0]
    shares = [[path for _, path in largest[number::SHARES]] for number in range(SHARES)]
    drop_caches()
    start = time.perf_counter()
    children = []
    for worker in range(workers):
        child = os.fork()
        if child == 0:
            os._exit(0 if all(read(path, length) for share in shares[worker::workers] for path in share) else 1)
        children.append(child)
    for child in children:
        if os.waitpid(child, 0)[1] != 0:
            sys.exit("a reader failed")
    seconds = time.perf_counter() - start
    print("seconds", f"{seconds:.4f}")
    print("MB/s", f"{2 * SHARES * length / seconds / 1e6:.1f}")


def read(path, length):
    file = os.open(path, os.O_RDONLY)
    while length > 0:
        got = len(os.read(file, min(PIECE, length)))
        if got == 0:
            return False
        length -= got
    os.close(file)
    return True


def listing(directory, pid):
    """Lists a directory of the machine's own in turn: how long that takes is what this machine's scheduler adds."""
    watched = os.pidfd_open(pid)
    ended = select.poll()
    ended.register(watched, select.POLLIN)
    here, there = [], []
    while not ended.poll(2):
        for path, times in (directory, here), ("/", there):
            start = time.perf_counter()
            for name in os.listdir(path):
                os.lstat(os.path.join(path, name))
            times.append((time.perf_counter() - start) * 1000)
    print("listings", len(here))
    for name, times in ("mount", here), ("machine", there):
        print(f"{name}-p50", f"{percentile(times, 0.5):.4f}")
        print(f"{name}-max", f"{max(times):.4f}")


def parse(path):
    start = time.perf_counter()
    with open(path, "rb") as file:
        json.loads(file.read())
    print("ms", f"{(time.perf_counter() - start) * 1000:.4f}")


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    if command == "random":
        random_reads(arguments[0], int(arguments[1]), arguments[2])
    elif command == "readers":
        readers(arguments[0], int(arguments[1]))
    elif command == "listing":
        listing(arguments[0], int(arguments[1]))
    elif command == "parse":
        parse(arguments[0])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
