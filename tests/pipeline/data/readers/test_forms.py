"""The form of rows is told from their keys; what is no set to train on is named."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.data.readers import forms
from pipeline.errors import Stop


def _placed(*rows: Any) -> Any:
    return iter([(f"f, row {number}", row) for number, row in enumerate(rows)])


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "", "output": ""}, "alpaca"),
        ({"instruction": "", "response": ""}, "dolly"),
        ({"conversations": []}, "sharegpt"),
        ({"messages": []}, "messages"),
        ({"prompt": "", "completion": ""}, "prompt"),
        ({"question": "", "answer": ""}, "prompt"),
        ({"table": {}, "questions": []}, "TAT-QA"),
        ({"table": [], "question": ""}, "TAT-QA"),
        ({"doc": {}, "questions": []}, "TAT-DQA"),
        ({"table": [], "qa": {}}, "FinQA"),
        ({"table": [], "annotation": {}}, "FinQA"),
    ],
)
def test_forms_by_keys(row: dict[str, Any], name: str) -> None:
    form, rows = forms.recognise(_placed(row), "f")
    assert form.name.startswith(name)
    assert list(rows) == [("f, row 0", row)]


def test_a_row_that_lacks_a_key_does_not_change_the_form() -> None:
    form, rows = forms.recognise(_placed({"instruction": "a"}, {"instruction": "a", "output": "b"}), "f")
    assert form.name.startswith("alpaca") and len(list(rows)) == 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "", "chosen": "", "rejected": ""}, "a preference set"),
        ({"prompt": "", "completion": "", "label": False}, "a preference set"),
        ({"messages": [], "images": []}, "questions about images"),
        ({"text": "a"}, "the keys text"),
        ({"q": "a", "a": "b"}, "data.columns"),
    ],
)
def test_other_sets_are_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(Stop) as stopped:
        forms.recognise(_placed(row), "f")
    assert message in str(stopped.value)


def test_columns_are_renamed_and_must_be_there() -> None:
    rows = forms.renamed(_placed({"q": "a", "output": "x", "best": "b"}), {"instruction": "q", "output": "best"})
    assert list(rows) == [("f, row 0", {"instruction": "a", "output": "b"})]
    with pytest.raises(Stop, match="no row has r"):
        list(forms.renamed(_placed({"q": "a"}), {"instruction": "q", "output": "r"}))
