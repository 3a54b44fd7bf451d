"""Calls of steps, and their command lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images import matrix
from images.engine import shown
from images.errors import Stop
from images.running import step_call, steps
from images.running.choices import Choices
from images.running.step_call import Node, StepCall
from images.running.user_files import UserFile

PLAIN = Choices("quickstart", "cpu", "venv")
WITH_OVERRIDES = Choices("mistral", "cpu", "venv", ("lora.r=8", "training.epochs=2"))


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (step_call.make(PLAIN, "missing"), "python -m pipeline missing --recipe quickstart"),
        (
            step_call.make(WITH_OVERRIDES, "train", {"--resume": True}, processes=4),
            "python -m pipeline train --recipe mistral --resume --processes 4 --set lora.r=8 --set training.epochs=2",
        ),
        (step_call.make(PLAIN, "train", {"--resume": False}), "python -m pipeline train --recipe quickstart"),
        (
            step_call.make(PLAIN, "evaluate", {"--run": "quickstart/1"}),
            "python -m pipeline evaluate --recipe quickstart --run quickstart/1",
        ),
        (
            step_call.make(PLAIN, "ask", {"--context": 3, "--question": "Who? Me"}),
            "python -m pipeline ask --recipe quickstart --context 3 --question 'Who? Me'",
        ),
        (
            step_call.make(PLAIN, "ask", {"--context": 0, "--question": "-1 or 1?"}),
            "python -m pipeline ask --recipe quickstart '--question=-1 or 1?'",
        ),
        (
            step_call.make(
                WITH_OVERRIDES, "score", {"--json": True}, {"--predictions": UserFile(Path("p"), "/x/p.json")}
            ),
            "python -m pipeline score --predictions /x/p.json --json",  # takes no recipe
        ),
    ],
)
def test_command_lines(call: StepCall, line: str) -> None:
    assert shown(step_call.argv(call)) == line


def test_the_command_line_of_a_node() -> None:
    call = step_call.make(WITH_OVERRIDES, "train", nodes=2, processes=3)
    assert shown(step_call.argv(call, "/venv/bin/python", Node(1, "first:29500"))) == (
        "/venv/bin/python -m pipeline train --recipe mistral --processes 3 --set lora.r=8 --set training.epochs=2"
        " --nodes 2 --node 1 --master first:29500"
    )


def test_only_parallel_steps_run_in_several_processes() -> None:
    assert [name for name, step in steps.load().steps.items() if step.parallel] == ["train", "reproduce"]
    with pytest.raises(ValueError, match="one process"):
        step_call.make(PLAIN, "export", processes=2)


def test_recipe_and_data_are_named_as_the_step_finds_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(matrix, "ROOT", tmp_path / "checkout")
    (tmp_path / "mine.toml").write_text('[data]\nsource = "mine.json"\n')
    (tmp_path / "mine.json").write_text("[]")
    call = step_call.make(Choices("./mine.toml", "cpu", "docker"), "fetch")
    assert call.recipe == str(tmp_path / "mine.toml")
    assert call.overrides == (f"data.source={tmp_path / 'mine.json'}",)
    assert [file.path for file in call.user_files] == [Path("./mine.toml"), Path("mine.json")]
    assert [file.path for file in step_call.make(Choices("mine.toml", "cpu", "docker"), "train").user_files] == [
        Path("mine.toml")  # train reads what fetch has imported
    ]


def test_a_recipe_file_must_exist() -> None:
    with pytest.raises(Stop, match=r"where: none\.toml"):
        step_call.make(Choices("none.toml", "cpu", "venv"), "train")


@given(
    flags=st.dictionaries(st.sampled_from(["--run", "--question"]), st.text(min_size=1)),
    overrides=st.lists(st.from_regex(r"\A[a-z]+\.[a-z]+=.*\Z")),
)
def test_no_value_is_taken_for_a_flag(flags: dict[str, str], overrides: list[str]) -> None:
    call = StepCall(steps.get("ask"), "quickstart", tuple(overrides), flags)
    words = step_call.argv(call)[4:]
    found: list[tuple[str, str]] = []
    while words:  # as argparse reads them: a word that begins with a dash is a flag
        flag, equals, value = words.pop(0).partition("=")
        assert flag.startswith("--")
        found.append((flag, value if equals else words.pop(0)))
        assert equals or not found[-1][1].startswith("-")
    assert found == [("--recipe", "quickstart"), *flags.items(), *(("--set", each) for each in overrides)]
