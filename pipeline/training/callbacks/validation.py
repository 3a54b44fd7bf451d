"""Loss and EM on the validation split: measured at intervals, to keep the best adapter and to stop early.

The validation split is the last contexts of the training split: the evaluation split stays unseen, because choosing an
adapter by it would bias the scores.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from pipeline import distributed
from pipeline.data import packing
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.recipe import Training
from pipeline.training import fsdp
from pipeline.training.callbacks.metrics import MetricsCallback
from pipeline.training.checkpoint import reporting_disk_errors
from pipeline.training.collator import Collator
from pipeline.training.questions import Questions


def divide(contexts: list[Encoded], count: int) -> tuple[list[Encoded], list[Encoded]]:
    """The contexts to train on, and the last `count` as the validation split.

    Raises:
        Stop: none would be left to train on.
    """
    if count >= len(contexts):
        wanted, where = (
            f"more contexts than training.heldout_contexts = {count}",
            "the recipe, [training] heldout_contexts",
        )
        todo = "lower training.heldout_contexts, or raise data.train_contexts"
        raise Stop(wanted, str(len(contexts)), where, todo)
    return contexts[: len(contexts) - count], contexts[len(contexts) - count :]


@dataclass(frozen=True)
class Measured:
    """What was measured after a step."""

    step: int
    loss: float  # nats per answer token
    em: float | None  # 0 to 1; None: no question is answered

    def is_better(self, than: Measured | None, metric: str) -> bool:
        """Whether this adapter is better, by training.heldout_metric; of adapters with one EM the lower loss is.

        One whose loss is NaN or infinite never is.
        """
        if not math.isfinite(self.loss) or than is None:
            return math.isfinite(self.loss)
        if metric == "em" and self.em is not None and than.em is not None and self.em != than.em:
            return self.em > than.em
        return self.loss < than.loss


class ValidationCallback(TrainerCallback):  # type: ignore[misc]
    """Measures every `heldout_steps` steps and after the last: heldout_loss and heldout_em in metrics.jsonl.

    A resume finds the best adapter's measurement there too.

    Args:
        collate: contexts to a batch, of which each rank gets its share, as in training.
        questions: to answer at each measurement; None: none.
    """

    def __init__(
        self,
        contexts: Sequence[Encoded],
        settings: Training,
        collate: Collator,
        run: Path,
        metrics: MetricsCallback,
        questions: Questions | None = None,
    ) -> None:
        self._contexts, self._settings, self._collate, self._metrics = contexts, settings, collate, metrics
        self._questions = questions
        self._folder = run / "best"
        self.best: Measured | None = None
        self._since = 0  # measurements since then

    def restore(self, step: int) -> None:
        """Find the best measurement up to a step in the metrics of a resumed run.

        Raises:
            Stop: its adapter is missing.
        """
        for line in map(json.loads, self._metrics.lines(step)):
            if "heldout_loss" in line:
                loss = math.nan if line["heldout_loss"] is None else line["heldout_loss"]
                self._judge(Measured(line["step"], loss, line.get("heldout_em")))
        if self.best and not (self._folder / "adapter_model.safetensors").exists():
            todo = "bring it back, or start anew: invoke train"
            raise Stop(f"the best adapter so far, of step {self.best.step}", "none", str(self._folder), todo)

    def on_train_begin(self, args: Any, state: Any, control: Any, **context: Any) -> None:
        self.restore(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **context: Any) -> None:
        step = state.global_step
        if step % self._settings.heldout_steps and step < state.max_steps:
            return
        found = Measured(step, self.loss(model), self._questions.exact_match(model) if self._questions else None)
        line: dict[str, Any] = {"step": step, "heldout_loss": found.loss if math.isfinite(found.loss) else None}
        self._metrics.write(line if found.em is None else {**line, "heldout_em": found.em})
        if self._judge(found):
            with reporting_disk_errors(self._folder, "the best adapter"):
                fsdp.save_adapter_atomically(model, self._folder)
        if 0 < self._settings.early_stopping <= self._since:
            control.should_training_stop = True
            control.should_save = False  # no checkpoint here: a resume from it would train further

    def _judge(self, found: Measured) -> bool:
        """Whether a measurement is the best so far."""
        better = found.is_better(self.best, self._settings.heldout_metric)
        if better:
            self.best = found
        self._since = 0 if better else self._since + 1
        return better

    def record(self) -> dict[str, Any]:
        """What the manifest records of the best adapter; empty without one."""
        if self.best is None:
            return {}
        of_questions = {}
        if self._questions:
            of_questions = {"heldout_questions": len(self._questions.rows), "heldout_em": self.best.em}
        return {
            "heldout_contexts": len(self._contexts),
            "best_metric": self._settings.heldout_metric,
            "best_step": self.best.step,
            "heldout_loss": self.best.loss,
            **of_questions,
        }

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def loss(self, model: Any) -> float:
        """Mean cross entropy over the answer tokens of the validation split, in nats; the same number on every rank."""
        settings, device = self._settings, next(model.parameters()).device
        total, tokens = 0.0, 0
        model.eval()
        for start in range(0, len(self._contexts), settings.batch_contexts):
            batch = self._collate(self._contexts[start : start + settings.batch_contexts])
            del batch["seen"]
            for part in packing.micro_batches(batch, settings.row_tokens):
                summed, answers = model(**{name: each.to(device) for name, each in part.items()})
                total, tokens = total + float(summed), tokens + int(answers)
        model.train()
        shares = distributed.all_gather((total, tokens))
        return float(sum(loss for loss, _ in shares) / sum(count for _, count in shares))

    def load_best(self, model: Any) -> None:
        """Give the model the best adapter."""
        if self.best is not None:
            fsdp.load_adapter(model, self._folder)
