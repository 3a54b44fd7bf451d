"""What is left out of a context that is too long for the model.

For training: first the notes that no question refers to and that contain no answer, the last one first; then the rows
that no answer needs, from below. The heading row and what an answer needs stay. For evaluation the answers are unknown:
first the notes with the fewest words in common with the questions, then the rows from below, the heading row last.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.tatqa import equation, figures
from pipeline.tatqa.normalize import plain
from pipeline.tatqa.schema import Context, Question
from pipeline.tatqa.target import gold_equation

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Cut:
    """A context after cutting, and how many notes and rows it lost."""

    context: Context
    notes: int
    rows: int


def cut(context: Context, fits: Callable[[Context], bool], training: bool) -> Cut | None:
    """The context without as little as makes it fit, or without all that may go; None if nothing may."""
    order = _for_training(context) if training else _for_evaluation(context)
    if not order:
        return None
    low, high = 1, len(order)  # bisect for the least number that is enough
    while low < high:
        middle = (low + high) // 2
        if fits(_without(context, order[:middle])):
            high = middle
        else:
            low = middle + 1
    gone = order[:low]
    return Cut(_without(context, gone), sum(kind == "note" for kind, _ in gone), sum(kind == "row" for kind, _ in gone))


def _without(context: Context, gone: Sequence[tuple[str, int]]) -> Context:
    rows = tuple(row for i, row in enumerate(context.rows) if ("row", i) not in gone)
    notes = tuple(note for i, note in enumerate(context.notes) if ("note", i) not in gone)
    return replace(context, rows=rows, notes=notes)


def _for_training(context: Context) -> list[tuple[str, int]]:
    wanted = [item for question in context.questions for item in needed(question)]
    referred = {order for question in context.questions for order in question.notes}
    notes = [
        i for i, (order, text) in enumerate(context.notes) if str(order) not in referred and not holds(text, wanted)
    ]
    rows = [i for i, row in enumerate(context.rows) if i and not any(holds(cell, wanted) for cell in row)]
    return [*(("note", i) for i in reversed(notes)), *(("row", i) for i in reversed(rows))]


def needed(question: Question) -> list[str]:
    """The texts and figures that a question's answer consists of."""
    if question.answer_type == "arithmetic":
        try:
            tree = equation.parse(gold_equation(question.answer, question.scale, question.derivation))
        except equation.Unreadable:
            return re.findall(r"\d[\d,.]*", question.derivation)
        return list(equation.operands(tree))
    items = question.derivation.split("##") if question.answer_type == "count" else question.answer
    return [plain(str(item), Counter()) for item in (items if isinstance(items, list) else [items])]


def holds(text: str, wanted: Sequence[str]) -> bool:
    """Whether a cell or note contains one of the wanted texts or figures; a figure only as a whole number."""
    folded, held = " ".join(text.split()).casefold(), figures.by_digits([text], [text])
    return any(
        figure in held if (figure := figures.number(item)) is not None else " ".join(item.split()).casefold() in folded
        for item in wanted
        if item.strip()
    )


def _for_evaluation(context: Context) -> list[tuple[str, int]]:
    asked = {word for question in context.questions for word in _WORD.findall(question.text.casefold())}
    shared = [len(asked & set(_WORD.findall(text.casefold()))) for _, text in context.notes]
    notes = sorted(range(len(context.notes)), key=lambda i: (shared[i], -i))
    return [*(("note", i) for i in notes), *(("row", i) for i in range(len(context.rows) - 1, 0, -1))]
