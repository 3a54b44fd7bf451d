"""Start or resume a run, and write its manifest at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import distributed
from pipeline.data import check
from pipeline.errors import Stop, need_space
from pipeline.job import Job
from pipeline.recipe import as_values
from pipeline.runs import manifest, store

_SPACE = 512 * 2**20  # bytes: adapter, optimizer state, a few checkpoints

Say = Callable[[str], None]


def train(job: Job, resume: bool, say: Say, newest: bool = True, or_start: bool = False) -> tuple[Path, dict[str, Any]]:
    """Train in a new run folder, or resume the newest unfinished one. Every rank calls this, and rank 0 alone records.

    Args:
        newest: whether `latest` is to name the run.
        or_start: with `resume`, start a run if none of exactly this recipe is unfinished, as an engine's restart needs.

    Returns:
        The run's folder and its manifest.

    Raises:
        Stop: data or model missing, nothing to resume, a changed recipe, no disk space, or what the training itself
        raises.
    """
    distributed.init()
    inputs = distributed.raise_together(lambda: _inputs(job))
    from pipeline.models import load  # torch is heavy: only once everything is there
    from pipeline.training import loop

    precision, _ = distributed.raise_together(lambda: load.precision(job.recipe.training.precision))
    values = as_values(job.recipe)
    environment = {**manifest.code(), "precision": f"{precision} on {load.device()}"}
    own = {"recipe": values, "environment": environment, **inputs}
    of_rank_zero = distributed.all_gather(own)[0]
    distributed.raise_together(lambda: _need_equal(of_rank_zero, own))
    finished = distributed.on_rank_zero(lambda: store.finished_already(job.runs, values) if resume else None)
    if finished:
        say(f"train  {finished[0]} had finished already")
        return Path(finished[0]), dict(finished[1])
    if or_start:
        resume = distributed.on_rank_zero(lambda: resume and store.is_unfinished(job.runs, values))
    now = {"inputs": inputs, "environment": environment, "processes": distributed.world_size()}
    with contextlib.ExitStack() as locks:  # no other process trains in the run's folder
        run, checkpoint = distributed.on_rank_zero(lambda: _place(job, resume, now, say, locks))
        try:
            trained = loop.train(job, run, checkpoint)
        except Exception:
            if distributed.rank() == 0 and not resume and not store.has_steps(run):
                shutil.rmtree(run)  # nothing to look at, or to resume
            raise
        record = manifest.of_training(job.recipe, run, inputs, {**trained, "resumed": resume})
        if distributed.rank() == 0:
            store.finish(run, record, newest)
    return run, record


def _inputs(job: Job) -> dict[str, Any]:
    """The hashes of what training reads.

    Raises:
        Stop: some of it is missing, or there is too little disk space.
    """
    check.need_all(job)
    need_space(job.runs, _SPACE)
    return manifest.inputs(job)


def _need_equal(of_rank_zero: dict[str, Any], own: dict[str, Any]) -> None:
    """Ranks on other machines have a command and files of their own."""
    if others := manifest.differing(of_rank_zero, own):
        wanted = "the recipe, environment, model and data of rank 0"
        where, todo = "data/, models/ and the command", "the same image, files and command on every machine"
        raise Stop(wanted, f"others: {', '.join(others)}", where, todo)


def _place(
    job: Job, resume: bool, now: dict[str, Any], say: Say, locks: contextlib.ExitStack
) -> tuple[Path, Path | None]:
    """The run's folder, locked, and the checkpoint to resume from."""
    values = as_values(job.recipe)
    if not resume:
        run = store.create(job.runs, values, now)
        locks.enter_context(store.lock(run))
        return run, None
    run, started = store.unfinished(job.runs, values)
    locks.enter_context(store.lock(run))
    where = run / store.UNFINISHED
    _need_same_recipe(started["recipe"], values, where)
    if (then := started.get("processes", 1)) != now["processes"]:
        wanted = f"{then} processes, as the run was started with"
        todo = "the same --nodes and --gpus-per-node as then, or start anew with invoke train"
        raise Stop(wanted, str(now["processes"]), str(where), todo)
    manifest.need_same(started["inputs"], now["inputs"], where)
    _need_same_environment(started.get("environment", {}), now["environment"], where, say)
    return run, _checkpoint(run, say)


def _need_same_environment(then: dict[str, Any], now: dict[str, Any], where: Path, say: Say) -> None:
    """Other wheels or another precision would give another adapter; other code may."""
    others = [f"{key}: {then[key]} then, {now[key]} now" for key in then if then[key] != now[key]]
    if any(then.get(key, now[key]) != now[key] for key in ("lock_sha256", "precision")):
        checkout = f"git checkout {then.get('revision') or 'of then'}, on a machine of that kind"
        todo = f"{checkout}; or start anew with invoke train"
        raise Stop("the environment that the run was started in", "; ".join(others), str(where), todo)
    if others:
        say(f"train  started by other code, so the adapter may differ: {'; '.join(others)}")


def _checkpoint(run: Path, say: Say) -> Path | None:
    from pipeline.training import checkpoint as checkpoints

    checkpoint, corrupt = checkpoints.newest_intact(run)
    for folder in corrupt:
        say(f"train  {folder} is corrupt and kept as {checkpoints.set_aside(folder).name}; the one before it is taken")
    if checkpoint:
        checkpoints.restore_metrics(checkpoint, run)
    say(
        f"train  resuming from {checkpoint}"
        if checkpoint
        else f"train  {run} has no intact checkpoint: starting over in it"
    )
    return checkpoint


def _need_same_recipe(then: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    sections = ["model", "data", "lora", "training"]
    if now["training"]["heldout_questions"]:
        sections.append("evaluation")  # how the questions of the validation split are answered
    changed = [
        f"{section}.{key}: {then.get(section, {}).get(key)!r} then, {value!r} now"
        for section in sections
        for key, value in now[section].items()
        if _as_list(then.get(section, {}).get(key)) != _as_list(value)
    ]
    if changed:
        todo = "set these keys back, or start anew with invoke train"
        raise Stop("the recipe that the run was started with", "; ".join(changed), str(where), todo)


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # JSON has no tuples
