"""Run again what made a run, and compare every output.

    python -m pipeline reproduce --run quickstart/20261101-120000-ab12cd

The recipe, and which of evaluation and export follow, are those of the run's manifest; data and model must have its hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline import distributed, job
from pipeline.data import fetch
from pipeline.data import format as formatting
from pipeline.errors import PAUSED, Stop
from pipeline.evaluation import evaluate
from pipeline.export import merge
from pipeline.files import sha256, write_json
from pipeline.recipe import Recipe, resolve, shaping
from pipeline.runs import manifest
from pipeline.sources import splits
from pipeline.training.run import train

_TIMED = ("seconds",)  # keys of metrics.jsonl that no two runs share
_UNLIKE = ("report.html",)  # names the run and when it was made
_ENVIRONMENT = (
    "image_digest",
    "lock_sha256",
    "revision",
    "dirty",
    "flavor",
    "processor",
    "capability",
    "gpus",
    "threads",
    "python",
)


def reproduce(recipe: Recipe, run: Path, made: dict[str, Any], say: Callable[[str], None]) -> dict[str, Any] | None:
    """Train, and evaluate and export as the run was, in a new run folder; returns and records what is the same.

    The newest run stays the one that `latest` names. Of several processes the first alone compares, and the others get None.

    Raises:
        Stop: data or model are not what they were, or the run was trained by another number of processes.
    """
    if (then := made["training"].get("processes", 1)) != distributed.count():
        raise Stop(
            f"{then} processes, as {run.parent.name}/{run.name} had",
            str(distributed.count()),
            str(run / "manifest.json"),
            f"invoke reproduce {run.parent.name}/{run.name}, which starts as many",
        )
    recipes = {
        name: resolve(recipe.name, made[name].get("recipe", made["recipe"]))
        for name in ("evaluation", "export")
        if name in made
    }
    distributed.join()
    distributed.each(lambda: _need_inputs(recipe, recipes.values(), run, made))
    try:
        again, now = train(recipe, False, say, newest=False)
    except Stop as stop:
        if stop.status != PAUSED:
            raise
        raise type(stop)(
            stop.wanted, stop.found, stop.where, f"invoke reproduce {run.parent.name}/{run.name}, which begins anew"
        ) from None
    if distributed.number() > 0:
        return None
    for name, step in (("evaluation", evaluate.evaluate), ("export", merge.export)):
        if name in recipes:
            step(recipes[name], again, now)
            now = json.loads((again / "manifest.json").read_text(encoding="utf-8"))
    outputs = {
        name: _same(run, again, name, made["outputs"][name], now["outputs"].get(name))
        for name in sorted(made["outputs"])
        if name not in _UNLIKE
    }
    found = {
        "of": f"{run.parent.name}/{run.name}",
        "run": f"{again.parent.name}/{again.name}",
        "same": all(outputs.values()),
        "outputs": outputs,
        "environment": reasons(made["environment"], now["environment"]),
    }
    write_json(again / "reproduction.json", found)
    return found


def _need_inputs(recipe: Recipe, others: Iterable[Recipe], run: Path, made: dict[str, Any]) -> None:
    for each in others:
        if stale := formatting.unformatted(each):
            raise Stop(
                "formatted data",
                f"missing, or not as format left it: {', '.join(stale)}",
                str(job.formatted(each)),
                f"invoke data {shaping(each)}",
            )
    for split in splits(recipe):
        fetch.check_raw(recipe, split)
    manifest.need_same(made["inputs"], manifest.inputs(recipe), run / "manifest.json")


def _same(run: Path, again: Path, name: str, before: str, now: str | None) -> bool:
    if name == "metrics.jsonl":
        return (
            (run / name).exists()
            and sha256(run / name) == before
            and _without_times(run / name) == _without_times(again / name)
        )
    return before == now


def _without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in _TIMED} for line in lines]


def reasons(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What is another in the environment, as "then -> now": why outputs may differ."""
    differing = {
        key: f"{_short(then.get(key))} -> {_short(now.get(key))}"
        for key in _ENVIRONMENT
        if then.get(key) != now.get(key)
    }
    before, after = then.get("packages") or {}, now.get("packages") or {}
    packages = {
        name: f"{before.get(name)} -> {after.get(name)}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }
    return {**differing, **packages}


def _short(value: Any) -> str:
    return str(value)[:60]


def table(found: dict[str, Any]) -> str:
    """Every output with "same" or "differs", and what is another in the environment."""
    width = max(map(len, found["outputs"]))
    lines = [f"{name.ljust(width)}  {'same' if same else 'DIFFERS'}" for name, same in found["outputs"].items()]
    if not found["environment"]:
        return "\n".join([*lines, "", "environment: the same"])
    head = "environment: another, which did not matter" if found["same"] else "environment: another, which may be why"
    return "\n".join([*lines, "", head, *(f"  {name}: {change}" for name, change in found["environment"].items())])


def need_all(found: dict[str, Any]) -> None:
    """Raise Stop if an output differs."""
    differing = [name for name, same in found["outputs"].items() if not same]
    if differing:
        todo = (
            "make the environment what it was, as listed above, then again"
            if found["environment"]
            else "report it: nothing that Pintune records is another"
        )
        raise Stop(
            f"the outputs of {found['of']}",
            f"{len(differing)} of {len(found['outputs'])} differ: {', '.join(differing)}",
            f"runs/{found['run']}/reproduction.json",
            todo,
        )
