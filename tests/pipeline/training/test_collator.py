"""The collator: each rank's share of a batch."""

from __future__ import annotations

import pytest
import torch

from pipeline.data import packing
from pipeline.training.collator import Collator
from tests.models import CONTEXTS, loss_and_gradients, random_model


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_the_shares_of_all_ranks_add_up_to_the_batch(world_size: int) -> None:
    model = random_model("llama")
    whole = Collator("shared", 1, 0)(CONTEXTS)
    parts = [Collator("shared", 1, 0, rank, world_size)(CONTEXTS) for rank in range(world_size)]
    assert all(torch.equal(part["seen"], whole["seen"]) for part in parts)
    assert whole["seen"].tolist() == [sum(context.packed_length for context in CONTEXTS), 12]
    wanted = loss_and_gradients(model, [whole])
    summed = loss_and_gradients(model, parts)  # a rank without a context computes one without labels
    assert summed[0] == pytest.approx(wanted[0], rel=1e-6)
    for one, other in zip(summed[1], wanted[1], strict=True):
        assert torch.allclose(one, other, rtol=2e-6, atol=1e-7)


def test_even_batches_have_the_same_number_of_rows_on_every_rank() -> None:
    even = [Collator("shared", 1, 80, rank, 2, even=True)(CONTEXTS[:3]) for rank in range(2)]
    uneven = [Collator("shared", 1, 80, rank, 2)(CONTEXTS[:3]) for rank in range(2)]
    assert len(uneven[0]["labels"]) != len(uneven[1]["labels"])
    assert len(even[0]["labels"]) == len(even[1]["labels"]) == max(len(each["labels"]) for each in uneven)
    answers = [sum(int((each["labels"] != packing.IGNORED).sum()) for each in batches) for batches in (even, uneven)]
    assert answers[0] == answers[1]
