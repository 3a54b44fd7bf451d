"""Rows of one context as token ids, and batches of contexts as tensors.

A context is read once for all its questions: [prefix][question 1 + answer 1][question 2 + answer 2] …, where every question sees
the prefix and itself and none of its siblings, and its positions go on from the prefix. That is the same mathematics as one
sequence per question (`packing = "none"`, the reference), with the prefix computed once instead of six times.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.chat import Chat
from pipeline.errors import Stop

IGNORED = -100  # the label torch's cross entropy leaves out


@dataclass(frozen=True)
class Encoded:
    """One context: the token ids that all its questions begin with, and for each question the rest of its prompt and its answer."""

    prefix: list[int]
    questions: list[tuple[list[int], list[int]]]  # (rest of the prompt, answer and end-of-turn)

    @property
    def packed_length(self) -> int:
        """Tokens of the one row that `shared` packing makes of it."""
        return len(self.prefix) + sum(len(rest) + len(answer) for rest, answer in self.questions)


def encode(talker: Chat, rows: Sequence[dict[str, Any]], max_length: int) -> tuple[list[Encoded], int]:
    """Rows, in file order, as one `Encoded` per context, and how many questions were left out as longer than `max_length`.

    A question's length is prompt + answer + end-of-turn, in tokens. The end-of-turn token is always among the answer's labels.

    Raises:
        Stop: no question fits.
    """
    grouped: dict[str, list[tuple[list[int], list[int]]]] = {}
    left_out = 0
    for row, prompt, answer in zip(rows, talker.prompts(rows), talker.answers(rows), strict=True):
        if len(prompt) + len(answer) > max_length:
            left_out += 1
        else:
            grouped.setdefault(row["context"], []).append((prompt, answer))
    if not grouped:
        raise Stop("questions that fit training.max_length", f"all {left_out} are longer than {max_length} tokens", "the recipe, [training] max_length",
                   "raise training.max_length")  # fmt: skip
    return [_share(questions) for questions in grouped.values()], left_out


def shared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; each keeps at least one of its own."""
    # By ids, not by text: a tokenizer may join the end of the context and the start of the question.
    shortest, first = min(map(len, prompts)) - 1, prompts[0]
    return next((i for i in range(shortest) if any(prompt[i] != first[i] for prompt in prompts)), shortest)


def _share(questions: list[tuple[list[int], list[int]]]) -> Encoded:
    first, length = questions[0][0], shared([prompt for prompt, _ in questions])
    return Encoded(first[:length], [(prompt[length:], answer) for prompt, answer in questions])


def collate(contexts: Iterable[Encoded], packing: str, pad: int) -> dict[str, torch.Tensor]:
    """Contexts as one batch.

    Returns:
        input_ids, position_ids, labels: int64, [rows, length]; labels hold at each position the token to be predicted *there*
        (already shifted), IGNORED elsewhere. attention_mask: bool, [rows, 1, length, length], True where a query (third axis)
        sees a key. `packing` "shared" makes a row of each context, "none" a row of each question.
    """
    rows = [row for context in contexts for row in _split(context, packing)]
    length = max(row.packed_length for row in rows)
    shape = (len(rows), length)
    ids, positions, labels = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
    # A padding position sees itself alone: a softmax over nothing would be NaN.
    mask = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for number, row in enumerate(rows):
        _lay_out(row, ids[number], positions[number], labels[number], mask[number])
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "attention_mask": mask.unsqueeze(1)}


def _split(context: Encoded, packing: str) -> list[Encoded]:
    if packing == "shared":
        return [context]
    return [Encoded(context.prefix, [question]) for question in context.questions]


def _lay_out(row: Encoded, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> None:
    """Write one row into its slices of the batch: [length] each, mask [length, length]."""
    shared = len(row.prefix)
    ids[:shared] = torch.tensor(row.prefix)
    positions[:shared] = torch.arange(shared)
    mask[:shared, :shared] = torch.ones(shared, shared, dtype=torch.bool).tril()
    start = shared
    for rest, answer in row.questions:
        own = len(rest) + len(answer)
        end = start + own
        ids[start:end] = torch.tensor(rest + answer)
        positions[start:end] = torch.arange(shared, shared + own)
        mask[start:end, :shared] = True
        mask[start:end, start:end] = torch.ones(own, own, dtype=torch.bool).tril()
        # the last token of the prompt predicts the first of the answer, and so on to the end-of-turn
        labels[start + len(rest) - 1 : end - 1] = torch.tensor(answer)
        start = end
