"""Checks of what a stage reads: whether data and model are present, intact and current."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data import check
from pipeline.errors import Stop
from tests.steps import RECIPE, fetched_job, format_job, step, tiny_job


def test_missing_names_the_steps_to_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    for name, wanted in (("", "fetch\nformat\n"), ("fetch", "format\n"), ("format", "")):
        if name:
            assert step(name) == 0
        capsys.readouterr()
        assert step("missing") == 0
        assert capsys.readouterr().out == wanted


def test_everything_is_missing_before_fetch_and_nothing_after_format(workplace: Path) -> None:
    absent = tiny_job("model.source=other")
    assert check.missing(absent) == ["model other", "split train of sample", "split heldout of sample"]
    with pytest.raises(Stop, match="missing: model other, split train of sample"):
        check.need_all(absent)
    fetched = fetched_job()
    with pytest.raises(Stop, match=r"next: invoke data\Z"):
        check.need_all(fetched)
    format_job(fetched)
    check.need_all(fetched)
    assert check.missing_steps(fetched) == []


def test_the_command_that_formats_has_the_values_of_the_recipe(workplace: Path) -> None:
    fetched = fetched_job("data.language=en", "data.table=html", "training.max_length=1500")
    with pytest.raises(Stop) as stopped:
        check.need_formatted(fetched)
    flags = stopped.value.todo.removeprefix("invoke data ").split()[1::2]
    assert {"model.source=tiny", "data.table=html", "training.max_length=1500", "model.random=false"} <= set(flags)
    assert tiny_job(*flags).formatted == fetched.formatted


def test_a_wrong_hash_names_the_file(tmp_path: Path) -> None:
    check.need_hash("SHA-256 aa", "aa", "aa", tmp_path)
    with pytest.raises(Stop, match="move that file away and run invoke fetch again") as stopped:
        check.need_hash("SHA-256 aa", "aa", "bb", tmp_path / "model.safetensors")
    assert stopped.value.where.endswith("model.safetensors")
