"""The lines `next:` at the end of a call."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images.verbs import next_steps
from tests.marks import Invoke


def _run(root: Path, merged: bool = False, evaluated: bool = False) -> None:
    folder = root / "runs" / "quickstart" / "20260101-000000-abcdef"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    if evaluated:
        (folder / "evaluation.json").write_text(json.dumps({"questions": 1}))
    if merged:
        (folder / "merged").mkdir()
        (folder / "merged" / "config.json").write_text("{}")


def _commands(verbs: tuple[str, ...], root: Path, flags: tuple[str, ...] = ()) -> list[str]:
    lines = next_steps.after(verbs, "quickstart", flags, root).splitlines()
    return [line.strip().partition("  ")[0] for line in lines[1:]]


@pytest.mark.parametrize(
    ("verbs", "first"),
    [
        (("build", "data", "train", "evaluate", "export", "ask"), "invoke ask --context 3"),
        (("train", "evaluate"), "invoke export ask"),
        (("train",), "invoke evaluate export ask"),
        (("train", "export"), "invoke evaluate ask"),
    ],
)
def test_what_the_call_runs_is_not_next(tmp_path: Path, verbs: tuple[str, ...], first: str) -> None:
    _run(tmp_path)
    assert _commands(verbs, tmp_path)[0] == first


def test_what_an_earlier_call_did_is_not_next(tmp_path: Path) -> None:
    _run(tmp_path, merged=True, evaluated=True)
    assert _commands(("evaluate",), tmp_path)[0] == "invoke ask"
    assert _commands(("train",), tmp_path)[0] == "invoke ask"


def test_the_next_commands_have_the_flags_of_the_call(tmp_path: Path) -> None:
    found = _commands(("train",), tmp_path, ("--recipe", "my recipe.toml"))
    assert (
        found[0] == "invoke evaluate --recipe 'my recipe.toml' export ask"
    )  # a flag holds for the verbs after its own
    assert found[-1] == "invoke runs"


def test_other_calls_say_nothing(tmp_path: Path) -> None:
    assert next_steps.after(("build", "data"), "quickstart", (), tmp_path) == ""


def test_a_dry_call_has_no_next_lines(call: Invoke) -> None:
    done = call("--dry", "train", "evaluate", PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    assert (done.returncode, "next:" in done.stdout) == (0, False), done.stderr


def test_learning_longer_keeps_the_settings_of_the_call(tmp_path: Path) -> None:
    given = ("data.source=my.csv", "training.epochs=2")
    lines = next_steps.after(("train",), "quickstart", (), tmp_path, given)
    assert "invoke train --set data.source=my.csv --set training.epochs=3" in lines
