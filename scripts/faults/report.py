"""The table of faults as Markdown."""

import os
import platform
import subprocess
import time


class Row:
    """What one fault came to."""

    def __init__(self, section, title, case, skipped, seconds):
        self.section, self.title, self.case = section, title, case
        self.skipped, self.seconds = skipped, seconds

    def verdict(self):
        if self.skipped:
            return "skipped"
        return "FAILED" if self.case.failed else "ok"

    def saw(self):
        """Says in words what the readers saw."""
        case = self.case
        parts = list(case.notes)
        errors = ", ".join(f"{name} × {count:,}" for name, count in sorted(case.seen.errors.items()))
        parts.append(errors or "no error")
        return "; ".join(parts)

    def cells(self):
        seen = self.case.seen
        if self.skipped:
            return [self.title, f"**not tried: {self.skipped}**", "–", "–", "–"]
        wrong = f"**{len(seen.wrong)}**" if seen.wrong else "none"
        follows = self.case.next or "**no**"
        if self.case.failed:
            follows += "; **FAILED: " + "; ".join(self.case.failed).replace("|", "\\|") + "**"
        return [self.title, self.saw(), f"{seen.reads:,}, {seen.bytes / 1e6:,.0f} MB", wrong, follows]


HEAD = """# Faults

What a reader sees when things break. `scripts/faults.sh --table` wrote this page from a run; do not edit it.

{when}, {machine}, {version}.

The image has three gzip layers, with files replaced, deleted and hidden, and a zstd layer of one frame that is kept decompressed in the cache directory. What has to be read from
it is worked out without ocifs, by Python's tarfile. While a fault is injected, several threads read files and blobs at random places, most of them past the kernel's
cache, and compare every byte that comes. A name that is missing, and a file that ends early without an error, count as wrong bytes. So that the readers are known to notice,
each run begins with a directory in which one bit is wrong.

*The reader saw* counts looks at a file that failed, by errno; an errno that the row does not allow for fails it, and so does a look that takes a minute. *Next mount*: on the same mountpoint and
with the same cache directory, as the fault left them, everything is read and compared.
"""


def write(path, rows, bench):
    version = subprocess.run([bench.ocifs, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    machine = f"Linux {platform.release().split('-')[0]}, {os.cpu_count()} processors"
    lines = [HEAD.format(when=time.strftime("%Y-%m-%d", time.gmtime()), machine=machine, version=version)]
    section = None
    for row in rows:
        if row.section != section:
            section = row.section
            lines += [f"\n## {section}\n", "| fault | the reader saw | compared | wrong bytes | next mount |", "|---|---|---|---|---|"]
        lines.append("| " + " | ".join(row.cells()) + " |")
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
