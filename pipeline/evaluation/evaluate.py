"""Greedy answers of the base and the tuned model to the evaluation split, scored by the authors' rules.

python -m pipeline evaluate     # in runs/RECIPE/latest: evaluation.json, predictions.json, answers.jsonl, report.html

An evaluation that was killed continues where it was when it is called again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import table as tables
from pipeline.data import packing
from pipeline.data.formatted_rows import answer_limit, read_report, read_rows
from pipeline.errors import Stop
from pipeline.evaluation import report, scoring, tools
from pipeline.evaluation.answer_cache import AnswerCache
from pipeline.evaluation.scoring import Scored
from pipeline.evaluation.significance import interval, p_value
from pipeline.files import atomic_file, sha256, write_json
from pipeline.generation import generate
from pipeline.generation.judge import judge
from pipeline.job import Job
from pipeline.models import chat_template, load
from pipeline.models.chat_template import ChatTemplate
from pipeline.recipe import as_values
from pipeline.runs import manifest
from pipeline.tatqa.target import Said

Row = dict[str, Any]

_BASE = ".answers-base-"  # in the folder of the recipe's runs
# what shapes an answer: generation, and what it stands on
_CODE = (Path(generate.__file__).parent, Path(load.__file__).parent, Path(packing.__file__).parent)


@dataclass(frozen=True)
class _Answers:
    """One model's answers to the questions that fit, in their order."""

    texts: list[str]  # as the model wrote them
    said: list[Said]
    scored: list[Scored]


def evaluate(job: Job, run: Path, trained: dict[str, Any]) -> dict[str, Any]:
    """Answer, score and record; returns the contents of evaluation.json.

    Args:
        trained: the run's manifest.

    Raises:
        Stop: rows, model or adapter are missing, or no question fits.
    """
    started = time.monotonic()
    rows = read_rows(job.evaluation.rows, job.recipe.data.evaluation_contexts)
    texts = _texts(job, run, trained, rows)
    fitting = [row for row in rows if row["uid"] in texts["tuned"]]
    if not fitting:
        where, todo = "the recipe, [training] max_length", "raise training.max_length"
        raise Stop("questions that fit training.max_length", f"none of {len(rows)}", where, todo)
    answers = {who: _judged(fitting, texts[who], job.recipe.data.language) for who in texts}
    results = {
        "split": f"{job.source.name}/{job.evaluation.name}",
        "questions": len(fitting),
        "questions_left_out": len(rows) - len(fitting),
        "contexts": len({row["context"] for row in fitting}),
        "leakage": _leakage(job, trained, len({row["context"] for row in fitting})),
        "base": scoring.summary(answers["base"].scored),
        "tuned": scoring.summary(answers["tuned"].scored),
        "certainty": _certainty(answers, [row["context"] for row in fitting]),
        "without_answer": {who: sum(1 for each in answers[who].said if each.problem) for who in answers},
    }
    of_tools = {who: tools.summary(fitting, answers[who].texts) for who in answers}
    if of_tools["base"]:
        results["tools"] = of_tools
    _write(run, fitting, answers, results)
    report.write(job, run)
    section = {key: results[key] for key in ("split", "questions", "questions_left_out")}
    section |= {"rows_sha256": sha256(job.evaluation.rows), "recipe": as_values(job.recipe)}
    manifest.add(run, trained, "evaluation", {**section, "seconds": round(time.monotonic() - started, 1)})
    _cache(run).unlink(missing_ok=True)
    return results


def _leakage(job: Job, trained: dict[str, Any], contexts: int) -> int:
    """Contexts or rows of the evaluation split that the training split has too, as `invoke data` counted them."""
    data = trained["inputs"]["data"]
    if (data["source"], data["train"]["split"]) == (job.recipe.data.source, job.evaluation.name):
        return contexts  # other settings than the run's: it is scored on what it was trained on
    counted = read_report(job.formatted)["splits"][job.evaluation.name]
    return int(counted["leaks"]["count"])


def _cache(run: Path) -> Path:
    """Where the tuned model's answers are kept until it is scored."""
    return run / ".answers-tuned.jsonl"


def _base_cache(run: Path, made_of: dict[str, Any]) -> Path:
    """Where the base model's answers are kept, for all runs of the recipe that ask it the same in the same way."""
    mark = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]
    return run.parent / f"{_BASE}{mark}.jsonl"


def forget_base(run: Path) -> None:
    """Forget the base model's answers, so that the next evaluation of the recipe's runs makes them again."""
    for file in run.parent.glob(f"{_BASE}*.jsonl"):
        file.unlink()


def _texts(job: Job, run: Path, trained: dict[str, Any], rows: list[Row]) -> dict[str, dict[str, str]]:
    """The texts of base and tuned model by uid; questions that do not fit are not among them."""
    precision, _ = load.precision(job.recipe.training.precision)
    template = chat_template.load(job.base_model)
    base = load.load_base(job.base_model, load.DTYPES[precision])
    load.need_vocabulary(base, template.tokenizer)
    tuned = load.load_adapter(base, run / "adapter")
    split = f"{job.source.name}/{job.evaluation.name}"
    print(f"evaluate  {len(rows)} questions of {split}; {precision} on {load.device()}", flush=True)
    limit = answer_limit(job)
    made_of = {
        "adapter": sha256(run / "adapter" / load.ADAPTER),
        "rows": sha256(job.evaluation.rows),
        "model": trained["inputs"]["model"],
        "precision": f"{precision} on {load.device_name()}",
        "max_new_tokens": limit,
        "batch_questions": job.recipe.evaluation.batch_questions,
        "lock": manifest.code()["lock_sha256"],
        "code": [sha256(file) for folder in _CODE for file in sorted(folder.glob("*.py"))],
    }

    def answered(who: str, cache: AnswerCache) -> dict[str, str]:
        return _answer(job, tuned, template, rows, who, cache, limit)

    with tuned.disable_adapter():
        of_base = {**made_of, "adapter": ""}
        before = answered("base ", AnswerCache(_base_cache(run, of_base), of_base))
    return {"base": before, "tuned": answered("tuned", AnswerCache(_cache(run), made_of))}


def _answer(
    job: Job, model: Any, template: ChatTemplate, rows: list[Row], name: str, cache: AnswerCache, limit: int
) -> dict[str, str]:
    cached = cache.texts()
    left = [row for row in rows if row["uid"] not in cached]
    if cached:
        print(f"{name}  {len(cached)} questions were answered before", flush=True)

    def keep(texts: dict[int, str]) -> None:
        cache.add({left[place]["uid"]: text for place, text in texts.items()})

    batch, max_length = job.recipe.evaluation.batch_questions, job.recipe.training.max_length
    found = generate.answers(model, template, left, limit, batch, name, max_length, keep)
    return cached | {row["uid"]: text for row, text in zip(left, found, strict=True) if text is not None}


def _judged(rows: list[Row], texts: dict[str, str], language: str) -> _Answers:
    in_order = [texts[row["uid"]] for row in rows]
    judged = [judge(row, text, language) for row, text in zip(rows, in_order, strict=True)]
    scored = [
        Scored(row["uid"], row["answer_type"], row["answer_from"], score)
        for row, (_, score) in zip(rows, judged, strict=True)
    ]
    return _Answers(in_order, [said for said, _ in judged], scored)


def _certainty(answers: dict[str, _Answers], contexts: list[str]) -> dict[str, Any]:
    """95 % intervals of base, tuned and their difference, and the p-value of the difference, for EM and F1."""
    found: dict[str, Any] = {}
    for key in ("em", "f1"):
        base, tuned = ([getattr(each.score, key) for each in answers[who].scored] for who in ("base", "tuned"))
        difference = [b - a for a, b in zip(base, tuned, strict=True)]
        found[key] = {
            "base": interval(base, contexts),
            "tuned": interval(tuned, contexts),
            "difference": interval(difference, contexts),
            "p": p_value(tuned, base, contexts),
        }
    return found


def _write(run: Path, rows: list[Row], answers: dict[str, _Answers], results: dict[str, Any]) -> None:
    for who, name in (("base", "predictions-base.json"), ("tuned", "predictions.json")):
        said = zip(rows, answers[who].said, strict=True)
        write_json(run / name, {row["uid"]: [each.answer, each.scale] for row, each in said})
    with atomic_file(run / "answers.jsonl") as staging, staging.open("w", encoding="utf-8") as file:
        for i, row in enumerate(rows):
            line = {
                "uid": row["uid"],
                "context": row["context"],
                "gold": json.loads(row["answer"]),
                "scale": row["scale"],
                "answer_type": row["answer_type"],
                **{who: _line(answers[who], i, row) for who in answers},
            }
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    write_json(run / "evaluation.json", results)


def _line(answers: _Answers, number: int, row: Row) -> dict[str, Any]:
    judged = tools.judge(row, answers.texts[number])
    of_calls = {} if judged is None else {"calls": judged}
    scores = {f"score_{key}": value for key, value in vars(answers.scored[number].score).items()}
    return {"text": answers.texts[number], **vars(answers.said[number]), **scores, **of_calls}


def table(results: dict[str, Any]) -> str:
    """Base against tuned by answer type, in points of 100, and how certain the difference is."""
    rows: list[Sequence[str]] = [
        (results["split"], "questions", "EM base", "tuned", "F1 base", "tuned", "scale base", "tuned")
    ]
    for name, base in results["base"].items():
        if name != "by_source":
            pairs = [(base[key], results["tuned"][name][key]) for key in ("em", "f1", "scale")]
            cells = [f"{100 * value:.1f}" for pair in pairs for value in pair]
            rows.append((name, str(base["questions"]), *cells))
    lines = [tables.render(rows)]
    if of_tools := results.get("tools"):
        called = tools.lines(of_tools["base"], of_tools["tuned"])
        lines.append(tables.render([("calls of tools", "turns", "base", "tuned"), *called]))
        if left := of_tools["base"]["unreadable"]:
            lines.append(f"{left} calls are not judged: the chat template writes them in a form that is not read")
    if results["questions_left_out"]:
        lines.append(f"{results['questions_left_out']} more were left out: longer than training.max_length")
    em = results["certainty"]["em"]
    low, high = (100 * each for each in em["difference"])
    over = f"95 % interval over {results['contexts']} contexts"
    lines.append(f"EM tuned - base: {low:+.1f} to {high:+.1f} ({over}), p = {em['p']:.4f}")
    if leaks := results["leakage"]:
        shared = f"the training split has {leaks} contexts or rows of this split too"
        lines.append(f"leakage: {shared}; these scores may be too high")
    without = results["without_answer"]
    if without["base"] or without["tuned"]:
        lines.append(f"texts without a readable answer: base {without['base']}, tuned {without['tuned']}")
    return "\n".join(lines)
