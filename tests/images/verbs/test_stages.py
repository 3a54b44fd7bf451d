"""The verbs that run steps, where these cannot run."""

from __future__ import annotations

from tests.marks import Invoke


def test_a_gpu_that_is_asked_for_and_missing_stops_the_run(call: Invoke) -> None:
    for words in (
        ("train", "--flavor", "cu130", "--runner", "venv"),
        ("evaluate", "--flavor", "cu128", "--runner", "venv"),
    ):
        done = call(*words)
        assert (done.returncode, "no NVIDIA GPU is seen" in done.stderr, "next: --flavor cpu" in done.stderr) == (
            1,
            True,
            True,
        ), done.stderr
