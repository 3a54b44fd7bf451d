"""Answering questions of the validation split during training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import job
from pipeline.data import packing
from pipeline.data.formatted_rows import read_rows
from pipeline.generation import generate
from pipeline.models import chat_template, lora
from pipeline.models.attention import attend_by_context
from pipeline.models.load import use_deterministic_kernels
from pipeline.recipe import Lora, load
from pipeline.training import questions
from pipeline.training.loss import give_answer_loss
from pipeline.training.questions import Questions
from tests.models import random_model


def test_the_rows_are_those_of_the_validation_split(place: Path) -> None:
    """Also where questions are too long for training, of some contexts all."""
    rows = read_rows(job.resolve(load("tiny.toml")).train.rows)
    template = chat_template.load(Path("models/tiny"))
    lengths = [len(one) + len(other) for one, other in zip(template.prompts(rows), template.answers(rows), strict=True)]
    longest = sorted(lengths)[len(lengths) // 3]
    contexts, left_out = packing.encode(template, rows, longest)
    assert left_out and len(contexts) < len({row["context"] for row in rows})
    found = questions.of_last_contexts(rows, template, longest, 7)
    assert packing.encode(template, found, longest) == (contexts[-7:], 0)


@pytest.mark.parametrize("kind", ["llama", "mistral, sliding window", "phi3", "phi3, longrope"])
def test_a_model_in_training_is_scored_as_evaluate_scores_it(kind: str, place: Path, tmp_path: Path) -> None:
    """Every second answer is the gold one. Training goes on with the same random numbers and the same forward."""
    rows = [
        {**row, "answer_type": "text", "scale": ""} for row in read_rows(job.resolve(load("tiny.toml")).train.rows)[:14]
    ]
    template = chat_template.load(Path("models/tiny"))

    def model() -> Any:
        base = random_model(kind, vocab_size=300)
        base.config.name_or_path = base.name_or_path = str(tmp_path)
        return lora.new_adapter(base, Lora(dropout=0.5), 1, tmp_path)

    texts = generate.answers(model(), template, rows, 8, 5)
    assert len({text for text in texts if text}) > 7
    gold = [text if place % 2 else "another" for place, text in enumerate(texts)]
    rows = [{**row, "answer": json.dumps([answer])} for row, answer in zip(rows, gold, strict=True)]

    trained = model()
    attend_by_context(trained.get_base_model())
    give_answer_loss(trained.get_base_model())
    forward = trained.get_base_model().forward
    use_deterministic_kernels()
    trained.train()
    state = torch.get_rng_state()
    assert Questions(rows, template, "en", 8, 5).exact_match(trained) == 0.5
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training and trained.get_base_model().forward is forward


def test_ranks_share_the_contexts_and_none_is_left_out(tiny_model: Path) -> None:
    rows = [{"context": name, "question": number} for name in "abcde" for number in range(2)]
    asked = Questions(rows, chat_template.load(tiny_model), "en", 8, 5)
    shares = [asked._share(rank, 3) for rank in range(3)]
    assert [row["context"] for row in shares[1]] == ["b", "b", "e", "e"]
    assert sorted((row for share in shares for row in share), key=rows.index) == rows
