"""Rows of one context as token ids, and batches of contexts as tensors.

A context is read once for all its questions: [prefix][question 1 + answer 1][question 2 + answer 2] …, where every question sees
the prefix and itself and none of its siblings, and its positions go on from the prefix. That is the same mathematics as one
sequence per question (`packing = "none"`, the reference), with the prefix computed once instead of six times. Several contexts lie
in one row, where there is room for them, and see nothing of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.errors import Stop
from pipeline.models.chat_template import Chat

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

    @property
    def separate_length(self) -> int:
        """Tokens of all its questions, each with the context."""
        return self.packed_length + len(self.prefix) * (len(self.questions) - 1)


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
        raise Stop(
            "questions that fit training.max_length",
            f"all {left_out} are longer than {max_length} tokens",
            "the recipe, [training] max_length",
            "raise training.max_length",
        )
    return [_share(questions) for questions in grouped.values()], left_out


def shared(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; each keeps at least one of its own."""
    # By ids, not by text: a tokenizer may join the end of the context and the start of the question.
    shortest, first = min(map(len, prompts)) - 1, prompts[0]
    return next((i for i in range(shortest) if any(prompt[i] != first[i] for prompt in prompts)), shortest)


def _share(questions: list[tuple[list[int], list[int]]]) -> Encoded:
    first, length = questions[0][0], shared([prompt for prompt, _ in questions])
    return Encoded(first[:length], [(prompt[length:], answer) for prompt, answer in questions])


def collate(contexts: Sequence[Encoded], packing: str, pad: int, row_tokens: int = 0) -> dict[str, torch.Tensor]:
    """Contexts as one batch.

    Args:
        packing: "shared" reads a context once for all its questions, "none" makes a row of each question.
        row_tokens: with "shared", tokens up to which several contexts are laid into one row; 0: those of the longest context.

    Returns:
        input_ids, position_ids, labels: int64, [rows, length]; labels hold at each position the token to be predicted *there*
        (already shifted), IGNORED elsewhere. attention_mask: bool, [rows, 1, length, length], True where a query (third axis)
        sees a key.
    """
    if packing == "shared":
        return lay_out(pack(contexts, row_tokens), pad)
    return lay_out(
        [[Encoded(context.prefix, [question])] for context in contexts for question in context.questions], pad
    )


def lay_out(rows: Sequence[Sequence[Encoded]], pad: int) -> dict[str, torch.Tensor]:
    """Rows of contexts as the tensors that `collate` returns; the contexts of a row see nothing of each other."""
    length = max(sum(each.packed_length for each in row) for row in rows)
    shape = (len(rows), length)
    ids, positions, labels = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
    # A padding position sees itself alone: a softmax over nothing would be NaN.
    mask = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for number, row in enumerate(rows):
        start = 0
        for each in row:
            here = slice(start, start + each.packed_length)
            _write(each, ids[number, here], positions[number, here], labels[number, here], mask[number, here, here])
            start = here.stop
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "attention_mask": mask.unsqueeze(1)}


def passes(batch: dict[str, torch.Tensor], row_tokens: int) -> list[dict[str, torch.Tensor]]:
    """A batch in the parts that go through the model at once: rows with a budget one by one, so that memory is that of one row, else all."""
    if not row_tokens:
        return [batch]
    return [{name: each[number : number + 1] for name, each in batch.items()} for number in range(len(batch["labels"]))]


def pack(contexts: Sequence[Encoded], row_tokens: int = 0) -> list[list[Encoded]]:
    """Contexts as rows of at most `row_tokens` tokens (0: those of the longest), in as few rows as the greedy rule finds, evenly filled.

    The longest goes first, each into the row that is emptiest (Graham 1969, doi:10.1137/0117039), and there is one row more while
    one of them is too full. A context that is longer than a row is read once for each part of its questions that fits one.

    Raises:
        Stop: one question with its context is longer than a row.
    """
    row_tokens = row_tokens or max(context.packed_length for context in contexts)
    parts = [part for context in contexts for part in _split(context, row_tokens)]
    longest_first = sorted(range(len(parts)), key=lambda number: -parts[number].packed_length)
    count = -(-sum(part.packed_length for part in parts) // row_tokens)
    while True:
        filled, rows = [0] * count, [list[int]() for _ in range(count)]
        for number in longest_first:
            emptiest = filled.index(min(filled))
            filled[emptiest] += parts[number].packed_length
            rows[emptiest].append(number)
        if max(filled) <= row_tokens:
            return [[parts[number] for number in sorted(row)] for row in sorted(rows, key=min)]
        count += 1


def _split(context: Encoded, row_tokens: int) -> list[Encoded]:
    """The context once, or once for each run of its questions that fits a row."""
    parts: list[Encoded] = []
    for question in context.questions:
        own, more = (
            Encoded(context.prefix, [question]),
            Encoded(context.prefix, [*(parts[-1].questions if parts else ()), question]),
        )
        if own.packed_length > row_tokens:
            raise Stop(
                f"questions that fit a row of {row_tokens} tokens",
                f"one of {own.packed_length} with its context",
                "the recipe, [training] row_tokens",
                "--set training.row_tokens=0",
            )
        if parts and more.packed_length <= row_tokens:
            parts[-1] = more
        else:
            parts.append(own)
    return parts


def _write(
    context: Encoded, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> None:
    """Write one context into its slices of a row: [length] each, mask [length, length]."""
    shared = len(context.prefix)
    ids[:shared] = torch.tensor(context.prefix)
    positions[:shared] = torch.arange(shared)
    mask[:shared, :shared] = torch.ones(shared, shared, dtype=torch.bool).tril()
    start = shared
    for rest, answer in context.questions:
        own = len(rest) + len(answer)
        end = start + own
        ids[start:end] = torch.tensor(rest + answer)
        positions[start:end] = torch.arange(shared, shared + own)
        mask[start:end, :shared] = True
        mask[start:end, start:end] = torch.ones(own, own, dtype=torch.bool).tril()
        # the last token of the prompt predicts the first of the answer, and so on to the end-of-turn
        labels[start + len(rest) - 1 : end - 1] = torch.tensor(answer)
        start = end
