"""The shapes of the models that recipes name, to build them with random weights for tests and throughput.

Facts of config.json of microsoft/Phi-4-mini-reasoning and mistralai/Mistral-7B-Instruct-v0.2 at the commits in
pipeline/data/fetch.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.errors import Stop

# LongRoPE (arXiv:2402.13753): by how much each of 48 frequencies (head_dim 128, three quarters of it rotated, in pairs)
# is slower past 4096 positions
_PHI_4_LONG = [
    1, 1.118320672, 1.250641126, 1.398617824, 1.564103225, 1.74916897, 1.956131817, 2.187582649, 2.446418898,
    2.735880826, 3.059592084, 3.421605075, 3.826451687, 4.279200023, 4.785517845, 5.351743533, 5.984965424,
    6.693110555, 7.485043894, 8.370679318, 9.36110372, 10.4687158, 11.70738129, 13.09260651, 14.64173252,
    16.37415215, 18.31155283, 20.47818807, 22.90118105, 25.61086418, 28.64115884, 32.03, 32.1, 32.13, 32.23, 32.6,
    32.61, 32.64, 32.66, 32.7, 32.71, 32.93, 32.97, 33.28, 33.49, 33.5, 44.16, 47.77,
]  # fmt: skip

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "phi-4-mini-reasoning": {
        "model_type": "phi3", "vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 8192,
        "num_hidden_layers": 32, "num_attention_heads": 24, "num_key_value_heads": 8,
        "max_position_embeddings": 131072, "original_max_position_embeddings": 4096,
        "partial_rotary_factor": 0.75, "rms_norm_eps": 1e-5, "sliding_window": 262144, "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "longrope", "rope_theta": 10000.0, "partial_rotary_factor": 0.75,
            "original_max_position_embeddings": 4096, "factor": 32.0, "short_factor": [1.0] * 48,
            "long_factor": _PHI_4_LONG,
        },
    },
    "mistral-7b-instruct": {
        "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-5, "sliding_window": None,
        "tie_word_embeddings": False, "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    },
}  # fmt: skip


def shape(source: str, width: int = 0) -> dict[str, Any]:
    """An architecture's values at its own width, or at `width` with heads and MLP in proportion.

    Raises:
        Stop: unknown, or a width that its heads do not divide.
    """
    if source not in ARCHITECTURES:
        raise Stop(
            f"model.random for one of {', '.join(ARCHITECTURES)}",
            repr(source),
            "the recipe, [model] source",
            "--set model.random=false",
        )
    own = ARCHITECTURES[source]
    if not width:
        return own
    hidden, heads, groups = own["hidden_size"], own["num_attention_heads"], own["num_key_value_heads"]
    least = hidden // groups  # one key head, and the query heads that share it
    if width % least or width > hidden:
        raise Stop(
            f"model.width: a multiple of {least} up to {hidden}",
            str(width),
            "the recipe, [model] width",
            f"--set model.width={least}",
        )
    part = width // least
    return {
        **own,
        "hidden_size": width,
        "num_attention_heads": heads // groups * part,
        "num_key_value_heads": part,
        "intermediate_size": own["intermediate_size"] * width // hidden,
    }


def write_random(source: str, width: int, tokenizer: Path, target: Path) -> None:
    """Fill `target` with a model of random weights in float16, the same every time, and another model's tokenizer.

    Raises:
        Stop: as `shape`, or a tokenizer with more tokens than the model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    values = dict(shape(source, width))
    own_tokenizer = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    named = AutoConfig.for_model(
        values.pop("model_type"),
        vocab_size=max(values.pop("vocab_size"), len(own_tokenizer)),
        **values,
        bos_token_id=own_tokenizer.bos_token_id,
        eos_token_id=own_tokenizer.eos_token_id,
        pad_token_id=own_tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(named, dtype=torch.float16).save_pretrained(target)
    own_tokenizer.save_pretrained(target)
