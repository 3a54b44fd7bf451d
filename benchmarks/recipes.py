"""Memory of the recipes by the estimator, and training time by arithmetic: nothing here is measured.

    python -m benchmarks.recipes        the table in docs/benchmarks.md

Time is that of the matrix products alone, at 40 % of a GPU's dense fp16 rate: 4 operations per weight and token (2
forward, 2 for the gradient of the inputs; frozen weights have no gradient), or 6 with gradient checkpointing, which
repeats the forward pass (counted as by Kaplan et al. 2020, arXiv:2001.08361, section 2.1). Rates are from NVIDIA's
data sheets of T4, A100 SXM and H100 SXM. TAT-QA's train split has 2,201 contexts and 13,215 questions. Read once
each, contexts of dev have TOKENS_A_QUESTION tokens per question, by SmolLM2's tokenizer and the English prompt.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from pipeline import job
from pipeline.data.formatted_rows import answer_limit
from pipeline.models import random_init
from pipeline.recipe import load
from pipeline.training import memory

RATES = {"T4": 65e12, "A100": 312e12, "H100": 989e12}  # operations per second, dense fp16 on tensor cores
PART = 0.4  # of the rate
QUESTIONS, TOKENS_A_QUESTION = 13215, 138


def main() -> None:
    """Print the table."""
    print("| recipe | weights | memory, fp16 | T4 | A100 | H100 |\n|---|---:|---:|---:|---:|---:|")
    for name in ("phi-4-mini-reasoning", "mistral-7b-instruct"):
        recipe = load(name, ["model.random=true"])
        with tempfile.TemporaryDirectory() as scratch:
            estimated = _estimated(Path(scratch), name)
        tokens = QUESTIONS * TOKENS_A_QUESTION * recipe.training.epochs
        operations = estimated["parameters"] * tokens * (6 if recipe.training.gradient_checkpointing else 4)
        total = estimated["fp16"]["total"] / 2**30
        hours = [
            f"{operations / rate / PART / 3600:.1f} h" if total < room else ""
            for rate, room in zip(RATES.values(), (15, 80, 80), strict=True)
        ]
        print(f"| {name} | {estimated['fp16']['weights'] / 2**30:.1f} GiB | {total:.1f} GiB | {' | '.join(hours)} |")


def _estimated(scratch: Path, name: str) -> dict[str, Any]:
    chosen = job.resolve(load(name, ["model.random=true"]), scratch)
    chosen.base_model.mkdir(parents=True)
    (chosen.base_model / "config.json").write_text(json.dumps(random_init.shape(name)))
    estimated = memory.estimate(chosen.recipe, chosen.base_model, answer_limit(chosen))
    assert estimated is not None
    return estimated


if __name__ == "__main__":
    main()
