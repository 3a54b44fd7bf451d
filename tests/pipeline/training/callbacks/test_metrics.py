"""When training makes no sense any more, and what is shown of it until then."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.training.callbacks.metrics import MetricsCallback


def _state(step: int = 0, steps: int = 100) -> Any:
    return SimpleNamespace(global_step=step, max_steps=steps, is_world_process_zero=True)


def _go(watch: MetricsCallback, losses: list[float], norm: float = 1.0, skipped: tuple[int, ...] = ()) -> None:
    watch.skipped = lambda: step in skipped
    for step, loss in enumerate(losses, start=1):
        watch.on_step_end(None, _state(step), None)
        watch.on_log(None, _state(step), None, {"loss": loss, "grad_norm": norm, "learning_rate": 1e-3})


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[bool], MetricsCallback]]:
    """A watch over a run that has just begun."""
    with contextlib.ExitStack() as begun:

        def made(scaled: bool) -> MetricsCallback:
            watch = begun.enter_context(contextlib.closing(MetricsCallback(tmp_path, resumed=False, scaled=scaled)))
            watch.on_train_begin(None, _state(), None)
            return watch

        yield made


NAN = float("nan")


@pytest.mark.parametrize(
    ("scaled", "losses", "norm", "said"),
    [
        (False, [2.0, NAN], 1.0, "loss nan"),
        (False, [2.0], float("inf"), "gradient norm inf"),
        (True, [2.0, NAN, NAN, NAN], 1.0, "bf16 or fp32"),
        (True, [2.0, 0.0, 0.0, 0.0], 1.0, "a loss of 0 for 3 steps"),
        (False, [0.0, 0.0, 0.0], 1.0, "check that the data has answers"),
    ],
)
def test_a_run_that_learns_nothing_is_stopped_with_advice(
    tmp_path: Path, begin: Callable[[bool], MetricsCallback], scaled: bool, losses: list[float], norm: float, said: str
) -> None:
    watch = begin(scaled)
    with pytest.raises(Stop, match=said):
        _go(watch, losses, norm)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == len(losses)
    json.loads(
        (tmp_path / "metrics.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail
    )  # no NaN in it, which JSON has not


def test_what_passes_is_no_reason_to_stop(tmp_path: Path, begin: Callable[[bool], MetricsCallback]) -> None:
    """Under fp16 gradients overflow now and then, and a loss may be lost once."""
    watch = begin(True)
    _go(watch, [2.0, NAN, NAN, 2.0, NAN, 0.0, 0.0, 1.0], norm=float("inf"), skipped=(1, 2, 3, 5))
    assert watch.overflows == 4
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["overflows"] == 4
    assert watch.last_loss == 1.0


def test_steps_that_all_overflow_are_stopped(begin: Callable[[bool], MetricsCallback]) -> None:
    watch = begin(True)
    with pytest.raises(Stop, match="25 steps in a row overflowed"):
        _go(watch, [2.0] * 40, norm=float("inf"), skipped=tuple(range(1, 41)))


def test_tensorboard_reads_the_curve_back(tmp_path: Path, begin: Callable[[bool], MetricsCallback]) -> None:
    from tensorboardX.proto.event_pb2 import Event

    watch = begin(False)
    _go(watch, [3.0, 2.0, 1.5])
    watch.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    data, found = file.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + size])
        found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "train/loss"]
        data = data[16 + size :]
    assert found == [(1, 3.0), (2, 2.0), (3, 1.5)]
