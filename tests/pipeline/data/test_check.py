"""Checks of what a stage reads: whether data and model are present, intact and current."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.steps import RECIPE, step


def test_missing_names_the_steps_to_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    for name, wanted in (("", "fetch\nformat\n"), ("fetch", "format\n"), ("format", "")):
        if name:
            assert step(name) == 0
        capsys.readouterr()
        assert step("missing") == 0
        assert capsys.readouterr().out == wanted
