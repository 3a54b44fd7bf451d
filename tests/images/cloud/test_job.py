"""The description of a job refuses what an engine would take and fail on later."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images import git, matrix
from images.building import registry
from images.cloud import job as jobs
from images.cloud.gpus import GPUS
from images.errors import Stop
from images.running.choices import Choices
from tests.images.cloud.golden import IMAGE, job

CHOICES = Choices("quickstart", "cpu", "auto")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nodes": 0}, "at least 1"),
        ({"processes": -1}, "at least 1"),
        ({"image": "ghcr.io/owner/train:latest"}, r"an image by digest.*\n found: ghcr.io/owner/train:latest"),
        ({"image": IMAGE[:-1]}, "an image by digest"),
        ({"name": "Mine"}, "a name of at most 50"),
        ({"name": "a;reboot"}, "a name of at most 50"),
        ({"name": "x" * 51}, "a name of at most 50"),
    ],
)
def test_a_job_that_no_engine_runs_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(Stop, match=message):
        jobs.make(CHOICES, **values)  # type: ignore[arg-type]


def test_an_image_is_the_one_that_was_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "RECORD", matrix.ROOT / "images" / "no-such.json")
    with pytest.raises(Stop, match=r"wanted: a digest of train:cpu-.*\n found: none recorded") as stop:
        jobs.with_image(jobs.make(CHOICES))
    assert "--image REGISTRY/train@sha256:" in stop.value.todo
    record = tmp_path / "released.json"
    tag = f"train:cpu-{git.version()}"
    record.write_text(f'{{"{tag}": {{"registry": "r.example/p", "digest": "sha256:{"a" * 64}", "revision": "b"}}}}')
    monkeypatch.setattr(registry, "RECORD", record)
    made = jobs.with_image(jobs.make(CHOICES))
    assert (made.image, made.revision) == (f"r.example/p/train@sha256:{'a' * 64}", "b")
    assert jobs.environment(made)["PINTUNE_REVISION"] == "b"


def test_a_recipe_outside_of_data_is_refused_where_only_the_storage_is_there(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('[data]\nsource = "sample"\n')
    with pytest.raises(Stop, match=r"those under data/\n found: .*mine\.toml"):
        jobs.need_on_storage(jobs.make(Choices(str(recipe), "cpu", "auto")))
    with pytest.raises(Stop, match=r"those under data/\n found: mine/rows\.jsonl"):
        jobs.need_on_storage(jobs.make(Choices("quickstart", "cpu", "auto", ("data.source=mine/rows.jsonl",))))
    jobs.need_on_storage(jobs.make(Choices("quickstart", "cpu", "auto", ("data.source=data/rows.jsonl",))))
    jobs.need_on_storage(jobs.make(CHOICES))


@pytest.mark.parametrize(
    ("flavor", "gpu", "message"),
    [
        ("cu130", "A1000", "a GPU: V100"),
        ("cu130", "a100", "a GPU: V100"),
        ("cu130", "V100", r"runs on V100\n(.*\n)*.*--flavor cu128"),
    ],
)
def test_a_gpu_that_does_not_exist_or_fit_is_refused(flavor: str, gpu: str, message: str) -> None:
    with pytest.raises(Stop, match=message):
        jobs.need_gpu(job(flavor), gpu)


@pytest.mark.parametrize("gpu", [name for name in GPUS if not name.startswith("V100")])
def test_every_other_gpu_fits_the_newest_flavor(gpu: str) -> None:
    jobs.need_gpu(job("cu130"), gpu)


def test_only_a_variable_in_quotes_stays_one_in_a_shell() -> None:
    words = ["printf", "%s|", '"$HOME"', "$HOME", 'a="$HOME"', "it's", '"$(id)"']
    done = subprocess.run(
        ["sh", "-c", jobs.shell(words)], env={"HOME": "/h", "PATH": "/usr/bin:/bin"}, capture_output=True, text=True
    )
    assert done.stdout == '/h|$HOME|a="$HOME"|it\'s|"$(id)"|'


def test_the_flavor_of_the_image_is_checked() -> None:
    for flavor, status in (("cpu", 0), ("cu130", 2), (None, 2)):
        told = {"PINTUNE_FLAVOR": flavor} if flavor else {}
        done = subprocess.run(["sh", "-c", jobs.need_flavor(job("cpu"))], env=told, capture_output=True, text=True)
        assert done.returncode == status
        assert (f"found: {flavor or 'none'}" in done.stderr) == bool(status)
