#!/usr/bin/env python3
"""A bad disk: shows a directory read-only through FUSE, and does what a control file says.

  injector.py DIRECTORY MOUNTPOINT CONTROL      in the foreground

CONTROL holds `MODE SHARE`: of so many of a hundred reads of blobs, MODE happens to one. Modes: none, eio, wrong (one bit), short (a part
of what was asked for), end (nothing, as at the end), slow (three seconds), open (opening fails).
"""

import errno
import os
import random
import sys
import time

try:  # Debian's name of the module, and PyPI's
    from fusepy import FUSE, FuseOSError, Operations
except ImportError:
    from fuse import FUSE, FuseOSError, Operations


class Disk(Operations):
    def __init__(self, root, control):
        self.root, self.control = root, control
        self.chance = random.Random(3)

    def mode(self, path):
        """Says what is to happen now; documents stay as they are."""
        with open(self.control, encoding="ascii") as file:
            mode, share = file.read().split()
        big = os.path.getsize(self.root + path) > 100_000
        return mode if big and self.chance.randrange(100) < int(share) else "none"

    def getattr(self, path, fh=None):
        what = os.lstat(self.root + path)
        return {name: getattr(what, name) for name in
                ("st_mode", "st_size", "st_nlink", "st_uid", "st_gid", "st_mtime", "st_ctime", "st_atime")}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self.root + path)]

    def readlink(self, path):
        return os.readlink(self.root + path)

    def open(self, path, flags):
        if self.mode(path) == "open":
            raise FuseOSError(errno.EIO)
        return os.open(self.root + path, os.O_RDONLY)

    def release(self, path, fh):
        os.close(fh)

    def read(self, path, size, offset, fh):
        mode = self.mode(path)
        if mode == "eio":
            raise FuseOSError(errno.EIO)
        if mode == "slow":
            time.sleep(3)
        if mode == "end":
            return b""
        content = os.pread(fh, size, offset)
        if mode == "short" and len(content) > 1:
            return content[:self.chance.randrange(1, len(content))]
        if mode == "wrong" and content:
            bent = bytearray(content)
            bent[self.chance.randrange(len(bent))] ^= 1
            return bytes(bent)
        return content


if __name__ == "__main__":
    # direct_io: the kernel keeps nothing, so that every read gets here, and a short one stays short.
    FUSE(Disk(sys.argv[1], sys.argv[3]), sys.argv[2], foreground=True, direct_io=True, ro=True, allow_other=True)
