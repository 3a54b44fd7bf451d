"""Packing: loss and gradients are those of one sequence per question, however contexts are packed into rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from pipeline.data.packing import IGNORED, Encoded, collate, encode
from pipeline.errors import Stop
from pipeline.models import chat_template
from pipeline.tatqa import prompt, sample, schema
from pipeline.tatqa.prompt import Style
from pipeline.training.loss import answer_loss


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
    (rest, answer), prefix = contexts[0].questions[0], contexts[0].prefix
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    labels = [-100] * len(prefix + rest) + answer
    plain = model(input_ids=torch.tensor([prefix + rest + answer]), labels=torch.tensor([labels])).loss
    loss, tokens = answer_loss(model, collate(contexts, "shared", 1))
    assert float(loss.detach() / tokens) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert int(tokens) == len(answer)


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
