"""A model sharded over the ranks that train it (FSDP2, Zhao et al. 2023, arXiv:2304.11277).

Each decoder layer's weights are gathered for its own pass and freed after it, so that the model need not fit one GPU.
Gradients and the optimizer's moments are sharded like the weights they belong to. Files hold whole tensors, as those of
a single process do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pipeline import distributed
from pipeline.errors import Stop
from pipeline.files import atomic_folder
from pipeline.models import load


def shard(adapted: Any, base: Any, device: str) -> None:
    """Shard a model with an adapter, in place, over all ranks; weights move from the CPU to the device layer by layer.

    Args:
        adapted: the PEFT model around `base`.
        device: "cuda" or "cpu".

    Raises:
        Stop: its decoder's layers are not found.
    """
    layers = getattr(base.get_decoder(), "layers", None)
    if layers is None:
        wanted = "a decoder with its layers in .layers, for training.fsdp"
        raise Stop(wanted, type(base).__name__, base.config.name_or_path, "--set training.fsdp=false")
    mesh = init_device_mesh(device, (distributed.world_size(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(adapted, mesh=mesh)


def is_sharded(adapted: Any) -> bool:
    """Whether `shard` was called on a model."""
    return isinstance(adapted, FSDPModule)


@contextlib.contextmanager
def whole_outside_layers(adapted: Any) -> Iterator[None]:
    """A model, sharded or not, whose embeddings and head can be called by themselves during the block."""
    if not is_sharded(adapted):
        yield
        return
    adapted.unshard()
    try:
        yield
    finally:
        adapted.reshard()


def save_adapter(adapted: Any, folder: Path) -> None:
    """Write a model's adapter on rank 0; all ranks must call it, to hand over their shards."""
    state = {name: gather(weight.detach()) for name, weight in adapted.named_parameters() if weight.requires_grad}
    if distributed.rank() == 0:
        adapted.save_pretrained(folder, state_dict=state, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # an unfilled model card


def save_adapter_atomically(adapted: Any, folder: Path) -> None:
    """As `save_adapter`, by a staging folder and a rename."""
    with contextlib.ExitStack() as stack:
        staging = stack.enter_context(atomic_folder(folder)) if distributed.rank() == 0 else folder
        save_adapter(adapted, staging)


def load_adapter(adapted: Any, folder: Path) -> None:
    """Fill a model's adapter with the one saved in a folder.

    Raises:
        Stop: it has other tensors.
    """
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    weights = get_peft_model_state_dict(adapted, trained)  # the same tensors, by their names in a file
    saved = load_file(folder / load.ADAPTER)
    wanted, found = ({name: tuple(each.shape) for name, each in held.items()} for held in (weights, saved))
    load.need_same_tensors(adapted.get_base_model(), wanted, found, folder)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(distribute(saved[name].to(weight.device), weight))


def gather(value: Any) -> Any:
    """A sharded tensor as a whole one; of a dict or list, every tensor in it. All ranks must call it."""
    if isinstance(value, dict):
        return {key: gather(each) for key, each in value.items()}
    if isinstance(value, list):
        return [gather(each) for each in value]
    return value.full_tensor() if isinstance(value, DTensor) else value


def distribute(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, equal on all ranks, sharded like a weight of its shape."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements)


def distribute_moments(optimizer: torch.optim.Optimizer) -> None:
    """Shard what an optimizer has loaded from whole tensors like its weights."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                state[name] = distribute(value, weight)
