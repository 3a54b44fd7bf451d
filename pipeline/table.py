"""The one printer of plain-text tables on the container side."""

from __future__ import annotations

from collections.abc import Sequence


def render(rows: Sequence[Sequence[str]], gap: int = 2) -> str:
    """Rows of cells as aligned text: the first column to the left, the others to the right; a short row ends early."""
    columns = max(map(len, rows), default=0)
    widths = [max((len(row[i]) for row in rows if i < len(row)), default=0) for i in range(columns)]
    lines = []
    for row in rows:
        cells = [cell.rjust(widths[i]) if i else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        lines.append((" " * gap).join(cells).rstrip())
    return "\n".join(lines)
