"""Text from tokens: what is given never changes, and is what decoding the whole gives."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.models import chat_template
from pipeline.models.chat_template import ChatTemplate
from pipeline.serving.text import Reader


@pytest.fixture(scope="module")
def template(tiny_model: Path) -> ChatTemplate:
    return chat_template.load(tiny_model)


def _read(reader: Reader, template: ChatTemplate, text: str) -> list[str]:
    """The parts that a text gives, token by token, the rest last."""
    return [*(reader.add([token]) for token in template.ids([text])[0]), reader.finish()]


@pytest.mark.parametrize("text", ["plain text", "  spaces around \n", "数字 12 · naïve 🙂!", "", "a\n\nb "])
def test_the_parts_together_are_the_stripped_text(template: ChatTemplate, text: str) -> None:
    reader = Reader(template)
    parts = _read(reader, template, text)
    assert "".join(parts) == reader.content == text.strip()
    assert not any("\N{REPLACEMENT CHARACTER}" in part for part in parts)


def test_a_stop_is_held_back_until_it_is_sure(template: ChatTemplate) -> None:
    reader = Reader(template, stops=["END", "\n\n"])
    parts = _read(reader, template, "at the ENtrance, EN")
    assert "".join(parts) == "at the ENtrance, EN" and not reader.stopped and parts[-1] == " EN"
    reader = Reader(template, stops=["END"])
    assert "".join(_read(reader, template, "so it ENDs here")) == "so it" == reader.content
    assert reader.stopped


def test_calls_begin_at_the_marker_and_are_not_content(template: ChatTemplate) -> None:
    reader = Reader(template, marker="<tool_call>")
    parts = _read(reader, template, "I look. <tool_call>\n{}")
    assert "".join(parts) == reader.content == "I look."
    assert reader.calls == "<tool_call>\n{}"
    reader = Reader(template, marker="<tool_call>")
    assert "".join(_read(reader, template, "a < b <tool")) == "a < b <tool" and reader.calls == ""
