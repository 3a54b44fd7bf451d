"""Questions of the validation split that training answers as `evaluate` does, to score the adapter so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline import distributed
from pipeline.data import packing
from pipeline.errors import Stop
from pipeline.generation import generate
from pipeline.generation.judge import judge
from pipeline.models.chat_template import ChatTemplate
from pipeline.training import fsdp, loss


@dataclass(frozen=True)
class Questions:
    """Rows to answer, and how."""

    rows: list[dict[str, Any]]
    template: ChatTemplate
    language: str  # of the recipe's data
    max_new_tokens: int
    batch: int  # questions answered at once

    def exact_match(self, model: Any) -> float:
        """The mean EM of greedy answers, 0 to 1; the same number on every rank. Draws no random number.

        Ranks answer a share of the contexts each. Ranks of a sharded model, which meet in every layer, answer them all.
        """
        rows = self.rows if fsdp.is_sharded(model) else self._share(distributed.rank(), distributed.world_size())
        with fsdp.whole_outside_layers(model), loss.without_answer_loss(model.get_base_model()):
            texts = generate.answers(model, self.template, rows, self.max_new_tokens, self.batch)
        model.train()
        pairs = zip(rows, texts, strict=True)
        scores = [judge(row, text, self.language)[1].em for row, text in pairs if text is not None]
        found = distributed.all_gather((sum(scores), len(scores)))
        shares = found[:1] if fsdp.is_sharded(model) else found
        return float(sum(total for total, _ in shares) / sum(count for _, count in shares))

    def _share(self, rank: int, world_size: int) -> list[dict[str, Any]]:
        contexts = list(dict.fromkeys(row["context"] for row in self.rows))
        own = set(contexts[rank::world_size])
        return [row for row in self.rows if row["context"] in own]


def of_last_contexts(
    rows: Sequence[dict[str, Any]], template: ChatTemplate, max_length: int, contexts: int
) -> list[dict[str, Any]]:
    """The rows that make the last contexts of what `packing.encode` makes of all rows, in order."""
    by_context: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_context.setdefault(row["context"], []).append(row)
    found: list[list[dict[str, Any]]] = []
    for own in reversed(by_context.values()):
        if len(found) == contexts:
            break
        if fitting := [row for row in own if _fits(row, template, max_length)]:
            found.append(fitting)
    return [row for own in reversed(found) for row in own]


def _fits(row: dict[str, Any], template: ChatTemplate, max_length: int) -> bool:
    try:
        packing.encode(template, [row], max_length)
    except Stop:
        return False
    return True
