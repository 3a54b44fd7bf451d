"""The report on formatted data: counts, lengths, findings."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from pipeline.data import statistics
from pipeline.tatqa import sample
from tests.steps import fetched_job, format_job


def test_the_list_of_findings_is_bounded_and_the_count_is_not(workplace: Path) -> None:
    contexts = sample.contexts("train")[:5]
    for context in contexts:
        context["questions"] = [{**context["questions"][0], "uid": f"{context['table']['uid']}-{i}"} for i in range(60)]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, _ = format_job(fetched_job("data.source=mine.json"))
    findings = splits["train"]["same_questions"]
    assert (findings["count"], len(findings["listed"])) == (4 * 59, 100)


def test_a_percentile_is_the_nearest_rank() -> None:
    lengths = Counter({10: 50, 20: 49, 500: 1})
    assert [statistics.percentile(lengths, percent) for percent in (50, 51, 99, 100)] == [10, 20, 20, 500]
    assert statistics.percentile(Counter(), 50) == 0


def test_the_table_has_a_column_per_split_and_no_row_of_zeros() -> None:
    first, second = statistics.Tally(contexts=2), statistics.Tally(contexts=1)
    row = {"answer_type": "span", "answer_from": "text", "scale": ""}
    for prompt, answer in ((100, 3), (1200, 9)):
        first.take(row, prompt, answer)
    second.take({**row, "answer_type": "count"}, 70, 1)
    second.leaks.add(context="a", also_in="train b")
    printed = statistics.table({"train": first.as_values(), "dev": second.as_values()}, "answer")
    cells = {
        line.split("  ")[0] or line.strip().split("  ")[0]: line.split("  ")[1:] for line in printed.splitlines()[1:]
    }
    assert [each.strip() for each in cells["questions"] if each.strip()] == ["2", "1"]
    assert [each.strip() for each in cells["tokens, prompt"] if each.strip()] == [
        "100 / 1200 / 1200 / 1200",
        "70 / 70 / 70 / 70",
    ]
    assert [each.strip() for each in cells["leakage from the other split"] if each.strip()] == ["0", "1"]
    assert "near-duplicate tables" not in printed and "sums as plain answers" not in printed


def test_calls_in_rows_without_tools_are_counted() -> None:
    call = {"type": "function", "function": {"name": "rate", "arguments": {}}}
    tool = {"type": "function", "function": {"name": "rate", "parameters": {"type": "object", "properties": {}}}}
    tally = statistics.Tally()
    row = {"uid": "train-1", "answer_type": "call", "answer_from": "text", "scale": "", "tool_calls": [call]}
    tally.take({**row, "tools": [tool]}, 1, 1)
    assert tally.misfits.count == 0
    tally.take(row, 1, 1)
    assert tally.misfits.listed == [{"question": "train-1", "because": "a call, and no tools in its row"}]
