#!/usr/bin/env python3
"""Injects faults into real mounts, one after the other, and writes down what came of it.

  run.py OCIFS WORK [--quick] [--only WORD]… [--table FILE]     status 1 if anything is not as it should be

OCIFS is the program, WORK an empty directory. --table writes the results as Markdown.
"""

import argparse
import os
import shutil
import sys
import time
import traceback

import cachefaults  # noqa: F401 - each enters its faults into the table
import diskfaults  # noqa: F401
import kills  # noqa: F401
import limits  # noqa: F401
import netfaults  # noqa: F401
import sourcefaults  # noqa: F401
from case import FAULTS, Case, Skipped
from images import large
from mounting import Hung, control_files
from readers import Readers
from report import Row, write


class Bench:
    """What all faults share."""

    def __init__(self, ocifs, work, quick):
        self.ocifs, self.work, self.quick = ocifs, work, quick
        self.image = large(f"{work}/layout")


class Plain:
    """A directory in a mount's place."""

    def __init__(self, root):
        self.root = self.point = root


def check_readers(bench):
    """The readers have to find one wrong byte among all: otherwise nothing below means anything."""
    name, content = max(bench.image.truth.items(), key=lambda item: len(item[1]))
    root = f"{bench.work}/control"
    os.makedirs(os.path.dirname(f"{root}/{name}"))
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    with open(f"{root}/{name}", "wb") as file:
        file.write(flipped)
    readers = Readers(Plain(root), {name: content})
    readers.progress(2_000)
    found = readers.stop()
    shutil.rmtree(root)
    if not found.wrong:
        sys.exit("the readers do not find a wrong byte")


def run(bench, section, title, function):
    case = Case(bench, title)
    began = time.monotonic()
    skipped = None
    try:
        function(case)
        case.judge()
    except Skipped as why:
        skipped = str(why)
    except (Exception, Hung) as error:  # one fault must not hide the others
        traceback.print_exc()
        case.failed.append(f"{type(error).__name__}: {error}")
    try:
        words = ""
        if case.failed and os.path.exists(case.log):
            with open(case.log, encoding="utf-8", errors="replace") as file:
                words = "".join(file.readlines()[-15:])
    finally:
        case.close()
    row = Row(section, title, case, skipped, time.monotonic() - began)
    print(f"{row.verdict():8} {row.seconds:5.1f} s  {section}: {title}", flush=True)
    for text in case.failed:
        print(f"         {text}")
    if words:
        print("         the log ends:\n" + words)
    if skipped:
        print(f"         NOT TRIED: {skipped}")
    return row


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("ocifs")
    parser.add_argument("work")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", action="append")
    parser.add_argument("--table")
    options = parser.parse_args()
    control_files(f"{options.work}/connections")
    bench = Bench(os.path.abspath(options.ocifs), os.path.abspath(options.work), options.quick)
    check_readers(bench)
    rows = []
    for section, title, quick, function in FAULTS:
        chosen = not options.only or any(word in f"{section}: {title}" for word in options.only)
        if chosen and (quick or not options.quick):
            rows.append(run(bench, section, title, function))
    if options.table:
        write(options.table, rows, bench)
    bad = [row for row in rows if row.verdict() == "FAILED"]
    total = sum(row.case.seen.bytes for row in rows)
    print(f"{len(rows)} faults, {len(bad)} not as they should be; {total / 1e9:.1f} GB compared")
    sys.exit(1 if bad or not rows else 0)


if __name__ == "__main__":
    main()
