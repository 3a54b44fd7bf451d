"""Tiny base models on disk with random LoRA adapters by PEFT, and the merge that PEFT makes of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models import random_model

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank and alpha patterns": {
        "rank_pattern": {"o_proj": 2, "layers.1.mlp.down_proj": 6},
        "alpha_pattern": {"down_proj": 32},
    },
    "rsLoRA": {"use_rslora": True},
    "DoRA": {"use_dora": True},
    "modules_to_save": {"modules_to_save": ["lm_head", "norm"]},
    "both embeddings saved": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "embeddings saved together": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
}


def write_base(folder: Path, kind: str, sharded: bool = False, **shape: Any) -> Path:
    """A base model of one of tests.models.KINDS in float32, in one file or in several."""
    model = random_model(kind, **shape).float()
    model.save_pretrained(folder, max_shard_size="20KB" if sharded else "5GB")
    assert (folder / "model.safetensors.index.json").exists() == sharded
    return folder


def write_adapter(folder: Path, base: Path, **options: Any) -> Path:
    """An adapter with random weights on every linear layer of a base, unless the options say another thing."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    values = {"r": 4, "target_modules": "all-linear", "init_lora_weights": False, "task_type": "CAUSAL_LM", **options}
    config = LoraConfig(**values)
    config.base_model_name_or_path = str(base)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    for name, weight in model.named_parameters():
        if "modules_to_save" in name or "magnitude" in name:  # which begin as the base's
            weight.data.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    return folder


def merged_by_peft(base: Path, adapter: Path, dtype: Any) -> dict[str, Any]:
    """The tensors that PEFT's merge_and_unload makes of the float32 base, in another type, as saved."""
    import torch
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    folder = adapter.parent / "by-peft"
    model.merge_and_unload(safe_merge=True).to(dtype).save_pretrained(folder)
    tensors: dict[str, Any] = load_file(folder / "model.safetensors")
    return tensors


def edit(file: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")
