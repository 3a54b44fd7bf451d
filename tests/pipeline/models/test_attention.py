"""Attention by context: equal to the mask over the whole row, without computing its zeros."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.data.packing import IGNORED, collate
from pipeline.models import attention
from pipeline.models.attention import attend_by_context
from pipeline.training.loss import answer_loss
from tests.models import CONTEXTS, KINDS, random_model


@pytest.mark.parametrize("kind", KINDS)
def test_attention_by_context_skips_the_zeros_between_contexts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call to SDPA has one context of a row of four; the padding at its end is a span of its own."""
    lengths: list[int] = []
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def counting(query: torch.Tensor, *positional: Any, **options: Any) -> torch.Tensor:
        lengths.append(query.shape[2])
        return sdpa(query, *positional, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counting)
    model, row = random_model(kind), CONTEXTS[:3]
    attend_by_context(model)
    batch = collate([*row, CONTEXTS[4]], "shared", 1, 1000)
    padded = {
        name: torch.nn.functional.pad(each, (0, 3), value=IGNORED if name == "labels" else 0)
        for name, each in batch.items()
        if each.dim() == 2
    }
    mask = torch.nn.functional.pad(batch["attention_mask"], (0, 3, 0, 3))
    mask[..., -3:, -3:] = torch.eye(3, dtype=torch.bool)
    loss = answer_loss(model, {**padded, "attention_mask": mask})[0]
    assert lengths == [*(context.packed_length for context in [*row, CONTEXTS[4]]), 3] * 2
    assert float(loss.detach()) == pytest.approx(float(answer_loss(model, batch)[0].detach()), rel=1e-9)


def test_longrope_depends_on_the_longest_position_and_not_on_the_row_length() -> None:
    """Phi3 switches frequencies at position 64 here; a row of 250 tokens with no position past 63 must not switch."""
    model = random_model("phi3, longrope")
    short = [context for context in CONTEXTS if len(context.prefix) < 50]
    seen: list[int] = []
    model.model.rotary_emb.register_forward_pre_hook(
        lambda module, inputs, options: seen.append(int(options["position_ids"].max())), with_kwargs=True
    )
    one_row = collate(short, "shared", 1, 1000)
    assert one_row["input_ids"].shape == (1, sum(context.packed_length for context in short))
    assert one_row["input_ids"].shape[1] > 64
    loss = float(answer_loss(model, one_row)[0].detach())
    assert max(seen) < 64
    assert torch.equal(model.model.rotary_emb.inv_freq, model.model.rotary_emb.original_inv_freq)
    assert loss == pytest.approx(float(answer_loss(model, collate(short, "none", 1))[0].detach()), rel=1e-6)
    long = [*short, CONTEXTS[4]]
    losses = [float(answer_loss(model, collate(long, packing, 1, 1000))[0].detach()) for packing in ("shared", "none")]
    assert not torch.equal(model.model.rotary_emb.inv_freq, model.model.rotary_emb.original_inv_freq)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize(
    ("positions", "spans"),
    [
        ([0, 1, 2], [(0, 3)]),
        ([0, 1, 2, 3, 2, 3, 0, 1], [(0, 6), (6, 8)]),  # two questions of one context share positions
        ([0, 1, 0, 0, 0], [(0, 2), (2, 5)]),  # padding is one span
        ([0, 0, 1], [(0, 3)]),
    ],
)
def test_a_context_begins_at_position_0(positions: list[int], spans: list[tuple[int, int]]) -> None:
    assert attention.spans(torch.tensor([positions])) == tuple(slice(*each) for each in spans)


def test_several_rows_have_no_known_spans() -> None:
    assert attention.spans(torch.zeros(2, 4, dtype=torch.long)) == ()
    assert attention.keywords(random_model("llama"), torch.zeros(1, 4)) == {}
