"""A server compared with an evaluation: a real one, through the host side's own requests, with a tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from images.services import questions
from pipeline import job
from pipeline.__main__ import main
from pipeline.data.formatted_rows import read_rows
from pipeline.errors import Stop
from pipeline.models import chat_template
from pipeline.recipe import load
from pipeline.serving import check
from pipeline.serving.check import Compared, Question
from tests.live_server import server
from tests.steps import RECIPE, latest, step


@pytest.fixture(scope="module")
def exported(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with an evaluated run and its merged model."""
    folder = tmp_path_factory.mktemp("checked")
    shutil.copytree(tiny_model, folder / "models" / "tiny")
    recipe = RECIPE.replace("max_new_tokens = 4", "max_new_tokens = 24")
    (folder / "tiny.toml").write_text(recipe, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PINTUNE_MIRROR", raising=False)
        patch.setenv("PINTUNE_FLAVOR", "cpu")
        for name in ("fetch", "format", "train", "evaluate", "export"):
            assert step(name) == 0
    return folder


@pytest.fixture
def checked(exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to work in."""
    folder = tmp_path / "checked"
    shutil.copytree(exported, folder, symlinks=True)
    monkeypatch.chdir(folder)
    return folder


def _run() -> str:
    return f"tiny/{latest().name}"


def _asked(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert step("check_questions", "--run", _run()) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def _served(asked: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """The answers of a server of a merged model, by which --model names it."""
    said: list[str] = []
    with server(folder, "--recipe", "tiny.toml", model="served") as (port, _):
        for each in asked:
            each["body"]["model"] = "served"
        answers = questions.ask(f"http://127.0.0.1:{port}/v1", "", asked, said.append)
    assert said[-1] == "check  12 of 12 questions answered"
    return answers


def _compared(answers: list[dict[str, Any]]) -> int:
    Path("answers.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in answers))
    return step("check_answers", "--run", _run(), "--answers", "answers.jsonl")


def test_a_server_of_the_merged_model_answers_as_evaluated(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = _asked(capsys)
    assert len(asked) == 12
    assert {each["body"]["max_tokens"] for each in asked} == {24}
    shutil.copytree(latest() / "merged", checked / "models" / "served")
    answers = _served(asked, checked)
    assert _compared(answers) == 0
    printed = capsys.readouterr().out
    assert "answers equal  EM evaluated  EM served" in printed
    assert "95 % interval over 2 contexts" in printed


def test_a_server_of_other_weights_fails(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = _asked(capsys)
    shutil.copytree(latest() / "merged", checked / "models" / "served")
    file = checked / "models" / "served" / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "down_proj" in name)
    weights[name] = weights[name] + 0.05 * torch.randn(weights[name].shape, generator=torch.Generator().manual_seed(1))
    save_file({key: value.half().contiguous() for key, value in weights.items()}, file, {"format": "pt"})
    answers = _served(asked, checked)
    assert _compared(answers) == 1
    out, err = capsys.readouterr()
    assert 1 <= out.count("\n  evaluated: ") <= 10
    assert "answers that the merged model does not give, such as to " in err and "wanted: a server that answers" in err


def test_one_other_answer_is_noticed(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = [json.loads(line) for line in (latest() / "answers.jsonl").read_text().splitlines()]
    answers = [{"uid": each["uid"], "message": {"content": each["tuned"]["text"]}} for each in own]
    assert _compared(answers) == 0
    assert "          12             12" in capsys.readouterr().out
    answers[5]["message"]["content"] += "!"
    assert _compared(answers) == 1
    out, err = capsys.readouterr()
    assert out.count("\n  served: ") == 1 and f"{own[5]['tuned']['text'].splitlines()[0]}" in out
    assert f"1 answers that the merged model does not give, such as to {own[5]['uid']}" in err


def test_without_an_evaluation_the_next_command_is_named(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = latest() / "manifest.json"
    made = json.loads(file.read_text())
    evaluation = made.pop("evaluation")
    file.write_text(json.dumps(made))
    for words in (("check_questions",), ("check_answers", "--answers", "none")):
        assert main([*words, "--recipe", "tiny.toml"]) == 1
        assert "next: invoke evaluate\n" in capsys.readouterr().err
    file.write_text(json.dumps({**made, "evaluation": evaluation}))
    (checked / "runs" / "tiny" / "latest").unlink()
    (checked / "runs" / "tiny" / "latest").symlink_to("20990101-000000-abcdef")
    file.write_text(json.dumps(made))
    assert step("check_questions") == 1
    assert "next: invoke evaluate export" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("merged/model.safetensors", "wanted: the files that export wrote\n found: others: model.safetensors"),
        ("answers.jsonl", "wanted: the answers that evaluate wrote"),
    ],
)
def test_another_file_than_was_checked_is_refused(
    checked: Path, capsys: pytest.CaptureFixture[str], broken: str, message: str
) -> None:
    with (latest() / broken).open("ab") as file:
        file.write(b"\n")
    assert step("check_questions", "--run", _run()) == 1
    assert message in capsys.readouterr().err


def test_rows_that_are_others_than_those_evaluated_are_refused(
    checked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Current, but made of other data: their answers would differ, and not by the server's fault."""
    file = latest() / "manifest.json"
    made = json.loads(file.read_text())
    for then in ("0" * 64, None):
        made["evaluation"]["rows_sha256"] = then
        file.write_text(json.dumps(made))
        assert step("check_questions") == 1
        assert "wanted: the rows that were evaluated" in capsys.readouterr().err


def test_answers_must_be_whole(checked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _compared([]) == 1
    assert "none for 12 of 12" in capsys.readouterr().err
    Path("answers.jsonl").write_text('{"uid": "x"}\n')
    assert step("check_answers", "--answers", "answers.jsonl") == 1
    assert "wanted: JSON lines of uid and message" in capsys.readouterr().err


def _pair(context: int, before: float, after: float, text: str = "a", served: str = "a") -> Compared:
    row = {"uid": f"{context}-{text}", "context": str(context)}
    return Compared(Question(row, text, before), served, after)


def test_em_that_differs_by_more_than_chance_is_drift() -> None:
    text, differs = check.report([_pair(i, 1.0, 0.0, served="b") for i in range(20)], "sample/heldout")
    assert differs and "EM served - evaluated: -100.0, -100.0 to -100.0" in text
    assert text.count("  evaluated: ") == 10 and text.endswith("and 10 more")
    better, differs = check.report([_pair(i, 0.0, 1.0) for i in range(20)], "sample/heldout")
    assert differs and "+100.0" in better
    mixed = [_pair(i, float(i % 2), float(i % 3 == 0)) for i in range(20)]
    assert not check.report(mixed, "sample/heldout")[1]
    text, differs = check.report([_pair(i, 1.0, 1.0) for i in range(20)], "sample/heldout")
    assert not differs and "+0.0, +0.0 to +0.0 (95 % interval over 20 contexts)" in text


def test_an_answer_that_differs_must_be_the_merged_models() -> None:
    pairs = [_pair(0, 1, 1), _pair(1, 1, 0, "a", "b"), _pair(2, 1, 0, "a", "c")]
    assert check.unexplained(pairs, lambda rows: ["b"] * len(rows)) == [pairs[2]]
    assert check.unexplained(pairs[:1], lambda rows: pytest.fail("no question differs")) == []


CALL = '<tool_call>{"name": "convert", "arguments": {"amount": 5, "to": "USD"}}</tool_call>'


def test_calls_of_tools_are_compared_by_value() -> None:
    function = {"name": "convert", "arguments": '{"to": "USD", "amount": 5.0}'}
    served = check.text_of({"content": None, "tool_calls": [{"id": "x", "type": "function", "function": function}]})
    tools = {"uid": "x", "tools": [{}]}
    assert check.same(tools, CALL, served) and not check.same({"uid": "x"}, CALL, served)
    assert not check.same(tools, CALL.replace("USD", "EUR"), served)
    assert check.same(tools, "It is  5.", check.text_of({"content": "It is 5."}))
    assert not check.same({}, "It is  5.", "It is 5.")


def test_rows_with_tools_become_the_same_prompt(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPE.replace("train_contexts = 6", 'source = "sample-tools"\ntrain_contexts = 6')
    Path("tiny.toml").write_text(recipe.replace("max_length = 2000", "max_length = 8000"), encoding="utf-8")
    assert step("fetch") == step("format") == 0
    resolved = job.resolve(load("tiny.toml", []))
    rows, template = read_rows(resolved.evaluation.rows), chat_template.load(Path("models/tiny"))
    made = check.bodies(template, rows, "tiny", 24)
    assert any("tool_calls" in turn for body in made for turn in body["messages"])
    assert any(turn["role"] == "tool" for body in made for turn in body["messages"])
    assert all(body["tools"] for body in made)
    row = next(row for row in rows if "messages" in row)
    spaced = {"uid": "u", "instruction": " ", "input": "x", "system": " "}
    assert check.bodies(template, [spaced], "tiny", 24)
    unknown = {**row, "tools": [], "messages": [{"role": "narrator", "content": "Once."}, *row["messages"]]}
    with pytest.raises(Stop, match="a question that a chat request can hold"):  # by the server's own reading
        check.bodies(template, [unknown], "tiny", 24)
    reasoned = {"role": "assistant", "content": "5", "tool_call_id": "kept by no server"}
    monkeypatch.setattr(check, "_message", lambda turn: {**turn, "content": "cut"})
    with pytest.raises(Stop, match="one with more"):
        check.bodies(template, [{**row, "messages": [reasoned, *row["messages"]]}], "tiny", 24)
