"""How well a model calls tools: valid calls, the right function, the right arguments, and no call where none is due."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.models import reasoning, tool_calls

Row = dict[str, Any]

CALLS = {  # of the turns that are calls
    "valid": "valid calls",
    "function": "the right functions",
    "arguments": "the right arguments too",
}
NO_CALL = "no call where none is due"


def judge(row: Row, text: str) -> dict[str, Any] | None:
    """What a text's calls are worth, each true or false, and the first `problem` of them; None for a row without tools.

    A turn that is a call has `valid`, `function` and `arguments`; one of words has `no_call`. A turn of two calls is
    judged as a whole, and their order is free. None, too, for a row whose own output cannot be read as its calls.
    """
    if not row.get("tools") and not row.get("tool_calls"):
        return None
    tools, said = row.get("tools") or [], tool_calls.read(reasoning.split(text)[1])
    problem = next(filter(None, (tool_calls.problem(each, tools) for each in said)), "")
    if not row.get("tool_calls"):
        return {"no_call": not said, "problem": problem}
    if not is_readable(row):
        return None
    gold = tool_calls.given(row["tool_calls"])
    return {
        "valid": bool(said) and not problem,
        "function": tool_calls.same_functions(said, gold),
        "arguments": tool_calls.same(said, gold),
        "problem": problem or ("" if said else "no call"),
    }


def is_readable(row: Row) -> bool:
    """Whether a row's output, as the template writes it, is read as its calls; true for one without calls."""
    calls = row.get("tool_calls")
    read = tool_calls.read(reasoning.split(row["output"])[1])
    return not calls or tool_calls.same(read, tool_calls.given(calls))


def summary(rows: Sequence[Row], texts: Sequence[str]) -> dict[str, Any]:
    """The shares of one model's turns, and of how many; empty if no row has tools.

    `unreadable` counts the turns left out because the template writes calls in a form that is not read.
    """
    judged = [judge(row, text) for row, text in zip(rows, texts, strict=True)]
    calls = [each for each in judged if each and "valid" in each]
    words = [each for each in judged if each and "no_call" in each]
    unreadable = sum(not is_readable(row) for row in rows)
    if not calls and not words and not unreadable:
        return {}
    shares = {name: sum(each[name] for each in calls) / len(calls) for name in CALLS if calls}
    if words:
        shares["no_call"] = sum(each["no_call"] for each in words) / len(words)
    return {"calls": len(calls), "words": len(words), "unreadable": unreadable, **shares}


def lines(base: dict[str, Any], tuned: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    """Rows of a table: what is counted, of how many turns, and base and tuned in points of 100."""
    named = [(key, name, base["calls"]) for key, name in CALLS.items()] + [("no_call", NO_CALL, base["words"])]
    return [
        (name, str(count), f"{100 * base[key]:.1f}", f"{100 * tuned[key]:.1f}") for key, name, count in named if count
    ]
