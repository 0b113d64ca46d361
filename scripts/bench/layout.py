#!/usr/bin/env python3
"""Writes OCI layouts.

  layout.py pack DIR NAME LAYER.tar...   one image of these layers, each through gzip -6
  layout.py many DIR COUNT               COUNT tiny images, each with a manifest and a config of its own
  layout.py layer DIR NAME FROM NUMBER   one image of one layer of the first image of another layout
"""

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading

OCI = "application/vnd.oci.image."
CREATED = "2024-01-02T03:04:05Z"
PIECE = 1 << 20


class Layout:
    def __init__(self, root):
        self.root = root
        self.entries = []
        os.makedirs(f"{root}/blobs/sha256")
        with open(f"{root}/oci-layout", "w", encoding="ascii") as file:
            file.write('{"imageLayoutVersion": "1.0.0"}')

    def path(self, digest):
        return f"{self.root}/blobs/{digest.replace(':', '/')}"

    def put(self, content, media_type):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        with open(self.path(digest), "wb") as file:
            file.write(content)
        return {"mediaType": OCI + media_type, "digest": digest, "size": len(content)}

    def put_json(self, value, media_type):
        return self.put(json.dumps(value, separators=(",", ":")).encode(), media_type)

    def put_image(self, name, layers, **config):
        """Adds an image of (descriptor, diff id, how it was made) and names it."""
        config = self.put_json(
            {
                "created": CREATED, "architecture": "amd64", "os": "linux", "config": config,
                "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id, _ in layers]},
                "history": [{"created": CREATED, "created_by": made_by} for _, _, made_by in layers],
            },
            "config.v1+json",
        )
        manifest = self.put_json(
            {
                "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config,
                "layers": [descriptor for descriptor, _, _ in layers],
            },
            "manifest.v1+json",
        )
        manifest["annotations"] = {"org.opencontainers.image.ref.name": name}
        self.entries.append(manifest)

    def finish(self):
        with open(f"{self.root}/index.json", "w", encoding="ascii") as file:
            json.dump({"schemaVersion": 2, "manifests": self.entries}, file, separators=(",", ":"))


def pack(root, name, tars):
    layout = Layout(root)
    layers = []
    for tar in tars:
        plain, packed, size = hashlib.sha256(), hashlib.sha256(), 0
        temporary = f"{root}/layer"
        with subprocess.Popen(["gzip", "-6nc"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as tool:
            feeder = threading.Thread(target=feed, args=(tar, tool.stdin, plain))
            feeder.start()
            with open(temporary, "wb") as blob:
                while piece := tool.stdout.read(PIECE):
                    packed.update(piece)
                    size += blob.write(piece)
            feeder.join()
        if tool.returncode:
            sys.exit(f"gzip failed on {tar}")
        digest = "sha256:" + packed.hexdigest()
        os.rename(temporary, layout.path(digest))
        descriptor = {"mediaType": OCI + "layer.v1.tar+gzip", "digest": digest, "size": size}
        layers.append((descriptor, "sha256:" + plain.hexdigest(), os.path.basename(tar)))
    layout.put_image(name, layers)
    layout.finish()


def feed(path, pipe, digest):
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            pipe.write(piece)
    pipe.close()


def many(root, count):
    layout = Layout(root)
    plain = b"\0" * 1024  # an archive without entries
    layer = layout.put(gzip.compress(plain, mtime=0), "layer.v1.tar+gzip")
    diff_id = "sha256:" + hashlib.sha256(plain).hexdigest()
    for number in range(count):
        layout.put_image(f"library/image-{number:05}:v1", [(layer, diff_id, "nothing")], Labels={"n": str(number)})
    layout.finish()


def one_layer(root, name, other, number):
    """Links the layer: both layouts are on one file system."""

    def document(descriptor):
        with open(f"{other}/blobs/{descriptor['digest'].replace(':', '/')}", "rb") as file:
            return json.load(file)

    with open(f"{other}/index.json", "rb") as file:
        manifest = document(json.load(file)["manifests"][0])
    descriptor = manifest["layers"][number]
    diff_id = document(manifest["config"])["rootfs"]["diff_ids"][number]
    layout = Layout(root)
    os.link(f"{other}/blobs/{descriptor['digest'].replace(':', '/')}", layout.path(descriptor["digest"]))
    layout.put_image(name, [(descriptor, diff_id, "one layer")])
    layout.finish()


def main():
    command, root, arguments = sys.argv[1], sys.argv[2], sys.argv[3:]
    if command == "pack":
        pack(root, arguments[0], arguments[1:])
    elif command == "many":
        many(root, int(arguments[0]))
    elif command == "layer":
        one_layer(root, arguments[0], arguments[1], int(arguments[2]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
