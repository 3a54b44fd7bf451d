"""The one printer of plain-text tables on the container side."""

from __future__ import annotations

import re
from collections.abc import Sequence

_STYLE = re.compile(r"\x1b\[[\d;]*m")  # bold, underlined and the like, which take no space


def render(rows: Sequence[Sequence[str]], gap: int = 2) -> str:
    """Rows of cells as aligned text: the first column to the left, the others to the right; a short row ends early."""
    columns = max(map(len, rows), default=0)
    widths = [max((_width(row[i]) for row in rows if i < len(row)), default=0) for i in range(columns)]
    lines = []
    for row in rows:
        padded = [(cell, " " * (widths[i] - _width(cell))) for i, cell in enumerate(row)]
        cells = [space + cell if i else cell + space for i, (cell, space) in enumerate(padded)]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)


def _width(cell: str) -> int:
    return len(_STYLE.sub("", cell))
