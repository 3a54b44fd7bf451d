"""A fresh LoRA adapter on a base model, by PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from pipeline.errors import Stop
from pipeline.recipe import Lora, fits


def new_adapter(base: Any, lora: Lora, seed: int, folder: Path) -> Any:
    """`base` with fresh LoRA weights in float32, the same for the same seed.

    Args:
        folder: of the base model, which the adapter's config names.

    Raises:
        Stop: the recipe names a layer that the model does not have, or a pattern that fits no target.
    """
    _need_patterns_used(base, lora)
    set_seed(seed)  # before the weights are drawn
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(base, lora),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        rank_pattern=dict(lora.rank_pattern),
        alpha_pattern=dict(lora.alpha_pattern),
        modules_to_save=_modules_to_save(base, lora),
        task_type="CAUSAL_LM",
        bias="none",
    )
    config.base_model_name_or_path = str(folder)
    model = get_peft_model(base, config)
    # a set, whose order on disk would change from process to process
    config.target_modules = sorted(config.target_modules or ())
    return model


def _modules_to_save(base: Any, lora: Lora) -> list[str] | None:
    known = sorted({name.rpartition(".")[2] for name, module in base.named_modules() if _has_weights(module)})
    for name in lora.modules_to_save:
        if name not in known:
            wanted = f"lora.modules_to_save among {', '.join(known)}"
            raise Stop(wanted, repr(name), "the recipe, [lora] modules_to_save", "--set lora.modules_to_save=[]")
    return list(lora.modules_to_save) or None


def _has_weights(module: Any) -> bool:
    return next(module.parameters(recurse=False), None) is not None


def _need_patterns_used(base: Any, lora: Lora) -> None:
    """Raise Stop for a pattern that fits no layer to adapt, which PEFT would ignore."""
    head, every = base.get_output_embeddings(), lora.targets == ("all-linear",)
    linear = [(name, module) for name, module in base.named_modules() if isinstance(module, torch.nn.Linear)]
    layers = [
        name for name, module in linear if (module is not head if every else name.rpartition(".")[2] in lora.targets)
    ]
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(lora, key):
            if not any(fits(pattern, name) for name in layers):
                ends = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
                where, todo = f"the recipe, [lora] {key}", f"--set lora.{key}={{}}"
                raise Stop(f"the end of an adapted layer's name, such as {ends}", repr(pattern), where, todo)


def _targets(base: Any, lora: Lora) -> str | list[str]:
    if lora.targets == ("all-linear",):
        return "all-linear"
    # an output head tied to the input embeddings cannot be merged without changing the embeddings too
    tied = base.get_output_embeddings() if base.config.get_text_config().tie_word_embeddings else None
    layers = [name for name, layer in base.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not tied]
    linear = sorted({name.rpartition(".")[2] for name in layers})
    for target in lora.targets:
        if target not in linear:
            wanted = f"lora.targets among {', '.join(linear)}"
            raise Stop(wanted, repr(target), "the recipe, [lora] targets", "--set lora.targets=all-linear")
    return list(lora.targets)
