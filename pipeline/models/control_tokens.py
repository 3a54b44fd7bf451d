"""Control tokens, such as <|im_end|>: where a template writes them, and where a row's own text only looks like them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pipeline.models import reasoning


def pattern(tokenizer: Any) -> re.Pattern[str] | None:
    """A pattern of all control tokens, or None if the tokenizer has none."""
    texts = _of(tokenizer)
    return re.compile("|".join(map(re.escape, texts))) if texts else None


def runs(tokenizer: Any, parts: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """A prompt as texts to tokenize one by one, and whether each is text alone, without control tokens.

    A tokenizer splits at control tokens first, so the prompt may be split at them without another result.

    Args:
        parts: of the prompt: the template's and, at odd places, what only looks like its control tokens.
    """
    control = _with_spaces(tokenizer)
    pieces: list[tuple[str, bool]] = []
    piece, as_text = "", False
    for number, part in enumerate(parts):
        if number % 2:
            piece, as_text = piece + part, True
            continue
        start = 0
        for own in control.finditer(part):
            pieces += [(piece + part[start : own.start()], as_text), (own.group(), False)]
            piece, as_text, start = "", False, own.end()
        piece += part[start:]
    pieces.append((piece, as_text))
    for kind, group in itertools.groupby(pieces, lambda each: each[1]):
        if joined := "".join(text for text, _ in group):
            yield joined, kind


def _of(tokenizer: Any) -> list[str]:
    """The control tokens, longest first. The tags of a reasoning trace are none: they are written as any tokens are."""
    added = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    texts = {*tokenizer.all_special_tokens, *added} - {reasoning.OPEN, reasoning.CLOSE}
    return sorted(texts, key=len, reverse=True)


def _with_spaces(tokenizer: Any) -> re.Pattern[str]:
    """A pattern of all control tokens with the white space around them that the tokenizer takes with them."""
    added = {str(token): token for token in tokenizer.added_tokens_decoder.values()}

    def one(text: str) -> str:
        token = added.get(text)
        before, after = (r"\s*" if getattr(token, side, False) else "" for side in ("lstrip", "rstrip"))
        return before + re.escape(text) + after

    return re.compile("|".join(map(one, _of(tokenizer))))


def texts(value: Any) -> Iterator[str]:
    """All texts in a value of JSON, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """A value of JSON with all its texts changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): mapped(each, change) for key, each in value.items()}
    return [mapped(each, change) for each in value] if isinstance(value, list) else value
