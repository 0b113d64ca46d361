"""Blobs of the layout changed under readers."""

import os
import shutil
import time

from case import fault

SECTION = "The layout changed under readers"


def changed(case, change, allowed, cold=False):
    """Changes every layer's blob of a copy of the layout while it is read, then puts everything back."""
    layout = f"{case.base}/layout"
    shutil.copytree(case.image.root, layout)
    blobs = [layout + blob[len(case.image.root):] for blob in case.image.blobs]
    case.allowed = allowed
    if not cold:
        case.warm()
    mount = case.mounted(source=layout)
    readers = case.readers(mount)
    if not cold:
        readers.progress(200)
    for blob in blobs:
        change(blob)
        if not cold:
            readers.progress(20)
    before = sum(readers.total().errors.values())
    readers_try(readers)
    after = sum(readers.total().errors.values())
    case.stop(readers)
    case.require(after > before, "no reader noticed")
    for blob, good in zip(blobs, case.image.blobs):
        if os.path.isdir(blob):
            os.rmdir(blob)
        elif os.path.lexists(blob):
            os.remove(blob)
        shutil.copy(good, blob)
    mount.unmount()
    case.recovered(source=layout)


def readers_try(readers):
    """Gives each reader some looks, whether they succeed or not."""
    end = time.monotonic() + 20
    goal = sum(readers.total().errors.values()) + 60
    while sum(readers.total().errors.values()) < goal and time.monotonic() < end:
        time.sleep(0.02)


def overwrite(case):
    def change(blob):
        size = os.path.getsize(blob)
        with open(blob, "r+b", buffering=0) as file:
            for offset in range(0, size, 50_000):
                os.pwrite(file.fileno(), case.chance.randbytes(min(1_000, size - offset)), offset)

    return change


@fault(SECTION, "overwritten in place", quick=True)
def overwritten(case):
    changed(case, overwrite(case), {"EIO"})


@fault(SECTION, "overwritten while the first pass goes over them")
def overwritten_cold(case):
    changed(case, overwrite(case), {"EIO"}, cold=True)


@fault(SECTION, "one bit flipped in each")
def bit(case):
    def change(blob):
        offset = case.chance.randrange(os.path.getsize(blob))
        with open(blob, "r+b", buffering=0) as file:
            byte = os.pread(file.fileno(), 1, offset)[0]
            os.pwrite(file.fileno(), bytes([byte ^ 4]), offset)

    changed(case, change, {"EIO"})


@fault(SECTION, "truncated")
def truncated(case):
    changed(case, lambda blob: os.truncate(blob, case.chance.randrange(os.path.getsize(blob))), {"EIO"})


@fault(SECTION, "grown")
def grown(case):
    def change(blob):
        with open(blob, "ab") as file:
            file.write(b"more")

    changed(case, change, {"EIO"})


@fault(SECTION, "replaced by rename with something else of the same size")
def replaced(case):
    def change(blob):
        with open(blob + ".new", "wb") as file:
            file.write(case.chance.randbytes(os.path.getsize(blob)))
        os.rename(blob + ".new", blob)

    changed(case, change, {"EIO"})


@fault(SECTION, "deleted")
def deleted(case):
    changed(case, os.remove, {"ENODATA", "EIO"})


@fault(SECTION, "a FIFO, a directory, a link into the mount itself in their place")
def odd(case):
    kinds = [os.mkfifo, os.mkdir, lambda blob: os.symlink(f"{case.point}/platforms/linux-amd64/layers/0", blob),
             lambda blob: os.symlink("/dev/zero", blob)]

    def change(blob):
        os.remove(blob)
        kinds.append(kinds.pop(0))
        kinds[-1](blob)

    # EACCES: a link put there after mounting that leads out of the layout.
    changed(case, change, {"EIO", "ENODATA", "EACCES"})
