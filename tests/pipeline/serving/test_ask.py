"""Asking the merged model about a context of the data, or of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.models import chat_template
from pipeline.recipe import load
from pipeline.serving import ask, session
from pipeline.tatqa import sample, schema
from tests.conftest import ROOT
from tests.steps import latest, manifest, step


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


def test_json_is_one_object_on_one_line(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == step("export") == 0
    capsys.readouterr()
    assert step("ask", "--json") == 0
    (line,) = capsys.readouterr().out.splitlines()
    said, (first, *_) = json.loads(line), ask.context_of_data(Path("data/sample/raw/heldout.json"), 0).questions
    assert said["question"] == first.text
    assert said["gold"] == {"answer": first.answer, "scale": first.scale, "answer_type": first.answer_type}
    assert said["adapter_sha256"] == manifest()["training"]["adapter_sha256"]
    assert said["run"] == f"tiny/{latest().name}"
    assert step("ask", "--json", "--question", "What is new?") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["question"], said["gold"]) == ("What is new?", None)
    assert step("ask", "--json", "--context", "99") == 1
    assert capsys.readouterr().out == ""


ARITHMETIC = "type: arithmetic\nevidence: Other 2019: 44.1 ; Other 2018: 56.7\nequation: 44.1 - 56.7\nscale: million"
TABLE = (("", "2019", "2018"), ("Sales", "44.1", "56.7"), ("Other", "44.1", "56.7"))


def _answered(text: str, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, target: str = "equation") -> ask.Answered:
    """What becomes of a text that a model writes about TABLE."""
    monkeypatch.setattr(ask, "answers", lambda *words: [text])
    recipe = load("quickstart", [f"data.target={target}", "training.max_length=2000"])
    asker = ask.Asker(recipe, tiny_model, 100)
    asker.__dict__.update(template=chat_template.load(tiny_model), model=None)
    return asker.ask(CONTEXT, "What was the change in Other?")


CONTEXT = schema.Context("c", TABLE, ((1, "Net sales (in millions) of Leeds."),), ())


def test_an_answer_has_its_equation_and_its_evidence_in_the_table(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = _answered(ARITHMETIC, tiny_model, monkeypatch)
    assert answered.as_json() == {
        "question": "What was the change in Other?",
        "answer": "-12.6",
        "scale": "million",
        "answer_type": "arithmetic",
        "evidence": ["44.1", "56.7"],
        "equation": "44.1 - 56.7",
        "problem": "",
        "gold": None,
        "left_out": "",
        "text": ARITHMETIC,
    }
    written = session.answer(answered, CONTEXT)
    assert written == (
        "         2019    2018\nSales    44.1    56.7\nOther  [44.1]  [56.7]\n\nNet sales (in millions) of Leeds.\n\n"
        f"Question: What was the change in Other?\n{ARITHMETIC}\nAnswer: -12.6 million"
    )


def test_a_scale_alone_is_no_answer(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = _answered("type: arithmetic\nevidence: 44.1\nscale: million", tiny_model, monkeypatch)
    assert answered.as_text().endswith("\nAnswer: none: no equation")
    assert (answered.as_json()["answer"], answered.as_json()["problem"]) == (None, "no equation")


def test_evidence_that_is_not_there_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answered = _answered("type: span\nevidence: Leeds ; York\nscale: none", tiny_model, monkeypatch)
    written = session.answer(answered, CONTEXT)
    assert "of [Leeds].\n" in written and "\nneither table nor notes have: York\nAnswer: " in written


@pytest.mark.parametrize(
    ("text", "answer", "kind", "evidence"),
    [
        ("Leeds", "Leeds", "span", ["Leeds"]),
        ("Leeds ; Sales", ["Leeds", "Sales"], "multi-span", ["Leeds", "Sales"]),
        ("-12.6 million", "-12.6", "", []),
        ("44.1 million", "44.1", "span", ["44.1"]),
        ("", None, "", []),
    ],
)
def test_a_plain_answer_is_its_own_evidence(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, text: str, answer: Any, kind: str, evidence: list[str]
) -> None:
    answered = _answered(text, tiny_model, monkeypatch, "answer")
    said = answered.as_json()
    assert (said["answer"], said["answer_type"], said["evidence"]) == (answer, kind, evidence)
    assert bool(said["problem"]) == (answer is None)
    assert "neither" not in session.answer(answered, CONTEXT)
