"""One context read once is the same mathematics as one sequence per question."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import Stop
from pipeline.tatqa import format, sample, schema
from pipeline.training import batches
from pipeline.training.loop import answer_loss


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    contexts = schema.parse(sample.contexts("heldout")[:3], "sample")
    return [row for context in contexts for row in format.rows(context, "en")]


def _loss_and_gradients(tiny_model: Path, batch: dict[str, torch.Tensor]) -> tuple[float, list[torch.Tensor]]:
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float64)
    loss, tokens = answer_loss(model, batch)
    (loss / tokens).backward()
    return float(loss.detach() / tokens), [weight.grad for weight in model.parameters() if weight.grad is not None]


def test_shared_and_separate_questions_have_one_loss_and_gradient(tiny_model: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    contexts, _ = batches.encode(tokenizer, rows, 4096)
    shared, separate = (_loss_and_gradients(tiny_model, batches.collate(contexts, packing, 1)) for packing in ("shared", "none"))
    assert shared[0] == pytest.approx(separate[0], rel=1e-6)
    for one, other in zip(shared[1], separate[1], strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-7)


def test_a_question_does_not_see_its_siblings(tiny_model: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    """With another sibling before it, a question's own loss stays."""
    (context,), _ = batches.encode(tokenizer, rows[:6], 4096)
    alone = batches.Encoded(context.prefix, context.questions[1:2])
    pair = batches.Encoded(context.prefix, context.questions[:2])
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    first = batches.Encoded(context.prefix, context.questions[:1])
    both, one, other = (float(answer_loss(model, batches.collate([each], "shared", 1))[0].detach()) for each in (pair, first, alone))
    assert both == pytest.approx(one + other, rel=1e-5)


def test_the_loss_is_transformers_own(tiny_model: Path, tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    """Against a plain sequence with labels on the answer, by the model's own loss."""
    contexts, _ = batches.encode(tokenizer, rows[:1], 4096)
    (rest, answer), prefix = contexts[0].questions[0], contexts[0].prefix
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    labels = [-100] * len(prefix + rest) + answer
    plain = model(input_ids=torch.tensor([prefix + rest + answer]), labels=torch.tensor([labels])).loss
    loss, tokens = answer_loss(model, batches.collate(contexts, "shared", 1))
    assert float(loss.detach() / tokens) == pytest.approx(float(plain.detach()), rel=1e-5)
    assert int(tokens) == len(answer)


@pytest.mark.parametrize("packing", ["shared", "none"])
def test_the_end_of_turn_is_always_supervised_and_nothing_but_answers_is(tokenizer: Any, rows: list[dict[str, Any]], packing: str) -> None:
    contexts, left_out = batches.encode(tokenizer, rows, 4096)
    assert left_out == 0
    labels = batches.collate(contexts, packing, 1)["labels"]
    wanted = sorted(token for row in rows for token in [*tokenizer(row["output"], add_special_tokens=False).input_ids, tokenizer.eos_token_id])
    assert sorted(labels[labels != batches.IGNORED].tolist()) == wanted
    assert (labels == tokenizer.eos_token_id).sum() == len(rows)


def test_questions_that_do_not_fit_are_counted(tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    everything = [len(batches.prompt_ids(tokenizer, row, True)) + len(row["output"]) + 1 for row in rows]
    contexts, left_out = batches.encode(tokenizer, rows, max(everything) - 1)
    assert left_out == everything.count(max(everything))
    assert sum(len(context.questions) for context in contexts) == len(rows) - left_out
    with pytest.raises(Stop, match=r"training\.max_length"):
        batches.encode(tokenizer, rows, 16)


def test_a_template_without_system_role_takes_the_instruction_into_the_users_turn(tokenizer: Any, rows: list[dict[str, Any]]) -> None:
    import copy

    mistral = copy.deepcopy(tokenizer)
    mistral.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}[INST] {{ messages[0]['content'] }} [/INST]"
    )
    assert batches.has_system_role(tokenizer)
    assert not batches.has_system_role(mistral)
    assert rows[0]["instruction"] in mistral.decode(batches.prompt_ids(mistral, rows[0], False))
