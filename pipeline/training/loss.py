"""The loss over answer tokens alone, and the part of the model that computes it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from pipeline.data.packing import IGNORED
from pipeline.models import attention
from pipeline.training.memory import LOGITS_AT_ONCE


def give_answer_loss(base: Any) -> None:
    """Make a causal language model's call return `answer_loss` of its batch.

    In its forward, because DistributedDataParallel and FSDP see only what goes through one.
    """
    base.forward = lambda **inputs: answer_loss(base, inputs)


@contextlib.contextmanager
def without_answer_loss(base: Any) -> Iterator[None]:
    """A model with the forward of its class during the block, as Transformers' generate needs it."""
    replaced = base.__dict__.pop("forward")
    try:
        yield
    finally:
        base.forward = replaced


def answer_loss(base: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross entropy over the answer tokens of a batch, in float32 or better, and their number.

    Only answer positions go through the output head, a handful of the hundreds of tokens in a row, and at most
    LOGITS_AT_ONCE logits of them at a time; the logits of each part are recomputed in its backward pass.
    """
    positions = inputs["position_ids"]
    batch = {name: inputs[name] for name in ("input_ids", "attention_mask", "position_ids")}
    decoded = base.get_decoder()(**batch, use_cache=False, **attention.keywords(base, positions))
    answers = inputs["labels"] != IGNORED
    head = base.get_output_embeddings()
    hidden, wanted = decoded.last_hidden_state[answers], inputs["labels"][answers]
    most = max(1, LOGITS_AT_ONCE // head.weight.shape[0])
    if len(hidden) <= most:
        return _cross_entropy(head, hidden, wanted), answers.sum()
    parts = zip(hidden.split(most), wanted.split(most), strict=True)
    losses = [checkpoint(_cross_entropy, head, *part, use_reentrant=False) for part in parts]
    return torch.stack(losses).sum(), answers.sum()


def _cross_entropy(head: Any, hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed over the positions of `hidden`, [positions, features], in float32 or better."""
    logits = head(hidden)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.nn.functional.cross_entropy(wide, labels, reduction="sum")
