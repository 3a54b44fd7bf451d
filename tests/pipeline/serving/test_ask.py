"""Asking the merged model about a context of the data, or of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.serving import ask
from pipeline.tatqa import sample
from tests.conftest import ROOT
from tests.steps import step


def test_ask_reads_a_context_from_a_file(
    place: Path, raw_context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train") == step("export") == 0
    del raw_context["questions"]
    Path("mine.json").write_text(json.dumps(raw_context))
    assert step("ask", "--file", "mine.json", "--question", "What is new?") == 0
    assert "Question: What is new?\nAnswer: " in capsys.readouterr().out
    assert step("ask", "--file", "mine.json") == 1
    assert "--question" in capsys.readouterr().err


def test_ask_truncates_a_context_that_is_too_long(
    place: Path, raw_context: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train") == step("export") == 0
    raw_context["paragraphs"] += [
        {"uid": f"n{i}", "order": 10 + i, "text": f"A note of no use, number {i}."} for i in range(150)
    ]
    Path("big.json").write_text(json.dumps(raw_context))
    capsys.readouterr()
    assert step("ask", "--file", "big.json") == 0
    printed = capsys.readouterr().out
    assert "notes and 0 rows left out: longer than training.max_length" in printed
    assert step("ask", "--file", "big.json", "--question", "why " * 900) == 1
    Path("two.json").write_text(json.dumps([raw_context, raw_context]))
    assert step("ask", "--file", "two.json") == 1
    assert "a list of several" in capsys.readouterr().err


def test_a_context_of_a_split_is_found_by_its_number(tmp_path: Path) -> None:
    contexts = sample.contexts("heldout")[:3]
    file = tmp_path / "heldout.json"
    file.write_text(json.dumps(contexts))
    assert ask.context_of_data(file, 2).uid == contexts[2]["table"]["uid"]
    with pytest.raises(Stop, match="a context from 0 to 2"):
        ask.context_of_data(file, 3)
    with pytest.raises(Stop, match="contexts with a table"):
        ask.context_of_data(file.with_suffix(".jsonl"), 0)


def test_a_file_with_one_context_needs_no_questions(tmp_path: Path, raw_context: dict[str, Any]) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([raw_context]))
    assert len(ask.context_of_file(file).questions) == 6
    del raw_context["questions"]
    file.write_text("\ufeff" + json.dumps(raw_context))
    assert ask.context_of_file(file).questions == ()
    for body in ("", "[]", "3", '{"table": 1}'):
        file.write_text(body)
        with pytest.raises(Stop, match=r"mine\.json"):
            ask.context_of_file(file)


def test_a_table_alone_is_a_context(tmp_path: Path) -> None:
    case = ROOT / "tests" / "data" / "cases" / "ask-table-alone.json"
    rows = (("", "2019", "2018"), ("Sales", "$1,200", "$(300)"), ("Other", "0.5", "12%"))
    assert ask.context_of_file(case).rows == rows
    file = tmp_path / "any"
    for text in (json.dumps(rows), json.dumps({"table": rows}), ',2019,2018\nSales,"$1,200",$(300)\nOther,0.5,12%\n'):
        file.write_text(text)
        found = ask.context_of_file(file)
        assert (found.rows, found.notes, found.questions) == (rows, (), ())


@pytest.mark.parametrize(
    ("more", "questions"),
    [
        ({"questions": [{"question": "Sales?"}]}, [("Sales?", "")]),
        ({"questions": ["Sales?"]}, [("Sales?", "")]),
        ({"question": "Sales?"}, [("Sales?", "")]),
        ({"question": "Sales?", "answer": ["1"]}, [("Sales?", ["1"])]),
        (
            {"questions": [{"question": "Sales?", "answer": ""}, {"question": "Other?", "answer": ["2"]}]},
            [("Sales?", ""), ("Other?", ["2"])],
        ),
        ({}, []),
    ],
)
def test_a_files_own_question_is_asked_with_or_without_an_answer(
    tmp_path: Path, more: dict[str, Any], questions: list[tuple[str, Any]]
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"table": [["", "2019"], ["Sales", "1"], ["Other", "2"]], **more}))
    found = ask.context_of_file(file).questions
    assert [(each.text, each.answer) for each in found] == questions


@pytest.mark.parametrize("question", [{"answer": ""}, " ", 3, {"question": ["Sales?"]}])
def test_a_question_without_a_text_is_refused(tmp_path: Path, question: Any) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"table": [["", "2019"], ["Sales", "1"]], "questions": [question]}))
    with pytest.raises(Stop, match=r"wanted: a question\n.*\n where: .*mine\.json, question 0"):
        ask.context_of_file(file)


def test_a_table_alone_is_answered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == step("export") == 0
    case = ROOT / "tests" / "data" / "cases" / "ask-table-alone.json"
    Path("mine.json").write_text(json.dumps({"table": [["", "2019"], ["Sales", "1"]], "questions": ["Sales?"]}))
    capsys.readouterr()  # export names a gold answer
    assert step("ask", "--file", "mine.json") == 0
    printed = capsys.readouterr().out
    assert "Sales?" in printed and "gold" not in printed
    assert step("ask", "--file", str(case), "--question", "What were sales in 2019?") == 0
    printed = capsys.readouterr().out
    assert "$(300)" in printed and "Answer: " in printed
