"""The verb `sweep`: a grid of settings, each trained and evaluated once, then ranked. Finished points are not repeated.

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
from images.running import runner, step_call, steps
from images.running.choices import Choices
from images.table import aligned
from images.verbs import cli, runs

_HEAD = ("rank", "EM", "F1", "loss", "time", "run")


def grid(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Every combination of the values in overrides such as "lora.r=8,16"; brackets and quotes protect commas.

    Raises:
        Stop: no override lists more than one value, or a key occurs twice.
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


def sweep(choices: Choices, root: Path, nodes: int = 1, processes: int = 1) -> str:
    """Train and evaluate the points that have no run yet, each on `nodes` with `processes`; returns the ranking.

    Raises:
        Stop: nothing to compare, or image or environment are missing.
        StepFailed: a point failed (the others were trained), or the sweep was told to stop.
    """
    cli.need_processes(choices, nodes, processes)
    points = grid(choices.overrides)
    runner_name = cli.runner(choices)
    if not choices.dry:
        runner.need_environment(choices, runner_name)
    made: list[tuple[tuple[str, ...], runs.Run]] = []
    failed: list[StepFailed | Killed] = []
    interrupted = (steps.exit_status().paused, steps.exit_status().interrupted)
    for number, point in enumerate(points, start=1):
        chosen = replace(choices, overrides=point)
        print(f"sweep  {number}/{len(points)}: {' '.join(point)}", flush=True)
        try:
            run = _point(chosen, runner_name, root, nodes, processes)
        except (StepFailed, Killed) as failure:
            if isinstance(failure, StepFailed) and failure.status in interrupted:
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
    """Points with their runs, by EM, then F1, the best first; points without a run come last."""
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
        ("-", *(_value(point, key) for key in varied), "", "", "", "", "failed, as reported above")
        for point in points
        if point not in done
    ]
    return aligned(lines)


def _value(point: tuple[str, ...], key: str) -> str:
    return next(setting.partition("=")[2] for setting in point if setting.partition("=")[0] == key)


def _point(choices: Choices, runner_name: str, root: Path, nodes: int, processes: int) -> runs.Run | None:
    """Train and evaluate one point, as far as it has not been; returns its run, or None in a dry call."""

    def run_step(step: str, flags: dict[str, str | int | bool] | None = None, capture: bool = False) -> str:
        many = (nodes, processes) if step == "train" else (1, 1)
        call = step_call.make(choices, step, flags, nodes=many[0], processes=many[1])
        return runner.run(choices, runner_name, call, capture)

    if choices.dry:
        run_step("train")
        run_step("evaluate")
        return None
    resolved = json.loads(run_step("resolve", capture=True))
    if resolved["missing"]:
        for step in resolved["missing"]:
            run_step(step)
        resolved = json.loads(run_step("resolve", capture=True))
    run = _of(resolved, root)
    if run is None or not run.training:
        run_step("train", {"--resume": run is not None})
        run = _of(resolved, root)
    # an evaluation with other settings cannot be compared
    if run and (not run.evaluation or run.evaluated != resolved["recipe"]):
        run_step("evaluate", {"--run": run.name})
        run = _of(resolved, root)
    return run


def _of(resolved: dict[str, Any], root: Path) -> runs.Run | None:
    """The newest run of exactly this recipe and inputs; a finished run is preferred to an unfinished one."""
    alike = [
        run
        for run in runs.found(root, resolved["name"])
        if (run.recipe, run.inputs) == (resolved["recipe"], resolved["inputs"])
    ]
    return next(iter(sorted(alike, key=lambda run: (bool(run.training), run.folder.name), reverse=True)), None)
