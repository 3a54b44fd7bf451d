"""Greedy answers of a model to rows, each context read once for all its questions.

The keys and values of what a context's questions begin with are computed once and given to each; then the questions' own ends are
read and the answers written, all questions of a batch together. The same mathematics as one generation per question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.chat import Chat
from pipeline.progress import Progress
from pipeline.training.batches import shared


@dataclass(frozen=True)
class Group:
    """Questions that share a prefix, by their place among the rows: the prefix's token ids, and the rest of each prompt."""

    prefix: list[int]
    rests: list[tuple[int, list[int]]]


def answers(
    model: Any,
    talker: Chat,
    rows: Sequence[dict[str, Any]],
    max_new_tokens: int,
    batch: int,
    name: str = "",
    max_length: int = 0,
    keep: Callable[[dict[int, str]], None] | None = None,
) -> list[str | None]:
    """The text that the model answers to each row, in the order of `rows`; None for a prompt of over `max_length` tokens (0: no bound).

    Greedy, at most `max_new_tokens` tokens each, up to one of the ids that end an answer; about `batch` rows at once.

    Args:
        name: what the progress is shown under; "": not at all.
        keep: called after each batch with its texts, by place among the rows.
    """
    prompts = talker.prompts(rows)
    fitting = [i for i in range(len(rows)) if not max_length or len(prompts[i]) <= max_length]
    texts: list[str | None] = [None] * len(rows)
    progress = Progress(name, len(fitting)) if name and fitting else None
    done = 0
    model.eval()
    if _windowed(model, max((len(prompts[i]) for i in fitting), default=0) + max_new_tokens):
        batches = [[Group([], [(i, prompts[i])])] for i in fitting]
    else:
        batches = _batches(_grouped(rows, prompts, fitting, batch), batch)
    for groups in batches:
        written = _generate(model, groups, max_new_tokens, talker.ends)
        decoded = {place: talker.tokenizer.decode(ids, skip_special_tokens=True).strip() for place, ids in written.items()}
        for place, text in decoded.items():
            texts[place] = text
        if keep:
            keep(decoded)
        done += len(decoded)
        if progress:
            progress.reach(done)
    if progress:
        progress.close()
    return texts


def _windowed(model: Any, length: int) -> bool:
    """Whether a layer sees less than `length` tokens back: its cache drops keys by their place in it, which padding would shift."""
    config = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return False
    return bool((window := getattr(config, "sliding_window", None)) and window < length)


def _grouped(rows: Sequence[dict[str, Any]], prompts: list[list[int]], fitting: list[int], most: int) -> list[Group]:
    """Rows of one context together, the longest contexts first: alike lengths need less padding."""
    by_context: dict[Any, list[int]] = {}
    for i in fitting:
        by_context.setdefault(rows[i].get("context", i), []).append(i)
    groups = []
    for places in by_context.values():
        for start in range(0, len(places), most):
            chosen = places[start : start + most]
            length = shared([prompts[i] for i in chosen])
            groups.append(Group(prompts[chosen[0]][:length], [(i, prompts[i][length:]) for i in chosen]))
    return sorted(groups, key=lambda group: -len(group.prefix))


def _batches(groups: list[Group], most: int) -> list[list[Group]]:
    """As many groups at once as hold at most `most` questions, at least one."""
    batches: list[list[Group]] = []
    count = most
    for group in groups:
        if count + len(group.rests) > most:
            batches.append([])
            count = 0
        batches[-1].append(group)
        count += len(group.rests)
    return batches


def _padded(sequences: Sequence[list[int]], device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Sequences as [rows, length], padded on the right, where no token sees nothing at all; and which are none of the padding."""
    longest = max(map(len, sequences))
    ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids in sequences], dtype=torch.long, device=device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sequences], dtype=torch.long, device=device)
    return ids, mask


@torch.inference_mode()  # type: ignore[untyped-decorator]
def _generate(model: Any, groups: list[Group], max_new_tokens: int, ends: tuple[int, ...]) -> dict[int, list[int]]:
    """Token ids of each question's answer, by its place, without the id that ended it."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    device, head = base.device, base.get_output_embeddings()
    places = [place for group in groups for place, _ in group.rests]
    cache, seen = _read_prefixes(base, groups)
    ids, mask = _padded([rest for group in groups for _, rest in group.rests], device)
    before = torch.tensor([len(group.prefix) for group in groups for _ in group.rests], device=device)
    positions = before[:, None] + torch.arange(ids.shape[1], device=device)[None]
    seen = mask if seen is None else torch.cat([seen, mask], dim=1)
    read = base.get_decoder()(input_ids=ids, attention_mask=seen, position_ids=positions, past_key_values=cache, use_cache=True)
    last = mask.sum(1) - 1
    hidden, cache = read.last_hidden_state[torch.arange(len(places), device=device), last], read.past_key_values
    next_position = before + last + 1
    written: dict[int, list[int]] = {place: [] for place in places}
    end_ids = torch.tensor(ends, device=device)
    for step in range(max_new_tokens):
        chosen = head(hidden).argmax(-1)
        going = ~torch.isin(chosen, end_ids)
        for place, token, goes in zip(places, chosen.tolist(), going.tolist(), strict=True):
            if goes:
                written[place].append(token)
        if step == max_new_tokens - 1 or not going.any():
            break
        if not going.all():  # those that have ended are no more computed
            left = going.nonzero()[:, 0]
            places = [places[i] for i in left.tolist()]
            cache.batch_select_indices(left)
            seen, chosen, next_position = seen[left], chosen[left], next_position[left]
        seen = torch.cat([seen, seen.new_ones(len(places), 1)], dim=1)
        read = base.get_decoder()(
            input_ids=chosen[:, None], attention_mask=seen, position_ids=next_position[:, None], past_key_values=cache, use_cache=True
        )
        hidden, cache = read.last_hidden_state[:, -1], read.past_key_values
        next_position = next_position + 1
    return written


def _read_prefixes(base: Any, groups: list[Group]) -> tuple[Any, torch.Tensor | None]:
    """Keys and values of each group's prefix, once for each of its questions, and which of them are none of the padding."""
    if not any(group.prefix for group in groups):
        return None, None
    ids, mask = _padded([group.prefix or [0] for group in groups], base.device)
    if not all(group.prefix for group in groups):
        mask[[i for i, group in enumerate(groups) if not group.prefix]] = 0
    positions = torch.arange(ids.shape[1], device=base.device)[None].expand_as(ids)
    cache = base.get_decoder()(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True).past_key_values
    each = torch.tensor([i for i, group in enumerate(groups) for _ in group.rests], device=base.device)
    cache.batch_select_indices(each)
    return cache, mask[each]
