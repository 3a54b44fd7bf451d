"""Which form the rows of a file have, told from their keys; and reading them in it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.data.readers import conversation, finqa, instruction, messages, prompt_completion, sharegpt, tatdqa, tatqa
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop
from pipeline.json_stream import Placed

_LOOKED_AT = 100  # rows from whose keys the form is told: one may lack what the others have

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Form:
    """A form of rows: how it is called, and its reader; `contexts` says that it makes contexts, else conversations."""

    name: str
    read: Callable[[Record, str, Reading], dict[str, Any]]
    contexts: bool = False


_TATQA = Form(tatqa.FORM, tatqa.read, contexts=True)
_TATDQA = Form(tatdqa.FORM, tatdqa.read, contexts=True)
_FINQA = Form(finqa.FORM, finqa.read, contexts=True)
_MESSAGES = Form(messages.FORM, messages.read)
_SHAREGPT = Form(sharegpt.FORM, sharegpt.read)
_ALPACA = Form(instruction.ALPACA, instruction.alpaca)
_DOLLY = Form(instruction.DOLLY, instruction.dolly)
_PROMPT = Form(prompt_completion.FORM, prompt_completion.read)

_PREFERENCE = {"chosen", "rejected", "kto_tag"}
_MEDIA = {"image", "images", "videos", "audios"}
_EMPTY: tuple[object, ...] = (None, "", [], {})  # of a column that a tool writes although no row has any


def recognise(rows: Iterator[Placed], where: str) -> tuple[Form, Iterator[Placed]]:
    """The form of rows, and all the rows, after `renamed`.

    Raises:
        Stop: rows of no form that is known; names the keys that they have.
    """
    first = list(itertools.islice(rows, _LOOKED_AT))
    keys = {key for _, row in first if isinstance(row, dict) for key in row}
    if not first:
        raise Stop("at least two contexts or rows that differ", "none", where, "add some")
    if not keys:
        place, row = first[0]
        raise Stop("an object with keys", f"{type(row).__name__}: {str(row)[:60]}", place, "fix that row")
    filled = {key for _, row in first if isinstance(row, dict) for key, value in row.items() if value not in _EMPTY}
    liked = any(isinstance(row, dict) and isinstance(row.get("label"), bool) for _, row in first)  # as of KTO
    kind = ""
    if keys & _PREFERENCE or liked:
        kind = "a preference set"
    elif filled & _MEDIA:
        kind = "questions about images, videos or sound"
    named = f"with the keys {', '.join(sorted(keys))[:200]}"
    if kind:
        raise Stop("questions with the answers to train on", f"{kind}, {named}", where, "take a set of another kind")
    form = _of_keys(keys)
    if form is None:
        wanted = "rows of alpaca, dolly, sharegpt, messages, prompt and completion, TAT-QA, TAT-DQA, FinQA or ConvFinQA"
        columns = '--set \'data.columns={instruction="…", output="…"}\' with the names of your columns'
        raise Stop(wanted, f"rows {named}", where, columns)
    return form, itertools.chain(first, rows)


def _of_keys(keys: set[str]) -> Form | None:
    if {"doc", "questions"} <= keys:
        return _TATDQA
    if "table" in keys and keys & {"qa", "annotation", "pre_text"}:
        return _FINQA
    if "table" in keys or "questions" in keys:
        return _TATQA
    if "messages" in keys:
        return _MESSAGES
    if keys & {"conversations", "conversation"}:
        return _SHAREGPT
    if "response" in keys and "instruction" in keys:
        return _DOLLY
    if "instruction" in keys or "output" in keys:
        return _ALPACA
    if keys & set(prompt_completion.PROMPTS) or keys & set(prompt_completion.COMPLETIONS):
        return _PROMPT
    return None


def read(form: Form, rows: Iterator[Placed], reading: Reading) -> Iterator[tuple[str, dict[str, Any]]]:
    """The contexts or conversations of rows with their places; a row that cannot be read is a fault of `reading`."""
    for where, row in rows:
        try:
            if not isinstance(row, dict):
                raise Stop("an object", f"{type(row).__name__}: {str(row)[:60]}", where, "fix that row")
            made = form.read(row, where, reading)
            yield where, made if form.contexts else conversation.checked(made, where, reading)
        except Stop as stop:
            reading.add_fault(stop)


def unwrapped(rows: Iterator[Placed], reading: Reading) -> Iterator[Placed]:
    """The rows of a file that is one object around their list, as `{"version": 1, "data": [{…}]}`; others as they are.

    An object that has a form itself, such as a single `{"messages": [{…}]}`, is a row.
    """
    first = list(itertools.islice(rows, 2))
    if len(first) == 1 and isinstance(row := first[0][1], dict) and _of_keys(set(row)) is None:
        lists = [key for key, value in row.items() if _is_list_of_rows(value)]
        if len(lists) == 1:
            (key,) = lists
            reading.see_keys(row, {key})
            reading.notes[f"rows, from the list {key!r}"] = len(row[key])
            return ((f"{first[0][0]}, {key}[{number}]", each) for number, each in enumerate(row[key]))
    return itertools.chain(first, rows)


def _is_list_of_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def renamed(rows: Iterator[Placed], columns: Mapping[str, str], where: str) -> Iterator[Placed]:
    """Rows whose columns have the names that their form reads; `columns` has these names -> names in the file.

    Raises:
        Stop: a column that no row has; `where` names the file, and its split.
    """
    first = list(itertools.islice(rows, _LOOKED_AT))
    found = {key for _, row in first if isinstance(row, dict) for key in row}
    if found and not found & set(columns.values()):
        _need_columns(set(columns.values()), found, where)
    return _renamed(itertools.chain(first, rows), columns, where)


def _renamed(rows: Iterator[Placed], columns: Mapping[str, str], where: str) -> Iterator[Placed]:
    ours = {theirs: name for name, theirs in columns.items()}
    never, found = set(ours), set[str]()
    for place, row in rows:
        if isinstance(row, dict):
            never -= row.keys()
            found |= row.keys() if never else set()
            # a column that has the name of another one's is not read
            row = {ours.get(key, key): value for key, value in row.items() if key in ours or key not in columns}
        yield place, row
    _need_columns(never, found, where)


def _need_columns(never: set[str], found: set[str], where: str) -> None:
    if never:
        wanted = f"the columns of data.columns in every split: {', '.join(sorted(never))}"
        todo = "name columns that the file has, the same in all splits"
        raise Stop(wanted, f"the columns {', '.join(sorted(found))[:200]}", where, todo)


def need_answers(reading: Reading, read_: int, file: str) -> None:
    """Raise one Stop for a file in which no question has an answer."""
    if reading.fault_count and not read_ and reading.unanswered == reading.fault_count:
        todo = "take a split with answers: of TAT-QA train, dev or test_gold"
        raise Stop("questions with gold answers", "no question has one", file, todo)
