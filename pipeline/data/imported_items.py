"""What an import has read, on disk, so that memory does not grow with the file: contexts or conversations, in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.scratch import ScratchDatabase


class ImportedItems(ScratchDatabase):
    """Items in a database under `folder` that is removed when the block ends."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            folder / ".items",
            "CREATE TABLE items (number INTEGER PRIMARY KEY, split TEXT, place TEXT, body TEXT);"
            "CREATE TABLE tables (content BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID;",
        )
        self.count = 0

    def add(self, split: str, place: str, item: dict[str, Any]) -> None:
        """Add an item of a split; "" for one that is to be chosen."""
        row = (self.count, split, place, json.dumps(item))
        self._base.execute("INSERT INTO items VALUES (?, ?, ?, ?)", row)
        self.count += 1

    def add_context(self, split: str, place: str, context: dict[str, Any]) -> bool:
        """Add a context, or its questions to the one of that split with the same uid, table and notes; then True.

        A context that has a question of the other one again is not merged: it is a copy.
        """
        content = json.dumps([split, context["table"], [note["text"] for note in context["paragraphs"]]])
        key = hashlib.sha256(content.encode()).digest()[:16]
        if self._base.execute("INSERT OR IGNORE INTO tables VALUES (?, ?)", (key, self.count)).rowcount:
            self.add(split, place, context)
            return False
        (number,) = self._base.execute("SELECT number FROM tables WHERE content = ?", (key,)).fetchone()
        (body,) = self._base.execute("SELECT body FROM items WHERE number = ?", (number,)).fetchone()
        merged = json.loads(body)
        if {each["uid"] for each in merged["questions"]} & {each["uid"] for each in context["questions"]}:
            self.add(split, place, context)
            return False
        merged["questions"] += context["questions"]
        self._base.execute("UPDATE items SET body = ? WHERE number = ?", (json.dumps(merged), number))
        return True

    def __iter__(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Split, place and content of each item."""
        for split, place, body in self._base.execute("SELECT split, place, body FROM items ORDER BY number"):
            yield split, place, json.loads(body)
