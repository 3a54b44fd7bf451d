"""A grid of settings: each trained and evaluated once, then ranked. What has been done is seen by the runs there are, so that it resumes.

`invoke sweep --set lora.r=8,16,32 --set training.learning_rate=1e-4,2e-4` makes six runs of the recipe.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from images.errors import Killed, StepFailed, Stop
from images.running import runner
from images.running.container import PAUSED
from images.running.runner import Choices
from images.verbs import cli, runs

_HEAD = ("rank", "EM", "F1", "loss", "time", "run")


def grid(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination of the values that overrides such as "lora.r=8,16" list; a comma in brackets or quotes divides nothing.

    Raises:
        Stop: no override lists more than one value, or two are of one key.
    """
    keys = [override.partition("=")[0].strip() for override in overrides]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise Stop(
            "each key once, with all its values", f"{twice[0]} twice", "--set", f"for example --set {twice[0]}=1,2,3"
        )
    each = []
    for override in overrides:
        key, _, text = override.partition("=")
        values = re.findall(r"(?:\[[^\]]*\]|\"[^\"]*\"|'[^']*'|[^,])+", text)
        each.append(list(dict.fromkeys(f"{key}={value.strip()}" for value in values)) or [override])
    if all(len(values) == 1 for values in each):
        raise Stop(
            "settings to compare", "one value for each key", "--set", "for example: invoke sweep --set lora.r=8,16,32"
        )
    return list(itertools.product(*each))


def sweep(choices: Choices, root: Path, processes: tuple[str, ...] = (), nodes: int = 1) -> str:
    """Train and evaluate what is missing of the grid, each point in so many processes of so many nodes; returns the ranking.

    Raises:
        Stop: nothing to compare, or what a step of a whole grid cannot do without.
        StepFailed: a point could not be trained (the others have been), or it was told to stop.
    """
    points = grid(choices.overrides)
    taken = cli.runner(choices)
    if not choices.dry:
        runner.need_environment(choices, taken)
    made: list[tuple[tuple[str, ...], runs.Run]] = []
    failed: list[StepFailed | Killed] = []
    for number, point in enumerate(points, start=1):
        chosen = replace(choices, overrides=point)
        print(f"sweep  {number}/{len(points)}: {' '.join(point)}", flush=True)
        try:
            run = _point(chosen, taken, root, processes, nodes)
        except (StepFailed, Killed) as failure:
            if isinstance(failure, StepFailed) and failure.status in (PAUSED, 130):
                raise
            if isinstance(failure, Killed):
                print(f"sweep  {' '.join(point)} failed\n{failure}", flush=True)
            failed.append(failure)
            continue
        if run:
            made.append((point, run))
    if choices.dry:
        return ""
    text = ranking(points, made)
    if failed:
        print(text, flush=True)
        raise failed[0]
    return f"{text}\nsweep  the same command again trains only what is new"


def ranking(points: Sequence[tuple[str, ...]], made: Sequence[tuple[tuple[str, ...], runs.Run]]) -> str:
    """Points with their runs, the best EM first, then the best F1; those without a run last."""
    ranked = sorted(made, key=lambda each: (-(each[1].score("em") or 0), -(each[1].score("f1") or 0)))
    varied = [
        key
        for key, *_ in (setting.partition("=") for setting in points[0])
        if len({_value(point, key) for point in points}) > 1
    ]
    lines: list[tuple[str, ...]] = [(*_HEAD[:1], *varied, *_HEAD[1:])]
    for rank, (point, run) in enumerate(ranked, start=1):
        training = run.training
        lines.append(
            (
                str(rank),
                *(_value(point, key) for key in varied),
                f"{run.score('em') or 0:.1f}",
                f"{run.score('f1') or 0:.1f}",
                f"{training['last_loss']:.3f}",
                f"{training['seconds']:.0f} s",
                run.name,
            )
        )
    done = [point for point, _ in made]
    lines += [
        ("-", *(_value(point, key) for key in varied), "", "", "", "", "failed, as said above")
        for point in points
        if point not in done
    ]
    return runs.aligned(lines)


def _value(point: tuple[str, ...], key: str) -> str:
    return next(setting.partition("=")[2] for setting in point if setting.partition("=")[0] == key)


def _point(choices: Choices, taken: str, root: Path, processes: tuple[str, ...], nodes: int) -> runs.Run | None:
    """Train and evaluate one point, as far as that has not been done; its run, or None in a dry call."""
    if choices.dry:
        runner.run(choices, taken, "train", processes, nodes=nodes)
        runner.run(choices, taken, "evaluate")
        return None
    resolved = json.loads(runner.run(choices, taken, "resolve", capture=True))
    if resolved["missing"]:
        for step in resolved["missing"]:
            runner.run(choices, taken, step)
        resolved = json.loads(runner.run(choices, taken, "resolve", capture=True))
    run = _of(resolved, root)
    if run is None or not run.training:
        runner.run(choices, taken, "train", (*(("--resume",) if run else ()), *processes), nodes=nodes)
        run = _of(resolved, root)
    if run and (
        not run.evaluation or run.evaluated != resolved["recipe"]
    ):  # an evaluation with other settings does not compare
        runner.run(choices, taken, "evaluate", ("--run", run.name))
        run = _of(resolved, root)
    return run


def _of(resolved: dict[str, Any], root: Path) -> runs.Run | None:
    """The newest run of just this recipe on just these files; a finished one before one that is not."""
    alike = [
        run
        for run in runs.found(root, resolved["name"])
        if (run.recipe, run.inputs) == (resolved["recipe"], resolved["inputs"])
    ]
    return next(iter(sorted(alike, key=lambda run: (bool(run.training), run.folder.name), reverse=True)), None)
