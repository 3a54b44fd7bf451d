"""Greedy answers of a model to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from pipeline.progress import Progress
from pipeline.training.batches import has_system_role, prompt_ids


def answers(
    model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]], max_new_tokens: int, batch: int, name: str = "", max_length: int = 0
) -> list[str | None]:
    """The text that the model answers to each row, in the order of `rows`; None for a prompt of over `max_length` tokens (0: no bound).

    Greedy, at most `max_new_tokens` tokens each, up to the tokenizer's end token; `batch` rows at once. Shows progress under `name`.
    """
    system_role = has_system_role(tokenizer)
    prompts = [prompt_ids(tokenizer, row, system_role) for row in rows]
    # alike lengths together: less padding
    order = sorted((i for i in range(len(rows)) if not max_length or len(prompts[i]) <= max_length), key=lambda i: -len(prompts[i]))
    texts: list[str | None] = [None] * len(rows)
    progress = Progress(name, len(order)) if name else None
    model.eval()
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        for place, ids in zip(chosen, _generate(model, tokenizer, [prompts[i] for i in chosen], max_new_tokens), strict=True):
            texts[place] = tokenizer.decode(ids, skip_special_tokens=True).strip()
        if progress:
            progress.reach(start + len(chosen))
    if progress:
        progress.close()
    return texts


def _generate(model: Any, tokenizer: Any, prompts: list[list[int]], max_new_tokens: int) -> list[list[int]]:
    longest = max(map(len, prompts))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    # on the left, so that every answer begins in the same column
    ids = torch.tensor([[pad] * (longest - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
    with torch.inference_mode():
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, temperature=None, top_p=None, top_k=None,
            pad_token_id=pad, eos_token_id=tokenizer.eos_token_id, repetition_penalty=1.0,
        )  # fmt: skip
    return [list(row) for row in out[:, longest:].tolist()]
