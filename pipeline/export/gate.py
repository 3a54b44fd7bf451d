"""What a merged model must pass before it gets its name: files, weights, and answers against base + adapter.

Base + adapter is loaded by PEFT and the merged model by Transformers alone; none of `merge` runs here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.errors import Stop
from pipeline.export import checkpoint
from pipeline.export.adapter import Adapter
from pipeline.export.checkpoint import Tensor
from pipeline.export.merge import DTYPES, TOKENIZER, named
from pipeline.files import sha256
from pipeline.models import load

# largest difference of a logit that storing the merged weights in that dtype may make; measured 0.05 for float16 on
# SmolLM2
TOLERANCE = {"float16": 0.5, "bfloat16": 4.0, "float32": 0.01}
PROMPTS = 4  # of the evaluation split, each of another context
_POSITIONS = 128  # at the end of prompt and answer whose logits are compared: all of them would take gigabytes

Tokens = list[int]


@dataclass(frozen=True)
class Heard:
    """A model's greedy answer to one prompt, and its logits at the last positions of the prompt and one answer."""

    answer: Tokens
    logits: torch.Tensor  # [positions, vocabulary], float32


def need_same_files(base: Path, merged: Path) -> None:
    """Raise Stop unless tokenizer, chat template and special tokens are the base's, byte for byte."""
    for file in named(base, *TOKENIZER):
        copied = merged / file.name
        found = sha256(copied) if copied.exists() else "no such file"
        if found != (wanted := sha256(file)):
            raise Stop(f"the base's {file.name}, sha256 {wanted}", found, str(copied), "invoke export")
    if strange := [each.name for each in named(merged, *TOKENIZER) if not (base / each.name).exists()]:
        raise Stop("no other tokenizer files than the base's", ", ".join(strange), str(merged), "invoke export")


def need_merged(base: Path, merged: Path, adapter: Adapter, dtype: str, where: str) -> tuple[int, int]:
    """The number of tensors that differ from the base's on disk, and of LoRA targets too small to change one.

    Raises:
        Stop: a weight is missing, of another shape or type, not finite; a LoRA target was left as it was, or all were.
    """
    before, after = checkpoint.tensors(base), checkpoint.tensors(merged)
    wanted = {name for name in adapter.shapes if adapter.untied or name not in adapter.tied}
    if wanted != after.keys():
        differing = ", ".join(sorted(wanted ^ after.keys())[:3])
        raise Stop("the weights of the base model, and no others", differing, where, "report it")
    changed, small = set(), []
    for name, tensor in after.items():
        kind = DTYPES[dtype] if tensor.dtype.is_floating_point else tensor.dtype
        if (tensor.shape, tensor.dtype) != (adapter.shapes[name], kind):
            found = f"{tensor.shape} in {tensor.dtype}"
            raise Stop(f"{name} of shape {adapter.shapes[name]} in {kind}", found, where, "report it")
        source = before.get(name) or before[adapter.tied[name]]
        if _differs(source, tensor, where):
            changed.add(name)
    for name in sorted(adapter.updates.keys() - changed):
        if not _too_small(before.get(name) or before[adapter.tied[name]], adapter, name, DTYPES[dtype]):
            raise Stop("every LoRA target merged", f"{name} is the base model's", where, "report it")
        small.append(name)
    if not changed:
        todo = "more steps than training.warmup_steps, or a higher training.learning_rate"
        raise Stop("a merge that changes the model", "not one weight differs from the base model's", where, todo)
    return len(changed), len(small)


def _differs(source: Tensor, tensor: Tensor, where: str) -> bool:
    """Whether a merged tensor differs from the base's in the merged type."""
    differs = False
    for start, stop in tensor.parts():
        rows = tensor.read(start, stop)
        if not torch.isfinite(rows).all():
            raise Stop("merged weights of finite numbers", f"NaN or infinity in {tensor.name}", where, "report it")
        differs = differs or not torch.equal(rows, source.read(start, stop).to(rows.dtype))
    return differs


def _too_small(source: Tensor, adapter: Adapter, name: str, dtype: torch.dtype) -> bool:
    """Whether an update changes no weight of its target, once rounded."""
    add = adapter.updates[name].loaded()
    for start, stop in source.parts():
        rows = adapter.replaced.get(name, source).read(start, stop)
        updated = add(rows.to(torch.float32, copy=True), start, stop)
        if not torch.equal(updated.to(dtype), rows.to(dtype)):
            return False
    return True


def computing(base: Path, weights: int) -> torch.dtype:
    """The type to compare in: float32, or what the base is stored in if the memory holds no float32 model."""
    if weights * torch.float32.itemsize * 1.1 < load.machine_memory():
        return torch.float32
    return next(each.dtype for each in checkpoint.tensors(base).values() if each.dtype.is_floating_point)


def ask_tuned(base: Any, adapter: Path, prompts: Sequence[Tokens], ends: tuple[int, ...], limit: int) -> list[Heard]:
    """What base + adapter answer, by PEFT, stopping where training taught to.

    Args:
        base: the base model, which gets the adapter.
    """
    tuned = load.load_adapter(base, adapter).eval()
    answers = [_generated(tuned, prompt, limit, eos_token_id=list(ends)) for prompt in prompts]
    return [Heard(a, _logits(tuned, p, a)) for p, a in zip(prompts, answers, strict=True)]


def ask_merged(
    merged: Path, prompts: Sequence[Tokens], heard: Sequence[Heard], dtype: torch.dtype, limit: int, where: str
) -> list[Heard]:
    """What the merged model answers, by Transformers alone, stopping where its generation config says; its logits are
    those after base + adapter's answers.

    Raises:
        Stop: it lacks weights, or has some that it does not use.
    """
    model, loaded = AutoModelForCausalLM.from_pretrained(
        merged, dtype=dtype, local_files_only=True, output_loading_info=True
    )
    lacking = [*loaded["missing_keys"], *loaded["mismatched_keys"], *loaded["unexpected_keys"]]
    if lacking:
        raise Stop("a model that Transformers loads whole", f"not {sorted(map(str, lacking))[0]}", where, "report it")
    model.eval()
    answers = [_generated(model, prompt, limit) for prompt in prompts]
    return [
        Heard(answer, _logits(model, prompt, other.answer))
        for prompt, answer, other in zip(prompts, answers, heard, strict=True)
    ]


def _generated(model: Any, prompt: Tokens, limit: int, **stops: Any) -> Tokens:
    ids = torch.tensor([prompt])
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False, **stops
        )
    return [int(each) for each in made[0, len(prompt) :]]


def _logits(model: Any, prompt: Tokens, answer: Tokens) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([prompt + answer])).logits[0, -_POSITIONS:]
    return logits.float()


def compare(wanted: Sequence[Heard], found: Sequence[Heard], dtype: str, where: str) -> tuple[float, int]:
    """The largest difference of a logit, and the answers that differ in a token which rounding decides.

    Raises:
        Stop: a difference above the tolerance, or another answer than base + adapter's.
    """
    worst, ties = 0.0, 0
    for own, other in zip(wanted, found, strict=True):
        difference = float((own.logits - other.logits).abs().max())
        if not difference <= TOLERANCE[dtype]:  # NaN is not
            expected = f"logits within {TOLERANCE[dtype]} of base + adapter"
            todo = "--set export.dtype=float32, then invoke export"
            raise Stop(expected, f"{difference:.3f} apart", where, todo)
        worst = max(worst, difference)
        if own.answer == other.answer:
            continue
        if not _tie(own, other.answer, difference):
            todo = "--set export.dtype=float32, then invoke export"
            raise Stop("the answers of base + adapter", f"tokens {other.answer[:8]}, not {own.answer[:8]}", where, todo)
        ties += 1
    return worst, ties


def _tie(own: Heard, other: Tokens, difference: float) -> bool:
    """Whether the first token that differs leads the merged model's by no more than the logits' difference explains."""
    at = next((i for i, (a, b) in enumerate(zip(own.answer, other, strict=False)) if a != b), None)
    if at is None:
        return False  # one answer goes on where the other stops
    before = len(own.answer) - at + 1  # positions from the end: a token is chosen by the logits before it
    if before > len(own.logits):
        return False
    logits = own.logits[-before]
    return float(logits[own.answer[at]] - logits[other[at]]) <= 2 * difference


def need_answer(heard: Sequence[Heard], merged: Path, where: str) -> list[str]:
    """The answers' texts, by the merged folder's own tokenizer.

    Raises:
        Stop: all are empty.
    """
    tokenizer = AutoTokenizer.from_pretrained(merged, local_files_only=True, trust_remote_code=False)
    texts = [str(tokenizer.decode(each.answer, skip_special_tokens=True)).strip() for each in heard]
    if not any(texts):
        todo = "train longer: --set training.epochs=3"
        raise Stop("an answer from the merged model", "an empty one", where, todo)
    return texts
