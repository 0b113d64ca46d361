#!/usr/bin/env python3
"""Prints the licence texts of all crates that are linked into the program, each text once.

    scripts/licenses.py > FILE      their licences ask for their notices to go with a binary
"""

import json
import pathlib
import subprocess
import sys

TARGET = "x86_64-unknown-linux-gnu"
NAMES = ("licen[cs]e*", "LICEN[CS]E*", "COPYING*", "copying*", "UNLICENSE*", "NOTICE*", "COPYRIGHT*")


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked():
    """Names and versions of what is compiled into the program, build scripts' own helpers left out."""
    tree = output("cargo", "tree", "--locked", "-e", "normal,no-proc-macro", "--target", TARGET, "--prefix", "none",
                  "--format", "{p}")
    return {tuple(line.split()[:2]) for line in tree.splitlines() if not line.startswith("ocifs ")}


def main():
    metadata = json.loads(output("cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET))
    wanted = linked()
    texts = {}
    for package in metadata["packages"]:
        if (package["name"], "v" + package["version"]) not in wanted:
            continue
        wanted.remove((package["name"], "v" + package["version"]))
        folder = pathlib.Path(package["manifest_path"]).parent
        files = sorted({file for name in NAMES for file in folder.glob(name) if file.is_file()})
        crate = f"{package['name']} {package['version']} ({package['license']})"
        if not files:
            texts.setdefault(f"By {', '.join(package['authors']) or 'its authors'}; no text comes with the crate.\n", []).append(crate)
        for file in files:
            texts.setdefault(file.read_text(errors="replace").strip() + "\n", []).append(crate)
    if wanted:
        sys.exit(f"not in the metadata: {wanted}")
    for text, crates in texts.items():
        print("=" * 78, *sorted(set(crates)), "=" * 78, "", text, sep="\n")


if __name__ == "__main__":
    main()
