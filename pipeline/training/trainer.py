"""Transformers' Trainer with the loss over answers only, the same steps on any number of processes, and checkpoints that are whole or not there."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from pipeline.data import packing
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.models import attention
from pipeline.recipe import Training
from pipeline.training import checkpoint as checkpoints
from pipeline.training import fsdp
from pipeline.training.callbacks.metrics import Watch
from pipeline.training.memory import LOGITS_AT_ONCE


class AnswerTrainer(Trainer):  # type: ignore[misc]
    """A Trainer whose loss is the mean cross entropy, in nats, over the answer tokens of an optimizer step, on all processes together.

    The model is one that `give_answer_loss` has been called on, the data set a list of `Encoded`, the collator a `Collator`.

    Args:
        watch: counts tokens, questions and skipped steps.
        settings: of the recipe.
    """

    def __init__(self, *given: Any, watch: Watch, settings: Training, **more: Any) -> None:
        self.watch, self.checkpoints_kept, self.spread = watch, settings.checkpoints_kept, settings.fsdp
        self.row_tokens = settings.row_tokens
        super().__init__(*given, **more)

    def training_step(
        self, model: Any, inputs: dict[str, torch.Tensor], num_items_in_batch: torch.Tensor | int | None = None
    ) -> Any:
        """Forward and backward pass of a batch; the loss, detached."""
        self.watch.saw(*inputs.pop("seen").tolist())
        *before, last = packing.passes(inputs, self.row_tokens)
        with self.accelerator.no_sync(model):  # processes, which may have rows of another number, meet once a batch
            losses = [super(AnswerTrainer, self).training_step(model, each, num_items_in_batch) for each in before]
        return torch.stack([*losses, super().training_step(model, last, num_items_in_batch)]).sum()

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Sum over this process's answer tokens by the number in the whole step, so that accumulation and processes weigh every token equally."""
        loss, answers = model(**inputs)
        # DistributedDataParallel averages gradients over processes, of which each holds a part of the sum
        return loss / (answers if num_items_in_batch is None else num_items_in_batch) * self.args.world_size

    def get_train_dataloader(self) -> Any:
        """Every process goes through all contexts in the order of a single one; the collator takes its share of each batch."""
        loader = super().get_train_dataloader()
        if self.args.world_size > 1:
            whole = loader.batch_sampler  # accelerate's BatchSamplerShard, which would hand out whole batches in turns
            whole.num_processes, whole.process_index, whole.even_batches = 1, 0, False
        return loader

    def _wrap_model(self, model: Any, *given: Any, **more: Any) -> Any:
        """As it is, where it is spread over the processes: else accelerate, which knows nothing of that, would ask for DistributedDataParallel."""
        if self.spread:
            self.accelerator.prepare_model = functools.partial(
                type(self.accelerator).prepare_model, self.accelerator, evaluation_mode=True
            )
        return super()._wrap_model(model, *given, **more)

    def _run_epoch(self, *given: Any, **more: Any) -> None:
        """Nothing, where a run goes on from its last step's checkpoint: Trainer looks at max_steps only after a step."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*given, **more)
        else:
            self.control.should_training_stop = True

    def _get_output_dir(self, trial: Any) -> str:
        return str(checkpoints.aside(Path(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        fsdp.load_adapter(self.model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        fsdp.spread_moments(self.optimizer.optimizer)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the adapter, on the first process; all must call it."""
        fsdp.save_adapter(self.model, Path(output_dir or self.args.output_dir))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state, scheduler = fsdp.whole(self.optimizer.state_dict()), self.lr_scheduler.state_dict()
        if self.args.should_save:
            torch.save(state, Path(output_dir, OPTIMIZER_NAME))
            torch.save(scheduler, Path(output_dir, SCHEDULER_NAME))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        if self.args.should_save:
            checkpoints.clear(folder)
        self.accelerator.wait_for_everyone()
        try:
            with checkpoints.room_for(folder):
                super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                checkpoints.place(folder, self.state.global_step, self.checkpoints_kept)
        except Stop:
            if self.args.should_save:
                checkpoints.clear(folder)  # what has been written of it; those before it stay
            raise
        self.accelerator.wait_for_everyone()


class Collator:
    """Contexts as a batch: this process's share of them, and under "seen" the tokens (without padding) and questions of all.

    Args:
        packing, row_tokens: as `batches.collate`.
        pad: the id between rows of unlike length.
        process: this one's number, from 0.
        processes: how many share a batch.
        even: whether all processes get the same number of rows, some of them without answers, since they meet in every pass.
    """

    def __init__(
        self, packing: str, pad: int, row_tokens: int, process: int = 0, processes: int = 1, even: bool = False
    ) -> None:
        self.packing, self.pad, self.row_tokens, self.process, self.processes, self.even = (
            packing,
            pad,
            row_tokens,
            process,
            processes,
            even,
        )

    def __call__(self, contexts: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        shares = [self._share(contexts, process) for process in range(self.processes)]
        own = shares[self.process]
        batch = packing.collate(own or contexts[:1], self.packing, self.pad, self.row_tokens)
        if not own:  # more processes than contexts are left in the epoch: this one reads along, and learns nothing
            batch["labels"].fill_(packing.IGNORED)
        if self.even and self.row_tokens:
            most = max(len(packing.pack(share or contexts[:1], self.row_tokens)) for share in shares)
            rows = len(batch["labels"])
            batch = {name: torch.cat([each, *[each[:1]] * (most - rows)]) for name, each in batch.items()}
            batch["labels"][rows:] = packing.IGNORED
        tokens = sum(each.packed_length if self.packing == "shared" else each.separate_length for each in contexts)
        return {**batch, "seen": torch.tensor([tokens, sum(len(each.questions) for each in contexts)])}

    def _share(self, contexts: Sequence[Encoded], process: int) -> list[Encoded]:
        """The longest first, dealt out in turns: processes wait for the slowest."""
        dealt = sorted(range(len(contexts)), key=lambda number: -contexts[number].packed_length)[
            process :: self.processes
        ]
        return [contexts[number] for number in sorted(dealt)]


def give_answer_loss(base: Any) -> None:
    """Make a causal language model's call return `answer_loss` of the batch that it is called with.

    In its forward, since DistributedDataParallel and FSDP only see what goes through one.
    """
    base.forward = lambda **inputs: answer_loss(base, inputs)


def answer_loss(base: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross entropy over the answer tokens of a batch made by `batches.collate`, in float32 or better, and their number.

    Only their positions go through the output head: of a few hundred tokens in a row a handful are answers. And of those no more at once than
    LOGITS_AT_ONCE allows: a part's logits are computed anew for its backward pass.
    """
    given = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}
    hidden = base.get_decoder()(
        **given, use_cache=False, **attention.keywords(base, inputs["position_ids"])
    ).last_hidden_state
    answers = inputs["labels"] != packing.IGNORED
    head = base.get_output_embeddings()
    found, wanted = hidden[answers], inputs["labels"][answers]
    most = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(found) <= most:
        return _cross_entropy(head, found, wanted), answers.sum()
    parts = zip(found.split(most), wanted.split(most), strict=True)
    return torch.stack(
        [checkpoint(_cross_entropy, head, *part, use_reentrant=False) for part in parts]
    ).sum(), answers.sum()


def _cross_entropy(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over the positions of `hidden`, [positions, features], in float32 or better."""
    logits = head(hidden)
    return torch.nn.functional.cross_entropy(
        logits.to(torch.promote_types(logits.dtype, torch.float32)), labels, reduction="sum"
    )
