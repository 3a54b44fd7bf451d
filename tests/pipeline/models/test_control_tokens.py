"""Control tokens: a prompt is split at those of its template."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from pipeline.models import control_tokens


def _tokenizer(**stripped: dict[str, bool]) -> Any:
    """A tokenizer whose tokens <a>, <b> and <think> are special, with the sides on which each takes white space."""

    class Added(SimpleNamespace):
        def __str__(self) -> str:
            return str(self.content)

    added = [
        Added(content=f"<{name}>", special=True, **{"lstrip": False, "rstrip": False, **stripped.get(name, {})})
        for name in ("a", "b", "think")
    ]
    return SimpleNamespace(added_tokens_decoder=dict(enumerate(added)), all_special_tokens=["<a>"])


def test_text_goes_from_one_control_token_to_the_next() -> None:
    parts = ["<a> x<b>y ", "<b>", " z <a> w<b>"]
    assert list(control_tokens.runs(_tokenizer(), parts)) == [
        ("<a> x<b>", False),
        ("y <b> z ", True),
        ("<a> w<b>", False),
    ]
    # as the tokenizer, a token takes the white space beside it
    spaces = _tokenizer(a={"lstrip": True}, b={"rstrip": True})
    assert list(control_tokens.runs(spaces, ["<b>\n", "<b>", " \n<a>"])) == [
        ("<b>\n", False),
        ("<b>", True),
        (" \n<a>", False),
    ]


def test_the_tags_of_a_trace_are_no_control_tokens() -> None:
    found = control_tokens.pattern(_tokenizer())
    assert found is not None and found.findall("<a><think><b></think>") == ["<a>", "<b>"]


def test_texts_are_found_and_changed_at_any_depth() -> None:
    value = {"a": ["b", {"c": 1}], "d": None}
    assert list(control_tokens.texts(value)) == ["a", "d", "b", "c"]
    assert control_tokens.mapped(value, str.upper) == {"A": ["B", {"C": 1}], "D": None}
