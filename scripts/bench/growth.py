#!/usr/bin/env python3
"""Measures how cost grows: with entries, layers, images, mounts, readers, and the length of a layer. Prints Markdown tables.

  growth.py OCIFS WORK [--quick] [--only TABLE]...     TABLE: entries layers images mounts readers length

Each row mounts anew with a cache directory of its own. Times are medians of three, or of one where one takes long; memory is that of
the process that serves and of its keeper, without the pages of files that all processes share.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import os
import random
import shutil
import statistics
import subprocess
import sys
import tarfile
import threading
import time

import layers
from layout import Layout

ROOTFS = "platforms/linux-amd64/rootfs"
MIB = 1 << 20
LAYER = "layer.v1.tar"


class Mount:
    """A mount in the foreground, and what it costs."""

    def __init__(self, ocifs, source, base, name="mnt"):
        self.point, self.cache = f"{base}/{name}", f"{base}/cache"
        os.makedirs(self.point, exist_ok=True)
        self.began = time.perf_counter()
        with open(f"{base}/log", "ab") as log:
            self.process = subprocess.Popen([ocifs, "-f", "--cache-dir", self.cache, source, self.point], stderr=log, start_new_session=True)
        while not os.path.ismount(self.point):
            if self.process.poll() is not None:
                with open(f"{base}/log", encoding="utf-8") as log:
                    sys.exit(f"ocifs ended with {self.process.returncode}: {log.read()}")
            time.sleep(0.0005)
        self.took = time.perf_counter() - self.began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["umount", self.point], check=True)
        if self.process.wait(60):
            sys.exit(f"ocifs ended with {self.process.returncode}")

    def path(self, name=ROOTFS):
        return f"{self.point}/{name}"

    def memory(self):
        """Returns the memory of the process and its keeper that is no file's, in MiB."""
        children = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True, check=False).stdout
        return sum(anonymous(pid) for pid in [str(self.process.pid), *children.split()]) / 1024

    def index(self):
        """Returns the bytes in the cache directory."""
        return sum(os.path.getsize(f"{at}/{name}") for at, _, names in os.walk(self.cache) for name in names)


def anonymous(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))


def clock(function, *arguments):
    began = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - began


def find(path):
    subprocess.run(["find", path, "-newermt", "2030-01-01"], check=True, stdout=subprocess.DEVNULL)


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


@contextlib.contextmanager
def room(work, name):
    base = f"{work}/{name}"
    os.makedirs(base)
    try:
        yield base
    finally:
        shutil.rmtree(base)


def image(root, tars):
    """Writes a layout with one image of these layers, each given as bytes."""
    layout = Layout(root)
    packed = []
    for number, tar in enumerate(tars):
        descriptor = layout.put(gzip.compress(tar, 6, mtime=0), f"{LAYER}+gzip")
        packed.append((descriptor, "sha256:" + hashlib.sha256(tar).hexdigest(), f"layer {number}"))
    layout.put_image("image", packed)
    layout.finish()
    return sum(descriptor["size"] for descriptor, _, _ in packed)


def table(title, heads, rows):
    print(f"\n**{title}**\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def seconds(value):
    return f"{value * 1000:,.1f} ms" if value < 1 else f"{value:.2f} s"


def looked_at(ocifs, root, base, repeat):
    """Returns seconds of a first `ls rootfs`, of mounting again and `find`, memory in MiB, and bytes of the index."""
    first, again = [], []
    for _ in range(repeat):
        shutil.rmtree(f"{base}/cache", ignore_errors=True)
        with Mount(ocifs, root, base) as mount:
            first.append(clock(os.listdir, mount.path()))
        with Mount(ocifs, root, base) as mount:
            again.append(mount.took + clock(find, mount.path()))
            memory, index = mount.memory(), mount.index()
    return statistics.median(first), statistics.median(again), memory, index


def by_entries(ocifs, work, quick):
    for count in (1, 100, 10_000) if quick else (1, 100, 10_000, 100_000, 1_000_000):
        with room(work, "entries") as base:
            tar = io.BytesIO()
            layers.small(count, tar)
            image(f"{base}/layout", [tar.getvalue()])
            del tar
            first, again, memory, index = looked_at(ocifs, f"{base}/layout", base, 1 if count > 10_000 else 3)
        yield f"{count:,}", seconds(first), seconds(again), f"{again / count * 1e6:,.1f} µs", f"{memory:.1f} MiB", f"{index / 1024:,.0f} KiB"


def by_layers(ocifs, work, quick):
    for count in (1, 8) if quick else (1, 8, 32, 64, 127):
        with room(work, "layers") as base:
            tars = []
            for number in range(count):
                tar = io.BytesIO()
                with tarfile.open(fileobj=tar, mode="w") as out:
                    # A tenth of each layer takes the place of what the one below has.
                    for file in range(number * 90, number * 90 + 100):
                        content = f"{number} {file}\n".encode() * 100
                        entry = layers.member(f"srv/{file // 50}/file-{file}", 0o644)
                        entry.size = len(content)
                        out.addfile(entry, io.BytesIO(content))
                tars.append(tar.getvalue())
            image(f"{base}/layout", tars)
            first, again, memory, _ = looked_at(ocifs, f"{base}/layout", base, 3)
        yield f"{count}", seconds(first), seconds(first / count), seconds(again), f"{memory:.1f} MiB"


def by_images(ocifs, work, quick):
    for count in (1, 100) if quick else (1, 10, 100, 1_000, 10_000):
        with room(work, "images") as base:
            layout = Layout(f"{base}/layout")
            tar = b"\0" * 1024
            layer = layout.put(gzip.compress(tar, mtime=0), f"{LAYER}+gzip")
            for number in range(count):
                layout.put_image(f"library/image-{number:05}:v1", [(layer, "sha256:" + hashlib.sha256(tar).hexdigest(), "none")], Labels={"n": str(number)})
            layout.finish()
            name = "" if count == 1 else "images/library/image-00000:v1/"
            times = []
            for _ in range(7):
                with Mount(ocifs, f"{base}/layout", base) as mount:
                    with open(mount.path(f"{name}platforms/linux-amd64/config.json"), "rb") as file:
                        file.read()
                    times.append(time.perf_counter() - mount.began)
                    memory = mount.memory()
        once = statistics.median(times)
        yield f"{count:,}", seconds(once), f"{once / count * 1e6:,.1f} µs", f"{memory:.1f} MiB"


def by_mounts(ocifs, work, quick):
    wanted = (1, 10) if quick else (1, 10, 50, 100, 200)
    with room(work, "mounts") as base, contextlib.ExitStack() as stack:
        tar = io.BytesIO()
        layers.small(1_000, tar)
        image(f"{base}/layout", [tar.getvalue()])
        mounts = []
        while len(mounts) < wanted[-1]:
            mounts.append(stack.enter_context(Mount(ocifs, f"{base}/layout", base, f"mnt-{len(mounts)}")))
            if len(mounts) in wanted:
                looks = [clock(find, mount.path()) for mount in mounts]
                memory = sum(mount.memory() for mount in mounts)
                last = [mount.took for mount in mounts[-10:]]
                yield (f"{len(mounts)}", seconds(statistics.median(last)), seconds(statistics.median(looks)), f"{memory:.0f} MiB",
                       f"{memory / len(mounts):.1f} MiB")


def by_readers(ocifs, work, quick):
    with room(work, "readers") as base:
        chance = random.Random(1)
        words = [chance.randbytes(chance.randrange(4, 40)) for _ in range(5_000)]
        tars = []
        for number in range(2):
            tar = io.BytesIO()
            with tarfile.open(fileobj=tar, mode="w") as out:
                for file in range(8):
                    content = b"".join(chance.choices(words, k=(20_000 if quick else 700_000)))
                    entry = layers.member(f"srv/{number}/file-{file}", 0o644)
                    entry.size = len(content)
                    out.addfile(entry, io.BytesIO(content))
            tars.append(tar.getvalue())
        image(f"{base}/layout", tars)
        with Mount(ocifs, f"{base}/layout", base) as mount:
            paths = [f"{at}/{name}" for at, _, names in os.walk(mount.path()) for name in names]
        for count in (1, 4) if quick else (1, 2, 4, 8, 16, 64):
            with Mount(ocifs, f"{base}/layout", base) as mount:
                os.listdir(mount.path())
                drop_caches()
                yield f"{count}", *read_by(mount, paths, count)


def read_by(mount, paths, count):
    """Reads 1,600 pieces at random places and sees how long `ls` of the root takes meanwhile, at most."""
    share, times, slowest, ended = 1600 // count, [], [0.0], threading.Event()

    def reads(number):
        chance = random.Random(number)
        for _ in range(share):
            with open(chance.choice(paths), "rb", buffering=0) as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                place = chance.randrange(os.fstat(file.fileno()).st_size - 65536)
                began = time.perf_counter()
                os.pread(file.fileno(), 65536, place)
                times.append(time.perf_counter() - began)

    def lists():
        while not ended.is_set():
            slowest[0] = max(slowest[0], clock(os.listdir, mount.point))
            time.sleep(0.005)

    beside = threading.Thread(target=lists)
    threads = [threading.Thread(target=reads, args=(number,)) for number in range(count)]
    beside.start()
    took = clock(lambda: ([thread.start() for thread in threads], [thread.join() for thread in threads]))
    ended.set()
    beside.join()
    times.sort()
    rate = len(times) * 65536 / took / 1e6
    return f"{rate:,.0f} MB/s", seconds(times[len(times) // 2]), seconds(times[len(times) * 99 // 100]), seconds(slowest[0]), f"{mount.memory():.1f} MiB"


def by_length(ocifs, work, quick):
    """A file of zeros with a megabyte of noise every gigabyte: 20 GB that are a hundred megabytes packed."""
    for gigabytes in (1,) if quick else (1, 5, 20):
        with room(work, "length") as base:
            layout = Layout(f"{base}/layout")
            plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
            noise, blank = random.Random(1).randbytes(MIB), bytes(MIB)
            entry = tarfile.TarInfo("disk.img")
            entry.size = gigabytes << 30
            pieces = [entry.tobuf(tarfile.GNU_FORMAT)]
            with open(f"{base}/layer", "wb") as blob, subprocess.Popen(["gzip", "-1nc"], stdin=subprocess.PIPE, stdout=blob) as tool:
                for piece in (*pieces, *((noise if n % 1024 == 0 else blank) for n in range(gigabytes << 10)), b"\0" * 1024):
                    plain.update(piece)
                    tool.stdin.write(piece)
                tool.stdin.close()
            with open(f"{base}/layer", "rb") as blob:
                while piece := blob.read(MIB):
                    packed.update(piece)
                    size += len(piece)
            digest = "sha256:" + packed.hexdigest()
            os.rename(f"{base}/layer", layout.path(digest))
            descriptor = {"mediaType": f"application/vnd.oci.image.{LAYER}+gzip", "digest": digest, "size": size}
            layout.put_image("image", [(descriptor, "sha256:" + plain.hexdigest(), "a disk")])
            layout.finish()
            with Mount(ocifs, f"{base}/layout", base) as mount:
                first = clock(os.listdir, mount.path())
                chance, times = random.Random(2), []
                with open(mount.path(f"{ROOTFS}/disk.img"), "rb", buffering=0) as file:
                    for _ in range(200):
                        place = chance.randrange((gigabytes << 30) - 65536)
                        times.append(clock(os.pread, file.fileno(), 65536, place))
                    head = os.pread(file.fileno(), 1000, 0)
                if head != noise[:1000]:
                    sys.exit("wrong bytes")
                memory, index = mount.memory(), mount.index()
        yield (f"{gigabytes} GiB", f"{size / 1e6:,.0f} MB", seconds(first), f"{gigabytes * 1.0737 / first:.2f} GB/s", seconds(statistics.median(times)),
               f"{index / 1e6:.1f} MB", f"{memory:.1f} MiB")


TABLES = {
    "entries": ("Entries in one layer", ("entries", "first `ls`", "mount again, `find`", "of that, an entry", "memory", "index"), by_entries),
    "layers": ("Layers of 100 files each", ("layers", "first `ls`", "a layer", "mount again, `find`", "memory"), by_layers),
    "images": ("Images in one layout", ("images", "mount until `config.json` is read", "an image", "memory"), by_images),
    "mounts": ("Mounts of a layer of 1,000 entries at once", ("mounts", "mounting one more", "`find` in each", "memory of all", "of one"), by_mounts),
    "readers": ("Readers of 64 KiB at random places, cold", ("readers", "together", "one read, median", "99 of 100", "`ls` of the root meanwhile, longest", "memory"), by_readers),
    "length": ("One file of zeros with a megabyte of noise every gigabyte", ("file", "packed", "first `ls`", "of it", "64 KiB at random, median", "index", "memory"), by_length),
}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("ocifs")
    parser.add_argument("work")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append", choices=TABLES)
    options = parser.parse_args()
    for name in options.only or TABLES:
        title, heads, rows = TABLES[name]
        with room(options.work, name + "-rows") as work:
            table(title, heads, rows(options.ocifs, work, options.quick))


if __name__ == "__main__":
    main()
