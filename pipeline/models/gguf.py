"""A GGUF file of the llama architecture as a Transformers folder: weights by Transformers, the tokenizer by us.

Transformers 5.17 reads this file's tokenizer with the end-of-text token set to the begin-of-turn one and without its
split into single digits, so the tokenizer is built here from what the file says (format: ggml-org/ggml, docs/gguf.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from pipeline.errors import Stop

_CONTROL = 3  # gguf's token type of special tokens


def convert(gguf: Path, target: Path) -> None:
    """Write config, float16 safetensors, tokenizer, chat template and generation config into `target`.

    float16 holds every quantised weight (4 bits with a scale and a minimum per 32 weights).

    Raises:
        Stop: a tokenizer of another kind than SmolLM2's.
    """
    logging.disable_progress_bar()
    tokenizer = _tokenizer(GGUFReader(gguf), gguf)
    read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float16)
    config = read.config
    del config.quantization_config  # or Transformers takes the weights for quantised ones
    config._name_or_path = ""
    model = LlamaForCausalLM(config).to(torch.float16)
    model.load_state_dict(read.state_dict())
    config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    config.pad_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def _tokenizer(reader: GGUFReader, path: Path) -> PreTrainedTokenizerFast:
    def value(key: str) -> Any:
        return reader.fields[f"tokenizer.{key}"].contents()

    kind = (value("ggml.model"), value("ggml.pre"))
    if kind != ("gpt2", "smollm"):
        raise Stop(
            "a tokenizer of kind gpt2/smollm",
            "/".join(kind),
            str(path),
            "convert this model with its publisher's own tokenizer",
        )
    tokens: list[str] = value("ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in value("ggml.merges")]
    bpe = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    # "smollm" in llama.cpp: each digit is a token, then GPT-2's byte-level split
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    special = [token for token, its_type in zip(tokens, value("ggml.token_type"), strict=True) if its_type == _CONTROL]
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=tokens[value("ggml.bos_token_id")],
        eos_token=tokens[value("ggml.eos_token_id")],
        unk_token=tokens[value("ggml.unknown_token_id")],
        pad_token=tokens[value("ggml.padding_token_id")],
        clean_up_tokenization_spaces=False,
        model_max_length=reader.fields["llama.context_length"].contents(),
    )
    tokenizer.chat_template = value("chat_template")
    return tokenizer
