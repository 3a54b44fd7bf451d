"""What the verbs of one call of invoke share: flags, which hold for the verbs after it too, and running steps."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import ParseError
from invoke.parser import Parser
from invoke.program import Program
from invoke.tasks import task

from images import matrix
from images.errors import Stop, reported
from images.running import runner as runners
from images.running import step_call, steps
from images.running.choices import Choices, choose_flavor, choose_runner
from images.running.user_files import UserFile
from images.verbs import next_steps

RUNNER = "where steps run: auto, docker, venv, or here (default: PINTUNE_RUNNER, else auto)"
FLAVOR = "what it computes on: cpu, cu128, cu130, or auto, by this machine's GPUs (default: PINTUNE_FLAVOR, else auto)"
SHARED = {
    "recipe": "recipe: a shipped name, or a path ending in .toml (default: PINTUNE_RECIPE, else quickstart)",
    "flavor": FLAVOR,
    "runner": RUNNER,
    "set_": "override one recipe key, such as lora.r=32; may be repeated",
}
PIPELINE_PYTHON = (3, 11)  # what pipeline/ is written for
PARALLEL = {
    "nodes": "containers that train together, on an internal network (default 1)",
    "gpus_per_node": "processes in each of them, one for each GPU; without GPUs they share the cores (default 1)",
}

_flags = {
    name: os.environ.get(f"PINTUNE_{name.upper()}") or default
    for name, default in (("recipe", "quickstart"), ("flavor", "auto"), ("runner", "auto"))
}
_overrides: list[str] = []
_announced: list[str] = []
_unchecked: list[Collection] = []  # the verbs, until the order of this call's flags is checked
_known: list[Collection] = []
_steps: list[str] = []  # the verbs that `verb` made
_call: list[str] = []  # the verbs of this call
_reasons: dict[str, str] = {}
_defaults = dict(_flags)


def choices(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> Choices:
    """The choices of a verb: its own flags over those of the verbs before it.

    Raises:
        Stop: as `choose_flavor`, or a flag is given only after a verb that takes it.
    """
    if _unchecked:
        _call.extend(need_flags_in_order(_unchecked.pop(), sys.argv[1:]))
    for name, value in (("recipe", recipe), ("flavor", flavor), ("runner", runner)):
        _flags[name] = value or _flags[name]
    _overrides.extend(set_ or [])
    chosen, _reasons["flavor"] = choose_flavor(_flags["flavor"])
    return Choices(_flags["recipe"], chosen, _flags["runner"], tuple(_overrides), bool(c.config.run.dry))


def need_named_flavor(todo: str) -> None:
    """Raise Stop unless this call names a flavor: `auto` looks at this machine's GPUs, not at those of the cluster."""
    if _flags["flavor"] == "auto":
        wanted = "the flavor that fits the GPUs that the job will run on: cpu, cu128 or cu130"
        raise Stop(wanted, "auto, which sees this machine only", "--flavor or PINTUNE_FLAVOR", todo)


def collection(*verbs: Any) -> Collection:
    """The verbs as invoke takes them."""
    made = Collection(*verbs)
    _unchecked.append(made)
    _known.append(made)
    return made


def known() -> Collection:
    """The verbs that `collection` made."""
    return _known[-1]


def need_flags_in_order(verbs: Collection, words: Sequence[str]) -> list[str]:
    """The names of the call's verbs.

    Raises:
        Stop: a shared flag is given to a verb, but not to the first verb of the call that takes it, which would run
            without the flag, and nobody would notice.
    """
    try:
        call = Parser(initial=Program().initial_context, contexts=verbs.to_contexts()).parse_argv(list(words))
    except ParseError:  # invoke reports it
        return []
    for flag in ("recipe", "flavor", "runner", "set"):
        takers = [verb for verb in call if verb.name and flag in verb.args]
        late = [verb for verb in takers if verb.args[flag].got_value]
        if late and late[0] is not takers[0]:
            raise Stop(
                f"--{flag} at the first verb that it is for",
                f"invoke … {takers[0].name} … {late[0].name} --{flag}, where {takers[0].name} would run without it",
                "the command line",
                f"invoke {takers[0].name} --{flag} …, which also holds for {late[0].name}; or two calls of invoke",
            )
    return [verb.name for verb in call if verb.name]


def choices_or_problem(
    c: Context, recipe: str, flavor: str, runner: str, set_: list[str] | None
) -> tuple[Choices, Stop | None]:
    """The choices of a verb; if no flavor can be chosen, those with the flavor cpu, and the reason."""
    try:
        return choices(c, recipe, flavor, runner, set_), None
    except Stop as problem:
        return choices(c, flavor="cpu"), problem


def runner(chosen: Choices, on_stderr: bool = False, light: bool = False, prepares: bool = False) -> str:
    """The runner; announced once a call with the reason, with `on_stderr` on standard error.

    For a `light` step it is `here`, unless another was asked for or this Python is too old for the pipeline. For one
    that only `prepares` data, `here` may be asked for outside an image too.

    Raises:
        Stop: as `choose_runner`.
    """
    if light and chosen.runner == "auto" and sys.version_info >= PIPELINE_PYTHON:
        name, reason = "here", "the step needs only Python"
    else:
        name, reason = choose_runner(chosen.runner, dry=chosen.dry, prepares=prepares)
    line = f"runner {name} ({reason}), flavor {chosen.flavor} ({_reasons['flavor']})"
    if line not in _announced:
        print(line, flush=True, file=sys.stderr if on_stderr else sys.stdout)
        _announced.append(line)
    return name


def run_step(
    chosen: Choices,
    step: str,
    flags: Mapping[str, str | int | bool] | None = None,
    files: Mapping[str, UserFile] | None = None,
    nodes: int = 1,
    processes: int = 1,
    on_stderr: bool = False,
    interactive: bool = False,
) -> None:
    """Run a step, once its image or environment is up to date.

    Args:
        on_stderr: the line that names the runner goes to standard error.
        interactive: a person types in a terminal what the step reads.

    Raises:
        Stop, StepFailed: as `runner.run`.
    """
    light = steps.get(step).light
    name = runner(chosen, on_stderr, light, prepares=steps.get(step).prepares)
    if not chosen.dry and not (light and name == "here"):
        runners.need_environment(chosen, name, steps.get(step).gpu)
    runners.run(chosen, name, step_call.make(chosen, step, flags, files, nodes, processes, interactive))


def is_alone() -> bool:
    """Whether this call of invoke has one verb: in a chain, nobody waits for a question."""
    return len(_call) == 1


def need_processes(chosen: Choices, nodes: int, gpus_per_node: int) -> None:
    """Raise Stop unless both numbers are at least 1, and there is a GPU for each process."""
    if min(nodes, gpus_per_node) < 1:
        raise Stop(
            "--nodes and --gpus-per-node of at least 1",
            f"{nodes} and {gpus_per_node}",
            "the command line",
            "leave them out for one of each",
        )
    if nodes > 1:
        runners.need_engine(nodes, runner(chosen))
    if nodes * gpus_per_node > 1:
        runners.need_gpus(chosen, nodes * gpus_per_node)


def _say_next(chosen: Choices) -> None:
    """End the call with what to run next, if it has trained or evaluated."""
    given = [name for name, value in _flags.items() if value != _defaults[name]]
    flags = tuple(word for name in given for word in (f"--{name}", _flags[name]))
    if lines := next_steps.after(_call, chosen.recipe, flags, matrix.ROOT, tuple(_overrides)):
        print(lines, flush=True)


def verb(**help_: str) -> Callable[[Callable[..., None]], Any]:
    """Make a verb with the flags of SHARED, which its body gets as one Choices, and its own flags with `help_`."""

    def decorate(body: Callable[..., None]) -> Any:
        def called(
            c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, **own: Any
        ) -> None:
            with reported():
                chosen = choices(c, recipe, flavor, runner, set_)
                body(chosen, **own)
                if body.__name__ == next((name for name in reversed(_call) if name in _steps), "") and not chosen.dry:
                    _say_next(chosen)

        _steps.append(body.__name__)
        context, *shared = list(inspect.signature(called).parameters.values())[:-1]
        called.__name__, called.__doc__ = body.__name__, body.__doc__
        own = list(inspect.signature(body).parameters.values())[1:]
        required = [each for each in own if each.default is each.empty]  # positional, so they come first
        optional = [each for each in own if each.default is not each.empty]
        signature = inspect.Signature([context, *required, *shared, *optional])
        called.__signature__ = signature  # type: ignore[attr-defined]
        return task(help={**SHARED, **help_}, iterable=["set_"])(called)

    return decorate
