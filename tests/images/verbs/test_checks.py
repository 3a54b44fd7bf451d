"""The commands of test, lint and docs, and how they are run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from images import matrix
from images.errors import StepFailed
from images.running import venv
from images.verbs import checks
from tests.marks import Invoke


def test_tests_are_picked_by_mark_and_name() -> None:
    (command,) = checks.tests(slow=False, pick="")
    assert command[0] == "pytest"
    assert command[-2:] == ["-m", "not slow"]
    (command,) = checks.tests(slow=True, pick="gpu")
    assert command[-4:] == ["-m", "slow", "-k", "gpu"]


def test_every_workflow_is_checked() -> None:
    workflows = {str(path.relative_to(matrix.ROOT)) for path in (matrix.ROOT / ".github/workflows").glob("*.yml")}
    assert len(workflows) > 1
    for program in ("zizmor", "check-jsonschema"):
        (command,) = (command for command in checks.lint() if command[0] == program)
        assert workflows <= set(command)


def test_the_test_environment_has_every_program() -> None:
    programs = Path(sys.executable).parent
    if not (programs / "mypy").exists():
        pytest.skip("runs in another environment")
    for program, *_ in (*checks.tests(False, ""), *checks.lint(), *checks.docs()):
        assert (programs / program).exists()


def test_commands_run_in_order_until_one_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path(sys.executable)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(venv, "build", lambda image, flavor, dry: "build  the environment")
    monkeypatch.setattr(venv, "python", lambda image, flavor: python)
    touch = "import pathlib, sys; pathlib.Path(sys.argv[1]).touch()"
    commands = [
        [python.name, "-c", touch, "first"],
        [python.name, "-c", "raise SystemExit(3)"],
        [python.name, "-c", touch, "last"],
    ]
    with pytest.raises(StepFailed) as failed:
        checks.run(commands)
    assert failed.value.status == 3
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


@pytest.mark.parametrize(
    ("verb", "command"),
    [
        ("lint", "bin/lint-imports"),
        ("test", "bin/pytest"),
        ("docs", "bin/mkdocs build --strict"),
        ("lock", "uv pip compile -"),
    ],
)
def test_dry_prints_the_commands_and_runs_nothing(call: Invoke, verb: str, command: str) -> None:
    done = call("--dry", verb)
    assert done.returncode == 0, done.stderr
    assert command in done.stdout
    assert "passed" not in done.stdout
