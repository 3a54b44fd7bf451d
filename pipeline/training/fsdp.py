"""A model spread over the processes that train it (FSDP2, Zhao et al. 2023, arXiv:2304.11277): each holds a part of every weight.

Every decoder layer's weights are gathered for its own pass and let go after it, so that a model need not fit one GPU. Gradients and the
optimizer's moments are spread like the weights that they belong to. Files hold whole tensors, as those of one process do.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pipeline import distributed
from pipeline.errors import Stop
from pipeline.files import new_folder


def shard(adapted: Any, base: Any, device: str) -> None:
    """Spread a model with an adapter, in place, over all processes; what lies in the machine's memory goes to the device layer by layer.

    Args:
        adapted: the PEFT model around `base`.
        device: "cuda" or "cpu".

    Raises:
        Stop: its decoder's layers are not found.
    """
    layers = getattr(base.get_decoder(), "layers", None)
    if layers is None:
        raise Stop(
            "a decoder with its layers in .layers, for training.fsdp",
            type(base).__name__,
            base.config.name_or_path,
            "--set training.fsdp=false",
        )
    mesh = init_device_mesh(device, (distributed.count(),))
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(adapted, mesh=mesh)


def save_adapter(adapted: Any, folder: Path) -> None:
    """Write a model's adapter, on the first process; the others only hand over their parts of it, and all must call it."""
    state = {name: whole(weight.detach()) for name, weight in adapted.named_parameters() if weight.requires_grad}
    if distributed.number() == 0:
        adapted.save_pretrained(folder, state_dict=state, safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # an unfilled model card


def put_adapter(adapted: Any, folder: Path) -> None:
    """The same, to a folder that is whole or not there."""
    with contextlib.ExitStack() as stack:
        aside = stack.enter_context(new_folder(folder)) if distributed.number() == 0 else folder
        save_adapter(adapted, aside)


def load_adapter(adapted: Any, folder: Path) -> None:
    """Give a model the adapter that lies in a folder."""
    own = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    stored = load_file(folder / "adapter_model.safetensors")
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(spread(stored[name.replace(".default.", ".")].to(weight.device), weight))


def whole(value: Any) -> Any:
    """A tensor with the parts that all processes hold; of a dict or list, every tensor in it. All processes must call it."""
    if isinstance(value, dict):
        return {key: whole(each) for key, each in value.items()}
    if isinstance(value, list):
        return [whole(each) for each in value]
    return value.full_tensor() if isinstance(value, DTensor) else value


def spread(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, the same on all processes, spread as a weight of its shape is."""
    if not isinstance(like, DTensor) or isinstance(value, DTensor):
        return value
    return distribute_tensor(value, like.device_mesh, like.placements)


def spread_moments(optimizer: torch.optim.Optimizer) -> None:
    """Spread what an optimizer has loaded from whole tensors as its weights are."""
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                state[name] = spread(value, weight)
