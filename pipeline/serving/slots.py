"""The keys and values of several generations at once: a slot each, which tokens are added to at its own pace.

A position in a slot is a position of the text, so nothing is padded: a short text beside a long one has what it would
have alone. A slot keeps its tokens after its generation, and a text that begins as another one does is read from where
they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from pipeline.errors import Stop

_NAME = "by_slot"
_KINDS = {"full_attention", "sliding_attention"}


class Slots(Cache):  # type: ignore[misc]
    """A cache of `count` slots of `length` tokens; memory is touched only where tokens are.

    Set `rows` and `positions` before each forward pass.
    """

    def __init__(self, model: Any, count: int, length: int) -> None:
        super().__init__(layers=[])
        heads, size = _heads(model.config)
        shape = (count, heads, length, size)
        # zeros, since what is masked is still multiplied by zero, and a NaN that memory held would stay one
        self.keys, self.values = (
            [torch.zeros(shape, dtype=model.dtype, device=model.device) for _ in range(_layers(model.config))]
            for _ in range(2)
        )
        self.tokens: list[list[int]] = [[] for _ in range(count)]  # what each slot holds
        self._rows, self._positions = slice(0), torch.zeros(0)
        self._seen = 0

    def place(self, rows: slice, positions: torch.Tensor) -> None:
        """Where the tokens of the next forward pass go.

        Args:
            positions: int64, [rows, tokens].
        """
        self._rows, self._positions, self._seen = rows, positions, int(positions.max()) + 1

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values of one layer, [rows, heads, tokens, size]; returns all up to the last position."""
        found = []
        for whole, new in ((self.keys[layer_idx], key_states), (self.values[layer_idx], value_states)):
            kept = whole[self._rows]
            if len(kept) == 1:  # the positions follow each other
                start = int(self._positions[0, 0])
                kept[:, :, start : start + new.shape[2]] = new
            else:  # one token a row
                kept[torch.arange(len(kept)), :, self._positions[:, 0]] = new[:, :, 0]
            found.append(kept[:, :, : self._seen])
        return found[0], found[1]

    def swap(self, one: int, other: int) -> None:
        """Exchange the contents of two slots."""
        if one == other:
            return
        length = max(len(self.tokens[one]), len(self.tokens[other]))
        for whole in (*self.keys, *self.values):
            kept = whole[one, :, :length].clone()
            whole[one, :, :length] = whole[other, :, :length]
            whole[other, :, :length] = kept
        self.tokens[one], self.tokens[other] = self.tokens[other], self.tokens[one]

    def reuse(self, slot: int, ids: Sequence[int]) -> int:
        """Bring the longest beginning of a prompt that any slot holds into `slot`; returns its length.

        The slots before `slot` are in use, those from it on are free. The last token is always read again, since its
        logits are wanted.
        """
        shared = [_shared(ids[:-1], held) for held in self.tokens]
        best = max(range(len(shared)), key=lambda i: (shared[i], i >= slot))
        length = shared[best]
        if best >= slot:
            self.swap(slot, best)
        elif length:
            for whole in (*self.keys, *self.values):
                whole[slot, :, :length] = whole[best, :, :length]
        self.tokens[slot] = list(ids[:length])
        return length

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens before the next pass; Transformers asks for it only where no positions are given."""
        return 0


def attend_by_slot(model: Any) -> None:
    """Make a model ready for `Slots`.

    Raises:
        Stop: a layer keeps something other than keys and values, such as a state-space layer.
    """
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if not kinds <= _KINDS:
        raise Stop(
            "a model whose layers are all attention",
            f"layers of the kind {', '.join(sorted(kinds - _KINDS))}",
            str(model.config.name_or_path),
            "serve it on a GPU, where vLLM does",
        )
    model.set_attn_implementation(_NAME)


def masks(config: Any, positions: torch.Tensor, seen: int) -> Any:
    """What each token sees, as the model takes it: a boolean [rows, 1, tokens, keys], or one a kind of layer.

    Args:
        positions: int64, [rows, tokens].
        seen: number of keys.
    """
    keys = torch.arange(seen, device=positions.device)
    full = keys <= positions[:, :, None]
    window = getattr(config, "sliding_window", None)
    near = full & (keys > positions[:, :, None] - window) if window else full
    by_kind = {"full_attention": full[:, None], "sliding_attention": near[:, None]}
    kinds = set(getattr(config, "layer_types", None) or [])
    if len(kinds) > 1:
        return by_kind
    (kind,) = kinds or ({"sliding_attention"} if window else {"full_attention"})
    return by_kind[kind]


def token_bytes(model: Any) -> int:
    """Bytes that the keys and values of one token take."""
    heads, size = _heads(model.config)
    return 2 * _layers(model.config) * heads * size * int(model.dtype.itemsize)


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with, by bisection."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _layers(config: Any) -> int:
    return int(config.num_hidden_layers)


def _heads(config: Any) -> tuple[int, int]:
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    return int(heads), int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _by_slot(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA of [rows, heads, tokens, size], as [rows, tokens, heads, size].

    For a single token the query heads that share a key head take the place of tokens, so that keys and values are not
    copied for each of them: a third of the time of a step on a CPU.
    """
    rows, heads, tokens, size = query.shape
    if tokens > 1:
        whole: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return whole
    grouped = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    found = torch.nn.functional.scaled_dot_product_attention(grouped, key, value, attention_mask, scale=scaling)
    return found.reshape(rows, 1, heads, size), None


AttentionInterface.register(_NAME, _by_slot)
AttentionMaskInterface.register(_NAME, sdpa_mask)
