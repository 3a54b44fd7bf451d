"""Duplicates and leakage: uids, texts and tables that occur twice within a split, or in both splits.

Kept on disk, so that memory does not grow with the data. Tables are compared by MinHash (Broder 1997, "On the
resemblance and containment of documents"): bands of minima over their figures find candidates, whose figures are then
compared.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from pipeline.data.scratch import ScratchDatabase
from pipeline.tatqa.schema import Context, uid_twice

# Jaccard index of the figures from which on two tables count as the same; TAT-QA's dev and test_gold share two such
ALIKE = 0.5
LEAST = 6  # figures: smaller tables are alike by chance
_BANDS, _PER_BAND = 12, 2  # finds a pair of index 0.5 with a chance of 97 %, one of 0.8 always
_PRIME = (1 << 61) - 1
_FACTORS = [
    (
        int.from_bytes(hashlib.sha256(f"a{i}".encode()).digest()[:7]),
        int.from_bytes(hashlib.sha256(f"b{i}".encode()).digest()[:7]),
    )
    for i in range(_BANDS * _PER_BAND)
]


class LeakageIndex(ScratchDatabase):
    """What has been added so far, in a database under `folder` that is removed when the block ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / ".seen",
            "CREATE TABLE uids (uid BLOB, split TEXT, number INTEGER, PRIMARY KEY (uid, split)) WITHOUT ROWID;"
            "CREATE TABLE texts (text BLOB PRIMARY KEY, split TEXT) WITHOUT ROWID;"
            "CREATE TABLE tables (id INTEGER PRIMARY KEY, split TEXT, uid TEXT, figures BLOB);"
            "CREATE TABLE bands (band INTEGER, least INTEGER, id INTEGER, PRIMARY KEY (band, least)) WITHOUT ROWID;",
        )

    def add_uids(self, split: str, number: int, context: Context, where: str) -> str:
        """Add a context's uids; returns the split that has one of them already, "" if none does.

        Raises:
            Stop: this split has one of them already.
        """
        found = ""
        for uid in (context.uid, *(question.uid for question in context.questions)):
            key = hashlib.sha256(uid.encode()).digest()[:16]
            if not self._base.execute("INSERT OR IGNORE INTO uids VALUES (?, ?, ?)", (key, split, number)).rowcount:
                had = self._base.execute("SELECT number FROM uids WHERE uid = ? AND split = ?", (key, split))
                raise uid_twice(uid, where, had.fetchone()[0], number)
            others = self._base.execute("SELECT split FROM uids WHERE uid = ? AND split != ?", (key, split)).fetchone()
            found = str(others[0]) if others else found
        return found

    def add_text(self, split: str, text: str) -> str | None:
        """Add a row's text; returns the split that has it already, if one does."""
        key = hashlib.sha256(text.encode()).digest()[:16]
        if self._base.execute("INSERT OR IGNORE INTO texts VALUES (?, ?)", (key, split)).rowcount:
            return None
        return str(self._base.execute("SELECT split FROM texts WHERE text = ?", (key,)).fetchone()[0])

    def add_table(self, split: str, context: Context) -> tuple[str, str] | None:
        """Add a table; returns (split, uid of the context) of an earlier near-duplicate, if there is one."""
        figures = sorted({_hash(cell) for row in context.rows for cell in row if any(char.isdigit() for char in cell)})
        if len(figures) < LEAST:
            return None
        found = None
        bands = list(enumerate(_minima(figures)))
        for band, least in bands:
            for other_split, uid, packed in self._base.execute(
                "SELECT split, uid, figures FROM bands JOIN tables USING (id) WHERE band = ? AND least = ?",
                (band, least),
            ):
                other = set(struct.unpack(f"<{len(packed) // 8}q", packed))
                if found is None and len(other & set(figures)) >= ALIKE * len(other | set(figures)):
                    found = (other_split, uid)
        row = self._base.execute(
            "INSERT INTO tables (split, uid, figures) VALUES (?, ?, ?)",
            (split, context.uid, struct.pack(f"<{len(figures)}q", *figures)),
        ).lastrowid
        self._base.executemany(
            "INSERT OR IGNORE INTO bands VALUES (?, ?, ?)", ((band, least, row) for band, least in bands)
        )
        return found


def _hash(cell: str) -> int:
    return int.from_bytes(hashlib.blake2b("".join(cell.split()).casefold().encode(), digest_size=8).digest()) >> 3


def _minima(figures: list[int]) -> list[int]:
    """One number per band, equal for two sets that have the same minima in it."""
    minima = [min((a * figure + b) % _PRIME for figure in figures) for a, b in _FACTORS]
    return [hash(tuple(minima[i : i + _PER_BAND])) for i in range(0, len(minima), _PER_BAND)]
