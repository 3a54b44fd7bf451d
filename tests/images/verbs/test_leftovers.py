"""What may go, and what never does."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from images import matrix
from images.running import venv
from images.verbs import leftovers
from pipeline import files
from pipeline.models import record

LONG_AGO = time.time() - 2 * 3600


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with nothing made in it."""
    (tmp_path / "pipeline").symlink_to(matrix.ROOT / "pipeline")
    (tmp_path / "images").symlink_to(matrix.ROOT / "images")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    return tmp_path


def _file(path: Path, text: str = "x", age: float = LONG_AGO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for each in (path, *path.parents[:3]):
        os.utime(each, (age, age))
    return path


def _found(root: Path, runs: bool = False) -> list[str]:
    return [str(each.path.relative_to(root)) for each in leftovers.found(root, runs)]


def _model(root: Path, source: str) -> Path:
    folder = root / "models" / "a"
    _file(folder / "config.json", "{}")
    record.write(folder, source=source)
    return folder


def test_a_fresh_clone_has_nothing_that_may_go(root: Path) -> None:
    assert _found(root, runs=True) == []


def test_an_environment_of_other_locks_may_go_and_that_of_this_checkout_stays(root: Path) -> None:
    _file(venv.folder("train", "cpu") / "pintune-lock")
    _file(venv.folder("test", "cpu") / "pintune-lock")
    _file(root / ".pintune/venv/train-cpu-000000000000/pintune-lock")
    _file(root / ".pintune/venv/train-cpu-111111111111/lib", age=time.time())  # perhaps being built
    assert _found(root) == [".pintune/venv/train-cpu-000000000000"]


def test_environments_of_another_checkout_stay(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    _file(other / "train-cpu-000000000000" / "x")
    (root / ".pintune").mkdir()
    (root / ".pintune" / "venv").symlink_to(other)
    assert _found(root) == []


@pytest.mark.parametrize(
    ("path", "goes"),
    [
        ("runs/quickstart/20260101-000000-abcdef/.merged.staging-1f3a09bc/merged/model.safetensors", True),
        ("runs/quickstart/.20260101-000000-abcdef.staging-1f3a09bc/unfinished.json", True),
        ("data/sample/raw/.train.json.staging-1f3a09bc/train.json", True),
        ("data/mine/raw/.accounts.2019", False),
        ("models/own/.ckpt.10/weights", False),
        ("models/tmpmistral_7/config.json", False),
        ("models/.phi.0e3b1e2d02ee/model.safetensors", True),
        ("models/tmpabcd12_9/x.whl", True),
        ("data/tmpabcd12_9/raw/train.json", False),
        ("runs/quickstart/20260101-000000-abcdef/adapter/adapter_model.safetensors", False),
        ("runs/quickstart/20260101-000000-abcdef/.hidden/x", False),
        ("models/mine/config.json", False),
        ("data/sample/raw/train.json", False),
        (".pintune/release/train-cpu.tar", False),
    ],
)
def test_what_a_killed_step_left_may_go(root: Path, path: str, goes: bool) -> None:
    file = _file(root / path)
    assert len(_found(root)) == goes
    os.utime(file)  # something writes to it
    assert _found(root) == []


def test_what_a_living_process_stages_stays(root: Path) -> None:
    staging = root / "runs/q/20260101-000000-abcdef/.merged.staging-1f3a09bc"
    lock = _file(staging / ".lock", "")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert _found(root) == []
    assert len(_found(root)) == 1


def test_the_names_are_those_that_a_step_stages_under(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(root / "runs" / "q" / "merged"):
        (staging,) = (root / "runs" / "q").glob(".*")
        shutil.copytree(staging, root / "runs" / "q" / f"{staging.name[:-8]}00000000")
        raise KeyboardInterrupt
    for path in (root / "runs" / "q").rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    os.utime(root / "runs" / "q" / ".merged.staging-00000000", (LONG_AGO, LONG_AGO))
    assert _found(root) == ["runs/q/.merged.staging-00000000"]


def test_what_was_moved_away_for_its_replacement_stays_until_that_is_there(root: Path) -> None:
    _file(root / "runs/q/20260101-000000-abcdef/.merged.staging-1f3a09bc/.old/model.safetensors")
    assert _found(root) == []
    _file(root / "runs/q/20260101-000000-abcdef/merged/model.safetensors")
    assert _found(root) == ["runs/q/20260101-000000-abcdef/.merged.staging-1f3a09bc"]


def test_formatted_data_may_go_where_its_raw_data_is_as_it_was(root: Path) -> None:
    wanted = hashlib.sha256(b"raw").hexdigest()
    report = {"made_of": {"raw train": wanted, "raw heldout": wanted, "code": "x"}}
    _file(root / "data/sample/en-pipe-answer-abcdef/report.json", json.dumps(report))
    _file(root / "data/sample/raw/file.json")
    assert _found(root) == []
    _file(root / "data/sample/raw/train.json", "raw")
    heldout = _file(root / "data/sample/raw/heldout.jsonl", "raw")
    assert _found(root) == ["data/sample/en-pipe-answer-abcdef"]
    heldout.write_text("changed")
    assert _found(root) == []


def test_what_is_behind_a_link_stays(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    _file(other / "20260101-000000-abcdef" / "manifest.json")
    _file(other / ".merged.staging-1f3a09bc" / "x")
    (root / "runs").mkdir()
    (root / "runs" / "linked").symlink_to(other)
    assert _found(root, runs=True) == []


def test_the_base_models_answers_may_go(root: Path) -> None:
    _file(root / "runs/q/.answers-base-0123456789ab.jsonl")
    assert _found(root) == ["runs/q/.answers-base-0123456789ab.jsonl"]


def _add(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")


def _change(folder: Path) -> None:
    _file(folder / "config.json", "{} ")  # older than the record, as a copied file may be


def _forget(folder: Path) -> None:
    (folder / record.FILE).unlink()


def _of_elsewhere(folder: Path) -> None:
    record.write(folder, source="somebody/else@123456")


@pytest.mark.parametrize("change", [_add, _change, _forget, _of_elsewhere])
def test_a_model_that_fetch_cannot_bring_again_stays(root: Path, change: Callable[[Path], None]) -> None:
    folder = _model(root, "random weights, phi-4-mini-reasoning")
    assert _found(root) == ["models/a"]
    change(folder)
    assert _found(root) == []


def test_runs_may_go_only_where_they_are_asked_for_and_nothing_trains(root: Path) -> None:
    run = root / "runs" / "quickstart" / "20260101-000000-abcdef"
    _file(run / "manifest.json")
    _file(run.parent / "tensorboard" / run.name / "events.out.tfevents.1")
    busy = _file(root / "runs" / "quickstart" / "20260102-000000-abcdef" / "unfinished.json")
    (root / "runs" / "quickstart" / "latest").symlink_to(run.name)
    with busy.open() as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)
        assert _found(root) == []
        name = "20260101-000000-abcdef"
        assert _found(root, runs=True) == [f"runs/quickstart/{name}", f"runs/quickstart/tensorboard/{name}"]
    assert len(_found(root, runs=True)) == 3


def test_sizes_are_of_all_files(root: Path) -> None:
    _file(root / "models/tmpabcd12_9/x.whl", "x" * 1000)
    _file(root / "models/tmpabcd12_9/a/y.whl", "{}")
    assert [each.size for each in leftovers.found(root, False)] == [1002]
