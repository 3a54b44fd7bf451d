"""Packing: loss and gradients are those of one sequence per question, however contexts are packed into rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from transformers import AutoModelForCausalLM

from pipeline.data.packing import IGNORED, Encoded, collate, encode, pack
from pipeline.errors import Stop
from pipeline.models import chat_template
from pipeline.recipe import load
from pipeline.tatqa import prompt, sample, schema
from pipeline.tatqa.prompt import Style
from pipeline.training.loss import answer_loss
from tests.models import CONTEXTS, random_context


@pytest.fixture(scope="module")
def template(tiny_model: Path) -> chat_template.ChatTemplate:
    return chat_template.load(tiny_model)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    contexts = schema.parse(sample.contexts("heldout")[:3], "sample")
    return [row.fields for context in contexts for row in prompt.rows(context, Style("en", "pipe", "answer"))]


def _loss_and_gradients(tiny_model: Path, batch: dict[str, torch.Tensor]) -> tuple[float, list[torch.Tensor]]:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64)
    loss, tokens = answer_loss(model, batch)
    (loss / tokens).backward()
    return float(loss.detach() / tokens), [weight.grad for weight in model.parameters() if weight.grad is not None]


def test_shared_and_separate_questions_have_the_same_loss_and_gradients(
    tiny_model: Path, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    contexts, _ = encode(template, rows, 4096)
    shared, separate = (
        _loss_and_gradients(tiny_model, collate(contexts, packing, 1)) for packing in ("shared", "none")
    )
    assert shared[0] == pytest.approx(separate[0], rel=1e-6)
    for one, other in zip(shared[1], separate[1], strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_question_does_not_attend_to_its_siblings(
    tiny_model: Path, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    """The loss of a question does not change with another question before it."""
    (context,), _ = encode(template, rows[:6], 4096)
    alone = Encoded(context.prefix, context.questions[1:2])
    pair = Encoded(context.prefix, context.questions[:2])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    first = Encoded(context.prefix, context.questions[:1])
    both, one, other = (
        float(answer_loss(model, collate([each], "shared", 1))[0].detach()) for each in (pair, first, alone)
    )
    assert both == pytest.approx(one + other, rel=1e-5)


def test_the_loss_equals_that_of_transformers(
    tiny_model: Path, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    """Equals the model's own loss on a plain sequence with labels on the answer."""
    contexts, _ = encode(template, rows[:1], 4096)
    (ids, trained), prefix = contexts[0].questions[0], contexts[0].prefix
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    labels = [-100] * len(prefix) + trained
    plain = model(input_ids=torch.tensor([prefix + ids]), labels=torch.tensor([labels])).loss
    loss, tokens = answer_loss(model, collate(contexts, "shared", 1))
    assert float(loss.detach() / tokens) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert int(tokens) == sum(label != IGNORED for label in trained)


@pytest.mark.parametrize("packing", ["shared", "none"])
def test_labels_are_the_answers_with_their_end_of_turn_tokens(
    template: chat_template.ChatTemplate, rows: list[dict[str, Any]], packing: str
) -> None:
    contexts, left_out = encode(template, rows, 4096)
    assert left_out == 0
    labels = collate(contexts, packing, 1)["labels"]
    wanted = sorted(
        token for row in rows for token in [*template.ids([row["output"]])[0], template.tokenizer.eos_token_id]
    )
    assert sorted(labels[labels != IGNORED].tolist()) == wanted
    assert (labels == template.tokenizer.eos_token_id).sum() == len(rows)


def test_questions_that_are_too_long_are_counted(
    template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    everything = [len(ids) + len(row["output"]) + 1 for row, ids in zip(rows, template.prompts(rows), strict=True)]
    contexts, left_out = encode(template, rows, max(everything) - 1)
    assert left_out == everything.count(max(everything))
    assert sum(len(context.questions) for context in contexts) == len(rows) - left_out
    with pytest.raises(Stop, match=r"training\.max_length"):
        encode(template, rows, 16)


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


def test_a_conversation_is_read_once_and_all_its_answers_are_trained(
    tiny_model: Path, template: chat_template.ChatTemplate
) -> None:
    """Equals the model's own loss on the whole conversation with labels on every answer."""
    from pipeline.data.readers import conversation

    said = [("user", "a"), ("assistant", "bc"), ("user", "d"), ("assistant", "efg"), ("user", "h"), ("assistant", "i")]
    messages = [{"role": role, "content": content} for role, content in said]
    made = conversation.rows({"messages": messages}, "train-1")
    (context,), left_out = encode(template, made, 4096)
    (question,) = context.questions
    assert left_out == 0 and context.answers == 3
    ids = context.prefix + question[0]
    whole = template.tokenizer.apply_chat_template(messages, tokenize=False)
    assert template.tokenizer.decode(ids) + "\n" == whole or template.tokenizer.decode(ids) == whole
    labels = [IGNORED] * len(context.prefix) + question[1]
    trained = template.tokenizer.decode([label for label in labels if label != IGNORED])
    assert trained == "bc<|im_end|>efg<|im_end|>i<|im_end|>"
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    plain = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss
    loss, tokens = answer_loss(model, collate([context], "shared", 1))
    assert float(loss.detach() / tokens) == pytest.approx(float(plain.detach()), rel=1e-5)
    # a turn that was answered otherwise does not go on where the one before it ends
    made[1]["messages"] = [*made[1]["messages"][:1], {"role": "assistant", "content": "x"}, made[1]["messages"][2]]
    (context,), _ = encode(template, made[:2], 4096)
    assert len(context.questions) == 2
