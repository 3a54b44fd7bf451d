"""The limits of the server, which PINTUNE_SERVE_* variables set."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.errors import Stop
from pipeline.models import load
from pipeline.serving.slots import token_bytes

_CACHE_SHARE = 0.5  # of the memory that is free once the model is loaded


@dataclass(frozen=True)
class Limits:
    """Each is named as its variable is without PINTUNE_SERVE_."""

    slots: int = 16  # generations at once
    queue: int = 64  # requests that wait for a slot; one more gets status 429
    context: int = 4096  # tokens of a prompt and its answer together
    tokens: int = 1024  # new tokens of an answer
    seconds: int = 300  # from the request to the end of its answer
    body: int = 2**20  # bytes of a request
    drain: int = 30  # seconds that requests in progress get after SIGTERM


def of(environment: Mapping[str, str] = os.environ) -> Limits:
    """The limits that the variables set.

    Raises:
        Stop: a value that is not a whole number of at least 1.
    """
    set_ = {}
    for each in dataclasses.fields(Limits):
        name = f"PINTUNE_SERVE_{each.name.upper()}"
        if value := environment.get(name, "").strip():
            if not value.isdecimal() or int(value) < 1:
                raise Stop("a whole number of at least 1", repr(value), name, f"unset {name}")
            set_[each.name] = int(value)
    return Limits(**set_)


def fitting(limits: Limits, model: Any) -> Limits:
    """The limits as the model and the free memory allow them.

    Raises:
        Stop: there is no memory for a single context.
    """
    context = min(limits.context, _context(model.config))
    each = context * token_bytes(model)
    room = int(load.memory() * _CACHE_SHARE) // each
    if not room:
        found = f"{load.memory() / 2**20:,.0f} MiB free, half of it for the cache"
        todo = "free some memory, or lower PINTUNE_SERVE_CONTEXT"
        raise Stop(f"{each / 2**20:,.0f} MiB for a context of {context} tokens", found, "memory", todo)
    return dataclasses.replace(limits, context=context, slots=min(limits.slots, room))


def _context(config: Any) -> int:
    """Tokens up to which the model rotates positions in one way.

    Past its original length a model with longrope rotates all positions of a batch in another way: a short text would
    have another answer beside a long one.
    """
    config = config.get_text_config()
    rope = getattr(config, "rope_parameters", None) or {}
    longest = int(config.max_position_embeddings)
    if rope.get("rope_type") in ("longrope", "dynamic"):
        return int(rope.get("original_max_position_embeddings") or longest)
    return longest
