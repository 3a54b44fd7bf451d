"""One call of a step: what a verb asks for, and the command line that asks the pipeline for it.

python -m pipeline STEP [--recipe RECIPE] [the step's own flags] [--interactive] [--processes N] [--set KEY=VALUE ...]
                        [a node's flags]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images.running import steps, user_files
from images.running.choices import Choices
from images.running.steps import Step
from images.running.user_files import UserFile


@dataclass(frozen=True)
class StepCall:
    """One call of a step."""

    step: Step
    recipe: str = ""  # a shipped name, or a path ending in .toml as the step calls it; "" for a step without a recipe
    overrides: tuple[str, ...] = ()
    flags: Mapping[str, str | int | bool] = field(default_factory=dict)  # only those that differ from their default
    files: Mapping[str, UserFile] = field(default_factory=dict)  # by flag
    inputs: tuple[UserFile, ...] = ()  # files that the step reads without a flag of their own: recipe, data
    nodes: int = 1  # containers that run the step together
    processes: int = 1  # in each of them
    interactive: bool = False  # a person types in a terminal what the step reads

    @property
    def user_files(self) -> tuple[UserFile, ...]:
        """The caller's files that the step reads."""
        return (*self.files.values(), *self.inputs)


@dataclass(frozen=True)
class Node:
    """Which of several containers this is, and where the first one listens."""

    number: int
    master: str  # HOST:PORT


def make(
    choices: Choices,
    step: str,
    flags: Mapping[str, str | int | bool] | None = None,
    files: Mapping[str, UserFile] | None = None,
    nodes: int = 1,
    processes: int = 1,
    interactive: bool = False,
) -> StepCall:
    """A call of the step with these choices. A flag that is False, 0 or "" is at its default and left out.

    Raises:
        Stop: the recipe file does not exist.
    """
    known = steps.get(step)
    if nodes * processes > 1 and not known.parallel:
        raise ValueError(f"the step {step} runs in one process")
    recipe, overrides, inputs = "", choices.overrides if known.recipe else (), []
    if known.recipe:
        recipe = str(Path(choices.recipe))
        if recipe.endswith(".toml"):
            todo = "pass --recipe with a shipped name or an existing file"
            inputs.append(user_files.existing(choices.recipe, "a recipe file", todo))
            recipe = inputs[0].name
        if data := user_files.data_file(choices.recipe, overrides):
            overrides = (*overrides, f"data.source={data.name}")
            inputs += [data] if known.source and data.path.is_file() else []
    passed = {flag: value for flag, value in (flags or {}).items() if value}
    return StepCall(known, recipe, overrides, passed, files or {}, tuple(inputs), nodes, processes, interactive)


def argv(call: StepCall, python: str = "python", node: Node | None = None) -> list[str]:
    """The command line of a call, with `node` that of one of its containers."""
    command = [python, "-m", "pipeline", call.step.name]
    command += ["--recipe", call.recipe] if call.recipe else []
    for flag, file in call.files.items():
        command += [flag, file.name]
    for flag, value in call.flags.items():
        if value is True:
            command.append(flag)
        elif str(value).startswith("-"):  # argparse would read it as a flag
            command.append(f"{flag}={value}")
        else:
            command += [flag, str(value)]
    command += ["--interactive"] if call.interactive else []
    command += ["--processes", str(call.processes)] if call.processes > 1 else []
    for override in call.overrides:
        command += ["--set", override]
    if node:
        command += ["--nodes", str(call.nodes), "--node", str(node.number), "--master", node.master]
    return command
