"""What a GGUF file must pass before it gets its name: every weight, the hyperparameters, and the tokenizer.

The file is read by the environment's `gguf`, not by the converter's. Names and order of weights are llama.cpp's
(llama.cpp, gguf-py/gguf/tensor_mapping.py; LlamaModel.permute of its converter).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType, GGUFReader, dequantize
from transformers import AutoConfig

from pipeline.errors import Stop
from pipeline.export import checkpoint
from pipeline.export.checkpoint import Tensor
from pipeline.models.chat_template import ChatTemplate

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "phi3": "phi3"}  # by model_type
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_FACTORS = {"rope_factors_long.weight": "long_factor", "rope_factors_short.weight": "short_factor"}
# texts of tokens that end an answer in llama.cpp whatever the metadata says (llama.cpp, src/llama-vocab.cpp,
# special_eog_ids)
_ENDS_BY_TEXT = ("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "</s>", "<|end_of_text|>")
_USER_DEFINED = 4  # a token type of GGUF: its text is stored as it is in a prompt
_TODO = "report it; merged/ is whole"


def need_supported(merged: Path) -> None:
    """Raise Stop unless the check knows a merged model's architecture and position encoding."""
    config = AutoConfig.from_pretrained(merged, local_files_only=True, trust_remote_code=False)
    kind, where, todo = config.model_type, str(merged / "config.json"), "use merged/ by Transformers"
    if kind not in _ARCHITECTURES:
        raise Stop(f"a model of type {', '.join(_ARCHITECTURES)} for GGUF", str(kind), where, todo)
    rope = config.rope_parameters.get("rope_type", "default")
    if rope not in (("longrope",) if kind == "phi3" else ()) + ("default",):
        raise Stop("a position encoding that the check of GGUF knows", f"rope_type {rope}", where, todo)
    if kind == "mistral" and getattr(config, "sliding_window", None):  # it becomes a llama, which has none
        found = f"sliding_window {config.sliding_window}, which llama.cpp leaves out"
        raise Stop("a model without a sliding window", found, where, todo)


def need_same(merged: Path, file: Path, template: ChatTemplate, where: Path) -> None:
    """Raise Stop unless a GGUF file is the merged model: weights, hyperparameters, vocabulary, template, stop tokens.

    Args:
        where: the file's name in messages.
    """
    reader = GGUFReader(file)
    values = dict(reader.fields)
    config = AutoConfig.from_pretrained(merged, local_files_only=True, trust_remote_code=False)
    _need_values(values, config, template, where)
    _need_vocabulary(values, template, config.vocab_size, where)
    _need_stops(values, template, where)
    _need_weights(reader, checkpoint.tensors(merged), config, where)


def _value(values: Mapping[str, Any], key: str) -> Any:
    return values[key].contents() if key in values else None


def _need(what: str, found: Any, wanted: Any, where: Path) -> None:
    same = math.isclose(found, wanted, rel_tol=1e-6) if isinstance(found, float) else found == wanted
    if not same:
        raise Stop(f"{what} of the merged model, {str(wanted)[:80]!r}", repr(found)[:80], str(where), _TODO)


def _need_values(values: Mapping[str, Any], config: Any, template: ChatTemplate, where: Path) -> None:
    kind = _ARCHITECTURES[config.model_type]
    rope = config.rope_parameters
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wanted = {
        "general.architecture": kind,
        f"{kind}.context_length": config.max_position_embeddings,
        f"{kind}.embedding_length": config.hidden_size,
        f"{kind}.feed_forward_length": config.intermediate_size,
        f"{kind}.block_count": config.num_hidden_layers,
        f"{kind}.attention.head_count": config.num_attention_heads,
        f"{kind}.attention.head_count_kv": config.num_key_value_heads,
        f"{kind}.attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        f"{kind}.rope.freq_base": float(rope["rope_theta"]),
        f"{kind}.rope.dimension_count": int(head * rope.get("partial_rotary_factor", 1.0)),
        "tokenizer.chat_template": template.tokenizer.chat_template,
    }
    if kind == "phi3":
        wanted[f"{kind}.attention.sliding_window"] = getattr(config, "sliding_window", None) or 0
    for key, value in wanted.items():
        _need(key, _value(values, key), value, where)


def _need_vocabulary(values: Mapping[str, Any], template: ChatTemplate, size: int, where: Path) -> None:
    tokens, kinds = _value(values, "tokenizer.ggml.tokens"), _value(values, "tokenizer.ggml.token_type")
    _need("the number of tokens", len(tokens), size, where)
    for token, number in template.tokenizer.get_vocab().items():
        text = token.replace("▁", " ") if kinds[number] == _USER_DEFINED else token
        if tokens[number] not in (token, text):
            _need(f"token {number}", tokens[number], token, where)
    scores = _value(values, "tokenizer.ggml.scores")
    if _value(values, "tokenizer.ggml.model") == "llama" and len(set(scores)) <= 2:
        # the converter has none for a tokenizer.json alone, and llama.cpp would split words in another way
        found, todo = "the same score for all tokens", "add the base model's tokenizer.model, then invoke export"
        raise Stop("the scores of a SentencePiece vocabulary", found, str(where), todo)


def _need_stops(values: Mapping[str, Any], template: ChatTemplate, where: Path) -> None:
    named = {_value(values, f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom")}
    eos, tokens = _value(values, "tokenizer.ggml.eos_token_id"), _value(values, "tokenizer.ggml.tokens")
    if eos not in template.ends:
        raise Stop(f"an end token among {template.ends}", f"eos_token_id {eos}", str(where), _TODO)
    if others := [i for i in template.ends if i not in named and tokens[i] not in _ENDS_BY_TEXT]:
        found = f"{tokens[others[0]]!r}, which llama.cpp would go on after"
        raise Stop("stop tokens that llama.cpp knows", found, str(where), "use merged/ by Transformers")


def _need_weights(reader: Any, stored: Mapping[str, Tensor], config: Any, where: Path) -> None:
    found = {each.name: each for each in reader.tensors}
    factors = {name: config.rope_parameters.get(key) for name, key in _FACTORS.items()}
    wanted = {_name(name): tensor for name, tensor in stored.items()}
    expected = {*wanted, *(name for name, value in factors.items() if value)}
    if config.tie_word_embeddings:
        expected.discard("output.weight")
        wanted.pop("output.weight", None)
    if expected != found.keys():
        strange = ", ".join(sorted(expected ^ found.keys())[:3])
        raise Stop(f"the {len(expected)} tensors of the merged model", f"{len(found)}: {strange}", str(where), _TODO)
    for name, values in factors.items():
        if values:
            _need(name, found[name].data.tolist(), torch.tensor(values).tolist(), where)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    if _ARCHITECTURES[config.model_type] != "llama":
        heads = {}
    for name, tensor in wanted.items():
        part = name.removesuffix(".weight").rpartition(".")[2]
        _need_tensor(found[name], tensor, heads.get(part, 0), where)


def _name(name: str) -> str:
    """llama.cpp's name of a weight; its own if there is none, which is then missing in the file."""
    stem, _, kind = name.rpartition(".")
    if stem.startswith("model.layers."):
        number, _, part = stem.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{_NAMES.get(part, part)}.{kind}"
    return f"{_NAMES.get(stem, stem)}.{kind}"


def _need_tensor(found: Any, tensor: Tensor, heads: int, where: Path) -> None:
    """Raise Stop unless a tensor has the merged weights in F16 or F32, or in Q8_0 their nearest.

    Args:
        heads: of a query or key weight whose rotary dimensions llama.cpp has in another order; else 0.
    """
    kind = GGMLQuantizationType(found.tensor_type)
    shape = tuple(int(each) for each in reversed(found.shape))
    same = shape == tensor.shape and kind.name in ("F32", "F16", "Q8_0")
    parts = [(0, tensor.shape[0])] if heads else list(tensor.parts())
    for start, stop in parts if same else []:
        wanted = tensor.read(start, stop)
        if heads:
            wanted = wanted.reshape(heads, 2, -1, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)
        rows = torch.tensor(dequantize(found.data[start:stop], kind))
        if kind.name == "Q8_0":
            same = _near(rows, wanted.float())
        else:
            same = torch.equal(rows, wanted.to(getattr(torch, {"F16": "float16", "F32": "float32"}[kind.name])).float())
        if not same:
            break
    if not same:
        todo = "--set export.dtype=float16, then the same again" if tensor.dtype == torch.bfloat16 else _TODO
        raise Stop(f"{found.name} as {tensor.name} in the merged model", f"others, in {kind.name}", str(where), todo)


def _near(rows: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether Q8_0's rows differ from the wanted ones by its rounding only: half a step of 1/127 of a block's largest
    weight, and the rounding of the step itself to float16."""
    blocks = wanted.reshape(-1, 32)
    most = blocks.abs().amax(dim=1, keepdim=True) * (0.5 / 127 + 2**-10) + 127 * 2**-24
    return bool(((rows.reshape(-1, 32) - blocks).abs() <= most).all())
