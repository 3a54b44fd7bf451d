"""Tensors of a Transformers folder's safetensors files, read and written in parts: a model is never held whole.

A file is eight bytes with the length of its header, the header in JSON, and the tensors' bytes without gaps
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from pipeline.errors import Stop, one_line
from pipeline.files import write_json
from pipeline.models import record

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PART = 2**20  # elements read at once: 4 MiB in float32, which stays in a processor's cache
ROWS = 16  # a part has a multiple of these: a product of matrices may round what is left over in another way
SHARD = 5 * 10**9  # bytes of one file: the hub asks for no more than 5 GB

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_NAMES = {name: dtype for dtype, name in _DTYPES.items()}


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file."""

    file: Path
    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def parts(self) -> Iterator[tuple[int, int]]:
        """The first row of each part, and the row after its last one."""
        rows = self.shape[0] if self.shape else 1
        step = max(1, PART // max(1, prod(self.shape[1:])) // ROWS) * ROWS
        return ((start, min(start + step, rows)) for start in range(0, rows, step))

    def read(self, start: int = 0, stop: int | None = None) -> torch.Tensor:
        """Some rows, by default all. The file is opened anew: its pages would stay in memory while it is open."""
        with safe_open(self.file, "pt") as opened:
            return opened.get_slice(self.name)[start:stop] if self.shape else opened.get_tensor(self.name)


def tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder by name, from model.safetensors or from the shards that its index names.

    Raises:
        Stop: neither, a shard that is missing, truncated or lacks a tensor that the index names.
    """
    if (folder / SINGLE).exists():
        return of_file(folder / SINGLE)
    if not (folder / INDEX).exists():
        raise Stop("model weights in safetensors", f"neither {SINGLE} nor {INDEX}", str(folder), record.remedy(folder))
    try:
        named = dict(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        wanted = "an index with a weight_map"
        raise Stop(wanted, one_line(error), str(folder / INDEX), record.remedy(folder)) from None
    found: dict[str, Tensor] = {}
    for file in sorted(set(named.values())):
        if not (folder / file).is_file():
            raise Stop(f"the shard that {INDEX} names", "no such file", str(folder / file), record.remedy(folder))
        found |= of_file(folder / file)
    for name, file in named.items():
        if name not in found:
            wanted = f"the tensor {name}, which {INDEX} has in this shard"
            raise Stop(wanted, "no such tensor", str(folder / file), record.remedy(folder))
    return found


def of_file(file: Path) -> dict[str, Tensor]:
    """The tensors of one file by name.

    Raises:
        Stop: the file is truncated or no safetensors, or has tensors of an unknown type.
    """
    try:
        with safe_open(file, "pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - no dict
            kinds = {name: (tuple(each.get_shape()), str(each.get_dtype())) for name, each in slices.items()}
    except SafetensorError as error:
        wanted = "weights that can be read"
        raise Stop(wanted, one_line(error), str(file), record.remedy(file.parent)) from None
    for name, (_, kind) in kinds.items():
        if kind not in _NAMES:
            wanted = f"tensors in {', '.join(_NAMES)}"
            raise Stop(wanted, f"{name} in {kind}", str(file), "take a model that is not quantized")
    return {name: Tensor(file, name, shape, _NAMES[kind]) for name, (shape, kind) in kinds.items()}


def size(shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> int:
    """Bytes of tensors, given their shapes and types."""
    return sum(prod(shape) * dtype.itemsize for shape, dtype in shapes.values())


def write(
    folder: Path,
    shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]],
    values: Callable[[str], Iterator[torch.Tensor]],
    shard: int = SHARD,
) -> list[Path]:
    """Write tensors into files of at most `shard` bytes, with an index if there are several; returns the files.

    Args:
        shapes: the shape and the type of each tensor.
        values: gives a tensor's rows in order, in parts of any size.
    """
    groups = _shards(shapes, shard)
    names = [f"model-{i:05}-of-{len(groups):05}.safetensors" for i in range(1, len(groups) + 1)]
    files = [folder / name for name in (names if len(groups) > 1 else [SINGLE])]
    for file, group in zip(files, groups, strict=True):
        with file.open("wb") as opened:
            opened.write(_header({name: shapes[name] for name in group}))
            for name in group:
                for part in values(name):
                    opened.write(memoryview(part.contiguous().reshape(-1).view(torch.uint8).numpy()))
    if len(groups) > 1:
        placed = {name: file.name for file, group in zip(files, groups, strict=True) for name in group}
        total = size(shapes)
        write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(placed.items()))})
    return files


def _shards(shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]], most: int) -> list[list[str]]:
    """Names by file; in each file wider types first, so that every tensor is aligned, then by name."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        own = size({name: shape})
        if groups[-1] and filled + own > most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += own
    return [sorted(group, key=lambda name: (-shapes[name][1].itemsize, name)) for group in groups]


def _header(shapes: Mapping[str, tuple[tuple[int, ...], torch.dtype]]) -> bytes:
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}  # Transformers asks for it
    at = 0
    for name, (shape, dtype) in shapes.items():
        end = at + size({name: (shape, dtype)})
        described[name] = {"dtype": _DTYPES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(described, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
