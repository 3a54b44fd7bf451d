"""The grid of a sweep, and its ranking."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images.errors import Stop
from images.verbs import runs, sweep
from tests.marks import Invoke


@pytest.mark.parametrize(
    ("overrides", "points"),
    [
        (["lora.r=8,16"], [("lora.r=8",), ("lora.r=16",)]),
        (
            ["lora.r=8, 16", "training.seed=1,2"],
            [
                ("lora.r=8", "training.seed=1"),
                ("lora.r=8", "training.seed=2"),
                ("lora.r=16", "training.seed=1"),
                ("lora.r=16", "training.seed=2"),
            ],
        ),
        (
            ["lora.targets=['q_proj','v_proj'],['all-linear']", "lora.r=4"],
            [("lora.targets=['q_proj','v_proj']", "lora.r=4"), ("lora.targets=['all-linear']", "lora.r=4")],
        ),
        (["lora.r=8,8,16"], [("lora.r=8",), ("lora.r=16",)]),
        (['data.source="a,b.json",sample'], [('data.source="a,b.json"',), ("data.source=sample",)]),
    ],
)
def test_the_grid_is_every_combination(overrides: list[str], points: list[tuple[str, ...]]) -> None:
    assert sweep.grid(overrides) == points


@pytest.mark.parametrize("overrides", [[], ["lora.r=8"], ["lora.r=8,8"], ["lora.targets=['q_proj','v_proj']"]])
def test_a_grid_of_one_is_refused(overrides: list[str]) -> None:
    with pytest.raises(Stop, match="settings to compare"):
        sweep.grid(overrides)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(Stop, match=r"lora\.r twice"):
        sweep.grid(["lora.r=8,16", "lora.r=32"])


def _run(root: Path, name: str, recipe: dict[str, Any], em: float = 0.0) -> None:
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    training = {"last_loss": 0.5, "seconds": 61.2, "adapter_sha256": "f" * 64}
    (folder / "manifest.json").write_text(json.dumps({"recipe": recipe, "training": training}))
    scores = {"all": {"em": em, "f1": em, "scale": 1.0}}
    (folder / "evaluation.json").write_text(json.dumps({"questions": 72, "base": scores, "tuned": scores}))


def test_the_best_point_comes_first_and_failed_points_last(tmp_path: Path) -> None:
    for number, em in enumerate((0.25, 0.75)):
        _run(tmp_path, f"a/2026010{number}-000000-a", {}, em)
    points = [("lora.r=8", "training.seed=1"), ("lora.r=16", "training.seed=1"), ("lora.r=32", "training.seed=1")]
    made = list(zip(points, runs.found(tmp_path), strict=False))
    head, *lines = sweep.ranking(points, made).splitlines()
    assert head.split() == ["rank", "lora.r", "EM", "F1", "loss", "time", "run"]
    assert [line.split()[:3] for line in lines] == [["1", "16", "75.0"], ["2", "8", "25.0"], ["-", "32", "failed,"]]


def test_a_run_on_other_data_is_not_reused(tmp_path: Path) -> None:
    recipe = {"lora": {"r": 8}}
    _run(tmp_path, "a/20260101-000000-a", recipe)
    manifest = tmp_path / "runs" / "a" / "20260101-000000-a" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "inputs": {"data": {"rows_sha256": "1"}}}))
    for rows, counts in (("1", True), ("2", False)):
        resolved = {"name": "a", "recipe": recipe, "inputs": {"data": {"rows_sha256": rows}}}
        assert (sweep._of(resolved, tmp_path) is not None) is counts


def test_each_point_is_trained_with_the_requested_processes(call: Invoke) -> None:
    done = call(
        "--dry",
        "sweep",
        "--runner",
        "docker",
        "--flavor",
        "cpu",
        "--set",
        "lora.r=2,4",
        "--nodes",
        "2",
        "--gpus-per-node",
        "3",
    )
    assert done.returncode == 0, done.stderr
    starts = [line for line in done.stdout.splitlines() if line.startswith("docker run") and "pipeline train" in line]
    assert [
        ("--processes 3" in line, f"--node {number % 2}" in line, f"lora.r={2 + 2 * (number // 2)}" in line)
        for number, line in enumerate(starts)
    ] == [(True, True, True)] * 4
