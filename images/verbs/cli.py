"""One call of invoke: the flags that its verbs share, and running steps with them. Given to one verb they hold for those after it."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke.context import Context
from invoke.tasks import task

from images.errors import Stop, plainly
from images.running import runner as runners
from images.running.runner import Choices

RUNNER = "where steps run: auto, docker, venv or here (default: PINTUNE_RUNNER, else auto)"
FLAVOR = "what it computes on: cpu, cu128, cu130, or auto, by the GPU that is seen (default: PINTUNE_FLAVOR, else auto)"
SHARED = {
    "recipe": "recipe: a shipped name, or a path ending in .toml (default: PINTUNE_RECIPE, else quickstart)",
    "flavor": FLAVOR,
    "runner": RUNNER,
    "set_": "override one recipe key, such as lora.r=32; may be repeated",
}

TOGETHER = {
    "nodes": "containers that train together, on a network without a way out (default 1)",
    "gpus_per_node": "processes in each of them, one a GPU; without GPUs they share the cores (default 1)",
}

_given = {
    name: os.environ.get(f"PINTUNE_{name.upper()}") or default
    for name, default in (("recipe", "quickstart"), ("flavor", "auto"), ("runner", "auto"))
}
_overrides: list[str] = []
_announced: list[str] = []
_why: dict[str, str] = {}


def choices(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> Choices:
    """What holds for a verb: its own flags over those of the verbs before it.

    Raises:
        Stop: as `runner.flavor`.
    """
    for name, value in (("recipe", recipe), ("flavor", flavor), ("runner", runner)):
        _given[name] = value or _given[name]
    _overrides.extend(set_ or [])
    taken, _why["flavor"] = runners.flavor(_given["flavor"])
    return Choices(_given["recipe"], taken, _given["runner"], tuple(_overrides), bool(c.config.run.dry))


def runner(chosen: Choices, aside: bool = False) -> str:
    """The runner that is taken; said once a call, and why, on standard error with `aside`.

    Raises:
        Stop: as `runner.choose`.
    """
    taken, why = runners.choose(chosen.runner, dry=chosen.dry)
    line = f"runner {taken} ({why}), flavor {chosen.flavor} ({_why['flavor']})"
    if line not in _announced:
        print(line, flush=True, file=sys.stderr if aside else sys.stdout)
        _announced.append(line)
    return taken


def step(
    chosen: Choices,
    *steps: str,
    arguments: tuple[str, ...] = (),
    files: tuple[Path, ...] = (),
    aside: bool = False,
    nodes: int = 1,
) -> None:
    """Run steps one after the other, each with the same arguments.

    Raises:
        Stop, StepFailed: as `runner.run`.
    """
    taken = runner(chosen, aside)
    if not chosen.dry:
        runners.need_environment(chosen, taken, any(runners.STEPS[name].computes for name in steps))
    for name in steps:
        runners.run(chosen, taken, name, arguments, files, nodes=nodes)


def processes(chosen: Choices, nodes: int, gpus_per_node: int) -> tuple[str, ...]:
    """What train is told of its processes in each node.

    Raises:
        Stop: a number below 1, or fewer GPUs than processes.
    """
    if min(nodes, gpus_per_node) < 1:
        raise Stop(
            "--nodes and --gpus-per-node of at least 1",
            f"{nodes} and {gpus_per_node}",
            "the command line",
            "leave them out for one of each",
        )
    if nodes * gpus_per_node > 1:
        runners.need_gpus(chosen, nodes * gpus_per_node)
    return ("--processes", str(gpus_per_node)) if gpus_per_node > 1 else ()


def verb(**help_: str) -> Callable[[Callable[..., None]], Any]:
    """A verb whose flags are those of SHARED, which it gets as one Choices, and its own with `help_`."""

    def made(body: Callable[..., None]) -> Any:
        def called(
            c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, **own: Any
        ) -> None:
            with plainly():
                body(choices(c, recipe, flavor, runner, set_), **own)

        shared = list(inspect.signature(called).parameters.values())[:-1]
        called.__name__, called.__doc__ = body.__name__, body.__doc__
        own_parameters = list(inspect.signature(body).parameters.values())[1:]
        needed = [
            each for each in own_parameters if each.default is each.empty
        ]  # those without a default are positional, and come first
        rest = [each for each in own_parameters if each.default is not each.empty]
        called.__signature__ = inspect.Signature([shared[0], *needed, *shared[1:], *rest])  # type: ignore[attr-defined]
        return task(help={**SHARED, **help_}, iterable=["set_"])(called)

    return made
