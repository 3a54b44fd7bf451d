"""report.html of a run: one self-contained page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from pipeline.data import formatted_rows, statistics
from pipeline.evaluation import tools
from pipeline.files import write_text
from pipeline.job import Job, Split
from pipeline.tatqa import prompt, schema, truncate
from pipeline.tatqa.language import SEPARATOR

SHOWN = 40  # questions shown of each kind of change
_WIDTH, _HEIGHT = 640.0, 200.0  # of a chart's inside, in its own units
_BARS = 40


@dataclass(frozen=True)
class Chart:
    """A line or bars in a box of _WIDTH x _HEIGHT: points are (x, y) there, y downwards; ticks are (place, label)."""

    points: list[tuple[float, float]]
    bars: list[tuple[float, float]]  # (x, height)
    across: list[tuple[float, str]]
    up: list[tuple[float, str]]
    bar_width: float = 0.0


def write(job: Job, run: Path) -> Path:
    """Write the page of an evaluated run; returns its path."""
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    answers = _lines(run / "answers.jsonl")
    losses = [] if "unknown" in manifest["training"] else _lines(run / "metrics.jsonl")  # of another trainer
    counted = formatted_rows.read_report(job.formatted).get("splits", {})
    changes = _changes(job.evaluation, answers)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        run=run.name,
        recipe=job.recipe,
        manifest=manifest,
        evaluation=evaluation,
        made_by=_made_by(manifest),
        data_table=statistics.table(counted, job.recipe.data.target) if counted else "",
        loss=_curve([(each["step"], each["loss"]) for each in losses if each.get("loss") is not None]),
        heldout=_curve(
            [(each["step"], each["heldout_loss"]) for each in losses if each.get("heldout_loss") is not None]
        ),
        heldout_em=_curve([(each["step"], 100 * each["heldout_em"]) for each in losses if "heldout_em" in each]),
        lengths={split: _histogram(each["prompt_tokens_histogram"]) for split, each in counted.items()},
        changes=changes,
        tool_lines=tools.lines(**evaluation["tools"]) if "tools" in evaluation else [],
        shown=SHOWN,
        width=_WIDTH,
        height=_HEIGHT,
    )
    write_text(run / "report.html", page)
    return run / "report.html"


def _made_by(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """What made the adapter, by name."""
    environment, training = manifest["environment"], manifest["training"]
    unknown = "not recorded"
    dirt = {True: ", with uncommitted changes", False: "", None: ""}[environment.get("dirty")]
    no_image = f"none (runner {environment['runner']})" if environment.get("runner") in ("venv", "here") else unknown
    return [
        ("adapter", f"sha256 {training['adapter_sha256']}"),
        ("image", environment.get("image_digest") or no_image),
        ("revision", f"{environment.get('revision') or unknown}{dirt}"),
        ("lock", f"sha256 {environment['lock_sha256']}" if environment.get("lock_sha256") else unknown),
    ]


def _lines(path: Path) -> list[Any]:
    with path.open(encoding="utf-8") as file:  # not splitlines(): U+2028 ends no line of JSON
        return [json.loads(line) for line in file]


def _changes(split: Split, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """Questions that became right or wrong, or stayed wrong, with their table and notes."""

    def right(each: dict[str, Any], who: str) -> bool:
        return bool(each[who]["score_em"])

    kinds = {
        "From wrong to right": [each for each in answers if right(each, "tuned") and not right(each, "base")],
        "From right to wrong": [each for each in answers if right(each, "base") and not right(each, "tuned")],
        "Still wrong": [each for each in answers if not right(each, "base") and not right(each, "tuned")],
    }
    chosen = {name: each[:SHOWN] for name, each in kinds.items()}
    wanted = {each["context"] for found in chosen.values() for each in found}
    contexts: dict[str, schema.Context] = {}
    asked: dict[str, str] = {}
    if split.raw.suffix == ".json":
        read = (each for each in schema.read(split.raw) if each.uid in wanted)
        contexts = {each.uid: prompt.in_plain_characters(each, Counter()) for each in read}
    else:
        asked = {row["uid"]: row["input"] or row["instruction"] for row in formatted_rows.read_rows(split.rows)}
    return {
        name: {
            "count": len(kinds[name]),
            "questions": [_shown(each, contexts.get(each["context"]), asked) for each in found],
        }
        for name, found in chosen.items()
    }


def _shown(answer: dict[str, Any], context: schema.Context | None, asked: dict[str, str]) -> dict[str, Any]:
    shown: dict[str, Any] = {
        **answer,
        "gold_text": _text(answer["gold"]),
        "table": None,
        "notes": [],
        "derivation": "",
        "question": asked.get(answer["uid"], ""),
    }
    for who in ("base", "tuned"):
        shown[who] = {**answer[who], "answer_text": _text(answer[who]["answer"])}
    if context is not None:
        question = next(each for each in context.questions if each.uid == answer["uid"])
        wanted = truncate.needed(question)
        shown["question"] = question.text
        shown["table"] = [[(cell, truncate.holds(cell, wanted)) for cell in row] for row in context.rows]
        shown["notes"] = [
            text for order, text in context.notes if str(order) in question.notes or truncate.holds(text, wanted)
        ]
        shown["derivation"] = question.derivation
    return shown


def _text(answer: object) -> str:
    return SEPARATOR.join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _curve(points: list[tuple[float, float]]) -> Chart | None:
    if len(points) < 2:
        return None
    last, top = points[-1][0], max(y for _, y in points) or 1.0
    return Chart(
        points=[(_WIDTH * x / last, _HEIGHT * (1 - y / top)) for x, y in points],
        bars=[],
        across=_ticks(int(last)),
        up=[(_HEIGHT * (1 - part), f"{top * part:.2f}") for part in (0.0, 0.5, 1.0)],
    )


def _ticks(last: int) -> list[tuple[float, str]]:
    """Whole numbers along the lower edge, a quarter apart or as near to it as they are."""
    return [
        (_WIDTH * number / last, str(number)) for number in dict.fromkeys(last * quarter // 4 for quarter in range(5))
    ]


def _histogram(counts: dict[str, int]) -> Chart | None:
    if not counts:
        return None
    lengths = {int(length): count for length, count in counts.items()}
    longest = max(lengths)
    step = max(1, -(-(longest + 1) // _BARS))
    bars = [sum(_between(lengths, i * step, (i + 1) * step)) for i in range(-(-(longest + 1) // step))]
    top, width = max(bars), _WIDTH / len(bars)
    return Chart(
        points=[],
        bars=[(i * width, _HEIGHT * count / top) for i, count in enumerate(bars)],
        across=_ticks(step * len(bars)),
        up=[(_HEIGHT * (1 - count / top), str(count)) for count in dict.fromkeys((0, top // 2, top))],
        bar_width=width,
    )


def _between(lengths: dict[int, int], low: int, high: int) -> Iterable[int]:
    return (count for length, count in lengths.items() if low <= length < high)
