"""Greedy answers of the base and the tuned model to the held-out split, scored by the authors' rules.

python -m pipeline evaluate     # runs/RECIPE/latest/{evaluation,predictions,predictions-base}.json
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from pipeline import folders, manifest
from pipeline.answering import answers
from pipeline.errors import Stop
from pipeline.fetch import splits
from pipeline.files import write_json
from pipeline.recipe import Recipe
from pipeline.rows import read_rows
from pipeline.tatqa import format, schema
from pipeline.tatqa.score import Score, mean, score
from pipeline.training import model


def evaluate(recipe: Recipe, run: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Answer, score and record; returns what evaluation.json holds.

    Raises:
        Stop: rows, model or adapter missing, or no question fits.
    """
    _, split = splits(recipe)
    rows = read_rows(folders.formatted_split(recipe.data.source, recipe.data.language, split), recipe.data.evaluation_contexts)
    kind, _ = model.precision(recipe)
    folder = folders.model(recipe.model.source)
    tokenizer = model.load_tokenizer(folder)
    tuned = model.load_adapter(model.load_base(folder, torch.float16 if kind == "fp16" else torch.float32), run / "adapter")
    print(f"evaluate  {len(rows)} questions of {recipe.data.source}/{split}; {kind} on {model.device()}", flush=True)
    started = time.monotonic()
    with tuned.disable_adapter():
        before = _answer(recipe, tuned, tokenizer, rows, "base ")
    after = _answer(recipe, tuned, tokenizer, rows, "tuned")
    fit = [row for row in rows if row["uid"] in after]
    if not fit:
        raise Stop("questions that fit training.max_length", f"none of {len(rows)}", "the recipe, [training] max_length", "raise training.max_length")
    results = {
        "split": f"{recipe.data.source}/{split}",
        "questions": len(fit),
        "questions_left_out": len(rows) - len(fit),
        "seconds": round(time.monotonic() - started, 1),
        "base": _scores(fit, before),
        "tuned": _scores(fit, after),
    }
    write_json(run / "predictions-base.json", before)
    write_json(run / "predictions.json", after)
    write_json(run / "evaluation.json", results)
    manifest.add(run, made, "evaluation", {key: results[key] for key in ("split", "questions", "questions_left_out", "seconds")})
    return results


def table(results: dict[str, Any]) -> str:
    """Base against tuned, by answer type, in points of 100."""
    lines = [f"{results['split']:<20} {'questions':>9}   {'EM base':>8} {'tuned':>6}   {'F1 base':>8} {'tuned':>6}   {'scale base':>10} {'tuned':>6}"]
    for name, base in results["base"].items():
        tuned = results["tuned"][name]
        cells = "   ".join(f"{100 * base[key]:>{width}.1f} {100 * tuned[key]:>6.1f}" for key, width in (("em", 8), ("f1", 8), ("scale", 10)))
        lines.append(f"{name:<20} {base['questions']:>9}   {cells}")
    return "\n".join(lines)


def _answer(recipe: Recipe, tuned: Any, tokenizer: Any, rows: list[dict[str, Any]], name: str) -> dict[str, list[Any]]:
    """Predictions in the authors' format, by uid; questions that do not fit are not among them."""
    settings = recipe.evaluation
    texts = answers(tuned, tokenizer, rows, settings.max_new_tokens, settings.batch_questions, name, recipe.training.max_length)
    parsed = zip(rows, texts, strict=True)
    return {row["uid"]: list(format.parse_output(text, recipe.data.language)) for row, text in parsed if text is not None}


def _scores(rows: list[dict[str, Any]], predictions: dict[str, list[Any]]) -> dict[str, Any]:
    scored: dict[str, list[Score]] = {"all": []}
    for row in rows:
        one = score(json.loads(row["answer"]), row["answer_type"], row["scale"], *predictions[row["uid"]])
        scored["all"].append(one)
        scored.setdefault(row["answer_type"], []).append(one)
    order = ["all", *(kind for kind in schema.ANSWER_TYPES if kind in scored)]
    return {kind: {"questions": len(scored[kind]), **vars(mean(scored[kind]))} for kind in order}
