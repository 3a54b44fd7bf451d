"""Rows of a context as token ids, and batches of contexts as tensors.

A context is read once for all its questions: [prefix][question 1 + answer 1][question 2 + answer 2] …, where every
question attends to the prefix and itself and to none of its siblings, and its positions continue from the prefix. That
is the same mathematics as one sequence per question (`packing = "none"`, the reference), with the prefix computed once
instead of six times. A row holds several contexts if there is room; they do not attend to each other.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.errors import Stop
from pipeline.models.chat_template import ChatTemplate

IGNORED = -100  # the label that torch's cross entropy leaves out

Batch = dict[str, torch.Tensor]


# token ids of a question after the prefix, with its answer; and as many labels: IGNORED, or the id that is trained.
# A conversation's labels are those of all its answers.
Question = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Encoded:
    """One context: token ids of the prefix that its questions share, and its questions."""

    prefix: list[int]
    questions: list[Question]

    @property
    def packed_length(self) -> int:
        """Tokens of the one sequence that `shared` packing makes of it."""
        return len(self.prefix) + sum(len(ids) for ids, _ in self.questions)

    @property
    def answers(self) -> int:
        """How many answers are trained: one a question, or each of a conversation's turns."""
        return sum(
            label != IGNORED == before for _, labels in self.questions for before, label in itertools.pairwise(labels)
        )

    @property
    def separate_length(self) -> int:
        """Tokens of all its questions, each with the context."""
        return self.packed_length + len(self.prefix) * (len(self.questions) - 1)


def question(rest: list[int], answer: list[int], untrained: int = 0) -> Question:
    """A question by the rest of its prompt and its answer, whose first `untrained` tokens have no labels."""
    return rest + answer, [IGNORED] * (len(rest) + untrained) + answer[untrained:]


def encode(template: ChatTemplate, rows: Sequence[dict[str, Any]], max_length: int) -> tuple[list[Encoded], int]:
    """Rows, in file order, as one `Encoded` per context, and how many questions are longer than `max_length` tokens.

    The length of a question is prompt + answer + end-of-turn token, which is always among the answer's labels. A row
    whose prompt goes on where the row before it ends is a later turn of the same conversation, and is appended to it.

    Raises:
        Stop: no question fits.
    """
    grouped: dict[str, list[Question]] = {}
    left_out = 0
    encoded = zip(rows, template.prompts(rows), template.answers(rows), template.untrained(rows), strict=True)
    for row, prompt, answer, untrained in encoded:
        if len(prompt) + len(answer) > max_length:
            left_out += 1
            continue
        questions = grouped.setdefault(row["context"], [])
        ids, labels = questions[-1] if questions else ([], [])
        if ids and len(prompt) > len(ids) and prompt[: len(ids)] == ids:
            more, of_more = question(prompt[len(ids) :], answer, untrained)
            questions[-1] = (ids + more, labels + of_more)
        else:
            questions.append(question(prompt, answer, untrained))
    if not grouped:
        found = f"all {left_out} are longer than {max_length} tokens"
        where = "the recipe, [training] max_length"
        raise Stop("questions that fit training.max_length", found, where, "raise training.max_length")
    return [_factor_prefix(questions) for questions in grouped.values()], left_out


def common_prefix(prompts: Sequence[Sequence[int]]) -> int:
    """Tokens that all prompts begin with; each prompt keeps at least one of its own."""
    # by ids, not by text: a tokenizer may merge the end of the context with the start of the question
    shortest, first = min(map(len, prompts)) - 1, prompts[0]
    return next((i for i in range(shortest) if any(prompt[i] != first[i] for prompt in prompts)), shortest)


def _factor_prefix(questions: list[Question]) -> Encoded:
    firsts = [next(i for i, label in enumerate(labels) if label != IGNORED) for _, labels in questions]
    prompts = [ids[:first] for (ids, _), first in zip(questions, firsts, strict=True)]
    length = common_prefix(prompts)
    return Encoded(prompts[0][:length], [(ids[length:], labels[length:]) for ids, labels in questions])


def collate(contexts: Sequence[Encoded], packing: str, pad: int, row_tokens: int = 0) -> Batch:
    """Contexts as one batch.

    Args:
        packing: "shared" reads a context once for all its questions, "none" makes a row of each question.
        row_tokens: with "shared", the budget of a row in tokens; 0: the length of the longest context.

    Returns:
        input_ids, position_ids, labels: int64, [rows, length]. labels hold at each position the token to be predicted
            *there* (already shifted), IGNORED elsewhere. attention_mask: bool, [rows, 1, length, length], True where a
            query (third axis) attends to a key.
    """
    if packing == "shared":
        return collate_rows(pack(contexts, row_tokens), pad)
    rows = [[Encoded(context.prefix, [question])] for context in contexts for question in context.questions]
    return collate_rows(rows, pad)


def collate_rows(rows: Sequence[Sequence[Encoded]], pad: int) -> Batch:
    """Rows of contexts as the tensors that `collate` returns; the contexts of a row do not attend to each other."""
    length = max(sum(each.packed_length for each in row) for row in rows)
    shape = (len(rows), length)
    ids, positions = torch.full(shape, pad), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, IGNORED)
    # padding attends to itself: a softmax over nothing is NaN
    mask = torch.eye(length, dtype=torch.bool).repeat(len(rows), 1, 1)
    for number, row in enumerate(rows):
        start = 0
        for each in row:
            span = slice(start, start + each.packed_length)
            _fill(each, ids[number, span], positions[number, span], labels[number, span], mask[number, span, span])
            start = span.stop
    return {"input_ids": ids, "position_ids": positions, "labels": labels, "attention_mask": mask.unsqueeze(1)}


def micro_batches(batch: Batch, row_tokens: int) -> list[Batch]:
    """The parts of a batch that go through the model at once: each row alone if rows have a budget, else all rows."""
    if not row_tokens:
        return [batch]
    return [{name: each[row : row + 1] for name, each in batch.items()} for row in range(len(batch["labels"]))]


def pack(contexts: Sequence[Encoded], row_tokens: int = 0) -> list[list[Encoded]]:
    """Contexts in rows of at most `row_tokens` tokens (0: the length of the longest), few and evenly filled.

    Greedy: the longest context goes first, each into the emptiest row (Graham 1969, doi:10.1137/0117039); one row is
    added while any is too full. A context longer than a row is read once for each part of its questions that fits one.

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
    """The context, or one part for each run of its questions that fits a row."""
    parts: list[Encoded] = []
    for question in context.questions:
        alone = Encoded(context.prefix, [question])
        if alone.packed_length > row_tokens:
            found = f"one of {alone.packed_length} with its context"
            where = "the recipe, [training] row_tokens"
            wanted = f"questions that fit a row of {row_tokens} tokens"
            raise Stop(wanted, found, where, "--set training.row_tokens=0")
        longer = Encoded(context.prefix, [*parts[-1].questions, question]) if parts else None
        if longer and longer.packed_length <= row_tokens:
            parts[-1] = longer
        else:
            parts.append(alone)
    return parts


def _fill(
    context: Encoded, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> None:
    """Write one context into its slices of a row: [length] each, mask [length, length]."""
    shared = len(context.prefix)
    ids[:shared] = torch.tensor(context.prefix)
    positions[:shared] = torch.arange(shared)
    mask[:shared, :shared] = torch.ones(shared, shared, dtype=torch.bool).tril()
    start = shared
    for tokens, trained in context.questions:
        own = len(tokens)
        end = start + own
        ids[start:end] = torch.tensor(tokens)
        positions[start:end] = torch.arange(shared, shared + own)
        mask[start:end, :shared] = True
        mask[start:end, start:end] = torch.ones(own, own, dtype=torch.bool).tril()
        # the last token of the prompt predicts the first of the answer, and so on to the end-of-turn token
        labels[start : end - 1] = torch.tensor(trained[1:])
        start = end
