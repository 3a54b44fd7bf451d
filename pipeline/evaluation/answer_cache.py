"""Answers as they come, so that a killed evaluation goes on: JSON lines, the first of which says what they were made of."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Partial:
    """The file of one model's answers by question uid; one that was made of something else is started over."""

    def __init__(self, path: Path, made_of: dict[str, Any]) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        lines = self._lines()
        if lines[:1] == [{"made_of": made_of}]:
            self._known = {line["uid"]: line["text"] for line in lines[1:]}
        with path.open("w", encoding="utf-8") as file:  # anew, without a last line that was cut off
            file.write(json.dumps({"made_of": made_of}) + "\n")
        self.add(self._known)

    def _lines(self) -> list[Any]:
        lines = []
        try:
            for line in self._path.read_text(encoding="utf-8").split("\n")[:-1]:
                lines.append(json.loads(line))
        except (OSError, ValueError):
            pass  # nothing there, or cut off from here on
        return lines

    def known(self) -> dict[str, str]:
        """The answers of before."""
        return dict(self._known)

    def add(self, texts: dict[str, str]) -> None:
        """Append answers and see them on disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(
                json.dumps({"uid": uid, "text": text}, ensure_ascii=False) + "\n" for uid, text in texts.items()
            )
            file.flush()
            os.fsync(file.fileno())
