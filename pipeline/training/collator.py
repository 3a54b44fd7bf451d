"""The collator: contexts to the batch of one rank."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from pipeline.data import packing as packings
from pipeline.data.packing import Batch, Encoded


class Collator:
    """Contexts as a batch: this rank's share, and under "seen" the tokens (without padding) and questions of all ranks.

    Args:
        packing, row_tokens: as `packing.collate`.
        pad: the id between rows of unequal length.
        rank: this process, from 0.
        world_size: ranks that share a batch.
        even: give all ranks the same number of rows, some of them without answers, because they meet in every pass.
    """

    def __init__(
        self, packing: str, pad: int, row_tokens: int, rank: int = 0, world_size: int = 1, even: bool = False
    ) -> None:
        self.packing, self.pad, self.row_tokens = packing, pad, row_tokens
        self.rank, self.world_size, self.even = rank, world_size, even

    def __call__(self, contexts: Sequence[Encoded]) -> Batch:
        shares = [self._share(contexts, rank) for rank in range(self.world_size)]
        own = shares[self.rank]
        batch = packings.collate(own or contexts[:1], self.packing, self.pad, self.row_tokens)
        if not own:  # more ranks than contexts are left in the epoch: this one computes along, and learns nothing
            batch["labels"].fill_(packings.IGNORED)
        if self.even and self.row_tokens:
            most = max(len(packings.pack(share or contexts[:1], self.row_tokens)) for share in shares)
            rows = len(batch["labels"])
            batch = {name: torch.cat([each, *[each[:1]] * (most - rows)]) for name, each in batch.items()}
            batch["labels"][rows:] = packings.IGNORED
        tokens = sum(each.packed_length if self.packing == "shared" else each.separate_length for each in contexts)
        return {**batch, "seen": torch.tensor([tokens, sum(each.answers for each in contexts)])}

    def _share(self, contexts: Sequence[Encoded], rank: int) -> list[Encoded]:
        """Contexts dealt out in turns, the longest first, because ranks wait for the slowest."""
        dealt = sorted(range(len(contexts)), key=lambda i: -contexts[i].packed_length)[rank :: self.world_size]
        return [contexts[i] for i in sorted(dealt)]
