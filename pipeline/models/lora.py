"""A fresh LoRA adapter on a base model, by PEFT."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from pipeline.errors import Stop
from pipeline.recipe import Lora


def new_adapter(base: Any, lora: Lora, seed: int, folder: Path) -> Any:
    """`base` with fresh LoRA weights in float32, the same for the same seed.

    Args:
        folder: of the base model, which the adapter's config names.

    Raises:
        Stop: lora.targets names a layer that the model does not have.
    """
    set_seed(seed)  # before the weights are drawn
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(base, lora),
        task_type="CAUSAL_LM",
        bias="none",
    )
    config.base_model_name_or_path = str(folder)
    model = get_peft_model(base, config)
    # a set, whose order on disk would change from process to process
    config.target_modules = sorted(config.target_modules or ())
    return model


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
