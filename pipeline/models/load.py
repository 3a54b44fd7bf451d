"""Loading a base model and a trained adapter: safetensors only, no code from the folder."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from pipeline import distributed
from pipeline.errors import Stop, one_line
from pipeline.models import record

logging.disable_progress_bar()  # loading and saving take seconds

ADAPTER = "adapter_model.safetensors"

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
"""The dtype of the frozen weights by precision; an adapter's are always float32."""


def device() -> str:
    """The device to compute on: "cuda" if torch sees a GPU, else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_name() -> str:
    """The device by the name of its kind: kernels differ between GPUs."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def memory() -> int:
    """Bytes that this rank can have for a model: free on its GPU, or its share of the machine's."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return machine_memory() // distributed.local_world_size()


def machine_memory() -> int:
    """Bytes available on the machine (proc(5), MemAvailable), at most the limit of a container (cgroups(7))."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return min([free, *_container_limits()])


def _container_limits(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    files = (root / "memory.max", root / "memory" / "memory.limit_in_bytes")  # of version 2, of version 1
    read = [file.read_text(encoding="utf-8").strip() for file in files if file.is_file()]
    return [int(text) for text in read if text.isdigit()]  # "max" is no limit


def precision(asked: str) -> tuple[str, str]:
    """The precision to compute in ("fp32", "fp16" or "bf16") for training.precision, and why.

    Raises:
        Stop: fp16 without a GPU, or bf16 on a GPU that has none.
    """
    where, on = "the recipe, [training] precision", device()
    if asked == "fp16" and on == "cpu":
        found = "none; half precision on a CPU is slow and has no loss scaling"
        raise Stop("a GPU for training.precision = fp16", found, where, "--set training.precision=auto")
    if asked == "bf16" and on == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        wanted = "a GPU that computes in bf16, an A100 or newer"
        raise Stop(wanted, torch.cuda.get_device_name(), where, "--set training.precision=fp16")
    if asked != "auto":
        return asked, "the recipe says so"
    return ("fp16", "a GPU is there") if on == "cuda" else ("fp32", "no GPU is there")


def load_base(folder: Path, dtype: torch.dtype, on: str | None = None) -> Any:
    """The model of a Transformers folder in `dtype`, on `device()` unless another is named.

    Raises:
        Stop: no safetensors, unreadable or incomplete ones, or a model without SDPA attention.
    """
    if not any(folder.glob("*.safetensors")):
        raise Stop("model weights in safetensors", "none", str(folder), "invoke fetch")
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except (SafetensorError, OSError, ValueError) as error:
        if "scaled_dot_product_attention" in str(error):
            wanted = "a model that Transformers runs with SDPA attention"
            todo = "use a decoder of a newer kind, such as Llama, Mistral or Phi3"
            raise Stop(wanted, one_line(error), str(folder), todo) from None
        raise _unreadable(error, folder) from None
    _need_all_weights(loaded, folder)
    return model.to(on or device())


def _need_all_weights(loaded: dict[str, Any], folder: Path) -> None:
    """Raise Stop if the files lack weights of the model: Transformers would make them up at random."""
    mismatched = [name if isinstance(name, str) else name[0] for name in loaded["mismatched_keys"]]
    lacking = sorted([*loaded["missing_keys"], *mismatched])
    if lacking:
        found = f"{len(lacking)} are missing or of another shape, such as {lacking[0]}"
        raise Stop("every weight that config.json asks for", found, str(folder), record.remedy(folder))
    if unused := sorted(loaded["unexpected_keys"]):
        distributed.print_once(f"model  {folder}: {len(unused)} tensors are not used, such as {unused[0]}")


def load_adapter(base: Any, folder: Path) -> Any:
    """`base` with a trained adapter, every tensor of which has its place.

    Raises:
        Stop: no adapter, an unreadable one, or one of another model.
    """
    file = folder / ADAPTER
    if not file.exists():
        raise Stop("a trained adapter", f"no {ADAPTER}", str(folder), "invoke train")
    try:
        with safe_open(file, "pt") as saved:
            shapes = {name: tuple(saved.get_slice(name).get_shape()) for name in saved.keys()}  # noqa: SIM118 - no dict
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Found missing adapter keys")  # `need_same_tensors` names them
            adapted = PeftModel.from_pretrained(base, folder, use_safetensors=True)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        if "size mismatch" in str(error):  # PEFT's word for a tensor of another shape
            raise _of_another_model(base, str(error).strip().splitlines()[-1].strip(), folder) from None
        raise _unreadable(error, folder) from None
    wanted = {name: tuple(each.shape) for name, each in get_peft_model_state_dict(adapted).items()}
    need_same_tensors(base, wanted, shapes, folder)
    return adapted


def need_same_tensors(
    base: Any, wanted: dict[str, tuple[int, ...]], saved: dict[str, tuple[int, ...]], folder: Path
) -> None:
    """Raise Stop unless a saved adapter has just the tensors of the model's adapter, by name and shape."""
    differing = [f"{name}, which the model does not have" for name in saved if name not in wanted]
    differing += [f"no {name}" for name in wanted if name not in saved]
    both = [name for name in wanted if name in saved]
    differing += [f"{name} of shape {saved[name]}, not {wanted[name]}" for name in both if saved[name] != wanted[name]]
    if differing:
        more = f"; {len(differing)} differences in all" if len(differing) > 1 else ""
        raise _of_another_model(base, f"{differing[0]}{more}", folder)


def _of_another_model(base: Any, found: str, folder: Path) -> Stop:
    todo = "use the model that the adapter was trained on: --set model.source=NAME; or invoke train"
    return Stop(f"an adapter for {base.config.name_or_path}", found[:400], str(folder), todo)


def need_vocabulary(model: Any, tokenizer: Any) -> None:
    """Raise Stop if a tokenizer has more tokens than the model has input embeddings."""
    tokens, rows = len(tokenizer), model.get_input_embeddings().weight.shape[0]
    if tokens > rows:
        todo = "resize the model (resize_token_embeddings) and save it, or take the tokenizer that it was made with"
        raise Stop(
            f"an embedding for each of the tokenizer's {tokens} tokens", f"{rows}", model.config.name_or_path, todo
        )


def use_deterministic_kernels() -> None:
    """Use only kernels that give the same bits every time (PyTorch documentation, "Reproducibility").

    Transformers' full_determinism also waits for every kernel (CUDA_LAUNCH_BLOCKING) and fills new memory with NaN,
    which change no result. `pipeline.__main__` sets cuBLAS's workspace.
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


def sliding_window(config: Any) -> int | None:
    """Tokens that the layer with the shortest view sees back, or None if all layers see everything."""
    config = config.get_text_config()
    kinds = getattr(config, "layer_types", None)
    if kinds and "sliding_attention" not in kinds:
        return None
    return getattr(config, "sliding_window", None)


def _unreadable(error: Exception, folder: Path) -> Stop:
    made_by = {"adapter": "invoke train", "merged": "invoke export"}.get(folder.name)
    return Stop("weights that can be read", one_line(error), str(folder), made_by or record.remedy(folder))
