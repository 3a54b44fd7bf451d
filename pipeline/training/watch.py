"""What a person sees of training, and metrics.jsonl."""

from __future__ import annotations

import json
import math
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline.errors import Stop
from pipeline.progress import Progress


class Watch(TrainerCallback):  # type: ignore[misc]
    """A line in metrics.jsonl per optimizer step (loss in nats per answer token, tokens and seconds so far) and a progress bar."""

    def __init__(self, path: Path, continued: bool) -> None:
        self.path, self.last_loss = path, float("nan")
        self.tokens = self.tokens_before = 0  # in all, and those of the run before it was killed
        self._continued = continued
        self._started = time.monotonic()
        self._progress: Progress | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Lines of steps that a resumed run will do again are dropped, so that each step stands once."""
        kept = []
        if self._continued and self.path.exists():
            kept = [line for line in self.path.read_text(encoding="utf-8").splitlines() if _step(line) <= state.global_step]
        if kept:
            last = json.loads(kept[-1])
            self.tokens = self.tokens_before = last["tokens"]
            self.last_loss = last["loss"]
        self.path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self._progress = Progress("train", state.max_steps, done=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **rest: Any) -> None:
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise Stop("a loss that is a number", f"{logs['loss']} at step {state.global_step}", str(self.path),
                       "lower training.learning_rate, or --set training.precision=fp32")  # fmt: skip
        self.last_loss = float(logs["loss"])
        seconds = time.monotonic() - self._started
        line = {"step": state.global_step, "loss": self.last_loss, "learning_rate": logs.get("learning_rate"), "grad_norm": logs.get("grad_norm"),
                "tokens": self.tokens, "seconds": round(seconds, 3)}  # fmt: skip
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._progress:
            self._progress.reach(state.global_step, f"loss {self.last_loss:.3f}, {(self.tokens - self.tokens_before) / seconds:,.0f} tokens/s")

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if self._progress:
            self._progress.close()

    @staticmethod
    def peak_memory() -> int:
        """Bytes: the GPU's most allocated, or this process's largest resident set."""
        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated())
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _step(line: str) -> float:
    """The step of a line; past every step for a line that was cut off when the run was killed."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):
        return float("inf")
