#!/usr/bin/env python3
"""Turns what was seen on a terminal into an SVG.

    svg.py SEEN COLUMNS > FILE      SEEN is a typescript as script(1) writes it
"""

import io
import re
import sys

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

DARK = TerminalTheme(
    (24, 26, 31),
    (214, 217, 222),
    [(48, 52, 60), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194), (214, 217, 222)],
    [(92, 99, 112), (224, 108, 117), (152, 195, 121), (229, 192, 123), (97, 175, 239), (198, 120, 221), (86, 182, 194), (255, 255, 255)],
)


def main():
    path, columns = sys.argv[1], int(sys.argv[2])
    with open(path, encoding="utf-8") as file:
        lines = file.read().replace("\r", "").splitlines()
    # script(1) writes a line of its own at either end.
    seen = "\n".join(line for line in lines if not re.match(r"Script (started|done) on ", line)).strip()
    console = Console(width=columns, record=True, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in Text.from_ansi(seen).split("\n", allow_blank=True):
        # As terminals do, at the last column and not between words.
        for part in line.divide(range(columns, len(line), columns)) if len(line) > columns else [line]:
            console.print(part)
    # The same picture for the same text, and nothing in it that is fetched from elsewhere.
    picture = console.export_svg(title="ocifs", theme=DARK, unique_id="tour")
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    # Spaces at either end of a piece count.
    picture = picture.replace("<svg ", '<svg xml:space="preserve" ', 1)
    picture = picture.replace("font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
    print("\n".join(line.rstrip() for line in picture.splitlines()))


if __name__ == "__main__":
    main()
