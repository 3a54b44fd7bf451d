"""Greedy answers of the base and the tuned model to the held-out split, scored by the authors' rules.

python -m pipeline evaluate     # runs/RECIPE/latest/{evaluation,predictions,predictions-base}.json, answers.jsonl, report.html

An evaluation that was killed goes on where it was when it is called again.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from pipeline import job
from pipeline.data import format as formatting
from pipeline.data.readers import instruction_rows
from pipeline.errors import Stop
from pipeline.evaluation import generate, report, scoring
from pipeline.evaluation.answer_cache import Partial
from pipeline.evaluation.scoring import Scored
from pipeline.evaluation.significance import interval, p_value
from pipeline.files import new_copy, sha256, write_json
from pipeline.models import chat_template, load
from pipeline.recipe import Recipe, as_values
from pipeline.runs import manifest
from pipeline.sources import source, splits
from pipeline.tatqa import target
from pipeline.tatqa.metric import Score, score
from pipeline.tatqa.target import Said

Row = dict[str, Any]


def evaluate(recipe: Recipe, run: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Answer, score and record; returns what evaluation.json holds.

    Raises:
        Stop: rows, model or adapter missing, or no question fits.
    """
    _, split = splits(recipe)
    asked = formatting.read_rows(job.formatted_split(recipe, split), recipe.data.evaluation_contexts)
    kind, _ = load.precision(recipe)
    folder = job.base(recipe)
    talker = chat_template.chat(chat_template.load_tokenizer(folder), folder)
    tuned = load.load_adapter(load.load_base(folder, load.DTYPES[kind]), run / "adapter")
    print(f"evaluate  {len(asked)} questions of {source(recipe).name}/{split}; {kind} on {load.device()}", flush=True)
    started = time.monotonic()
    made_of = {
        "adapter": sha256(run / "adapter" / "adapter_model.safetensors"),
        "rows": sha256(job.formatted_split(recipe, split)),
        "precision": kind,
        "max_new_tokens": formatting.answer_limit(recipe),
        "code": sha256(Path(generate.__file__)),
    }
    with tuned.disable_adapter():
        before = _answer(
            recipe, tuned, talker, asked, "base ", Partial(run / ".answers-base.jsonl", {**made_of, "adapter": ""})
        )
    after = _answer(recipe, tuned, talker, asked, "tuned", Partial(run / ".answers-tuned.jsonl", made_of))
    fit = [row for row in asked if row["uid"] in after]
    if not fit:
        raise Stop(
            "questions that fit training.max_length",
            f"none of {len(asked)}",
            "the recipe, [training] max_length",
            "raise training.max_length",
        )
    texts = {"base": before, "tuned": after}
    judged = {who: [_judged(row, texts[who][row["uid"]], recipe) for row in fit] for who in texts}
    said = {who: [each for each, _ in judged[who]] for who in judged}
    scored = {who: [each for _, each in judged[who]] for who in judged}
    results = {
        "split": f"{source(recipe).name}/{split}",
        "questions": len(fit),
        "questions_left_out": len(asked) - len(fit),
        "contexts": len({row["context"] for row in fit}),
        "base": scoring.summary(scored["base"]),
        "tuned": scoring.summary(scored["tuned"]),
        "certainty": _certainty(scored, [row["context"] for row in fit]),
        "without_answer": {who: sum(1 for each in said[who] if each.problem) for who in said},
    }
    _write(run, fit, said, scored, texts, results)
    report.write(recipe, run)
    manifest.add(
        run,
        made,
        "evaluation",
        {
            **{key: results[key] for key in ("split", "questions", "questions_left_out")},
            "recipe": as_values(recipe),
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    for who in said:
        (run / f".answers-{who}.jsonl").unlink(missing_ok=True)
    return results


def _answer(
    recipe: Recipe, asked: Any, talker: chat_template.Chat, all_rows: list[Row], name: str, partial: Partial
) -> dict[str, str]:
    """The model's texts by uid; questions that do not fit are not among them."""
    known = partial.known()
    left = [row for row in all_rows if row["uid"] not in known]
    if known:
        print(f"{name}  {len(known)} questions were answered before", flush=True)
    limit, batch = formatting.answer_limit(recipe), recipe.evaluation.batch_questions

    def keep(texts: dict[int, str]) -> None:
        partial.add({left[place]["uid"]: text for place, text in texts.items()})

    found = generate.answers(asked, talker, left, limit, batch, name, recipe.training.max_length, keep)
    return known | {row["uid"]: text for row, text in zip(left, found, strict=True) if text is not None}


def _judged(row: Row, text: str, recipe: Recipe) -> tuple[Said, Scored]:
    """What a text says, and its scores."""
    plain = row["answer_type"] == instruction_rows.ANSWER_TYPE
    said = Said(text, "") if plain else target.read(text, recipe.data.language, row["input"])
    try:
        found = score(json.loads(row["answer"]), row["answer_type"], row["scale"], said.answer, said.scale)
    except Stop as stop:  # four hundred digits, say: the question is answered wrongly, and the others are to be scored
        said, found = Said("", said.scale, f"wanted {stop.wanted}"), Score(0.0, 0.0, 0.0)
    return said, Scored(row["uid"], row["answer_type"], row["answer_from"], found)


def _certainty(scored: dict[str, list[Scored]], contexts: list[str]) -> dict[str, Any]:
    """95 % intervals of base, tuned and their difference, and the p-value of the difference, for EM and F1."""
    found: dict[str, Any] = {}
    for key in ("em", "f1"):
        base, tuned = ([getattr(each.score, key) for each in scored[who]] for who in ("base", "tuned"))
        difference = [b - a for a, b in zip(base, tuned, strict=True)]
        found[key] = {
            "base": interval(base, contexts),
            "tuned": interval(tuned, contexts),
            "difference": interval(difference, contexts),
            "p": p_value(tuned, base, contexts),
        }
    return found


def _write(
    run: Path,
    fit: list[Row],
    said: dict[str, list[Said]],
    scored: dict[str, list[Scored]],
    texts: dict[str, dict[str, str]],
    results: dict[str, Any],
) -> None:
    for who, name in (("base", "predictions-base.json"), ("tuned", "predictions.json")):
        write_json(
            run / name, {row["uid"]: [each.answer, each.scale] for row, each in zip(fit, said[who], strict=True)}
        )
    with new_copy(run / "answers.jsonl") as aside, aside.open("w", encoding="utf-8") as file:
        for i, row in enumerate(fit):
            line = {
                "uid": row["uid"],
                "context": row["context"],
                "gold": json.loads(row["answer"]),
                "scale": row["scale"],
                "answer_type": row["answer_type"],
                **{
                    who: {
                        "text": texts[who][row["uid"]],
                        **vars(said[who][i]),
                        **{f"score_{k}": v for k, v in vars(scored[who][i].score).items()},
                    }
                    for who in said
                },
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    write_json(run / "evaluation.json", results)


def table(results: dict[str, Any]) -> str:
    """Base against tuned, by answer type, in points of 100, and how sure that is."""
    lines = [
        f"{results['split']:<20} {'questions':>9}   {'EM base':>8} {'tuned':>6}   {'F1 base':>8} {'tuned':>6}   {'scale base':>10} {'tuned':>6}"
    ]
    for name, base in results["base"].items():
        if name == "by_source":
            continue
        tuned = results["tuned"][name]
        cells = "   ".join(
            f"{100 * base[key]:>{width}.1f} {100 * tuned[key]:>6.1f}"
            for key, width in (("em", 8), ("f1", 8), ("scale", 10))
        )
        lines.append(f"{name:<20} {base['questions']:>9}   {cells}")
    if results["questions_left_out"]:
        lines.append(f"{results['questions_left_out']} more were left out: longer than training.max_length")
    sure = results["certainty"]["em"]
    low, high = (100 * each for each in sure["difference"])
    lines.append(
        f"EM tuned - base: {low:+.1f} to {high:+.1f} (95 % interval over {results['contexts']} contexts), p = {sure['p']:.4f}"
    )
    if results["without_answer"]["base"] or results["without_answer"]["tuned"]:
        lines.append(
            f"texts without a readable answer: base {results['without_answer']['base']}, tuned {results['without_answer']['tuned']}"
        )
    return "\n".join(lines)
