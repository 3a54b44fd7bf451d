"""Metrics: what a run records, and when it stops because further steps are pointless."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.training.callbacks import tensorboard
from pipeline.training.callbacks.metrics import MetricsCallback


def _state(step: int = 0, steps: int = 100) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=True)


def _log_steps(metrics: MetricsCallback, losses: list[float], norm: float = 1.0, skipped: tuple[int, ...] = ()) -> None:
    metrics.skipped = lambda: step in skipped
    for step, loss in enumerate(losses, start=1):
        metrics.on_step_end(None, _state(step), None)
        metrics.on_log(None, _state(step), None, {"loss": loss, "grad_norm": norm, "learning_rate": 1e-3})


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[bool], MetricsCallback]]:
    """Start the callback of a run; closes it at the end of the test."""
    with contextlib.ExitStack() as stack:

        def create(scaled: bool) -> MetricsCallback:
            metrics = stack.enter_context(contextlib.closing(MetricsCallback(tmp_path, resumed=False, scaled=scaled)))
            metrics.on_train_begin(None, _state(), None)
            return metrics

        yield create


NAN = float("nan")


@pytest.mark.parametrize(
    ("scaled", "losses", "norm", "message"),
    [
        (False, [2.0, NAN], 1.0, "loss nan"),
        (False, [2.0], float("inf"), "gradient norm inf"),
        (True, [2.0, NAN, NAN, NAN], 1.0, "bf16 or fp32"),
        (True, [2.0, 0.0, 0.0, 0.0], 1.0, "a loss of 0 for 3 steps"),
        (False, [0.0, 0.0, 0.0], 1.0, "check that the data has answers"),
    ],
)
def test_a_run_that_cannot_learn_is_stopped_with_advice(
    tmp_path: Path,
    start: Callable[[bool], MetricsCallback],
    scaled: bool,
    losses: list[float],
    norm: float,
    message: str,
) -> None:
    metrics = start(scaled)
    with pytest.raises(Stop, match=message):
        _log_steps(metrics, losses, norm)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(losses)
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    json.loads(last, parse_constant=pytest.fail)  # JSON has no NaN


def test_a_few_overflows_do_not_stop_a_run(tmp_path: Path, start: Callable[[bool], MetricsCallback]) -> None:
    """In fp16, gradients overflow now and then, and a loss may be NaN once."""
    metrics = start(True)
    _log_steps(metrics, [2.0, NAN, NAN, 2.0, NAN, 0.0, 0.0, 1.0], norm=float("inf"), skipped=(1, 2, 3, 5))
    assert metrics.overflows == 4
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["overflows"] == 4
    assert metrics.last_loss == 1.0


def test_steps_that_all_overflow_are_stopped(start: Callable[[bool], MetricsCallback]) -> None:
    metrics = start(True)
    with pytest.raises(Stop, match="25 steps in a row overflowed"):
        _log_steps(metrics, [2.0] * 40, norm=float("inf"), skipped=tuple(range(1, 41)))


def test_tensorboard_reads_the_curve_back(tmp_path: Path, start: Callable[[bool], MetricsCallback]) -> None:
    from tensorboardX.proto.event_pb2 import Event

    metrics = start(False)
    _log_steps(metrics, [3.0, 2.0, 1.5])
    metrics.close()
    (file,) = tensorboard.folder(metrics.path.parent).iterdir()
    data, points = file.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        points += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "train/loss"]
        data = data[16 + size :]
    assert points == [(1, 3.0), (2, 2.0), (3, 1.5)]
