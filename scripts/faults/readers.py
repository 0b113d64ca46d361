"""Readers that hold every byte against the truth, and note every error."""

import collections
import errno
import os
import random
import threading
import time

from mounting import DEADLINE, Hung, abort, bounded

LONGEST = 400_000
# How long it takes at most, once told to, until a reader has ended: an operation may be under way.
PATIENCE = 30
# Says "no such file" of a file that is there: as wrong as a wrong byte.
LIES = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}


class Seen:
    """What came of reading: counters, and the first wrong things in words."""

    def __init__(self):
        self.reads = self.bytes = self.hung = 0
        self.slowest = 0.0
        self.errors = collections.Counter()
        self.wrong = []

    def add(self, other):
        self.reads += other.reads
        self.bytes += other.bytes
        self.hung += other.hung
        self.slowest = max(self.slowest, other.slowest)
        self.errors += other.errors
        self.wrong += other.wrong

    def error(self, error, path, mounted):
        name = errno.errorcode.get(error.errno, str(error.errno))
        self.errors[name] += 1
        if error.errno in LIES and mounted():
            self.wrong.append(f"{path}: {name}")


def compare(seen, fd, path, expected, offset, length):
    """Reads a range and compares it. A read may end early; then the next one has to say why, or go on."""
    want = expected[offset:offset + length]
    done = 0
    while done < len(want):
        piece = os.pread(fd, len(want) - done, offset + done)
        seen.reads += 1
        seen.bytes += len(piece)
        if piece != want[done:done + len(piece)]:
            seen.wrong.append(f"{path}: other bytes within {len(piece)} at {offset + done}")
            return
        if not piece:
            seen.wrong.append(f"{path}: ends at {offset + done}, should at {len(expected)}")
            return
        done += len(piece)


def look(seen, chance, path, expected):
    """Opens one file and reads some of it, past the kernel's cache where that can be."""
    fd = os.open(path, os.O_RDONLY | (os.O_DIRECT if chance.random() < 0.6 else 0))
    try:
        for _ in range(chance.randint(1, 4)):
            offset = chance.randrange(len(expected) + 1)
            if chance.random() < 0.3:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            compare(seen, fd, path, expected, offset, chance.randint(1, LONGEST))
    finally:
        os.close(fd)


class Readers:
    """Threads that read random files at random places until told to stop."""

    def __init__(self, mount, truth, count=6, gone_is_fine=False):
        self.mount, self.truth, self.names = mount, truth, sorted(truth)
        self.gone_is_fine = gone_is_fine
        self.ending = threading.Event()
        self.seen = [Seen() for _ in range(count)]
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(count)]
        for thread in self.threads:
            thread.start()

    def _mounted(self):
        return not self.gone_is_fine and os.path.exists(f"{self.mount.point}/.ocifs/stats")

    def _run(self, number):
        seen, chance = self.seen[number], random.Random(number)
        while not self.ending.is_set():
            name = chance.choice(self.names)
            began = time.monotonic()
            try:
                look(seen, chance, f"{self.mount.root}/{name}", self.truth[name])
            except OSError as error:
                seen.error(error, name, self._mounted)
                # Errors come fast; others are to get the processor as well.
                time.sleep(0.002)
            seen.slowest = max(seen.slowest, time.monotonic() - began)

    def total(self):
        """Returns what has been seen so far."""
        total = Seen()
        for seen in self.seen:
            total.add(seen)
        return total

    def progress(self, reads, seconds=DEADLINE):
        """Waits until so many more reads have succeeded."""
        goal, end = self.total().reads + reads, time.monotonic() + seconds
        while self.total().reads < goal:
            if time.monotonic() > end:
                raise Hung(f"fewer than {reads} reads in {seconds} s: {dict(self.total().errors)}")
            time.sleep(0.01)

    def stop(self):
        """Ends the readers and returns what they saw. Who does not end hung, and is set free."""
        self.ending.set()
        end = time.monotonic() + PATIENCE
        for thread in self.threads:
            thread.join(max(0, end - time.monotonic()))
        hung = sum(thread.is_alive() for thread in self.threads)
        if hung:
            abort(self.mount.point)
        total = self.total()
        total.hung = hung
        return total


def check_all(mount, truth, seen=None):
    """Reads everything there is. Returns what it saw; a file too many or too few is wrong too."""
    seen = seen or Seen()

    def walk():
        rootfs = f"{mount.root}/rootfs"
        names = set()
        for directory, _, files in os.walk(rootfs, onerror=lambda e: seen.error(e, directory_of(e), lambda: True)):
            names |= {os.path.relpath(f"{directory}/{file}", mount.root) for file in files}
        expected = {name for name in truth if name.startswith("rootfs/")}
        if not seen.errors:
            seen.wrong += [f"{name}: not in the truth" for name in names - expected]
            seen.wrong += [f"{name}: missing" for name in expected - names]
        for name, content in truth.items():
            try:
                fd = os.open(f"{mount.root}/{name}", os.O_RDONLY)
                try:
                    compare(seen, fd, name, content, 0, len(content))
                    if os.pread(fd, 1, len(content)):
                        seen.wrong.append(f"{name}: longer than {len(content)}")
                finally:
                    os.close(fd)
            except OSError as error:
                seen.error(error, name, lambda: True)

    bounded("reading everything", 2 * DEADLINE, walk)
    return seen


def directory_of(error):
    return error.filename or "?"
