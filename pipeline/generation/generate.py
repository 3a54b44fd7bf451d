"""Greedy decoding of the answers to rows; each context is read once for all its questions.

A context and its questions are one row, as in training: a question sees the context and itself and none of its
siblings. The same mathematics as one generation per question, with the context's keys and values computed and kept
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from pipeline.data.packing import IGNORED, Encoded, collate_rows, common_prefix
from pipeline.models.chat_template import ChatTemplate
from pipeline.models.load import sliding_window
from pipeline.progress import Progress


@dataclass(frozen=True)
class Group:
    """Questions that share a prefix: its token ids, and by place among the rows the rest of each prompt."""

    prefix: list[int]
    rests: list[tuple[int, list[int]]]


def answers(
    model: Any,
    template: ChatTemplate,
    rows: Sequence[dict[str, Any]],
    max_new_tokens: int,
    batch: int,
    name: str = "",
    max_length: int = 0,
    keep: Callable[[dict[int, str]], None] | None = None,
) -> list[str | None]:
    """The model's answer to each row, in order; None for a prompt longer than `max_length` tokens (0: no bound).

    Greedy, at most `max_new_tokens` tokens each, up to a stop token; about `batch` rows at once.

    Args:
        name: of the progress bar; "": none.
        keep: called after each batch with its texts, by place among the rows.
    """
    prompts = template.prompts(rows)
    fitting = [i for i in range(len(rows)) if not max_length or len(prompts[i]) <= max_length]
    texts: list[str | None] = [None] * len(rows)
    model.eval()
    alone = _windowed(model, max((len(prompts[i]) for i in fitting), default=0) + max_new_tokens)
    if alone:
        generate, batches = _generate_alone, [[Group([], [(i, prompts[i])])] for i in fitting]
    else:
        generate, batches = _generate, _batches(_grouped(rows, prompts, fitting, batch), batch)
    work = [_work(groups, max_new_tokens) for groups in batches]
    progress = Progress(name, len(fitting), work=sum(work)) if name and fitting else None
    done = worked = 0
    for groups, its_work in zip(batches, work, strict=True):
        written = generate(model, groups, max_new_tokens, template.ends)
        decode = template.tokenizer.decode
        decoded = {place: decode(ids, skip_special_tokens=True).strip() for place, ids in written.items()}
        for place, text in decoded.items():
            texts[place] = text
        if keep:
            keep(decoded)
        done, worked = done + len(decoded), worked + its_work
        if progress:
            progress.reach(done, work=worked)
    if progress:
        progress.close()
    return texts


def _windowed(model: Any, length: int) -> bool:
    """Whether a layer sees less than `length` tokens back: its cache drops keys by position, which sharing changes."""
    return (sees := sliding_window(model.config)) is not None and sees < length


def _grouped(rows: Sequence[dict[str, Any]], prompts: list[list[int]], fitting: list[int], most: int) -> list[Group]:
    """Rows of one context together, the longest contexts first: similar lengths need less padding."""
    by_context: dict[Any, list[int]] = {}
    for i in fitting:
        by_context.setdefault(rows[i].get("context", i), []).append(i)
    groups = []
    for places in by_context.values():
        for start in range(0, len(places), most):
            chosen = places[start : start + most]
            length = common_prefix([prompts[i] for i in chosen])
            groups.append(Group(prompts[chosen[0]][:length], [(i, prompts[i][length:]) for i in chosen]))
    return sorted(groups, key=lambda group: -len(group.prefix))


def _batches(groups: list[Group], most: int) -> list[list[Group]]:
    """Batches of as many groups as have at most `most` questions together, at least one."""
    batches: list[list[Group]] = []
    count = most
    for group in groups:
        if count + len(group.rests) > most:
            batches.append([])
            count = 0
        batches[-1].append(group)
        count += len(group.rests)
    return batches


def _work(groups: list[Group], max_new_tokens: int) -> int:
    """Tokens that a batch computes, if its answers are as long as they may be: the first batches read the most."""
    longest = max(len(group.prefix) + sum(len(rest) for _, rest in group.rests) for group in groups)
    return len(groups) * longest + sum(len(group.rests) for group in groups) * max_new_tokens


@torch.no_grad()  # type: ignore[untyped-decorator]  # not inference mode: training goes on with this model
def _generate(model: Any, groups: list[Group], max_new_tokens: int, ends: tuple[int, ...]) -> dict[int, list[int]]:
    """Token ids of each question's answer, by its place, without the stop token.

    A row is a context with all its questions, laid out and masked as in training; each step adds one token to every
    question.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    device, head, decoder = base.device, base.get_output_embeddings(), base.get_decoder()
    rows = [Encoded(group.prefix, [(rest, [IGNORED] * len(rest)) for _, rest in group.rests]) for group in groups]
    batch = {name: each.to(device) for name, each in collate_rows([[row] for row in rows], 0).items()}
    read = decoder(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        position_ids=batch["position_ids"],
        use_cache=True,
    )
    most = max(len(group.rests) for group in groups)
    # [rows, questions], -1: none
    places = [[place for place, _ in group.rests] + [-1] * (most - len(group.rests)) for group in groups]
    last = torch.tensor([_last_tokens(row, most) for row in rows], device=device)
    number = torch.arange(len(rows), device=device)[:, None]
    hidden, cache = read.last_hidden_state[number, last], read.past_key_values  # [rows, questions, width]
    sees = batch["attention_mask"][:, 0][number, last]  # [rows, questions, keys]
    position = batch["position_ids"][number, last] + 1
    going = torch.tensor(places, device=device) >= 0
    written: dict[int, list[int]] = {place: [] for group in groups for place, _ in group.rests}
    end_ids = torch.tensor(ends, device=device)
    for step in range(max_new_tokens):
        chosen = head(hidden).argmax(-1)
        going = going & ~torch.isin(chosen, end_ids)
        for of_row, tokens, goes in zip(places, chosen.tolist(), going.tolist(), strict=True):
            for place, token, wanted in zip(of_row, tokens, goes, strict=True):
                if wanted:
                    written[place].append(token)
        if step == max_new_tokens - 1 or not going.any():
            break
        rows_left = going.any(1)
        if not rows_left.all():  # a context whose questions are all answered leaves the batch
            left = rows_left.nonzero()[:, 0]
            places = [places[i] for i in left.tolist()]
            cache.batch_select_indices(left)
            sees, chosen, position, going = sees[left], chosen[left], position[left], going[left]
        if (most := int(going.sum(1).max())) < chosen.shape[1]:  # so do questions that are answered, column by column
            unanswered = going.int().argsort(dim=1, descending=True, stable=True)[:, :most]
            of = torch.arange(len(places), device=device)[:, None]
            sees, chosen, position, going = (each[of, unanswered] for each in (sees, chosen, position, going))
            pairs = zip(places, unanswered.tolist(), strict=True)
            places = [[of_row[i] for i in columns] for of_row, columns in pairs]
        itself = torch.eye(most, dtype=torch.bool, device=device).expand(len(places), most, most)
        sees = torch.cat([sees, itself], dim=2)
        read = decoder(
            input_ids=chosen, attention_mask=sees[:, None], position_ids=position, past_key_values=cache, use_cache=True
        )
        hidden, cache, position = read.last_hidden_state, read.past_key_values, position + 1
    return written


@torch.no_grad()  # type: ignore[untyped-decorator]
def _generate_alone(
    model: Any, groups: list[Group], max_new_tokens: int, ends: tuple[int, ...]
) -> dict[int, list[int]]:
    """The same for a single question, by Transformers' generate."""
    ((place, ids),) = groups[0].rests
    given = torch.tensor([ids], device=model.device)
    settings = {"max_new_tokens": max_new_tokens, "eos_token_id": list(ends), "pad_token_id": ends[0]}
    settings |= {"do_sample": False}
    written = model.generate(input_ids=given, attention_mask=torch.ones_like(given), **settings)[0, len(ids) :]
    return {place: [token for token in written.tolist() if token not in ends]}


def _last_tokens(row: Encoded, most: int) -> list[int]:
    """Position of each question's last token in its row, padded with zeros to `most`."""
    ends, at = [], len(row.prefix)
    for rest, _ in row.questions:
        at += len(rest)
        ends.append(at - 1)
    return ends + [0] * (most - len(ends))
