"""Packed rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from pipeline.data.packing import IGNORED, collate, pack
from pipeline.errors import Stop
from pipeline.models.attention import attend_by_context
from pipeline.recipe import load
from pipeline.training import loss as losses
from pipeline.training.collator import Collator
from pipeline.training.loss import answer_loss
from tests.models import CONTEXTS, KINDS, random_context, random_model
from tests.steps import latest, overrides, step


def _loss_and_gradients(model: Any, batches: list[dict[str, torch.Tensor]]) -> tuple[float, list[torch.Tensor]]:
    """Mean loss over the answer tokens of all batches, accumulated, and its gradient."""
    model.zero_grad()
    total = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
    value = 0.0
    for batch in batches:
        loss = answer_loss(model, batch)[0] / total
        loss.backward()
        value += float(loss.detach())
    return value, [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("by_context", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_gradients_are_those_of_one_sequence_per_question(kind: str, by_context: bool) -> None:
    """With any row budget and number of batches: all contexts in one row, one context in two rows, three batches."""
    model = random_model(kind)
    wanted = _loss_and_gradients(model, [collate(CONTEXTS, "none", 1)])
    if by_context:
        attend_by_context(model)
    assert wanted[0] > 1 and max(float(each.abs().max()) for each in wanted[1]) > 1e-3
    # LongRoPE depends on the longest position of a forward pass, so other batches are another model
    for row_tokens in (0, 70, 150, 1000):
        for split in ([5], [1, 1, 3]) if kind != "phi3, longrope" else ([5],):
            parts = iter(CONTEXTS)
            batches = [collate([next(parts) for _ in range(count)], "shared", 1, row_tokens) for count in split]
            loss, gradients = _loss_and_gradients(model, batches)
            assert loss == pytest.approx(wanted[0], rel=1e-6), (row_tokens, split)
            for one, other in zip(gradients, wanted[1], strict=True):
                assert float((one - other).norm()) <= 2e-6 * float(other.norm()) + 1e-12, (row_tokens, split)


def test_the_output_head_in_parts_gives_the_same_loss_and_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """44 answer tokens in parts of 7, each within the bound on logits."""
    model, batch = random_model("llama"), collate(CONTEXTS, "shared", 1)
    wanted = _loss_and_gradients(model, [batch])
    sizes: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda module, inputs, logits: sizes.append(logits.numel()))
    monkeypatch.setattr(losses, "LOGITS_AT_ONCE", 700)
    loss, gradients = _loss_and_gradients(model, [batch])
    assert len(sizes) > 2
    assert max(sizes) <= 700
    assert loss == pytest.approx(wanted[0], rel=1e-12)
    for one, other in zip(gradients, wanted[1], strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_by_context_skips_the_zeros_between_contexts(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call to SDPA has one context of a row of four; the padding at its end is a span of its own."""
    lengths: list[int] = []
    sdpa = torch.nn.functional.scaled_dot_product_attention

    def counting(query: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        lengths.append(query.shape[2])
        return sdpa(query, *given, **more)

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
        lambda module, given, more: seen.append(int(more["position_ids"].max())), with_kwargs=True
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


@settings(deadline=None, max_examples=30)
@given(
    some.lists(
        some.tuples(
            some.integers(0, 40),
            some.lists(some.tuples(some.integers(1, 9), some.integers(1, 5)), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=12,
    ),
    some.integers(54, 200),
)
def test_every_question_is_in_exactly_one_row_within_the_budget(
    shapes: list[tuple[int, list[tuple[int, int]]]], row_tokens: int
) -> None:
    contexts = [random_context(seed, prefix, questions) for seed, (prefix, questions) in enumerate(shapes)]
    rows = pack(contexts, row_tokens)
    filled = [sum(each.packed_length for each in row) for row in rows]
    assert max(filled) <= row_tokens
    packed = sorted((part.prefix, question) for row in rows for part in row for question in part.questions)
    assert packed == sorted((context.prefix, question) for context in contexts for question in context.questions)
    tokens = sum(filled)
    # Graham's bound for greedy packing
    assert len(rows) <= 2 * -(-tokens // row_tokens) + 1


def test_rows_are_filled_evenly() -> None:
    contexts = [random_context(seed, 20 + 3 * seed, [(4, 2)] * 3) for seed in range(16)]
    filled = [sum(each.packed_length for each in row) for row in pack(contexts, 400)]
    assert max(filled) < 1.2 * min(filled)


def test_a_question_longer_than_a_row_is_refused() -> None:
    with pytest.raises(Stop, match="row_tokens"):
        pack(CONTEXTS, 45)
    with pytest.raises(Stop, match=r"at least training\.max_length = 2048"):
        load("quickstart", ["training.max_length=2048", "training.row_tokens=2000"])
    with pytest.raises(Stop, match=r'training\.packing = "shared"'):
        load("quickstart", ["training.packing=none", "training.row_tokens=4096"])


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_the_shares_of_all_ranks_add_up_to_the_batch(world_size: int) -> None:
    model = random_model("llama")
    whole = Collator("shared", 1, 0)(CONTEXTS)
    parts = [Collator("shared", 1, 0, rank, world_size)(CONTEXTS) for rank in range(world_size)]
    assert all(torch.equal(part["seen"], whole["seen"]) for part in parts)
    assert whole["seen"].tolist() == [sum(context.packed_length for context in CONTEXTS), 12]
    wanted = _loss_and_gradients(model, [whole])
    summed = _loss_and_gradients(model, parts)  # a rank without a context computes one without labels
    assert summed[0] == pytest.approx(wanted[0], rel=1e-6)
    for one, other in zip(summed[1], wanted[1], strict=True):
        assert torch.allclose(one, other, rtol=2e-6, atol=1e-7)


def _curve() -> list[tuple[float, float, int]]:
    lines = map(json.loads, (latest() / "metrics.jsonl").read_text().splitlines())
    return [(line["loss"], line["grad_norm"], line["questions"]) for line in lines]


def test_packing_and_accumulation_do_not_change_the_steps_of_a_run(place: Path) -> None:
    """Losses and gradient norms are equal in every step; with three contexts the last step of an epoch is smaller."""
    curves: list[list[tuple[float, float, int]]] = []
    for packing, batch, accumulation, row in (
        ("none", 2, 1, 0),
        ("shared", 2, 1, 0),
        ("shared", 1, 2, 0),
        ("shared", 2, 1, 8000),
        ("shared", 2, 1, 2000),
    ):
        words = overrides(
            f'training.packing="{packing}"',
            f"training.batch_contexts={batch}",
            f"training.accumulation={accumulation}",
            f"training.row_tokens={row}",
            "training.learning_rate=1e-3",
        )
        (place / "runs" / "tiny").mkdir(parents=True, exist_ok=True)
        (place / "runs").rename(place / f"runs-{len(curves)}")
        assert step("train", "--set", "data.train_contexts=3", *words) == 0
        curves.append(_curve())
    assert len(curves[0]) == 4
    for curve in curves[1:]:
        for one, other in zip(curve, curves[0], strict=True):
            assert one == pytest.approx(other, rel=2e-4)
