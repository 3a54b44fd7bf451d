"""GGUF files as Transformers folders: the same logits, and the tokenizer that the file describes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf as writers
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.errors import Stop
from pipeline.models import chat_template, gguf, load
from tests.conftest import CHAT

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "ll", "hell", "12"]
MERGES = ["h e", "l l", "he ll", "1 2"]
HEADS, KEY_HEADS = 4, 2
NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _model() -> Any:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_HEADS,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config).eval()
    for weight in model.parameters():
        weight.data = weight.data.half().float()  # values that a float16 file holds exactly
    return model


def _name(name: str) -> str:
    name = name.removesuffix(".weight")
    if name.startswith("model.layers."):
        number, _, part = name.removeprefix("model.layers.").partition(".")
        return f"blk.{number}.{NAMES[part]}.weight"
    return f"{NAMES[name]}.weight"


def _permuted(name: str, weight: torch.Tensor) -> torch.Tensor:
    """Query and key weights in llama.cpp's order of rotary dimensions (its conversion script, LlamaModel.permute)."""
    heads = HEADS if "q_proj" in name else KEY_HEADS
    if "q_proj" not in name and "k_proj" not in name:
        return weight
    return weight.reshape(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def _write(file: Path, model: Any, pre: str = "smollm") -> None:
    writer = writers.GGUFWriter(file, "llama")
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(8)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT)
    for name, weight in model.state_dict().items():
        kind = np.float16 if weight.dim() == 2 else np.float32
        writer.add_tensor(_name(name), _permuted(name, weight).numpy().astype(kind))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    _write(folder / "tiny.gguf", _model())
    gguf.convert(folder / "tiny.gguf", folder / "tiny")
    return folder / "tiny"


def test_the_converted_model_has_the_same_logits(converted: Path) -> None:
    ids = torch.arange(3, 60).unsqueeze(0)
    found = load.load_base(converted, torch.float32, "cpu")(input_ids=ids).logits
    assert torch.allclose(found, _model()(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


def test_the_folder_is_a_model_that_can_chat(converted: Path) -> None:
    template = chat_template.load(converted)
    assert template.system_role
    assert template.ends == (2,)
    (ids,) = template.prompts([{"system": "", "instruction": "hello", "input": "12"}])
    assert ids[0] == 1 and ids.count(2) == 1


def test_digits_are_split_and_merges_applied(converted: Path) -> None:
    tokenizer = chat_template.load_tokenizer(converted)
    assert tokenizer.tokenize("hello 12") == ["hell", "o", "Ġ", "1", "2"]  # "12" is a token, but digits stand alone
    assert tokenizer.decode(tokenizer("hello 百 12").input_ids) == "hello 百 12"
    assert (tokenizer.eos_token, tokenizer.bos_token, tokenizer.model_max_length) == (SPECIAL[2], SPECIAL[1], 512)


def test_another_kind_of_tokenizer_is_refused(tmp_path: Path) -> None:
    _write(tmp_path / "tiny.gguf", _model(), pre="llama-bpe")
    with pytest.raises(Stop, match="found: gpt2/llama-bpe"):
        gguf.convert(tmp_path / "tiny.gguf", tmp_path / "tiny")
    assert not (tmp_path / "tiny").exists()
