"""Scores of calls: each part by itself, their shares, and where they are shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import sample_tools
from pipeline.data.readers import conversation
from pipeline.evaluation import tools
from pipeline.generation.judge import judge
from pipeline.models import tool_text
from pipeline.tatqa.metric import Score
from tests.steps import latest, overrides, step

SAID = next(each for each in sample_tools.conversations("train") if len(each["messages"][1].get("tool_calls", ())) == 2)
CALLS = SAID["messages"][1]["tool_calls"]
CALL_ROW: dict[str, Any] = {**conversation.rows(SAID, "u")[0], "output": tool_text.turn("", CALLS)}
CALL_ROW["answer"] = json.dumps([CALL_ROW["output"]])
WORDS_ROW: dict[str, Any] = {
    "uid": "w",
    "input": "",
    "output": "In 2021.",
    "answer": '["In 2021."]',
    "answer_type": "text",
    "scale": "",
    "tools": SAID["tools"],
}


def _changed(**arguments: Any) -> str:
    """Both calls, the first with other arguments."""
    first = {**CALLS[0], "function": {**CALLS[0]["function"], "arguments": {**_arguments(), **arguments}}}
    return tool_text.turn("", [first, CALLS[1]])


def _arguments() -> dict[str, Any]:
    return dict(CALLS[0]["function"]["arguments"])


@pytest.mark.parametrize(
    ("text", "valid", "function", "arguments"),
    [
        (CALL_ROW["output"], True, True, True),
        (tool_text.turn("I look both up.", CALLS[::-1]), True, True, True),
        (f"<think>\nBoth.\n</think>\n\n{CALL_ROW['output']}", True, True, True),
        (_changed(year=float(_arguments()["year"])), True, True, True),
        (_changed(year=1999), True, True, False),
        (_changed(year="2021"), False, True, False),
        (_changed(page=1), False, True, False),
        (tool_text.turn("", CALLS[:1]), True, False, False),
        (tool_text.turn("", [CALLS[0], CALLS[0]]), True, True, False),
        (CALL_ROW["output"].replace("look_up_report", "look_up_reports"), False, False, False),
        (CALL_ROW["output"][:-20], False, False, False),
        ("It was 12.6 million.", False, False, False),
    ],
)
def test_a_turn_of_calls_is_judged_by_parts(text: str, valid: bool, function: bool, arguments: bool) -> None:
    judged = tools.judge(CALL_ROW, text)
    assert judged is not None
    assert (judged["valid"], judged["function"], judged["arguments"]) == (valid, function, arguments)
    assert bool(judged["problem"]) == (not valid)
    assert judge(CALL_ROW, text, "en")[1].em == float(arguments)


def test_words_must_not_call() -> None:
    assert tools.judge(WORDS_ROW, "In 2020.") == {"no_call": True, "problem": ""}
    assert tools.judge(WORDS_ROW, CALL_ROW["output"]) == {"no_call": False, "problem": ""}
    assert tools.judge(WORDS_ROW, "<tool_call>{") == {"no_call": False, "problem": "<tool_call> without </tool_call>"}
    assert judge(WORDS_ROW, "In 2021.", "en")[1] == Score(1.0, 1.0, 1.0)
    assert tools.judge({**WORDS_ROW, "tools": None}, "In 2020.") is None


def test_shares_are_of_the_turns_that_they_concern() -> None:
    rows = [CALL_ROW, CALL_ROW, WORDS_ROW, {"uid": "x", "output": "no tools"}]
    of = tools.summary(rows, [CALL_ROW["output"], _changed(year=1999), CALL_ROW["output"], "no tools"])
    assert of == {
        "calls": 2, "words": 1, "unreadable": 0, "valid": 1.0, "function": 1.0, "arguments": 0.5, "no_call": 0.0,
    }  # fmt: skip
    assert tools.lines(of, of) == [
        ("valid calls", "2", "100.0", "100.0"),
        ("the right functions", "2", "100.0", "100.0"),
        ("the right arguments too", "2", "50.0", "50.0"),
        ("no call where none is due", "1", "0.0", "0.0"),
    ]
    assert tools.summary(rows[-1:], ["no tools"]) == {}


def test_a_form_of_calls_that_is_not_read_is_counted_and_not_judged() -> None:
    row = {**CALL_ROW, "output": "<call>look_up_report(2021)</call>"}
    assert tools.judge(row, row["output"]) is None
    assert tools.summary([row], [row["output"]]) == {"calls": 0, "words": 0, "unreadable": 1}


def test_evaluate_shows_calls_beside_the_scores(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.evaluation import evaluate

    def answered(
        job: Any, model: Any, template: Any, rows: list[dict[str, Any]], name: str, cache: Any, limit: int
    ) -> dict[str, str]:
        return {row["uid"]: row["output"] if name == "tuned" else "Which year?" for row in rows}

    monkeypatch.setattr(evaluate, "_answer", answered)
    settings = overrides(
        "data.source=sample-tools", "training.max_length=4000", "data.train_contexts=2", "data.evaluation_contexts=7"
    )
    for name in ("fetch", "format"):
        assert step(name, *settings) == 0
    assert "tools and calls: as text, <tool_call>{…}</tool_call>" in capsys.readouterr().out
    for name in ("train", "evaluate"):
        assert step(name, *settings) == 0
    printed = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    results = json.loads((latest() / "evaluation.json").read_text())
    calls, words = results["tools"]["base"]["calls"], results["tools"]["base"]["words"]
    assert (calls, words) == (6, results["questions"] - 6) and words > 1
    assert f"the right arguments too {calls} 0.0 100.0" in printed
    assert f"no call where none is due {words} 100.0 100.0" in printed
    assert results["tuned"]["call"]["em"] == results["tools"]["tuned"]["arguments"] == 1.0
    page = (latest() / "report.html").read_text()
    assert "<td>valid calls</td><td>6</td><td>0.0</td><td>100.0</td>" in page
    assert "<small>no call</small>" in page
    lines = [json.loads(line) for line in (latest() / "answers.jsonl").read_text().splitlines()]
    assert sum("valid" in line["tuned"]["calls"] for line in lines) == 6
