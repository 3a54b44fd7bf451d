"""The base model in the precision that fits, and LoRA on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, set_seed
from transformers.utils import logging

from pipeline import distributed, job
from pipeline.data.packing import Encoded
from pipeline.errors import Stop
from pipeline.recipe import Lora, Recipe

logging.disable_progress_bar()  # loading and saving take seconds


def device() -> str:
    """ "cuda" where a GPU is seen, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def memory() -> int:
    """Bytes that a process can have for a model: free on its GPU, or its share of the machine's."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else machine_memory() // distributed.here()


def machine_memory() -> int:
    """Bytes that are available in the machine (proc(5), MemAvailable)."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""What the frozen weights are held in; an adapter's are float32 always."""


def precision(recipe: Recipe) -> tuple[str, str]:
    """The precision to train in, "fp32", "fp16" or "bf16", and why.

    Raises:
        Stop: fp16 was asked for and there is no GPU, or bf16 and the GPU has none.
    """
    asked, on = recipe.training.precision, device()
    if asked == "fp16" and on == "cpu":
        raise Stop(
            "a GPU for training.precision = fp16",
            "none; half precision on a CPU is slow and has no loss scaling",
            "the recipe, [training] precision",
            "--set training.precision=auto",
        )
    if asked == "bf16" and on == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise Stop(
            "a GPU that computes in bf16, an A100 or newer",
            torch.cuda.get_device_name(),
            "the recipe, [training] precision",
            "--set training.precision=fp16",
        )
    if asked != "auto":
        return asked, "the recipe says so"
    return ("fp16", "a GPU is there") if on == "cuda" else ("fp32", "no GPU is there")


def load_base(folder: Path, dtype: torch.dtype, on: str | None = None) -> Any:
    """The model of a Transformers folder in `dtype`, on `device()` if no other is named. Safetensors only, no code from the folder.

    Raises:
        Stop: no safetensors there.
    """
    if not any(folder.glob("*.safetensors")):
        raise Stop("model weights in safetensors", "none", str(folder), "invoke fetch")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
        )
    except (SafetensorError, OSError, ValueError) as error:
        if "scaled_dot_product_attention" in str(error):
            raise Stop(
                "a model that Transformers runs with SDPA attention",
                f"{type(error).__name__}: {error}".splitlines()[0][:200],
                str(folder),
                "use a decoder of a newer kind, such as Llama, Mistral or Phi3",
            ) from None
        raise _unreadable(error, folder) from None
    return model.to(on or device())


def same_every_time() -> None:
    """Only kernels that give the same bits every time, as torch's notes on reproducibility have it.

    Transformers' full_determinism would also have every kernel waited for (CUDA_LAUNCH_BLOCKING) and all new memory filled with NaN, which
    change no result. cuBLAS has its workspace from `pipeline.__main__`.
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def window(config: Any) -> int | None:
    """How many tokens back the layers of a model see that see least, or None where they see all."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)


def need_sight(base: Any, contexts: Sequence[Encoded]) -> None:
    """Raise Stop if a question is longer than the model sees back: our masks know no window, and its positions end somewhere."""
    longest = max(
        len(context.prefix) + len(rest) + len(answer) for context in contexts for rest, answer in context.questions
    )
    sees, positions = window(base.config), getattr(base.config.get_text_config(), "max_position_embeddings", None)
    for what, most in (("sliding window", sees), ("positions", positions)):
        if most and longest > most:
            raise Stop(
                "a model that sees a whole question with its context",
                f"{what} of {most} tokens, and a question of {longest}",
                str(Path(base.config.name_or_path) / "config.json"),
                f"--set training.max_length={most}, then invoke data",
            )


def new_adapter(base: Any, recipe: Recipe) -> Any:
    """`base` with fresh LoRA weights in float32, the same for the same seed.

    Raises:
        Stop: lora.targets names a layer that the model does not have.
    """
    lora = recipe.lora
    set_seed(recipe.training.seed)  # before the weights are drawn
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=_targets(base, lora),
        task_type="CAUSAL_LM",
        bias="none",
    )
    config.base_model_name_or_path = str(job.base(recipe))
    model = get_peft_model(base, config)
    # a set, whose order on disk would change from process to process
    config.target_modules = sorted(config.target_modules or ())
    return model


def _targets(base: Any, lora: Lora) -> str | list[str]:
    if lora.targets == ("all-linear",):
        return "all-linear"
    # an output head that is the input embeddings too cannot be merged without changing what is read
    tied = base.get_output_embeddings() if base.config.get_text_config().tie_word_embeddings else None
    linear = sorted(
        {
            name.rpartition(".")[2]
            for name, layer in base.named_modules()
            if isinstance(layer, torch.nn.Linear) and layer is not tied
        }
    )
    for target in lora.targets:
        if target not in linear:
            raise Stop(
                f"lora.targets among {', '.join(linear)}",
                repr(target),
                "the recipe, [lora] targets",
                "--set lora.targets=all-linear",
            )
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
    return Stop(
        "weights that can be read",
        f"{type(error).__name__}: {error}".splitlines()[0][:200],
        str(folder),
        f"delete {folder}, then {made_by}",
    )
