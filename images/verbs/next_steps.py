"""What to run after a call that trained or evaluated: neither what the call ran, nor what its run already has."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path

from images.table import aligned
from images.verbs import runs

_WHY = {"evaluate": "score base and tuned model", "export": "merge", "ask": "ask the merged model"}


def after(
    verbs: Collection[str], recipe: str, flags: tuple[str, ...], root: Path, overrides: tuple[str, ...] = ()
) -> str:
    """The lines that end a call of these verbs; "" if it neither trained nor evaluated.

    Args:
        recipe: its newest run is what the call worked on.
        flags: shared flags that the next commands need too.
        overrides: recipe keys that another training needs too; the other verbs take the run's own.
    """
    if not {"train", "evaluate"} & set(verbs):
        return ""
    run = next(reversed(runs.found(root, Path(recipe).stem if recipe.endswith(".toml") else recipe)), None)
    has = {"evaluate": bool(run and run.evaluation), "export": bool(run and runs.is_merged(run)), "ask": False}
    todo = [verb for verb in _WHY if verb not in verbs and not has[verb]]
    rows = [(_command(todo[0], *flags, *todo[1:]), ", ".join(_WHY[verb] for verb in todo))] if todo else []
    if "ask" not in todo:
        rows.append((_command("ask", *flags, "--context", "3"), "ask about another context of the data"))
    kept = [word for each in overrides if not each.startswith("training.epochs") for word in ("--set", each)]
    learn = ("train", *flags, *kept, "--set", "training.epochs=3", *(["evaluate"] if "evaluate" not in todo else []))
    rows += [(_command(*learn), "learn longer"), (_command("runs"), "compare the runs")]
    return "next:\n" + aligned([("", command, why) for command, why in rows])


def _command(*words: str) -> str:
    return shlex.join(["invoke", *words])
