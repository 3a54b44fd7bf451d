"""Tiny random models of the architectures that Pintune trains, in float64, and contexts of random token ids."""

from __future__ import annotations

from typing import Any

from pipeline.data.packing import IGNORED, Batch, Encoded, question

KINDS = ("llama", "mistral", "phi3", "phi3, longrope")

_SHAPE = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
}


def random_model(kind: str, seed: int = 3, **shape: Any) -> Any:
    """A model of one of KINDS, or of "mistral, sliding window"; the same weights for the same seed."""
    import torch
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Phi3Config,
        Phi3ForCausalLM,
    )

    torch.manual_seed(seed)
    values = {**_SHAPE, **shape}
    # as Phi-4-mini: one set of frequencies up to the original length, another one past it
    longrope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0, 1.0, 1.0],
        "long_factor": [1.0, 4.0, 16.0],
        "original_max_position_embeddings": 64,
        "partial_rotary_factor": 0.75,
    }
    build = {
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**values)),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**values, sliding_window=None)),
        "mistral, sliding window": lambda: MistralForCausalLM(MistralConfig(**values, sliding_window=300)),
        "phi3": lambda: Phi3ForCausalLM(Phi3Config(**values)),
        "phi3, longrope": lambda: Phi3ForCausalLM(
            Phi3Config(
                **values, original_max_position_embeddings=64, partial_rotary_factor=0.75, rope_parameters=longrope
            )
        ),
    }
    return build[kind]().double().eval()


def random_context(seed: int, prefix: int, questions: list[tuple[int, int]]) -> Encoded:
    """A context of random token ids.

    Args:
        prefix: tokens that its questions share.
        questions: for each, the tokens of its own prompt and of its answer.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)

    def ids(count: int) -> list[int]:
        return [int(each) for each in torch.randint(3, 90, (count,), generator=draw)]

    return Encoded(ids(prefix), [question(ids(rest), ids(answer)) for rest, answer in questions])


CONTEXTS = [
    random_context(1, 40, [(5, 3), (7, 2), (4, 6), (9, 1)]),
    random_context(2, 12, [(5, 3)]),
    random_context(3, 25, [(3, 2), (3, 2), (11, 4)]),
    random_context(4, 0, [(6, 3), (2, 2)]),  # no shared prefix
    random_context(5, 57, [(5, 5), (6, 2)]),
]


def loss_and_gradients(model: Any, batches: list[Batch]) -> tuple[float, list[Any]]:
    """The mean loss over the answer tokens of all batches, accumulated, and its gradients."""
    from pipeline.training.loss import answer_loss

    model.zero_grad()
    total = sum(int((batch["labels"] != IGNORED).sum()) for batch in batches)
    value = 0.0
    for batch in batches:
        loss = answer_loss(model, batch)[0] / total
        loss.backward()
        value += float(loss.detach())
    return value, [weight.grad.clone() for weight in model.parameters() if weight.grad is not None]
