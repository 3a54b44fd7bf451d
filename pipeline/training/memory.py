"""The memory that training needs: weights, adapter, optimizer and activations, from the model's config.json.

    python -m pipeline estimate --recipe quickstart     # JSON, in bytes, for fp16, bf16 and fp32; null without a model

Activations are what each layer keeps for its backward pass, counted as in Korthikanti et al. 2022 (arXiv:2205.05198,
section 4), for grouped queries and gated MLPs, without the attention matrix, which SDPA does not keep, plus what LoRA
adds: in half precision a copy of each adapted layer's input, with dropout one more in fp32, and with DoRA the largest
weight twice in fp32, for its rows' lengths. Only answers go through
the output head, LOGITS_AT_ONCE logits at a time, held in fp32 three times: as logits, as probabilities and as gradient.
A context counts as six questions, as in TAT-QA, the longest of them max_length tokens long: an upper bound for most
data, but not a guarantee.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from pipeline.errors import Stop, one_line
from pipeline.recipe import Lora, Recipe, Training, fits

_ADAM = 8  # bytes per trained parameter: two moments in fp32
_TRAINED = 8  # bytes per trained parameter: weight and gradient in fp32
_QUESTIONS = 6
# longest packed row of the sample and of TAT-QA, relative to max_length, which bounds one question: 1.15 to 1.63
_SHARED = 1.6
_TOKENS_PER_QUESTION = 100  # of packed rows of TAT-QA, including a question's part of the context
LOGITS_AT_ONCE = 2**26
"""Logits that training holds at once: 256 MiB in float32, 1,365 answer tokens of SmolLM2 and 335 of Phi-4-mini."""

_RUNTIME = 2**29  # bytes of PyTorch and its libraries, as seen on a CPU; a CUDA context takes about as much

_MLP = ("gate_proj", "up_proj", "down_proj", "gate_up_proj")

Estimate = dict[str, Any]


def estimate(recipe: Recipe, base_model: Path, answer_tokens: int) -> Estimate | None:
    """Bytes by part for each precision, or None if the model has not been fetched.

    Args:
        base_model: its folder.
        answer_tokens: at which answers are cut off.

    Returns:
        {"fp16": {"weights", "adapter", "optimizer", "activations", "runtime", "total"}, "bf16": …, …}, and what they
        were computed from.

    Raises:
        Stop: the model's config.json does not say its shape.
    """
    path = base_model / "config.json"
    if not path.exists():
        return None
    try:
        shape = Shape(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        todo = "use a model of the Llama kind"
        raise Stop("a decoder's shape in config.json", one_line(error), str(path), todo) from None
    tokens, questions = _pass(recipe.training)
    logits = min(answer_tokens * questions * shape.vocabulary, max(LOGITS_AT_ONCE, shape.vocabulary))
    trained = shape.lora(recipe.lora)
    adapted = shape.inputs(recipe.lora.targets)
    by_precision = {}
    for precision, size in (("fp16", 2), ("bf16", 2), ("fp32", 4)):
        layer = shape.kept_per_token * size
        layer += adapted * size if size < 4 else 0
        layer += adapted * 4 if recipe.lora.dropout else 0
        if recipe.training.gradient_checkpointing:  # the inputs of all layers, and the whole of one
            kept = shape.layers * shape.hidden * size + layer
        else:
            kept = shape.layers * layer
        parts = {
            "weights": shape.parameters * size,
            "adapter": trained * _TRAINED,
            "optimizer": trained * _ADAM,
            "activations": tokens * kept + logits * 4 * 3 + (shape.widest * 4 * 2 if recipe.lora.dora else 0),
            "runtime": _RUNTIME,
        }
        by_precision[precision] = {**parts, "total": sum(parts.values())}
    return {
        "model": base_model.name,
        "parameters": shape.parameters,
        "trained": trained,
        "tokens": tokens,
        "precision": recipe.training.precision,
        "fsdp": recipe.training.fsdp,
        **by_precision,
    }


def need_memory(
    recipe: Recipe, base_model: Path, precision: str, has: int, world_size: int = 1, machine: int | None = None
) -> None:
    """Raise Stop if weights, adapter and optimizer alone are more than `has` bytes; a model of unknown shape passes.

    With training.fsdp each rank holds its shard of them, and has read the whole model before into `machine` bytes of
    memory.
    """
    try:
        estimated = estimate(recipe, base_model, answer_tokens=0)  # activations do not count here
    except Stop:
        return
    if estimated is None:
        return
    shards = world_size if recipe.training.fsdp else 1
    parts = {name: estimated[precision][name] / shards for name in ("weights", "adapter", "optimizer")}
    if sum(parts.values()) > has:
        shown = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in parts.items())
        raise Stop(
            f"{sum(parts.values()) / 2**30:.1f} GiB of memory before the first step ({shown})",
            f"{has / 2**30:.1f} GiB",
            f"{recipe.model.source}, lora.r = {recipe.lora.r}, {precision}",
            "a smaller lora.r, or fewer lora.targets, or a smaller model; "
            "on several GPUs --set training.fsdp=true --gpus-per-node N",
        )
    weights = estimated[precision]["weights"]
    if shards > 1 and machine is not None and weights > machine:
        wanted = (
            f"{weights / 2**30:.1f} GiB of the machine's memory for each of its processes, which read the whole model"
        )
        where = f"{recipe.model.source}, {precision}, training.fsdp"
        raise Stop(wanted, f"{machine / 2**30:.1f} GiB", where, "fewer processes on each machine")


def _pass(settings: Training) -> tuple[int, int]:
    """Tokens and questions of one forward and backward pass."""
    per_context = _SHARED if settings.packing == "shared" else _QUESTIONS
    tokens = int(settings.max_length * settings.batch_contexts * per_context)
    questions = _QUESTIONS * settings.batch_contexts
    if settings.packing == "shared" and 0 < settings.row_tokens < tokens:
        return settings.row_tokens, min(questions, settings.row_tokens // _TOKENS_PER_QUESTION)
    return tokens, questions


class Shape:
    """The figures of a decoder with gated MLPs (Llama, Mistral, Phi3)."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.hidden, self.layers, self.vocabulary = (
            int(config[key]) for key in ("hidden_size", "num_hidden_layers", "vocab_size")
        )
        self.mlp, heads = int(config["intermediate_size"]), int(config["num_attention_heads"])
        head = config.get("head_dim") or self.hidden // heads
        queries, values = heads * head, int(config.get("num_key_value_heads") or heads) * head
        self.linear = {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, values),
            "v_proj": (self.hidden, values),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.mlp),
            "up_proj": (self.hidden, self.mlp),
            "down_proj": (self.mlp, self.hidden),
        }
        if "phi3" in str(config.get("model_type", "")):  # the same layers, three and two in one
            fused = {"qkv_proj": (self.hidden, queries + 2 * values), "gate_up_proj": (self.hidden, 2 * self.mlp)}
            self.linear = {**{name: self.linear[name] for name in ("o_proj", "down_proj")}, **fused}
        embeddings = self.vocabulary * self.hidden * (1 if config.get("tie_word_embeddings") else 2)
        self.parameters = (
            embeddings + self.layers * (sum(a * b for a, b in self.linear.values()) + 2 * self.hidden) + self.hidden
        )
        # inputs of norms and projections, attention's own, and the gate's three
        self.kept_per_token = 5 * self.hidden + 2 * queries + 2 * values + 4 * self.mlp

    def inputs(self, targets: tuple[str, ...]) -> int:
        """Features that go into the adapted layers of one decoder layer."""
        return sum(taken[0] for name, taken in self.linear.items() if targets == ("all-linear",) or name in targets)

    def lora(self, lora: Lora) -> int:
        """Trained parameters: r * (in + out) for each adapted layer, its rows' lengths (DoRA), and modules_to_save."""
        trained = 0
        for number, (name, (taken, given)) in itertools.product(range(self.layers), self.linear.items()):
            if lora.targets == ("all-linear",) or name in lora.targets:
                part = "mlp" if name in _MLP else "self_attn"
                full = f"model.layers.{number}.{part}.{name}"
                ranks = (r for pattern, r in lora.rank_pattern.items() if fits(pattern, full))
                trained += next(ranks, lora.r) * (taken + given) + (given if lora.dora else 0)
        saved = {name: self.layers * taken * given for name, (taken, given) in self.linear.items()}
        saved |= dict.fromkeys(("embed_tokens", "lm_head"), self.vocabulary * self.hidden)
        return trained + sum(saved.get(name, 0) for name in lora.modules_to_save)  # a norm's are next to nothing

    @property
    def widest(self) -> int:
        """Elements of a decoder layer's largest weight."""
        return max(taken * given for taken, given in self.linear.values())
