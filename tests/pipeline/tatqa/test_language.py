"""The words of both languages: complete, and distinct where they are read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.tatqa import schema
from pipeline.tatqa.language import LANGUAGES, SEPARATOR
from pipeline.tatqa.target import TARGETS


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_a_word_for_everything(language: str) -> None:
    words = LANGUAGES[language]
    assert set(words.rules) == set(TARGETS)
    assert set(words.scales) == set(schema.SCALES)
    assert set(words.types) == set(schema.ANSWER_TYPES)
    assert set(words.labels) == {"type", "evidence", "equation", "scale"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_words_that_are_read_back_are_distinct(language: str) -> None:
    words = LANGUAGES[language]
    for chosen in (words.scales, words.labels, words.types):
        assert len(set(chosen.values())) == len(chosen)
    assert words.no_scale not in words.scales.values()


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_rules_name_every_scale_and_the_separator(language: str) -> None:
    words = LANGUAGES[language]
    for rules in words.rules.values():
        assert SEPARATOR in rules
        assert all(word in rules for word in words.scales.values())


def test_no_official_span_holds_the_separator(mirror: Path) -> None:
    for split in ("dev", "test_gold"):
        for context in schema.read(mirror / f"tatqa_dataset_{split}.json"):
            for question in context.questions:
                spans = question.answer if isinstance(question.answer, list) else []
                assert not any(SEPARATOR in span for span in spans), question.uid
