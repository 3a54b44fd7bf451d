"""Generation with shared contexts gives the answers of Transformers' own `generate`, one question at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.data import packing
from pipeline.generation import generate
from pipeline.models import chat_template
from pipeline.tatqa import prompt, sample, schema
from pipeline.tatqa.prompt import Style

NEW = 12


@pytest.fixture(scope="module")
def template(tiny_model: Path) -> chat_template.ChatTemplate:
    return chat_template.load(tiny_model)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    contexts = schema.parse(sample.contexts("heldout")[:4], "sample")
    built = [row.fields for context in contexts for row in prompt.rows(context, Style("en", "pipe", "answer"))]
    return [*built[:6], built[7], *built[12:15], *built[18:]]  # one context with a single question, another with three


def _model(kind: str, vocabulary: int) -> Any:
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Phi3Config,
        Phi3ForCausalLM,
    )

    torch.manual_seed(3)
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "pad_token_id": 1,
        "initializer_range": 0.3,
    }
    built = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**shape)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**shape, sliding_window=None)),
        "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**shape, sliding_window=300)),
        "phi3": lambda: Phi3ForCausalLM(Phi3Config(**shape)),
    }
    return built[kind]().double().eval()


def _one_by_one(model: Any, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]) -> list[str]:
    texts = []
    for ids in template.prompts(rows):
        written = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            do_sample=False,
            max_new_tokens=NEW,
            eos_token_id=list(template.ends),
        )[0, len(ids) :]
        kept = [token for token in written.tolist() if token not in template.ends]
        texts.append(template.tokenizer.decode(kept, skip_special_tokens=True).strip())
    return texts


@pytest.mark.parametrize("kind", ["llama", "mistral", "mistral, sliding window", "phi3"])
def test_shared_and_separate_questions_get_the_same_answers(
    kind: str, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    model = _model(kind, len(template.tokenizer))
    wanted = _one_by_one(model, template, rows)
    assert len(set(wanted)) > len(rows) / 2  # the model does not give one answer to all
    for batch in (1, 4, 5, 24):
        assert generate.answers(model, template, rows, NEW, batch) == wanted


def test_an_answer_ends_at_any_stop_token(
    tiny_model: Path, template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    """With many stop tokens, answers have many lengths, and some are empty."""
    import dataclasses

    model = _model("llama", len(template.tokenizer))
    stopping = dataclasses.replace(template, ends=(template.ends[0], *range(2, len(template.tokenizer), 4)))
    wanted = _one_by_one(model, stopping, rows)
    assert len({len(text) for text in wanted}) > 2
    assert generate.answers(model, stopping, rows, NEW, 7) == wanted


def test_prompts_that_are_too_long_are_skipped_and_each_batch_is_kept(
    template: chat_template.ChatTemplate, rows: list[dict[str, Any]]
) -> None:
    model = _model("llama", len(template.tokenizer))
    lengths = [len(ids) for ids in template.prompts(rows)]
    limit = sorted(lengths)[len(rows) // 2]
    kept: dict[int, str] = {}
    answered = generate.answers(model, template, rows, NEW, 4, max_length=limit, keep=kept.update)
    assert [text is None for text in answered] == [length > limit for length in lengths]
    assert kept == {place: text for place, text in enumerate(answered) if text is not None}
    assert generate.answers(model, template, [], NEW, 4) == []


def test_each_context_is_read_once(
    template: chat_template.ChatTemplate, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model("llama", len(template.tokenizer))
    read = 0
    forward = model.model.forward

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal read
        read += options["input_ids"].numel()
        return forward(*args, **options)

    monkeypatch.setattr(model.model, "forward", counting)
    generate.answers(model, template, rows, 1, 24)
    prompts = template.prompts(rows)
    contexts = [
        [ids for row, ids in zip(rows, prompts, strict=True) if row["context"] == name]
        for name in dict.fromkeys(row["context"] for row in rows)
    ]
    packed = []
    for each in contexts:
        length = packing.common_prefix(each)
        packed.append(length + sum(len(ids) - length for ids in each))
    assert read == len(contexts) * max(packed)  # the shorter ones are padded
    assert read < sum(map(len, prompts)) / 2


def test_the_time_left_weighs_the_tokens_of_each_batch(
    template: chat_template.ChatTemplate, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest contexts are answered first; their batches are more of the work than of the questions."""
    reached: list[tuple[int, int]] = []

    class Recorded:
        def __init__(self, name: str, total: int, work: int) -> None:
            reached.append((total, work))

        def reach(self, done: int, work: int) -> None:
            reached.append((done, work))

        def close(self) -> None: ...

    monkeypatch.setattr(generate, "Progress", Recorded)
    uneven = [{**row, "input": row["input"] * (3 if row["context"] == rows[0]["context"] else 1)} for row in rows]
    generate.answers(_model("llama", len(template.tokenizer)), template, uneven, 2, 6, name="base")
    (total, work), (done, first), *_, last = reached
    assert last == (total, work) and total == len(rows)
    assert first / work > 1.3 * done / total
