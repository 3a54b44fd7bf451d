"""The job: every path of a recipe, resolved once against the working folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pipeline import job
from pipeline.job import Job
from pipeline.recipe import load


def _job(*overrides: str, folder: Path = Path("work")) -> Job:
    return job.resolve(load("quickstart", ["model.source=tiny", *overrides]), folder)


def test_all_paths_lie_in_the_working_folder() -> None:
    resolved = _job()
    assert resolved.raw == Path("work/data/sample/raw")
    assert resolved.train.raw == Path("work/data/sample/raw/train.json")
    assert resolved.evaluation.rows == resolved.formatted / "heldout.jsonl"
    assert resolved.formatted.parent == Path("work/data/sample")
    assert resolved.base_model == Path("work/models/tiny")
    assert resolved.runs == Path("work/runs/quickstart")
    assert resolved.splits == (resolved.train, resolved.evaluation)


def test_random_weights_have_a_folder_of_their_own() -> None:
    assert _job("model.random=true").base_model.name == "tiny-random"
    assert _job("model.random=true", "model.width=512").base_model.name == "tiny-random-512"


def test_only_settings_that_shape_the_rows_choose_their_folder() -> None:
    folders = {_job().formatted}
    assert _job("lora.r=3", "training.seed=1", "data.train_contexts=2").formatted in folders
    for setting in ("data.language=zh", "data.table=csv", "data.target=answer", "training.max_length=99"):
        folders.add(_job(setting).formatted)
    folders.add(_job("model.source=other").formatted)
    folders.add(_job("data.train=heldout", "data.evaluation=train").formatted)
    assert len(folders) == 7


def test_a_raw_split_is_json_lines_only_where_there_is_no_json(tmp_path: Path) -> None:
    split = _job(folder=tmp_path).train
    split.folder.mkdir(parents=True)
    assert split.raw.name == "train.json"
    (split.folder / "train.jsonl").touch()
    assert split.raw.name == "train.jsonl"
    (split.folder / "train.json").touch()
    assert split.raw.name == "train.json"


def test_a_job_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _job().models = Path("elsewhere")  # type: ignore[misc]
