"""The base model in the precision that fits, and LoRA on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, set_seed
from transformers.utils import logging

from pipeline import folders
from pipeline.errors import Stop
from pipeline.recipe import Lora, Recipe

logging.disable_progress_bar()  # loading and saving take seconds


def device() -> str:
    """ "cuda" where a GPU is seen, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def precision(recipe: Recipe) -> tuple[str, str]:
    """The precision to train in, "fp32" or "fp16", and why.

    Raises:
        Stop: fp16 was asked for and there is no GPU.
    """
    asked, on = recipe.training.precision, device()
    if asked == "fp16" and on == "cpu":
        raise Stop("a GPU for training.precision = fp16", "none; half precision on a CPU is slow and has no loss scaling",
                   "the recipe, [training] precision", "--set training.precision=auto")  # fmt: skip
    if asked != "auto":
        return asked, "the recipe says so"
    return ("fp16", "a GPU is there") if on == "cuda" else ("fp32", "no GPU is there")


def load_base(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a Transformers folder on the device, in `dtype`. Safetensors only, no code from the folder.

    Raises:
        Stop: no safetensors there.
    """
    if not any(folder.glob("*.safetensors")):
        raise Stop("model weights in safetensors", "none", str(folder), "invoke fetch")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False, attn_implementation="sdpa"
        )
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(error, folder) from None
    return model.to(device())


def new_adapter(base: Any, recipe: Recipe) -> Any:
    """`base` with fresh LoRA weights in float32, the same for the same seed.

    Raises:
        Stop: lora.targets names a layer that the model does not have.
    """
    lora = recipe.lora
    set_seed(recipe.training.seed)  # before the weights are drawn
    config = LoraConfig(
        r=lora.r, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=_targets(base, lora), task_type="CAUSAL_LM", bias="none"
    )
    config.base_model_name_or_path = str(folders.model(recipe.model.source))
    model = get_peft_model(base, config)
    # a set, whose order on disk would change from process to process
    config.target_modules = sorted(config.target_modules or ())
    return model


def _targets(base: Any, lora: Lora) -> str | list[str]:
    if lora.targets == ("all-linear",):
        return "all-linear"
    linear = sorted({name.rpartition(".")[2] for name, layer in base.named_modules() if isinstance(layer, torch.nn.Linear)})
    for target in lora.targets:
        if target not in linear:
            raise Stop(f"lora.targets among {', '.join(linear)}", repr(target), "the recipe, [lora] targets", "--set lora.targets=all-linear")
    return list(lora.targets)


def load_adapter(base: Any, folder: Path) -> Any:
    """`base` with a trained adapter.

    Raises:
        Stop: no adapter there.
    """
    if not (folder / "adapter_model.safetensors").exists():
        raise Stop("a trained adapter", "no adapter_model.safetensors", str(folder), "invoke train")
    try:
        return PeftModel.from_pretrained(base, folder, use_safetensors=True)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _unreadable(error, folder) from None


def _unreadable(error: Exception, folder: Path) -> Stop:
    made_by = {"adapter": "invoke train", "merged": "invoke export"}.get(folder.name, "invoke fetch")
    return Stop("weights that can be read", f"{type(error).__name__}: {error}".splitlines()[0][:200], str(folder), f"delete {folder}, then {made_by}")
