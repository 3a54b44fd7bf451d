"""Merge the adapter into the base model and check it before it counts as done.

python -m pipeline export       # runs/RECIPE/latest/merged/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pipeline import job
from pipeline.data.format import answer_limit, read_rows
from pipeline.errors import Stop, need_space
from pipeline.evaluation.generate import answers
from pipeline.files import new_folder
from pipeline.models import chat_template, load
from pipeline.recipe import Recipe, as_values
from pipeline.runs import manifest
from pipeline.sources import splits

_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}
# Largest difference of a logit that storing the merged weights in that type may make; measured 0.05 for float16 on SmolLM2.
_TOLERANCE = {"float16": 0.5, "bfloat16": 4.0, "float32": 0.01}


def export(recipe: Recipe, run: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Write merged/ (safetensors, tokenizer, chat template, generation config), reload it from disk and ask it one question.

    Returns:
        question, answer, and the largest difference of a logit between the merged model and base + adapter over that prompt.

    Raises:
        Stop: something missing, no disk space, or a merged model that does not answer as base + adapter do; merged/ is left as it was then.
    """
    folder, dtype = job.base(recipe), recipe.export.dtype
    row = read_rows(job.formatted_split(recipe, splits(recipe)[1]), 1)[0]
    need_space(run, 2 * sum(file.stat().st_size for file in folder.glob("*.safetensors")))
    talker = chat_template.chat(chat_template.load_tokenizer(folder), folder)
    # in the machine's memory: in float32 it takes twice a GPU's that it was trained on, and the bits are those of every other machine
    tuned = load.load_adapter(load.load_base(folder, torch.float32, "cpu"), run / "adapter")
    wanted = _asked(recipe, tuned, talker, row)
    merged = tuned.merge_and_unload(safe_merge=True)
    with new_folder(run / "merged") as aside:
        merged.to(_DTYPES[dtype]).save_pretrained(aside, safe_serialization=True)
        del tuned, merged  # before there are two
        talker.tokenizer.save_pretrained(aside)
        found = _asked(
            recipe,
            load.load_base(aside, torch.float32, "cpu"),
            chat_template.chat(chat_template.load_tokenizer(aside), aside),
            row,
        )
        difference = float((wanted[1] - found[1]).abs().max())
        if not difference <= _TOLERANCE[dtype]:
            raise Stop(
                f"logits within {_TOLERANCE[dtype]} of base + adapter",
                f"{difference:.3f} apart",
                str(run / "merged"),
                "--set export.dtype=float32, then invoke export",
            )
        if not found[0]:
            raise Stop(
                "an answer from the merged model",
                "an empty one",
                str(run / "merged"),
                "train longer: --set training.epochs=3",
            )
    checked = {
        "dtype": dtype,
        "question": row["input"].rpartition("\n")[2],
        "answer": found[0],
        "answer_of_base_and_adapter": wanted[0],
        "gold": row["output"],
        "largest_logit_difference": round(difference, 6),
    }
    manifest.add(run, made, "export", {**checked, "recipe": as_values(recipe)})
    return checked


def _asked(recipe: Recipe, asked: Any, talker: chat_template.Chat, row: dict[str, Any]) -> tuple[str, torch.Tensor]:
    """The answer to one row, and the logits over its prompt: float32, [length, vocabulary]."""
    text = answers(asked, talker, [row], answer_limit(recipe), 1)[0]
    (prompt,) = talker.prompts([row])
    with torch.inference_mode():
        logits = asked(input_ids=torch.tensor([prompt], device=asked.device)).logits[0].float().cpu()
    return text or "", logits
