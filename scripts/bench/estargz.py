#!/usr/bin/env python3
"""Writes a layout whose one layer is an eStargz: a gzip member for every piece of a file, and a table of contents behind.

  estargz.py DIR NAME COUNT SIZE    COUNT files of SIZE random bytes each, and `etc/motd`

Written after the format's description (containerd/stargz-snapshotter, docs/estargz.md).
"""

import gzip
import hashlib
import json
import os
import random
import struct
import sys
import tarfile

from layout import OCI, Layout

CHUNK = 4 << 20
TIME = 1_700_000_000
TOC_NAME = "stargz.index.json"
TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"


class Blob:
    """The packed layer, and the hashes of what is in it and of itself."""

    def __init__(self, path):
        self.file = open(path, "wb")
        self.size = 0
        self.packed = hashlib.sha256()
        self.plain = hashlib.sha256()

    def raw(self, content):
        self.file.write(content)
        self.packed.update(content)
        self.size += len(content)

    def member(self, content):
        self.plain.update(content)
        self.raw(gzip.compress(content, 6, mtime=0))


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def header(name, size=0, kind=tarfile.REGTYPE, mode=0o644, time=TIME):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode, info.mtime = size, kind, mode, time
    return info.tobuf(tarfile.PAX_FORMAT)


def padding(size):
    return b"\0" * (-size % 512)


def put_file(blob, table, name, content):
    common = {"modtime": "2023-11-14T22:13:20Z", "mode": 0o644, "uid": 0, "gid": 0}
    blob.member(header(name, len(content)))
    entry = {"name": name, "type": "reg", "size": len(content), "digest": digest(content), **common}
    for at in range(0, len(content), CHUNK):
        piece = content[at : at + CHUNK]
        where = {"offset": blob.size, "chunkDigest": digest(piece)}
        if len(content) > CHUNK:
            where |= {"chunkOffset": at, "chunkSize": len(piece)}
        table.append(entry | where if at == 0 else {"name": name, "type": "chunk", **where})
        blob.member(piece)
    if not content:
        table.append(entry)
    blob.member(padding(len(content)))


def footer(offset):
    """An empty gzip member whose extra field says where the table is."""
    field = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % offset
    stored = b"\x01\x00\x00\xff\xff"  # the last block, of no bytes
    return b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(field)) + field + stored + bytes(8)


def main():
    root, name, count, size = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    layout = Layout(root)
    temporary = f"{root}/layer"
    blob, table = Blob(temporary), []
    chooser = random.Random(1)
    directory = {"modtime": "2023-11-14T22:13:20Z", "mode": 0o755, "uid": 0, "gid": 0}
    for path in ("etc/", "data/"):
        blob.member(header(path, 0, tarfile.DIRTYPE, 0o755))
        table.append({"name": path, "type": "dir", **directory})
    put_file(blob, table, "etc/motd", b"welcome\n")
    for number in range(count):
        put_file(blob, table, f"data/{number:04}", chooser.randbytes(size))
    listing = json.dumps({"version": 1, "entries": table}).encode()
    offset = blob.size
    blob.member(header(TOC_NAME, len(listing), mode=0, time=0) + listing + padding(len(listing)) + bytes(1024))
    blob.raw(footer(offset))
    blob.file.close()
    packed = "sha256:" + blob.packed.hexdigest()
    os.rename(temporary, layout.path(packed))
    descriptor = {
        "mediaType": OCI + "layer.v1.tar+gzip", "digest": packed, "size": blob.size,
        "annotations": {TOC_DIGEST: digest(listing)},
    }
    layout.put_image(name, [(descriptor, "sha256:" + blob.plain.hexdigest(), "an eStargz")])
    layout.finish()


if __name__ == "__main__":
    main()
