"""What an import has read, on disk, so that memory does not grow with the file: contexts or conversations, in order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data.readers.tatqa import MADE_UP
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
        self.copies = 0  # questions left out

    def add(self, split: str, place: str, item: dict[str, Any]) -> None:
        """Add an item of a split; "" for one that is to be chosen."""
        row = (self.count, split, place, json.dumps(item))
        self._base.execute("INSERT INTO items VALUES (?, ?, ?, ?)", row)
        self.count += 1

    def add_context(self, split: str, place: str, context: dict[str, Any]) -> bool:
        """Add a context, or its questions to the one of that split with the same uid, table and notes; then True.

        A question without a uid of its own that is there already is a copy, and counted. A context that has a uid of
        the file again is not merged: the caller refuses it.
        """
        notes = sorted(context["paragraphs"], key=lambda note: note["order"])
        content = json.dumps([split, context["table"], [note["text"] for note in notes]])
        key = hashlib.sha256(content.encode()).digest()[:16]
        if self._base.execute("INSERT OR IGNORE INTO tables VALUES (?, ?)", (key, self.count)).rowcount:
            self.add(split, place, context)
            return False
        (number,) = self._base.execute("SELECT number FROM tables WHERE content = ?", (key,)).fetchone()
        (body,) = self._base.execute("SELECT body FROM items WHERE number = ?", (number,)).fetchone()
        merged = json.loads(body)
        there = {each["uid"] for each in merged["questions"]}
        new = [each for each in context["questions"] if each["uid"] not in there]
        again = [each["uid"] for each in context["questions"] if each["uid"] in there]
        before = [note["order"] for note in notes]
        now = sorted(note["order"] for note in merged["paragraphs"])
        if any(not uid.startswith(MADE_UP) for uid in again) or (before != now and len(set(before)) < len(before)):
            self.add(split, place, context)
            return False
        self.copies += len(again)
        orders = dict(zip(map(str, before), map(str, now), strict=True))
        merged["questions"] += [_with_orders(each, orders) for each in new] if before != now else new
        self._base.execute("UPDATE items SET body = ? WHERE number = ?", (json.dumps(merged), number))
        return True

    def __iter__(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        """Split, place and content of each item."""
        for split, place, body in self._base.execute("SELECT split, place, body FROM items ORDER BY number"):
            yield split, place, json.loads(body)


def _with_orders(question: dict[str, Any], orders: dict[str, str]) -> dict[str, Any]:
    """A question that refers to its paragraphs by other orders, given by the old ones."""
    made = dict(question)
    if isinstance(question.get("rel_paragraphs"), list):
        made["rel_paragraphs"] = [orders[each] for each in question["rel_paragraphs"] if each in orders]
    if question.get("mappings"):
        made["mappings"] = [
            {_renumbered(holder, orders): pair for holder, pair in each.items()} for each in question["mappings"]
        ]
    return made


def _renumbered(holder: str, orders: dict[str, str]) -> str:
    name, _, order = holder.partition("_")
    return f"{name}_{orders.get(order, order)}" if order else holder
