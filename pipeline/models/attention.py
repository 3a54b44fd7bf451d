"""Attention over a packed row, one context at a time, so that the zeros between contexts are not computed.

PyTorch's SDPA computes all of a dense mask: a row of n equal contexts costs n times what its contexts cost alone. The
contexts of a row do not attend to each other, and the softmax of each is over its own keys, so the result is that of
the whole row's mask.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "by_context"


def attend_by_context(base: Any) -> None:
    """Make a causal language model attend by context; a model whose attention cannot be set computes the whole mask."""
    base.set_attn_implementation(_NAME)


def keywords(base: Any, positions: torch.Tensor) -> dict[str, Any]:
    """Further arguments of a forward pass, which tell the layers where the contexts of a row lie."""
    return {"contexts": spans(positions)} if base.config._attn_implementation == _NAME else {}


def spans(positions: torch.Tensor) -> tuple[slice, ...]:
    """Where the contexts of a row lie. A context begins at position 0, and no other context sees its positions.

    Args:
        positions: int64, [rows, length]. With more than one row the spans are unknown: ().
    """
    if len(positions) != 1:
        return ()
    starts = (positions[0] == 0).nonzero().flatten().tolist()
    starts = [
        start for start, before in zip(starts, [-2, *starts], strict=False) if start != before + 1
    ]  # padding is one span
    return tuple(slice(start, end) for start, end in zip(starts, [*starts[1:], positions.shape[1]], strict=True))


def _by_context(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    contexts: tuple[slice, ...] = (),
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA of [rows, heads, length, head size], as [rows, length, heads, head size]."""
    if len(contexts) < 2 or attention_mask is None:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return whole
    parts = []
    for span in contexts:
        mask = attention_mask[:, :, span, span]
        own = (query[:, :, span], key[:, :, span], value[:, :, span])
        parts.append(sdpa_attention_forward(module, *own, mask, **options)[0])
    return torch.cat(parts, dim=1), None


AttentionInterface.register(_NAME, _by_context)
AttentionMaskInterface.register(_NAME, sdpa_mask)
