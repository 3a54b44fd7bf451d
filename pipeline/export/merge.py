"""Merge the adapter into the base model, and check the merged model from disk before it is complete.

python -m pipeline export       # runs/RECIPE/latest/merged/
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from pipeline.data.formatted_rows import answer_limit, read_rows
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_folder
from pipeline.generation.generate import answers
from pipeline.job import Job
from pipeline.models import chat_template, load
from pipeline.models.chat_template import ChatTemplate
from pipeline.recipe import as_values
from pipeline.runs import manifest

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# largest difference of a logit that storing the merged weights in that dtype may make; measured 0.05 for float16 on
# SmolLM2
_TOLERANCE = {"float16": 0.5, "bfloat16": 4.0, "float32": 0.01}


def export(job: Job, run: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """Write merged/ (weights, tokenizer, chat template, generation config), reload it from disk and ask it a question.

    Args:
        trained: the run's manifest.

    Returns:
        question, answer, and the largest difference of a logit between the merged model and base + adapter over that
        prompt.

    Raises:
        Stop: something is missing, no disk space, or the merged model does not answer as base + adapter; an earlier
        merged/
            is kept then.
    """
    base, dtype = job.base_model, job.recipe.export.dtype
    row = read_rows(job.evaluation.rows, 1)[0]
    limit = answer_limit(job)
    need_space(run, 2 * sum(file.stat().st_size for file in base.glob("*.safetensors")))
    template = chat_template.load(base)
    # on the CPU: float32 takes twice the memory of the GPU that it was trained on, and gives the same bits on every
    # machine
    model = load.load_base(base, torch.float32, "cpu")
    load.need_vocabulary(model, template.tokenizer)
    tuned = load.load_adapter(model, run / "adapter")
    wanted = _ask(tuned, template, row, limit)
    merged = tuned.merge_and_unload(safe_merge=True)
    with atomic_folder(run / "merged") as staging:
        _stop_where_trained(merged, template)
        merged.to(_DTYPES[dtype]).save_pretrained(staging, safe_serialization=True)
        del model, tuned, merged  # before a second model is loaded
        template.tokenizer.save_pretrained(staging)
        changed = _need_changed(base, staging, str(run / "merged"))
        found = _ask(load.load_base(staging, torch.float32, "cpu"), chat_template.load(staging), row, limit)
        difference = float((wanted[1] - found[1]).abs().max())
        if not difference <= _TOLERANCE[dtype]:
            expected, todo = (
                f"logits within {_TOLERANCE[dtype]} of base + adapter",
                "--set export.dtype=float32, then invoke export",
            )
            raise Stop(expected, f"{difference:.3f} apart", str(run / "merged"), todo)
        if not found[0]:
            todo = "train longer: --set training.epochs=3"
            raise Stop("an answer from the merged model", "an empty one", str(run / "merged"), todo)
    checked = {
        "dtype": dtype,
        "question": row["input"].rpartition("\n")[2],
        "answer": found[0],
        "answer_of_base_and_adapter": wanted[0],
        "gold": row["output"],
        "largest_logit_difference": round(difference, 6),
        "changed_tensors": changed,
    }
    manifest.add(run, trained, "export", {**checked, "recipe": as_values(job.recipe)})
    return checked


def _stop_where_trained(merged: Any, template: ChatTemplate) -> None:
    """Have a stock `generate` stop at every token that ends an answer: the end of turn, and the model's own."""
    own = merged.generation_config.eos_token_id
    if set(own if isinstance(own, list) else [own]) != set(template.ends):
        merged.generation_config.eos_token_id = list(template.ends)


def _need_changed(base: Path, merged: Path, where: str) -> int:
    """The number of tensors that the merge has changed, compared in the dtype on disk.

    Raises:
        Stop: none, so that this would be the base model.
    """
    pairs = ((tensor, _tensor(base, name).to(tensor.dtype)) for name, tensor in _tensors(merged))
    changed = sum(not torch.equal(after, before) for after, before in pairs)
    if not changed:
        wanted, todo = "a merge that changes the model", "train longer, or with a higher training.learning_rate"
        raise Stop(wanted, "not one weight differs from the base model's", where, todo)
    return changed


def _tensors(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as saved:
            for name in saved.keys():  # noqa: SIM118 - no dict
                yield name, saved.get_tensor(name)


def _tensor(folder: Path, name: str) -> torch.Tensor:
    for file in folder.glob("*.safetensors"):
        with safe_open(file, "pt") as saved:
            if name in saved.keys():  # noqa: SIM118 - no dict
                return saved.get_tensor(name)
    return torch.empty(0)  # another name on disk: it counts as changed


def _ask(model: Any, template: ChatTemplate, row: dict[str, Any], limit: int) -> tuple[str, torch.Tensor]:
    """The answer to one row, and the logits over its prompt: float32, [length, vocabulary]."""
    text = answers(model, template, [row], limit, 1)[0]
    (prompt,) = template.prompts([row])
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([prompt], device=model.device)).logits[0].float().cpu()
    return text or "", logits
