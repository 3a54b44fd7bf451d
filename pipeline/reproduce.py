"""Make a run again, and compare every output.

    python -m pipeline reproduce --run quickstart/20261101-120000-ab12cd

The recipe, and which of evaluation and export follow, come from the run's manifest; data and model must have its
hashes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline import distributed
from pipeline import table as tables
from pipeline.data import check, converter
from pipeline.errors import Paused, Stop
from pipeline.files import sha256, write_json
from pipeline.job import Job
from pipeline.runs import manifest
from pipeline.runs.store import MANIFEST
from pipeline.training.run import train

_TIMED = ("seconds",)  # keys of metrics.jsonl that differ between any two runs
# have the run's name and dates in them
_NOT_COMPARED = ("report.html", "merged/README.md", "merged/manifest.json", "merged/SHA256SUMS")
_ENVIRONMENT = ("image_digest", "lock_sha256", "revision", "dirty", "flavor")
_MACHINE = ("processor", "capability", "gpus", "threads", "python")


def reproduce(
    job: Job, later: Mapping[str, Job], run: Path, made: dict[str, Any], say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Train, and evaluate and export as the run was, in a new run folder; returns and records which outputs are equal.

    `latest` keeps naming the run that it names. Of several ranks, rank 0 alone compares, and the others get None.

    Args:
        later: the jobs of the "evaluation" and "export" that the run had.
        made: the run's manifest.

    Raises:
        Stop: data or model have changed, or the run was trained by another number of processes.
    """
    name = f"{run.parent.name}/{run.name}"
    if (then := made["training"].get("processes", 1)) != distributed.world_size():
        todo = f"invoke reproduce {name}, which starts as many"
        raise Stop(f"{then} processes, as {name} had", str(distributed.world_size()), str(run / MANIFEST), todo)
    if "gguf" in made:
        converter.need(job.models)  # before hours of training
    distributed.init()
    distributed.raise_together(lambda: _need_inputs([job, *later.values()], run, made))
    try:
        again, now = train(job, False, say, newest=False)
    except Paused as paused:
        todo = f"invoke reproduce {name}, which begins anew"
        raise Paused(paused.wanted, paused.found, paused.where, todo) from None
    if distributed.rank() > 0:
        return None
    now = _evaluate_and_export(later, again, now)
    if "gguf" in made:
        now = _convert(again, now, job.models, made["gguf"])
    names = [each for each in sorted(made["outputs"]) if each not in _NOT_COMPARED]
    outputs = {each: _equal(run, again, each, made["outputs"][each], now["outputs"].get(each)) for each in names}
    found = {
        "of": name,
        "run": f"{again.parent.name}/{again.name}",
        "same": all(outputs.values()),
        "outputs": outputs,
        "environment": changes(made["environment"], now["environment"]),
    }
    write_json(again / "reproduction.json", found)
    return found


def _evaluate_and_export(later: Mapping[str, Job], run: Path, made: dict[str, Any]) -> dict[str, Any]:
    from pipeline.evaluation.evaluate import evaluate, forget_base
    from pipeline.export.run import export

    forget_base(run)  # nothing that an earlier run has made is taken over
    for section, step in (("evaluation", evaluate), ("export", export)):
        if section in later:
            step(later[section], run, made)
            made = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    return made


def _convert(run: Path, made: dict[str, Any], models: Path, then: dict[str, Any]) -> dict[str, Any]:
    from pipeline.export import gguf

    gguf.export(run, made, models, then["quantize"], then["context"])
    converted: dict[str, Any] = json.loads((run / MANIFEST).read_text(encoding="utf-8"))
    return converted


def _need_inputs(jobs: list[Job], run: Path, made: dict[str, Any]) -> None:
    for each in jobs:
        check.need_formatted(each)
    check.need_raw(jobs[0])
    manifest.need_same(made["inputs"], manifest.inputs(jobs[0]), run / MANIFEST)


def _equal(run: Path, again: Path, name: str, before: str, now: str | None) -> bool:
    if name != "metrics.jsonl":
        return before == now
    if not (run / name).exists() or sha256(run / name) != before:
        return False
    return _without_times(run / name) == _without_times(again / name)


def _without_times(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in _TIMED} for line in lines]


def changes(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    """What differs between two environments, as "then -> now": why outputs may differ."""
    found = _changed({key: then.get(key) for key in (*_ENVIRONMENT, *_MACHINE)}, now)
    before, after = then.get("packages") or {}, now.get("packages") or {}
    return {**found, **_changed({name: before.get(name) for name in sorted(before.keys() | after.keys())}, after)}


def _changed(then: dict[str, Any], now: dict[str, Any]) -> dict[str, str]:
    differing = [key for key in then if then[key] != now.get(key)]
    return {key: f"{str(then[key])[:60]} -> {str(now.get(key))[:60]}" for key in differing}


def table(found: dict[str, Any]) -> str:
    """Every output with "same" or "differs", and what differs in the environment."""
    rows = [(name, "same" if same else "DIFFERS") for name, same in found["outputs"].items()]
    width = max(len(state) for _, state in rows)
    lines = [tables.render([(name, state.ljust(width)) for name, state in rows])]
    if not found["environment"]:
        return "\n".join([*lines, "", "environment: the same"])
    head = "environment: it differs, without effect" if found["same"] else "environment: it differs, which may be why"
    return "\n".join([*lines, "", head, *(f"  {name}: {change}" for name, change in found["environment"].items())])


def need_all(found: dict[str, Any]) -> None:
    """Raise Stop if an output differs."""
    differing = [name for name, same in found["outputs"].items() if not same]
    if differing:
        restore = "make the environment what it was, as listed above, then again"
        todo = restore if found["environment"] else "report it: nothing that Pintune records differs"
        count = f"{len(differing)} of {len(found['outputs'])} differ: {', '.join(differing)}"
        raise Stop(f"the outputs of {found['of']}", count, f"runs/{found['run']}/reproduction.json", todo)
