"""What a LoRA adapter does to which weights of its base model, as PEFT reads its config on a model without weights."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import Embedding, Linear, LoraLayer
from transformers import AutoConfig, AutoModelForCausalLM

from pipeline.errors import Stop, one_line
from pipeline.export import checkpoint
from pipeline.export.checkpoint import Tensor
from pipeline.files import sha256
from pipeline.models import load, record
from pipeline.runs.store import MANIFEST

_PREFIX = "base_model.model."  # PEFT puts it before a model's own names
# options of PEFT that change more than a weight, or by another formula
_UNKNOWN = (
    "alora_invocation_tokens",
    "arrow_config",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # the others change the base's weights too


@dataclass(frozen=True)
class Update:
    """A low-rank update of one weight: W + scaling * B A; with a magnitude (DoRA, arXiv:2402.09353) rescaled by row."""

    a: Tensor
    b: Tensor
    scaling: float
    magnitude: Tensor | None = None
    embedding: bool = False  # its A is [r, rows], its B [columns, r]

    def loaded(self) -> Callable[[torch.Tensor, int, int], torch.Tensor]:
        """A function that gives the rows from `start` to `stop` of a weight in float32, which it changes, the update.

        A scaling by a power of two moves no bit of a product, so it is applied to the small factor.
        """
        a, b = self.a.read().float(), self.b.read().float()
        magnitude = None if self.magnitude is None else self.magnitude.read().float()
        exact = abs(math.frexp(self.scaling)[0]) == 0.5
        left, right = (a.T, b.T) if self.embedding else (b, a)
        if exact:
            left = left * self.scaling

        def add(weight: torch.Tensor, start: int, stop: int) -> torch.Tensor:
            change = left[start:stop] @ right
            merged = weight.add_(change if exact else change.mul_(self.scaling))
            if magnitude is None:
                return merged
            return merged.mul_((magnitude[start:stop] / torch.linalg.norm(merged, dim=1)).view(-1, 1))

        return add


@dataclass(frozen=True)
class Adapter:
    """An adapter, and the shapes and ties of the model that it is for."""

    updates: dict[str, Update]  # by the weight's name in the base
    replaced: dict[str, Tensor]  # modules_to_save: weights that were trained whole
    shapes: dict[str, tuple[int, ...]]  # of all the base's weights
    tied: dict[str, str]  # weights that are another one in the base, such as the output head
    untied: bool  # whether the adapter makes them differ


def read(base: Path, folder: Path) -> Adapter:
    """The adapter in `folder` for the model in `base`, every tensor of which has its place.

    Raises:
        Stop: no adapter, an unreadable one, one of another model, one that is merged into this model already, one with
            NaN, or with an option whose merge is not known here.
    """
    file = folder / load.ADAPTER
    if not file.exists():
        raise Stop("a trained adapter", f"no {load.ADAPTER}", str(folder), "invoke train")
    config = _config(folder)
    _need_unmerged(base, file)
    saved = checkpoint.of_file(file)
    _need_finite(saved)
    model = _without_weights(base)
    names: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(weight), []).append(name)
    tied = {name: first for first, *others in names.values() for name in others}
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    adapted = _adapted(model, config)
    wanted = {name: tuple(each.shape) for name, each in get_peft_model_state_dict(adapted).items()}
    load.need_same_tensors(model, wanted, {name: each.shape for name, each in saved.items()}, folder)
    updates = _updates(adapted, saved)
    plain = {name.removeprefix(_PREFIX).replace(".base_layer.", "."): each for name, each in saved.items()}
    replaced = {name: each for name, each in plain.items() if name in shapes}
    _need_all_used(saved, updates, replaced, folder)
    together = config.ensure_weight_tying and not updates.keys() & {*tied, *tied.values()}
    untied = not together and any(name in updates or name in replaced for pair in tied.items() for name in pair)
    return Adapter(updates, replaced, shapes, tied, untied)


def _without_weights(base: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        wanted = "a model config that can be read"
        raise Stop(wanted, one_line(error), str(base / "config.json"), record.remedy(base)) from None
    if getattr(config, "quantization_config", None):
        todo = "use the model that it was quantized from"
        raise Stop("a base model that is not quantized", "one that is", str(base / "config.json"), todo)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False)


def _adapted(model: Any, config: LoraConfig) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's about tied weights, which are untied here
        try:
            return get_peft_model(model, config, low_cpu_mem_usage=True)
        except ValueError as error:
            where = model.config.name_or_path
            raise Stop(f"an adapter for {where}", one_line(error), where, "invoke train") from None


def _updates(adapted: Any, saved: dict[str, Tensor]) -> dict[str, Update]:
    found = {}
    for name, layer in adapted.named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if not isinstance(layer, Linear | Embedding) or (isinstance(layer, Embedding) and layer.lora_variant):
            wanted = "LoRA on linear layers or embeddings, DoRA on linear layers"
            raise Stop(wanted, f"{type(layer).__name__} at {name}", "adapter_config.json", "invoke train")
        embedding = isinstance(layer, Embedding)
        a, b = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A.weight", "lora_B.weight")
        magnitude = saved.get(f"{name}.lora_magnitude_vector")
        weight = f"{name.removeprefix(_PREFIX)}.weight"
        scaling = float(layer.scaling["default"])
        found[weight] = Update(saved[f"{name}.{a}"], saved[f"{name}.{b}"], scaling, magnitude, embedding)
    return found


def _config(folder: Path) -> LoraConfig:
    """An adapter's config.

    Raises:
        Stop: it cannot be read, or it is of another kind of adapter or has an option that would be left out.
    """
    file = folder / "adapter_config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8"))["peft_type"]
        config = LoraConfig.from_pretrained(str(folder)) if kind == "LORA" else None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Stop("an adapter's config", one_line(error), str(file), "invoke train") from None
    if config is None:
        raise Stop("a LoRA adapter", f"peft_type {kind}", str(file), "merge it by PEFT")
    options = [name for name in _UNKNOWN if getattr(config, name, None)]
    options += ["bias"] if config.bias != "none" else []
    options += ["init_lora_weights"] if config.init_lora_weights not in _STARTS else []
    if options:
        found = ", ".join(f"{name}={getattr(config, name)!r}"[:60] for name in options)
        raise Stop("an adapter of LoRA, rsLoRA or DoRA on whole layers", found, str(file), "merge it by PEFT")
    return config


def _need_unmerged(base: Path, file: Path) -> None:
    """Raise Stop if the base is a merged model that has this adapter in it."""
    try:
        made = json.loads((base / MANIFEST).read_text(encoding="utf-8"))["training"]["adapter_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if made == sha256(file):
        todo = "use the model that the adapter was trained on"
        raise Stop("a base model without this adapter", "one that it is merged into already", str(base), todo)


def _need_finite(saved: dict[str, Tensor]) -> None:
    for name, each in saved.items():
        if not torch.isfinite(each.read()).all():
            todo = "train again with a lower training.learning_rate: invoke train"
            raise Stop("an adapter of finite numbers", f"NaN or infinity in {name}", str(each.file), todo)


def _need_all_used(
    saved: dict[str, Tensor], updates: dict[str, Update], replaced: dict[str, Tensor], folder: Path
) -> None:
    used = {each.name for each in replaced.values()}
    used |= {each.name for update in updates.values() for each in (update.a, update.b, update.magnitude) if each}
    if unused := sorted(saved.keys() - used):
        todo = "merge it by PEFT, and report it"
        raise Stop("a use for every tensor of the adapter", f"none for {unused[0]}", str(folder / load.ADAPTER), todo)
