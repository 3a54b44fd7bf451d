"""What a person sees of training (progress bar, metrics.jsonl, TensorBoard), and when training is given up."""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline.errors import Stop
from pipeline.files import write_text
from pipeline.progress import Progress
from pipeline.training.callbacks import tensorboard
from pipeline.training.callbacks.tensorboard import EventWriter
from pipeline.training.callbacks.trackers import TrackersCallback

_PATIENCE = 3  # fp16 steps in a row without a loss: scaling can mend a gradient that overflows, not a forward pass
_PATIENCE_SKIPPED = 25  # skipped steps in a row: the scale, halved each time from 65536, is below 0.01 by then


class MetricsCallback(TrainerCallback):  # type: ignore[misc]
    """A line in metrics.jsonl per optimizer step, the same for TensorBoard, and a progress bar; all on rank 0 alone.

    A line holds step, loss (nats per answer token), learning_rate, grad_norm (null if it is NaN or infinite), tokens
    and questions (so far, without padding), seconds (of training so far), and under fp16 overflows (skipped steps so
    far).

    Args:
        run: the run's folder.
        resumed: whether the run continues from a checkpoint.
        scaled: whether the loss is scaled (fp16), so that a step may overflow and be skipped.
        skipped: whether the last optimizer step was skipped.
        settings: of the run, by name, for TensorBoard.
        trackers: get the same figures; the caller makes them a callback of the Trainer too.
    """

    def __init__(
        self,
        run: Path,
        resumed: bool,
        scaled: bool = False,
        skipped: Callable[[], bool] = lambda: False,
        settings: Mapping[str, bool | float | str] | None = None,
        trackers: TrackersCallback | None = None,
    ) -> None:
        self.path, self.last_loss = run / "metrics.jsonl", float("nan")
        self.tokens = self.questions = self.overflows = 0
        self.tokens_before = self.questions_before = 0  # counted before the run was resumed
        self.seconds_before = 0.0
        self.skipped, self._settings, self._trackers = skipped, settings, trackers
        self._resumed, self._scaled = resumed, scaled
        self._lost = self._skipped_in_a_row = self._nothing = 0
        self._started = time.monotonic()
        self._progress: Progress | None = None
        self._events: EventWriter | None = None

    def count(self, tokens: int, questions: int) -> None:
        """Count the contents of a batch, of all ranks."""
        self.tokens += tokens
        self.questions += questions

    def restore(self, step: int) -> None:
        """Continue the counts from the last line up to a step."""
        self._started = time.monotonic()
        for last in [each for each in map(json.loads, self.lines(step)) if "loss" in each][-1:]:
            self.tokens = self.tokens_before = last["tokens"]
            self.questions = self.questions_before = last["questions"]
            self.seconds_before = float(last["seconds"])
            self.overflows, self.last_loss = last.get("overflows", 0), last["loss"]

    def on_train_begin(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        """Drop the lines of steps that a resumed run makes again, so that each step has one line."""
        self.restore(state.global_step)
        if not state.is_world_process_zero:
            return
        write_text(self.path, "".join(line + "\n" for line in self.lines(state.global_step)))
        self._events = EventWriter(tensorboard.folder(self.path.parent), state.global_step + 1, self._settings)
        self._progress = Progress("train", state.max_steps, done=state.global_step)

    def lines(self, step: int) -> list[str]:
        """The lines of metrics.jsonl up to a step; none unless the run is resumed."""
        if not self._resumed or not self.path.exists():
            return []
        return [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step(line) <= step]

    def on_step_end(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        skipped = self._scaled and self.skipped()
        self.overflows += skipped
        self._skipped_in_a_row = self._skipped_in_a_row + 1 if skipped else 0

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **context: Any) -> None:
        if not logs or "loss" not in logs:
            return
        loss, norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
        seconds = time.monotonic() - self._started
        line = {
            "step": state.global_step,
            "loss": _finite(loss),
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": _finite(norm),
            "tokens": self.tokens,
            "questions": self.questions,
            "seconds": round(self.seconds_before + seconds, 3),
            **({"overflows": self.overflows} if self._scaled else {}),
        }
        self.write(line)
        self._need_progress(loss, norm, state.global_step)
        self.last_loss = loss
        if self._progress:
            tokens = (self.tokens - self.tokens_before) / seconds
            questions = (self.questions - self.questions_before) / seconds
            overflows = f", {self.overflows} overflows" if self.overflows else ""
            note = f"loss {loss:.3f}, {tokens:,.0f} tokens/s, {questions:.1f} questions/s"
            self._progress.reach(state.global_step, f"{note}, {self.peak_memory() / 2**30:.1f} GiB{overflows}")

    def write(self, line: dict[str, Any]) -> None:
        """Write the figures of a step to metrics.jsonl, for TensorBoard and to trackers."""
        if self._events is None:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        self._events.add(line["step"], {f"train/{name}": value for name, value in line.items() if name != "step"})
        if self._trackers:
            self._trackers.write(line)

    def close(self) -> None:
        """Write and show no more, however training ended."""
        if self._progress:
            self._progress.close()
        if self._events is not None:
            self._events.close()
            self._events = None
        if self._trackers:
            self._trackers.close()

    def _need_progress(self, loss: float, norm: float, step: int) -> None:
        """Raise Stop where further steps only cost time; before a checkpoint of this step is saved."""
        lost = not math.isfinite(loss) or (not self._scaled and not math.isfinite(norm))
        self._lost = self._lost + 1 if lost else 0
        self._nothing = self._nothing + 1 if loss == 0.0 else 0
        if self._lost >= (_PATIENCE if self._scaled else 1):
            other = ", or --set training.precision=bf16 or fp32" if self._scaled else ""
            raise Stop(
                "a finite loss and gradient",
                f"loss {loss}, gradient norm {norm} at step {step}",
                str(self.path),
                f"lower training.learning_rate{other}",
            )
        if self._skipped_in_a_row >= _PATIENCE_SKIPPED:
            raise Stop(
                "gradients that fit fp16",
                f"{self._skipped_in_a_row} steps in a row overflowed, up to step {step}",
                str(self.path),
                "--set training.precision=bf16 (GPUs since A100) or fp32",
            )
        if self._nothing >= _PATIENCE:
            raise Stop(
                "a loss to learn from",
                f"a loss of 0 for {self._nothing} steps, up to step {step}",
                str(self.path),
                "check that the data has answers; or lower training.learning_rate, or train fewer epochs",
            )

    @staticmethod
    def peak_memory() -> int:
        """Bytes: the GPU's most allocated, or this process's largest resident set."""
        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN


def _step(line: str) -> float:
    """The step of a line; infinity for a line that was cut off when the run was killed."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")
