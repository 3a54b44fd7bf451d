"""Starting a run or going on with one, and its manifest at the end."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline import distributed, job
from pipeline.data import fetch
from pipeline.data import format as formatting
from pipeline.errors import Stop, need_space
from pipeline.recipe import Recipe, as_values
from pipeline.runs import manifest, store
from pipeline.sources import splits


def train(recipe: Recipe, resume: bool, say: Callable[[str], None], newest: bool = True) -> tuple[Path, dict[str, Any]]:
    """Train in a new run folder, or in the newest unfinished one; of several processes each calls this, and the first alone records.

    Args:
        newest: whether `latest` is to name the run.

    Raises:
        Stop: data or model missing, nothing to resume, a recipe that changed since, no disk space, or what the training itself raises.
    """
    distributed.join()
    inputs = distributed.each(lambda: _inputs(recipe))
    from pipeline.models import load  # torch is heavy: only once everything is there
    from pipeline.training import loop

    kind, _ = distributed.each(lambda: load.precision(recipe))
    environment = {**manifest.code(), "precision": f"{kind} on {load.device()}"}
    own = {"recipe": as_values(recipe), "environment": environment, **inputs}
    first_has = distributed.of_all(own)[0]
    distributed.each(lambda: _need_alike(first_has, own))
    first = distributed.number() == 0
    held = contextlib.ExitStack()  # no other process trains in the run's folder
    if done := distributed.of_first(lambda: store.finished_already(recipe) if resume else None):
        say(f"train  {done[0]} had come to its end")
        return Path(done[0]), dict(done[1])
    now = {"inputs": inputs, "environment": environment, "processes": distributed.count()}
    run, checkpoint = distributed.of_first(lambda: _place(recipe, resume, now, say, held))
    split, _ = splits(recipe)
    with held:
        try:
            done = loop.train(recipe, job.formatted_split(recipe, split), run, checkpoint)
        except Exception:
            if first and not store.begun(run):
                shutil.rmtree(run)  # nothing to look at, or to resume
            raise
        made = manifest.of_training(recipe, run, inputs, {**done, "resumed": resume})
        if first:
            store.finish(run, made, newest)
    return run, made


def _inputs(recipe: Recipe) -> dict[str, Any]:
    """The hashes of what training reads, which is all there."""
    lacking = fetch.missing(recipe)
    if lacking:
        raise Stop("data and model", f"missing: {', '.join(lacking)}", "data/ and models/", "invoke fetch data")
    if stale := formatting.unformatted(recipe):
        raise Stop(
            "formatted data",
            f"missing or older than its raw file: {', '.join(stale)}",
            str(job.formatted(recipe)),
            "invoke data",
        )
    need_space(Path("runs"), 512 * 2**20)  # adapter, optimizer state, a few checkpoints
    return manifest.inputs(recipe)


def _need_alike(first_has: dict[str, Any], own: dict[str, Any]) -> None:
    """Processes on other machines are called there, and read files of their own."""
    if others := manifest.differing(first_has, own):
        raise Stop(
            "the recipe, environment, model and data of the first process",
            f"others: {', '.join(others)}",
            "data/, models/ and the command",
            "the same image, files and command on every machine",
        )


def _place(
    recipe: Recipe, resume: bool, now: dict[str, Any], say: Callable[[str], None], held: contextlib.ExitStack
) -> tuple[Path, Path | None]:
    """The run's folder, and the checkpoint to go on from."""
    if not resume:
        run = store.create(recipe, now)
        held.enter_context(store.hold(run))
        return run, None
    run, started = store.unfinished(recipe)
    held.enter_context(store.hold(run))
    _unchanged(recipe, started["recipe"], run)
    if (then := started.get("processes", 1)) != now["processes"]:
        raise Stop(
            f"{then} processes, as the run was started with",
            str(now["processes"]),
            str(run / store.UNFINISHED),
            "the same --nodes and --gpus-per-node as then, or start anew with invoke train",
        )
    manifest.need_same(started["inputs"], now["inputs"], run / store.UNFINISHED)
    _need_same_environment(started.get("environment", {}), now["environment"], run / store.UNFINISHED, say)
    return run, _checkpoint(run, say)


def _need_same_environment(then: dict[str, Any], now: dict[str, Any], where: Path, say: Callable[[str], None]) -> None:
    """Other wheels or another precision would make another adapter; other code may."""
    others = [f"{key}: {then[key]} then, {now[key]} now" for key in then if then[key] != now[key]]
    if any(then.get(key, now[key]) != now[key] for key in ("lock_sha256", "precision")):
        raise Stop(
            "the environment that the run was started in",
            "; ".join(others),
            str(where),
            f"git checkout {then.get('revision') or 'of then'}, on a machine of that kind; or start anew with invoke train",
        )
    if others:
        say(f"train  started by other code, so that the adapter may be another: {'; '.join(others)}")


def _checkpoint(run: Path, say: Callable[[str], None]) -> Path | None:
    from pipeline.training import checkpoint as checkpoints

    checkpoint, broken = checkpoints.newest_checkpoint(run)
    for folder in broken:
        say(f"train  {folder} is not whole; the one before it is taken")
    if checkpoint:
        checkpoints.restore(checkpoint, run)
    say(
        f"train  going on from {checkpoint}"
        if checkpoint
        else f"train  {run} has no whole checkpoint: starting over in it"
    )
    return checkpoint


def _unchanged(recipe: Recipe, started: dict[str, Any], run: Path) -> None:
    now = as_values(recipe)
    changed = [
        f"{section}.{key}: {started.get(section, {}).get(key)!r} then, {value!r} now"
        for section in ("model", "data", "lora", "training")
        for key, value in now[section].items()
        if _listed(started.get(section, {}).get(key)) != _listed(value)
    ]
    if changed:
        raise Stop(
            "the recipe that the run was started with",
            "; ".join(changed),
            str(run / store.UNFINISHED),
            "set these keys back, or start anew with invoke train",
        )


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value  # JSON has no tuples
