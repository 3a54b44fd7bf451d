"""Normalization: equivalent characters become plain ones, and are counted."""

from __future__ import annotations

from collections import Counter

from pipeline.tatqa.normalize import plain


def test_equivalent_characters_are_normalized_and_counted() -> None:
    counted: Counter[str] = Counter()
    assert (
        plain("\u221212.6\u00a0mil\u200bli\u00adon, e\ufb00ective; 2018\u20132019 “—” £ ²", counted)
        == "-12.6 million, effective; 2018\u20132019 “—” £ ²"
    )
    assert counted == {"minus sign": 1, "space": 1, "zero-width character": 2, "ligature": 1}
    assert plain("plain", counted) == "plain"
