"""Images whose contents are known without ocifs: layers are written and applied with tarfile alone."""

import gzip
import hashlib
import io
import json
import os
import posixpath
import random
import subprocess
import tarfile

OCI = "application/vnd.oci.image."
MTIME = 1704164645
# More than what ocifs decompresses again rather than keeping it on disk, in one zstd frame.
SPILLED = 20 << 20


class Image:
    """A layout, and what has to be read from its mount: `truth` is path below the platform → bytes."""

    def __init__(self, root, tars):
        self.root = root
        self.truth = {}
        self.blobs = []
        os.makedirs(f"{root}/blobs/sha256")
        layers = [self._layer(tar, kind) for tar, kind in tars]
        for name, content in apply([tar for tar, _ in tars]).items():
            self.truth[f"rootfs/{name}"] = content
        for number, (descriptor, _) in enumerate(layers):
            self.blobs.append(f"{root}/blobs/{descriptor['digest'].replace(':', '/')}")
            with open(self.blobs[-1], "rb") as file:
                self.truth[f"layers/{number}"] = file.read()
        config = self._put(json.dumps({
            "architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
        }).encode(), "config.v1+json")
        manifest = self._put(json.dumps({
            "schemaVersion": 2, "config": config, "layers": [descriptor for descriptor, _ in layers],
        }).encode(), "manifest.v1+json")
        manifest["platform"] = {"architecture": "amd64", "os": "linux"}
        manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
        with open(f"{root}/index.json", "w", encoding="ascii") as file:
            json.dump({"schemaVersion": 2, "manifests": [manifest]}, file)
        with open(f"{root}/oci-layout", "w", encoding="ascii") as file:
            file.write('{"imageLayoutVersion": "1.0.0"}')

    def _layer(self, tar, kind):
        packed = gzip.compress(tar, 1, mtime=0) if kind == "gzip" else \
            subprocess.run(["zstd", "-q", "-1", "-c"], input=tar, stdout=subprocess.PIPE, check=True).stdout
        return self._put(packed, "layer.v1.tar+" + kind), "sha256:" + hashlib.sha256(tar).hexdigest()

    def _put(self, content, kind):
        digest = hashlib.sha256(content).hexdigest()
        with open(f"{self.root}/blobs/sha256/{digest}", "wb") as file:
            file.write(content)
        return {"mediaType": OCI + kind, "digest": "sha256:" + digest, "size": len(content)}


def apply(tars):
    """Returns path → bytes of the regular files when the layers lie one over the other; naive on purpose."""
    tree = {}
    for tar in tars:
        with tarfile.open(fileobj=io.BytesIO(tar)) as layer:
            members = layer.getmembers()
            for member in members:
                directory, name = posixpath.split(member.name)
                if name == ".wh..wh..opq":
                    gone = directory + "/"
                elif name.startswith(".wh."):
                    gone = posixpath.join(directory, name[4:])
                else:
                    continue
                for path in [p for p in tree if p == gone or p.startswith(gone.rstrip("/") + "/")]:
                    del tree[path]
            for member in members:
                if member.isfile() and not posixpath.basename(member.name).startswith(".wh."):
                    tree[member.name] = layer.extractfile(member).read()
    return tree


def tar_of(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.mode = len(content), MTIME, 0o644
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def text(chance, size):
    """Bytes that compress to about half."""
    return chance.randbytes(size // 2 + 1).hex().encode()[:size]


def files(chance, directory, total):
    """Names and contents of up to a megabyte each, most of them small, until the total is reached."""
    number, made = 0, 0
    while made < total:
        size = min(chance.choice([0, 1, 700, 5_000, 131_072, 300_001, 1_000_000]), total - made)
        yield f"{directory}/{number % 7}/file-{number:04}", text(chance, size)
        number, made = number + 1, made + max(size, 1)


def large(root):
    """Three gzip layers with replaced, deleted and hidden files, and a zstd layer of one frame that is kept on disk."""
    chance = random.Random(1)
    base = list(files(chance, "srv/base", 8 << 20))
    second = [(name, text(chance, len(content) + 3)) for name, content in base[::5]]
    second += [(posixpath.join(posixpath.dirname(n), ".wh." + posixpath.basename(n)), b"") for n, _ in base[1::7]]
    third = list(files(chance, "srv/third", 6 << 20)) + [("srv/base/3/.wh..wh..opq", b""), ("srv/base/3/new", b"new")]
    fourth = list(files(chance, "opt/fourth", SPILLED))
    return Image(root, [(tar_of(base), "gzip"), (tar_of(second + list(files(chance, "srv/second", 4 << 20))), "gzip"),
                        (tar_of(third), "gzip"), (tar_of(fourth), "zstd")])


def entries(root, count):
    """One layer of many small files: a short pass, and an index that takes its time to be written."""
    chance = random.Random(2)
    listed = [(f"d{number // 100}/entry-{number:06}-{chance.randbytes(8).hex()}", b"%d" % number) for number in range(count)]
    return Image(root, [(tar_of(listed), "gzip")])
