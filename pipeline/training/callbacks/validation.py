"""The loss on contexts that are not trained on: measured at intervals, the adapter of the lowest one kept, and training ended when it rises.

They are the last ones of the training split: the evaluation split stays unseen, which a choice by it would spoil.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline import distributed
from pipeline.data import packing
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.recipe import Training
from pipeline.training import checkpoint as checkpoints
from pipeline.training import fsdp
from pipeline.training.callbacks.metrics import Watch
from pipeline.training.trainer import Collator


def divide(contexts: list[Encoded], count: int) -> tuple[list[Encoded], list[Encoded]]:
    """The contexts to train on, and the last `count` to hold out.

    Raises:
        Stop: none would be left to train on.
    """
    if count >= len(contexts):
        raise Stop(
            f"more contexts than training.heldout_contexts = {count}",
            str(len(contexts)),
            "the recipe, [training] heldout_contexts",
            "lower training.heldout_contexts, or raise data.train_contexts",
        )
    return contexts[: len(contexts) - count], contexts[len(contexts) - count :]


class HeldOut(TrainerCallback):  # type: ignore[misc]
    """Measures every `heldout_steps` steps and after the last, into metrics.jsonl as heldout_loss (nats per answer token).

    What it must know after a resume, the lowest loss and how long ago that was, stands in metrics.jsonl too.

    Args:
        collate: contexts as a batch, of which each process gets its share, as in training.
    """

    def __init__(
        self, contexts: Sequence[Encoded], settings: Training, collate: Collator, run: Path, watch: Watch
    ) -> None:
        self._contexts, self._settings, self._collate, self._watch = contexts, settings, collate, watch
        self._folder = run / "best"
        self.best: tuple[float, int] | None = None  # loss and step
        self._since = 0  # measures since then

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        for line in map(json.loads, self._watch.lines(state.global_step)):
            if "heldout_loss" in line:
                self._judge(math.nan if line["heldout_loss"] is None else line["heldout_loss"], line["step"])
        if self.best and not (self._folder / "adapter_model.safetensors").exists():
            raise Stop(
                f"the best adapter so far, of step {self.best[1]}",
                "none",
                str(self._folder),
                f"bring it back, or delete {self._folder.parent} and start anew with invoke train",
            )

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **rest: Any) -> None:
        step = state.global_step
        if step % self._settings.heldout_steps and step < state.max_steps:
            return
        loss = self.loss(model)
        self._watch.write({"step": step, "heldout_loss": loss if math.isfinite(loss) else None})
        if self._judge(loss, step):
            with checkpoints.room_for(self._folder, "the best adapter"):
                fsdp.put_adapter(model, self._folder)
        if 0 < self._settings.early_stopping <= self._since:
            control.should_training_stop = True
            control.should_save = False  # no checkpoint here: a resume from it would train on

    def _judge(self, loss: float, step: int) -> bool:
        better = loss < (self.best[0] if self.best else math.inf)  # no NaN is
        if better:
            self.best = (loss, step)
        self._since = 0 if better else self._since + 1
        return better

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def loss(self, model: Any) -> float:
        """Mean cross entropy over the answer tokens of all contexts held out, in nats; the same number on every process."""
        settings, device = self._settings, next(model.parameters()).device
        total, tokens = 0.0, 0
        model.eval()
        for start in range(0, len(self._contexts), settings.batch_contexts):
            chosen = self._contexts[start : start + settings.batch_contexts]
            batch = self._collate(chosen)
            del batch["seen"]
            for part in packing.passes(batch, settings.row_tokens):
                summed, answers = model(**{name: each.to(device) for name, each in part.items()})
                total, tokens = total + float(summed), tokens + int(answers)
        model.train()
        shares = distributed.of_all((total, tokens))
        return float(sum(loss for loss, _ in shares) / sum(count for _, count in shares))

    def take_best(self, model: Any) -> None:
        """Give the model the adapter of the lowest loss."""
        if self.best is not None:
            fsdp.load_adapter(model, self._folder)
