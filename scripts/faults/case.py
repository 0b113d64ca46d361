"""One fault: where it works, what it needs, what came of it."""

import contextlib
import os
import random
import shutil
import subprocess
import tempfile

from mounting import DEADLINE, Mount, clear
from readers import Readers, Seen, check_all

# Whoever asks a daemon that is gone gets one of these; the last while the connection is being cut.
GONE = {"ENOTCONN", "ECONNABORTED", "EIO"}

FAULTS = []


class Skipped(Exception):
    """The machine cannot bring the fault about."""


def fault(section, title, quick=False):
    """Enters a function into the table."""

    def enter(function):
        FAULTS.append((section, title, quick, function))
        return function

    return enter


class Case:
    """What a fault works with. Everything it makes goes when it closes, in reverse order."""

    def __init__(self, bench, title):
        self.bench, self.title = bench, title
        self.image, self.quick, self.ocifs = bench.image, bench.quick, bench.ocifs
        self.stack = contextlib.ExitStack()
        self.base = tempfile.mkdtemp(prefix="fault-", dir=bench.work)
        self.stack.callback(shutil.rmtree, self.base, ignore_errors=True)
        self.point, self.cache = f"{self.base}/mnt", f"{self.base}/cache"
        self.log = f"{self.base}/log"
        self.stack.callback(clear, self.point)
        self.chance = random.Random(title)
        self.seen, self.notes, self.failed, self.allowed = Seen(), [], [], set()
        self.next = ""
        self.mounts = []

    def close(self):
        self.stack.close()

    def note(self, text):
        self.notes.append(text)

    def require(self, holds, text):
        if not holds:
            self.failed.append(text)

    def mount(self, source=None, cache=None, options=(), wrap=(), env=None):
        """Starts a mount, and does not wait for it."""
        mount = Mount(self.ocifs, source or self.image.root, self.point, "--cache-dir", cache or self.cache,
                      "--log-file", self.log, *options, wrap=wrap, env=env)
        self.stack.callback(mount.close)
        self.mounts.append(mount)
        return mount

    def mounted(self, **how):
        """Starts a mount that has to come about."""
        mount = self.mount(**how)
        if not mount.wait_ready():
            raise AssertionError(f"does not mount: {mount.words()}")
        return mount

    def readers(self, mount, **how):
        readers = Readers(mount, self.image.truth, **how)
        # Before the mount goes, so that nobody reads what is beneath.
        self.stack.callback(readers.ending.set)
        return readers

    def stop(self, readers):
        """Ends the readers; what they saw is the case's."""
        total = readers.stop()
        self.seen.add(total)
        return total

    def warm(self):
        """Fills the cache with all there is to know of the image."""
        mount = self.mounted()
        self._all_right(check_all(mount, self.image.truth), "before the fault")
        mount.unmount()

    def recovered(self, image=None, **how):
        """The next mount, on the same mountpoint and with the same cache: has to come about and to be right."""
        mount = self.mounted(**how)
        self._all_right(check_all(mount, (image or self.image).truth), "the next mount")
        mount.unmount()
        self.next = "yes"

    def all_right(self, mount, when):
        self._all_right(check_all(mount, self.image.truth), when)

    def _all_right(self, seen, when):
        errors = ", ".join(sorted(seen.errors))
        self.require(not seen.errors, f"{when}: {errors}")
        self.seen.wrong += seen.wrong
        self.seen.reads += seen.reads
        self.seen.bytes += seen.bytes

    def judge(self):
        """Adds to the failures what has to hold of every fault."""
        self.require(not self.seen.wrong, "; ".join(self.seen.wrong[:3]))
        self.require(not self.seen.hung, f"{self.seen.hung} readers hung")
        other = set(self.seen.errors) - self.allowed
        self.require(not other, "errors that should not be: " + ", ".join(sorted(other)))
        self.require(self.seen.slowest < DEADLINE, f"one look took {self.seen.slowest:.0f} s")
        self.require(self.next, "no next mount")
        for mount in self.mounts:
            ended = mount.process.poll() is not None
            self.require(not ended or not mount.left(), "a process was left behind by a mount that has ended")
        panics = subprocess.run(["grep", "-c", "panick", self.log], capture_output=True, text=True, check=False).stdout
        self.require(panics.strip() in ("", "0"), f"{panics.strip()} panics in the log")

    def tmpfs(self, size):
        """Makes the cache directory a file system of its own of this many bytes."""
        os.makedirs(self.cache, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "ocifs-fault", self.cache], check=True)
        self.stack.callback(
            subprocess.run, ["umount", "-l", self.cache], stderr=subprocess.DEVNULL, check=False)
