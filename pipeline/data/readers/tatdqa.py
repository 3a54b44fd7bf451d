"""TAT-DQA's questions about documents (Zhu et al., ACM MM 2022), with the documents' text from files of their own.

    {"doc": {"uid": "11ba…", "page": 1, "source": "….pdf"}, "questions": [{…as TAT-QA's…}]}

The documents are `11ba….json` files in a folder beside the question files: pages of blocks of text. A context has the
blocks as its paragraphs, in reading order, and no table: the blocks of one are among them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.data.readers import tatqa
from pipeline.data.readers.data_folder import is_hidden
from pipeline.data.readers.reading import Reading
from pipeline.data.readers.tatqa import RawContext
from pipeline.errors import Stop

FORM = "TAT-DQA: doc and questions, with the documents as JSON beside the file"

_OWN = ("block_mapping", "rel_blocks")  # keys of a question that point into the document's layout


def read(record: Mapping[str, Any], where: str, reading: Reading) -> RawContext:
    """A context in TAT-QA's schema; the documents are looked for below the folder of the question file.

    Raises:
        Stop: the document is missing or has no text, two differ, or as `tatqa.read`.
    """
    doc, questions = record.get("doc"), record.get("questions")
    uid = doc.get("uid") if isinstance(doc, dict) else None
    if not isinstance(uid, str) or not isinstance(questions, list):
        raise Stop("doc.uid and questions", repr(doc)[:60], where, "fix that row")
    if reading.documents is None:
        reading.documents = _documents(reading.folder)
    paths = reading.documents.get(uid)
    if not paths:
        wanted, todo = f"the document {uid}.json", "put the questions and the documents into one folder, and pass that"
        raise Stop(wanted, f"no such file below {reading.folder}", where, todo)
    bare = [
        {key: value for key, value in each.items() if key not in _OWN} if isinstance(each, dict) else each
        for each in questions
    ]
    reading.read_documents.update(paths)
    blocks = _blocks(paths[0])
    for other in paths[1:]:
        if _blocks(other) != blocks:
            raise Stop(f"one document {uid}", f"{paths[0]} and {other}, which differ", where, "remove one of the two")
    context = {"table": {"uid": uid, "table": [[""]]}, "paragraphs": blocks, "questions": bare}
    return tatqa.read(context, where, reading)


def _documents(folder: Path) -> dict[str, list[Path]]:
    """The files that a document's uid may name."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.json")):
        if not is_hidden(path, folder):
            found.setdefault(path.stem, []).append(path)
    return found


def _blocks(path: Path) -> list[dict[str, Any]]:
    try:
        pages = json.loads(path.read_text(encoding="utf-8-sig"))["pages"]
        ordered = [sorted(page["blocks"], key=lambda block: block.get("order", 0)) for page in pages]
        texts = [" ".join(block["text"].split()) for blocks in ordered for block in blocks]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"[:80]
        raise Stop("pages of blocks of text", found, str(path), "fetch the documents again") from None
    if not any(texts):
        raise Stop("pages of blocks of text", "no text", str(path), "fetch the documents again")
    return [{"order": number, "text": text} for number, text in enumerate(filter(None, texts), 1)]
