"""Merge a LoRA adapter into its base model, a part of a tensor at a time: the model is never held in memory.

Each weight is read from the base's shards, updated in float32, and written in the chosen type. The result is that of
PEFT's merge_and_unload on the float32 model, cast to that type.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import Stop
from pipeline.export import checkpoint
from pipeline.export.adapter import Adapter
from pipeline.export.checkpoint import Tensor
from pipeline.files import write_json
from pipeline.models import record
from pipeline.progress import Progress

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.tiktoken",
    "chat_template*",
)
"""A base's files of tokenizer and chat template, which are copied as they are."""
_TERMS = ("LICENSE*", "NOTICE*")
_MIB = 2**20
_LONG = 2048 * _MIB  # bytes to write from which there is a progress bar


@dataclass(frozen=True)
class Plan:
    """Where each weight of the merged model comes from, and its shape and type."""

    sources: dict[str, Tensor]
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]]

    @property
    def size(self) -> int:
        """Bytes of the merged weights."""
        return checkpoint.size(self.shapes)


def plan(base: Path, adapter: Adapter, dtype: str) -> Plan:
    """What a merge writes.

    Raises:
        Stop: a shard of the base is missing or truncated, or it lacks a weight or has one of another shape.
    """
    stored = checkpoint.tensors(base)
    sources: dict[str, Tensor] = {}
    for name, shape in adapter.shapes.items():
        alias = adapter.tied.get(name)
        if alias and not adapter.untied:
            continue
        own = stored.get(name) if not alias or name in stored else stored.get(alias)
        if own is None or own.shape != shape:
            found = f"no {name}" if own is None else f"{name} of shape {own.shape}, not {shape}"
            raise Stop("every weight that config.json asks for", found, str(base), record.remedy(base))
        sources[name] = adapter.replaced.get(name, own)
    kinds = {name: DTYPES[dtype] if each.dtype.is_floating_point else each.dtype for name, each in sources.items()}
    return Plan(sources, {name: (each.shape, kinds[name]) for name, each in sources.items()})


def merge(planned: Plan, adapter: Adapter, target: Path, shard: int = checkpoint.SHARD) -> list[Path]:
    """Write the merged weights into a folder; returns the files.

    Raises:
        Stop: the base has NaN, or a merged weight does not fit the type.
    """
    progress = Progress("merge, MiB", planned.size // _MIB) if planned.size >= _LONG else None
    done, threads = 0, torch.get_num_threads()

    def values(name: str) -> Iterator[torch.Tensor]:
        nonlocal done
        for part in _merged(planned, adapter, name):
            yield part
            before, done = done // _MIB, done + part.nbytes
            if progress and done // _MIB > before:
                progress.reach(done // _MIB)

    torch.set_num_threads(1)  # the parts are small: threads would wait for each other longer than they work
    try:
        return checkpoint.write(target, planned.shapes, values, shard)
    finally:
        torch.set_num_threads(threads)
        if progress:
            progress.close()


def _merged(planned: Plan, adapter: Adapter, name: str) -> Iterator[torch.Tensor]:
    """The merged rows of one weight, in parts."""
    source, (_, dtype), update = planned.sources[name], planned.shapes[name], adapter.updates.get(name)
    add = update.loaded() if update else None
    for start, stop in source.parts():
        rows = source.read(start, stop)
        if add:
            rows = add(rows.to(torch.float32, copy=True), start, stop)
        merged = rows.to(dtype)
        if dtype.is_floating_point and not _finite(rows, dtype):
            raise _not_finite(source, start, stop, name, dtype)
        yield merged


def _finite(rows: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether all numbers are finite in another type: rounding keeps their order, so the outermost tell."""
    return not rows.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(rows)).to(dtype)).all())


def _not_finite(source: Tensor, start: int, stop: int, name: str, dtype: torch.dtype) -> Stop:
    if not torch.isfinite(source.read(start, stop)).all():
        wanted, todo = "a base model of finite numbers", record.remedy(source.file.parent)
        return Stop(wanted, f"NaN or infinity in {source.name}", str(source.file), todo)
    kind = str(dtype).removeprefix("torch.")
    todo = "--set export.dtype=bfloat16, which has the range of float32"
    return Stop(f"merged weights in the range of {kind}", f"larger ones in {name}", "export.dtype", todo)


def copy_files(base: Path, target: Path) -> None:
    """Copy a base's tokenizer, chat template and license byte for byte."""
    for file in named(base, *TOKENIZER, *_TERMS):
        shutil.copyfile(file, target / file.name)


def named(folder: Path, *patterns: str) -> list[Path]:
    """The files of a folder whose names match one of the patterns, by name."""
    return sorted(file for file in folder.iterdir() if file.is_file() and any(fnmatch(file.name, p) for p in patterns))


def write_configs(base: Path, target: Path, dtype: str, untied: bool, ends: tuple[int, ...]) -> None:
    """Write the base's config and generation config with what the merge changes: the type, ties and stop tokens."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    config = {key: value for key, value in config.items() if key not in ("torch_dtype", "auto_map", "_name_or_path")}
    config["dtype"] = dtype
    if untied:
        config["tie_word_embeddings"] = False
    write_json(target / "config.json", config)
    write_json(target / "generation_config.json", _stop_where_trained(base, config, ends))


def _stop_where_trained(base: Path, config: dict[str, Any], ends: tuple[int, ...]) -> dict[str, Any]:
    """A generation config with which a stock `generate` stops at every token that ends an answer: the end of turn, and
    the model's own."""
    file = base / "generation_config.json"
    if file.exists():
        values = dict(json.loads(file.read_text(encoding="utf-8")))
    else:
        keys = ("bos_token_id", "eos_token_id", "pad_token_id")
        values = {key: config[key] for key in keys if config.get(key) is not None}
    own = values.get("eos_token_id")
    if set(own if isinstance(own, list) else [own]) != set(ends):
        values["eos_token_id"] = list(ends)
    return values
