"""The evaluate step: resumed after a kill, with equations, on a user's file, and with degenerate answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.steps import Killed, latest, manifest, overrides, step


def test_a_killed_evaluation_resumes_to_the_same_results(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.evaluation import evaluate
    from pipeline.generation import generate

    assert step("train") == step("evaluate") == 0
    run = latest()
    names = ("evaluation.json", "predictions.json", "predictions-base.json", "answers.jsonl")
    wanted = {name: (run / name).read_text() for name in names}
    for name in (*names, "report.html"):
        (run / name).unlink()
    evaluate.forget_base(run)
    real, calls = generate._generate, []

    def die(*positional: Any) -> Any:
        calls.append(positional)
        if len(calls) == 5:
            raise Killed
        return real(*positional)

    settings = overrides("evaluation.batch_questions=3")
    monkeypatch.setattr(generate, "_generate", die)
    with pytest.raises(Killed):
        step("evaluate", *settings)
    assert not any((run / name).exists() for name in names)
    with (run / ".answers-tuned.jsonl").open("a") as file:
        file.write('{"uid": "cut o')
    capsys.readouterr()
    assert step("evaluate", *settings) == 0
    assert "12 questions were answered before" in capsys.readouterr().out
    assert len(calls) == 5 + 4  # four batches per model; the fifth call is repeated
    assert all((run / name).read_text() == wanted[name] for name in names)
    assert not list(run.glob(".*"))


def test_the_base_model_is_asked_once_for_all_runs_of_a_recipe(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = overrides("training.seed=7")
    assert step("train") == step("evaluate") == step("train", *words) == 0
    first = next(run for run in latest().parent.glob("2*") if run != latest())
    capsys.readouterr()
    assert step("evaluate") == 0
    printed = capsys.readouterr().out
    assert "base   12 questions were answered before" in printed and "tuned  12 questions" not in printed
    assert (latest() / "predictions-base.json").read_text() == (first / "predictions-base.json").read_text()
    assert step("evaluate", *overrides("evaluation.max_new_tokens=3")) == 0  # asked otherwise
    assert "were answered before" not in capsys.readouterr().out


def test_cached_answers_of_another_adapter_are_ignored(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.evaluation import evaluate

    assert step("train") == 0
    evaluate.forget_base(latest())
    (latest() / ".answers-tuned.jsonl").write_text('{"made_of": {"adapter": "another"}}\n{"uid": "x", "text": "y"}\n')
    assert step("evaluate") == 0
    assert "were answered before" not in capsys.readouterr().out


def test_equation_targets_work_from_format_to_ask(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = overrides("data.target=equation", "evaluation.max_new_tokens=60")
    assert (
        step("format", *settings) == step("train", *settings) == step("evaluate") == step("export") == step("ask") == 0
    )
    assert manifest()["recipe"]["data"]["target"] == "equation"
    printed = capsys.readouterr().out
    assert "EM tuned - base: " in printed and "p = " in printed
    evaluation = json.loads((latest() / "evaluation.json").read_text())
    assert evaluation["without_answer"].keys() == {"base", "tuned"}
    lines = [json.loads(line) for line in (latest() / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    for line in lines:
        for who in ("base", "tuned"):
            assert bool(line[who]["problem"]) == (not line[who]["answer"])


def test_a_users_file_works_from_fetch_to_export(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"instruction": "Say it back", "input": f"word {i % 7}", "output": f"word {i % 7}"} for i in range(40)]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, lines)))
    settings = overrides("data.source=mine.jsonl", "data.train_contexts=0", "data.evaluation_contexts=0")
    for name in ("fetch", "format", "train", "evaluate", "export"):
        assert step(name, *settings) == 0
    evaluation = json.loads((latest() / "evaluation.json").read_text())
    assert (evaluation["split"], evaluation["questions"]) == ("mine/heldout", 5)  # the copies of one row
    assert (latest() / "report.html").read_text().count("<details") == 5
    capsys.readouterr()
    assert step("ask", *settings) == 1
    assert "contexts with a table" in capsys.readouterr().err


def test_an_answer_too_large_for_a_float_scores_0(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.evaluation import evaluate

    def answered(
        job: Any, model: Any, template: Any, rows: list[dict[str, Any]], name: str, cache: Any, limit: int
    ) -> dict[str, str]:
        return {row["uid"]: "9" * 400 if i == 3 else row["output"] for i, row in enumerate(rows)}

    assert step("train") == 0
    monkeypatch.setattr(evaluate, "_answer", answered)
    assert step("evaluate") == 0
    line = json.loads((latest() / "answers.jsonl").read_text().split("\n")[3])
    assert (line["tuned"]["score_em"], line["tuned"]["answer"]) == (0, "")
    assert "a number that a float can hold" in line["tuned"]["problem"]
    evaluation = json.loads((latest() / "evaluation.json").read_text())
    assert evaluation["tuned"]["all"]["em"] == pytest.approx(11 / 12)
    assert evaluation["without_answer"]["tuned"] == 1
    assert "report.html" in manifest()["outputs"]


def test_line_separators_and_dates_are_kept_as_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = "two\u2028lines\u2029of\u0085text"
    lines = [
        {"instruction": "Say it", "input": f"{odd} {i}", "output": odd if i == 19 else f"2019-12-{i + 1:02}"}
        for i in range(20)
    ]
    Path("odd.jsonl").write_text("\n".join(json.dumps(line, ensure_ascii=False) for line in lines))
    settings = overrides("data.source=odd.jsonl", "data.train_contexts=0", "data.evaluation_contexts=0")
    for name in ("fetch", "format", "train", "evaluate"):
        assert step(name, *settings) == 0
    answers = [json.loads(line) for line in (latest() / "answers.jsonl").read_text().split("\n")[:-1]]
    assert [line["gold"] for line in answers] == [["2019-12-10"], [odd]]
    assert odd in (latest() / "report.html").read_text()


def test_omitted_questions_are_reported_with_the_scores(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contexts = json.loads(Path("data/sample/raw/heldout.json").read_text())[:10]
    contexts[9]["questions"][2]["question"] = "word " * 600
    Path("long.json").write_text(json.dumps(contexts))
    settings = overrides("data.source=long.json", "data.evaluation_contexts=0")
    assert step("fetch", *settings) == step("format", *settings) == 0
    printed = capsys.readouterr().out
    assert "questions too long" in printed
    assert "contexts truncated" not in printed  # the other questions keep their context
    assert step("train", *settings) == step("evaluate") == 0
    assert "1 more were left out: longer than training.max_length" in capsys.readouterr().out
    assert json.loads((latest() / "evaluation.json").read_text())["questions"] == 5


def test_evaluating_on_another_file_of_the_same_name_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [{"instruction": "Say it back", "input": f"word {i}", "output": f"word {i}"} for i in range(12)]
    for folder in ("a", "b"):
        Path(folder).mkdir()
        Path(folder, "mine.jsonl").write_text("\n".join(map(json.dumps, lines if folder == "a" else lines[::-1])))
    every = overrides("data.train_contexts=0", "data.evaluation_contexts=0")
    for name in ("fetch", "format", "train"):
        assert step(name, "--set", "data.source=a/mine.jsonl", *every) == 0
    assert (
        step("fetch", "--set", "data.source=b/mine.jsonl") == step("format", "--set", "data.source=b/mine.jsonl") == 0
    )
    capsys.readouterr()
    assert step("evaluate") == 1
    assert "that of b/mine.jsonl, which has its name" in capsys.readouterr().err
