"""Reasoning traces: what a model writes between <think> and </think> before its answer."""

from __future__ import annotations

import re

OPEN, CLOSE = "<think>", "</think>"

# DeepSeek-R1's, Qwen3's and Phi-4-reasoning's form; the opening tag may be part of the prompt
_TRACE = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


def split(text: str) -> tuple[str, str]:
    """The trace at the start of a text, "" for none or an empty one, and the answer after it."""
    if CLOSE not in text:
        return "", text
    found = _TRACE.match(text)
    assert found is not None  # it has the closing tag
    return found.group(1).strip(), text[found.end() :]


def written(trace: str, answer: str) -> str:
    """A trace and its answer in that form."""
    return f"<think>\n{trace}\n</think>\n\n{answer}"
