"""Attention over a row of several contexts, one context at a time: the zeros between them are not computed.

PyTorch's SDPA computes all of a dense mask, so that a row of n equal contexts costs n times what its contexts cost. The contexts of a
row see nothing of each other, and the softmax of each is over its own keys: the result is that of the whole row's mask.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME = "by_context"


def attend_by_context(base: Any) -> None:
    """Make a causal language model attend by context, if its attention can be set; one that cannot computes the whole mask."""
    base.set_attn_implementation(_NAME)


def keywords(base: Any, positions: torch.Tensor) -> dict[str, Any]:
    """What a forward pass of a model is called with besides, so that its layers know where the contexts of a row lie."""
    return {"contexts": spans(positions)} if base.config._attn_implementation == _NAME else {}


def spans(positions: torch.Tensor) -> tuple[slice, ...]:
    """Where the contexts of a row lie: a context begins at position 0, and no position of another one sees it.

    Args:
        positions: int64, [rows, length]; of more than one row the answer is that nothing is known, ().
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
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA of [rows, heads, length, head size], as [rows, length, heads, head size]."""
    if len(contexts) < 2 or attention_mask is None:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **given)
        return whole
    parts = [
        sdpa_attention_forward(
            module, query[:, :, here], key[:, :, here], value[:, :, here], attention_mask[:, :, here, here], **given
        )[0]
        for here in contexts
    ]
    return torch.cat(parts, dim=1), None


AttentionInterface.register(_NAME, _by_context)
AttentionMaskInterface.register(_NAME, sdpa_mask)
