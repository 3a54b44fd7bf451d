"""The tools sample: the same bytes on every machine, valid calls, and splits of their own."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from pipeline.data import sample_tools, sample_tools_words
from pipeline.data.readers import conversation
from pipeline.data.readers.reading import Reading
from pipeline.models import tool_calls

SPLITS = {split: sample_tools.conversations(split) for split in sample_tools.ROWS}


def _calls(said: dict[str, Any]) -> list[list[dict[str, Any]]]:
    return [each["tool_calls"] for each in said["messages"] if each.get("tool_calls")]


def test_the_tools_sample_has_the_same_bytes_on_every_machine() -> None:
    text = json.dumps(SPLITS)
    assert (
        hashlib.sha256(text.encode()).hexdigest() == "85a111f3a559291613a014184f8784e7621d5bef96323580297bff27743d7ec9"
    )


@pytest.mark.parametrize("split", list(SPLITS))
def test_every_conversation_is_read_and_every_call_is_valid(split: str) -> None:
    assert len(SPLITS[split]) == sample_tools.ROWS[split]
    for number, said in enumerate(SPLITS[split]):
        assert conversation.checked(said, f"row {number}", Reading()) == said
        for turn in _calls(said):
            for call in tool_calls.given(turn):
                assert tool_calls.problem(call, said["tools"]) == ""


@pytest.mark.parametrize("split", list(SPLITS))
def test_a_split_has_every_kind_of_turn(split: str) -> None:
    said = SPLITS[split]
    names = Counter(call["function"]["name"] for each in said for turn in _calls(each) for call in turn)
    assert set(names) == {
        "look_up_report", "convert_currency", "post_to_ledger", "look_up_report_date", "post_to_ledger_note",
    }  # fmt: skip
    assert any(not _calls(each) for each in said)
    assert any(len(turn) == 2 for each in said for turn in _calls(each))
    assert any(_calls(each) and each["messages"][-1]["content"] for each in said)
    assert any(_calls(each) and not each["messages"][-1]["content"] for each in said)
    # a tool with a similar name that is not called
    assert any(
        len(each["tools"]) == 4 and not {"look_up_report_date", "post_to_ledger_note"} & _names(each) for each in said
    )


def _names(said: dict[str, Any]) -> set[str]:
    return {call["function"]["name"] for turn in _calls(said) for call in turn}


def test_held_out_conversations_have_other_companies_and_wordings() -> None:
    texts = {split: json.dumps([each["messages"] for each in said]) for split, said in SPLITS.items()}
    words = sample_tools_words.WORDS
    for one, other in (("train", "heldout"), ("heldout", "train")):
        assert any(company in texts[one] for company in words[one].companies)
        assert not any(company in texts[other] for company in words[one].companies)
    for kind in ("look_up", "compare", "convert", "post", "published", "note", "no_year", "no_company", "told"):
        assert not set(getattr(words["train"], kind)) & set(getattr(words["heldout"], kind))
    asked = {split: {each["messages"][0]["content"] for each in said} for split, said in SPLITS.items()}
    assert not asked["train"] & asked["heldout"]
