"""The trainer: packing, accumulation and rows do not change the steps of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.steps import latest, overrides, step


def _curve() -> list[tuple[float, float, int]]:
    lines = map(json.loads, (latest() / "metrics.jsonl").read_text().splitlines())
    return [(line["loss"], line["grad_norm"], line["questions"]) for line in lines]


def test_packing_and_accumulation_do_not_change_the_steps_of_a_run(place: Path) -> None:
    """Losses and gradient norms are equal in every step; with three contexts the last step of an epoch is smaller."""
    curves: list[list[tuple[float, float, int]]] = []
    for packing, batch, accumulation, row in (
        ("none", 2, 1, 0),
        ("shared", 2, 1, 0),
        ("shared", 1, 2, 0),
        ("shared", 2, 1, 8000),
        ("shared", 2, 1, 2000),
    ):
        words = overrides(
            f'training.packing="{packing}"',
            f"training.batch_contexts={batch}",
            f"training.accumulation={accumulation}",
            f"training.row_tokens={row}",
            "training.learning_rate=1e-3",
        )
        (place / "runs" / "tiny").mkdir(parents=True, exist_ok=True)
        (place / "runs").rename(place / f"runs-{len(curves)}")
        assert step("train", "--set", "data.train_contexts=3", *words) == 0
        curves.append(_curve())
    assert len(curves[0]) == 4
    for curve in curves[1:]:
        for one, other in zip(curve, curves[0], strict=True):
            assert one == pytest.approx(other, rel=2e-4)


def test_packing_does_not_change_the_losses(place: Path) -> None:
    losses = []
    for packing in ("shared", "none"):
        shutil.rmtree("runs", ignore_errors=True)
        assert step("train", "--set", f"training.packing={packing}") == 0
        losses.append([json.loads(line)["loss"] for line in (latest() / "metrics.jsonl").read_text().splitlines()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
