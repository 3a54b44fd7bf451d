"""Answers on disk as they come, so that a killed evaluation continues: JSON lines after one with their provenance."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.files import write_text


class AnswerCache:
    """The file of one model's answers by question uid; a file made of something else is started over."""

    def __init__(self, path: Path, made_of: dict[str, Any]) -> None:
        self._path = path
        self._texts: dict[str, str] = {}
        lines = self._lines()
        if lines[:1] == [{"made_of": made_of}]:
            self._texts = {line["uid"]: line["text"] for line in lines[1:]}
        kept = [{"made_of": made_of}, *({"uid": uid, "text": text} for uid, text in self._texts.items())]
        # again, without a last line that was cut off
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in kept))

    def _lines(self) -> list[Any]:
        lines = []
        try:
            for line in self._path.read_text(encoding="utf-8").split("\n")[:-1]:
                lines.append(json.loads(line))
        except (OSError, ValueError):
            pass  # no file, or cut off from here on
        return lines

    def texts(self) -> dict[str, str]:
        """The answers of an earlier call, by uid."""
        return dict(self._texts)

    def add(self, texts: dict[str, str]) -> None:
        """Append answers and sync them to disk."""
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(
                json.dumps({"uid": uid, "text": text}, ensure_ascii=False) + "\n" for uid, text in texts.items()
            )
            file.flush()
            os.fsync(file.fileno())
