"""The score step: the authors' sample file to ten digits, and invalid prediction files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.__main__ import main
from pipeline.errors import Stop
from pipeline.evaluation import scoring
from pipeline.tatqa import sample
from tests.conftest import ROOT

CASES = ROOT / "tests" / "data" / "cases"
SAMPLE = ROOT / "tests" / "data" / "sample_prediction.json"


def test_the_authors_sample_scores_the_same_to_ten_digits(mirror: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold = mirror / "tatqa_dataset_dev.json"
    assert main(["score", "--predictions", str(SAMPLE), "--gold", str(gold), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores.keys() == {"em", "f1", "scale", "questions"}
    assert [round(scores[key], 10) for key in ("em", "f1", "scale")] == [0.4592326139, 0.5887949640, 0.9094724221]
    assert len(scores["questions"]) == 1668
    for key in ("em", "f1", "scale"):
        assert sum(each[key] for each in scores["questions"].values()) / 1668 == pytest.approx(scores[key], abs=1e-12)
    assert main(["score", "--predictions", str(SAMPLE), "--gold", str(gold)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["all", "1668", "45.92", "58.88", "90.95"]
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == [
        "all",
        "span",
        "multi-span",
        "arithmetic",
        "count",
    ]
    by_source: dict[str, int] = {}
    for line in lines[1:]:
        if line.startswith("  "):
            by_source[line.split()[0]] = by_source.get(line.split()[0], 0) + int(line.split()[1])
    assert sum(by_source.values()) == 1668 and by_source.keys() == {"table", "text", "table-text"}


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    file = tmp_path / "gold.json"
    file.write_text(json.dumps(sample.contexts("heldout")))
    return file


def _uid(gold: Path, number: int = 0) -> str:
    return str(json.loads(gold.read_text())[0]["questions"][number]["uid"])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Expecting value"),
        (b"[]", "none among 0"),
        (b"[3]", "prediction 0"),
        (b'[{"uid": "UID"}]', "prediction 0"),
        (b'[{"uid": "UID", "prediction": "1"}, {"uid": "UID", "prediction": "2"}]', "twice"),
        (b"3", "int"),
        (b"{", "Expecting property name"),
        (b'{"UID": ["1"]}', "[answer, scale]"),
        (b'{"UID": "1"}', "[answer, scale]"),
        (b'{"UID": ["1", null]}', "a scale"),
        (b'{"UID": ["1", 3]}', "a scale"),
        (b'{"UID": [["1", 2], ""]}', "all strings or all numbers"),
        (b'{"UID": [{"a": 1}, ""]}', "a string, a number"),
        (b'{"UID": [[["1"]], ""]}', "a string, a number"),
        (b'{"UID": [NaN, ""]}', "NaN"),
        (b'{"UID": ["1", ""], "UID": ["2", ""]}', "twice"),
        (b'{"other": ["1", ""]}', "none among 1"),
        (b"{}", "none among 0"),
        (b"\xff", "utf-8"),
        (b'{"UID": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"UID": [' + b"9" * 400 + b', ""]}', "a number that a float can hold"),
        (b'{"UID": [' + b"9" * 5000 + b', ""]}', "digits"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_invalid_prediction_file_is_refused(
    tmp_path: Path, gold: Path, body: bytes, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "predictions.json"
    file.write_bytes(body.replace(b"UID", _uid(gold).encode()))
    assert main(["score", "--predictions", str(file), "--gold", str(gold), "--json"]) == 1
    printed = capsys.readouterr()
    assert message in printed.err
    assert str(file) in printed.err
    assert "PINTUNE_DEBUG" not in printed.err
    assert printed.out == ""
    assert len(printed.err) < 1500


def test_a_closed_pipe_is_no_error(mirror: Path) -> None:
    gold = str(mirror / "tatqa_dataset_dev.json")
    command = [sys.executable, "-m", "pipeline", "score", "--predictions", str(SAMPLE), "--gold", gold, "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_uids_in_only_one_of_the_files_are_reported(
    tmp_path: Path, gold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "predictions.json"
    file.write_text(
        "\ufeff"
        + json.dumps({_uid(gold): ["1", ""], "strange": ["1", ""], _uid(gold, 1): [], _uid(gold, 2): [[], None]})
    )
    with pytest.raises(Stop, match=_uid(gold, 1)):
        scoring.score_file(file, gold)
    file.write_text(json.dumps({_uid(gold): ["1", ""], "strange": ["1", ""], _uid(gold, 2): [[], None]}))
    assert main(["score", "--predictions", str(file), "--gold", str(gold), "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["questions"][_uid(gold, 2)] == {"em": 0, "f1": 0, "scale": 0}
    assert "1 predictions are for questions that gold.json does not have: not counted" in printed.err
    assert "238 questions have no prediction: they score nothing" in printed.err


ANSWERS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(entry=st.one_of(ANSWERS, st.tuples(ANSWERS, ANSWERS)))
def test_any_entry_is_scored_or_refused_with_its_uid(entry: Any, tmp_path: Path, gold: Path) -> None:
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps({_uid(gold): entry}))
    try:
        scored, _ = scoring.score_file(file, gold)
    except Stop as stop:
        assert _uid(gold) in stop.where or "which JSON does not have" in stop.found
        return
    assert all(0 <= part <= 1 for each in scored for part in vars(each.score).values())


def test_a_list_and_lines_score_as_the_authors_form(tmp_path: Path) -> None:
    gold = tmp_path / "gold.json"
    context = json.loads((CASES / "tatqa-counterfactual.json").read_text())[0]
    question = {**context["questions"][0], "answer": ["$1,200"], "answer_type": "span", "derivation": ""}
    context["questions"] = [question, {**question, "uid": "q1"}]
    gold.write_text(json.dumps([context]))
    scored, note = scoring.score_file(CASES / "preds-list.json", gold)
    assert [each.score.em for each in scored] == [1.0, 0.0]
    assert "1 questions have no prediction" in note
    lines = scoring.table(scoring.summary(scored)).splitlines()
    assert lines[1].split() == ["all", "2", "50.00", "50.00", "50.00"]
    assert lines[2].split() == ["answered", "1", "100.00", "100.00", "100.00"]
    assert scoring.as_json(scored)["answered"] == {"questions": 1, "em": 1.0, "f1": 1.0, "scale": 1.0}
    file = tmp_path / "lines"
    file.write_text("\n".join(json.dumps({"uid": f"q{i}", "answer": "$1,200", "scale": "million"}) for i in range(2)))
    scored, note = scoring.score_file(file, gold)
    assert ([each.score.em for each in scored], note) == ([1.0, 1.0], "")
    assert "answered" not in scoring.summary(scored)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_at_line_feeds_alone_and_a_null_is_no_scale(tmp_path: Path, end: str) -> None:
    said = ["a\u2028b", "c\x85d\u2029\x0b\x0c"]
    lines = [{"uid": f"q{i}", "prediction": text, "scale": None} for i, text in enumerate(said)]
    file = tmp_path / "lines"
    file.write_bytes(end.join(json.dumps(line, ensure_ascii=False) for line in lines).encode())
    assert scoring.read_predictions(file) == ({"q0": [said[0], ""], "q1": [said[1], ""]}, {"q0", "q1"})
    file.write_text('[{"uid": "q0", "prediction": "1", "scale": 0}]')
    assert scoring.read_predictions(file) == ({"q0": ["1", 0]}, set())  # which the score refuses


def test_predictions_without_a_scale_are_counted_and_said(tmp_path: Path) -> None:
    gold = tmp_path / "gold.json"
    context = json.loads((CASES / "tatqa-counterfactual.json").read_text())[0]
    question = {**context["questions"][0], "answer": ["$1,200"], "answer_type": "span", "derivation": ""}
    context["questions"] = [
        {**question, "uid": "q0", "scale": "million"},
        {**question, "uid": "q1", "scale": ""},
        {**question, "uid": "q2", "scale": "million"},
    ]
    gold.write_text(json.dumps([context]))
    file = tmp_path / "predictions.json"
    lines = [{"uid": f"q{i}", "prediction": "$1,200"} for i in range(2)]
    file.write_text(json.dumps([*lines, {"uid": "q2", "prediction": "$1,200", "scale": "million"}]))
    scored, note = scoring.score_file(file, gold)
    assert [each.score.em for each in scored] == [0.0, 1.0, 1.0]
    assert note == (
        "2 predictions have no scale, which is read as none: 1 of them are for questions with one, and score nothing"
    )
