#!/usr/bin/env python3
"""Writes the layers of the reference images as tars on standard output.

  layers.py diff FULL.tar [BASE.tar] what FULL has and BASE has not, and a whiteout for what it lost
  layers.py wheels WHEEL...          wheels, unpacked where Debian's python looks for them
  layers.py small COUNT              COUNT small files, a hundred a directory

The same input gives the same bytes.
"""

import hashlib
import sys
import tarfile
import zipfile

MTIME = 1704164645
SITE = "usr/local/lib/python3.11/dist-packages/"
BLOCK = 512


def header(name, size=0, kind=b"0"):
    """Builds one ustar header; tarfile's own way takes minutes for a million of them."""
    mode = b"0000755\0" if kind == b"5" else b"0000644\0"
    fields = (
        name.encode().ljust(100, b"\0") + mode + b"0000000\0" * 2 + b"%011o\0" % size + b"%011o\0" % MTIME
        + b" " * 8 + kind + b"\0" * 100 + b"ustar\x0000" + b"\0" * 247
    )
    return b"%b%06o\0 %b" % (fields[:148], sum(fields), fields[156:])


def padding(size):
    return b"\0" * (-size % BLOCK)


def small(count, out):
    """Files of 0 to 900 bytes under names as source trees have them, every other one empty past the first 100,000."""
    for number in range(count):
        if number % 100 == 0:
            project, part = divmod(number // 100, 50)
            directory = f"srv/project-{project:04}/module-{part:02}"
            if part == 0:
                out.write(header(f"srv/project-{project:04}/", kind=b"5"))
            out.write(header(directory + "/", kind=b"5"))
        seed = hashlib.blake2s(number.to_bytes(8, "little")).hexdigest()
        size = 0 if number >= 100_000 and number % 2 else int(seed[:4], 16) % 900
        text = f"{number}: {seed}\n" * (size // len(seed) + 1)
        out.write(header(f"{directory}/part-{number:07}-{seed[:6]}.txt", size))
        out.write(text.encode()[:size] + padding(size))
    out.write(b"\0" * BLOCK * 2)


def wheels(paths, out):
    seen = set()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path in paths:
            with zipfile.ZipFile(path) as wheel:
                for entry in wheel.infolist():
                    name = SITE + entry.filename
                    for end in (at for at, letter in enumerate(name) if letter == "/"):
                        if name[:end] not in seen:
                            seen.add(name[:end])
                            directory = member(name[:end], 0o755)
                            directory.type = tarfile.DIRTYPE
                            tar.addfile(directory)
                    if entry.is_dir() or name in seen:
                        continue
                    seen.add(name)
                    file = member(name, 0o755 if entry.external_attr >> 16 & 0o111 else 0o644)
                    file.size = entry.file_size
                    with wheel.open(entry) as content:
                        tar.addfile(file, content)


def member(name, mode):
    info = tarfile.TarInfo(name)
    info.mode = mode
    info.mtime = MTIME
    return info


def diff(full, base, out):
    before = {}
    if base:
        with tarfile.open(base) as tar:
            before = {plain(info.name): fingerprint(tar, info) for info in tar}
    with tarfile.open(full) as tar, tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as layer:
        for info in tar:
            found = fingerprint(tar, info)
            content = tar.extractfile(info) if info.isreg() else None
            info.name = plain(info.name)
            for long_name in "path", "linkpath":  # would win over what we set
                info.pax_headers.pop(long_name, None)
            if info.islnk():
                info.linkname = plain(info.linkname)
            if before.pop(info.name, None) != found and info.name:
                layer.addfile(info, content)
        for name in sorted(before):
            parent, _, last = name.rpartition("/")
            if parent not in before:
                layer.addfile(member(f"{parent}/.wh.{last}".lstrip("/"), 0o644))


def plain(name):
    """Builders write names without `./`, and ratarmount cannot follow hard links that have it."""
    return "" if name == "." else name.removeprefix("./").rstrip("/")


def fingerprint(tar, info):
    content = hashlib.sha256(tar.extractfile(info).read()).digest() if info.isreg() else None
    return info.type, info.mode, info.uid, info.gid, int(info.mtime), info.linkname, info.pax_headers, content


def main():
    command, arguments = sys.argv[1], sys.argv[2:]
    out = sys.stdout.buffer
    if command == "diff":
        diff(arguments[0], arguments[1] if len(arguments) > 1 else None, out)
    elif command == "wheels":
        wheels(arguments, out)
    elif command == "small":
        small(int(arguments[0]), out)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
