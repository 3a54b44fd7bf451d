"""The report on formatted data: counts, lengths, findings."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.tatqa import sample
from tests.steps import (
    fetched_job,
    format_job,
)


def test_the_list_of_findings_is_bounded_and_the_count_is_not(workplace: Path) -> None:
    contexts = sample.contexts("train")[:5]
    for context in contexts:
        context["questions"] = [{**context["questions"][0], "uid": f"{context['table']['uid']}-{i}"} for i in range(60)]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, _ = format_job(fetched_job("data.source=mine.json"))
    found = splits["train"]["same_questions"]
    assert (found["count"], len(found["listed"])) == (4 * 59, 100)
