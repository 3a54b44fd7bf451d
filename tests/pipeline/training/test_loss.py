"""The answer loss: the same for any packing, and for any number of parts of the output head."""

from __future__ import annotations

import pytest
import torch

from pipeline.data.packing import collate
from pipeline.models.attention import attend_by_context
from pipeline.training import loss as losses
from tests.models import CONTEXTS, KINDS, loss_and_gradients, random_model


@pytest.mark.parametrize("by_context", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_one_sequence_per_question(kind: str, by_context: bool) -> None:
    """With any row budget and number of batches: all contexts in one row, one context in two rows, three batches."""
    model = random_model(kind)
    wanted = loss_and_gradients(model, [collate(CONTEXTS, "none", 1)])
    if by_context:
        attend_by_context(model)
    assert wanted[0] > 1 and max(float(each.abs().max()) for each in wanted[1]) > 1e-3
    # LongRoPE depends on the longest position of a forward pass, so other batches are another model
    for row_tokens in (0, 70, 150, 1000):
        for split in ([5], [1, 1, 3]) if kind != "phi3, longrope" else ([5],):
            parts = iter(CONTEXTS)
            batches = [collate([next(parts) for _ in range(count)], "shared", 1, row_tokens) for count in split]
            loss, gradients = loss_and_gradients(model, batches)
            assert loss == pytest.approx(wanted[0], rel=1e-6), (row_tokens, split)
            for one, other in zip(gradients, wanted[1], strict=True):
                assert float((one - other).norm()) <= 2e-6 * float(other.norm()) + 1e-12, (row_tokens, split)


def test_the_output_head_in_parts_gives_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """44 answer tokens in parts of 7, each within the bound on logits."""
    model, batch = random_model("llama"), collate(CONTEXTS, "shared", 1)
    wanted = loss_and_gradients(model, [batch])
    sizes: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, logits: sizes.append(logits.numel()))
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 700)
    loss, gradients = loss_and_gradients(model, [batch])
    assert len(sizes) > 2
    assert max(sizes) <= 700
    assert loss == pytest.approx(wanted[0], rel=1e-12)
    for one, other in zip(gradients, wanted[1], strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)
