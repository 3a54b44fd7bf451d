"""Running a step where it was asked for: `here` (inside an image), `docker`, or `venv` (without an engine).

A command line, PINTUNE_* variables and folders cross over: data/, models/, runs/ and, for fetch, the mirror.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

from images import engine, matrix, pip_config
from images.building import build, inputs, lock
from images.errors import Killed, StepFailed, Stop
from images.running import (
    cluster,
    container,
    environment,
    gpu,
    here,
    lifeline,
    process,
    step_call,
    steps,
    user_files,
    venv,
)
from images.running import flavor as flavors
from images.running.choices import Choices
from images.running.step_call import StepCall

_IN_VENV = ("train", "dev", "serve", "webui")  # images that an environment can replace


def make(choices: Choices, runner: str, image: str = "train", offline: Path | None = None) -> str:
    """Build what a runner needs; returns the line that reports it. `offline` is a folder that replaces the network.

    Raises:
        Stop: as `build.build` and `venv.build`; or inside an image that is not the one that the matrix asks for.
    """
    if runner == "docker":
        return build.build(image, choices.flavor, choices.dry, offline=offline)
    if image not in _IN_VENV:
        raise Stop(
            f"a Docker engine for the image {image}",
            f"runner {runner}",
            "--image",
            "invoke build --runner docker, where an engine answers",
        )
    # a devcontainer has its own packages and train's, and the others in environments
    if runner == "venv" or image not in ("train", here.image()):
        return venv.build(image, choices.flavor, choices.dry)
    return f"build  nothing to do: this is the image {here.inside(choices.flavor)} that the matrix asks for"


def need_environment(choices: Choices, runner: str, computes: bool = True, image: str = "") -> None:
    """Raise Stop unless image or environment are up to date; with `computes` the flavor must fit the GPUs too.

    What only prepares data runs in any Python with the packages that it imports.
    """
    known, image = matrix.load(), image or choices.image
    lock.read(lock.row(image, choices.flavor))
    if computes:
        flavors.need(known, known.flavor(choices.flavor), gpu.look())
    if runner == "here" and (computes or here.image()):
        here.inside(choices.flavor)
    elif runner == "here":
        here.need_packages(lock.row(image, choices.flavor))
    remedy = "invoke build" + (f" --image {image}" if image != "train" else "")
    remedy += f" --flavor {choices.flavor}" if choices.flavor != "cpu" else ""
    remedy += f" --runner {choices.runner}" if choices.runner != "auto" else ""
    if runner == "venv" and not venv.ready(image, choices.flavor):
        raise Stop("the environment of this checkout's lock", "none", str(venv.folder(image, choices.flavor)), remedy)
    if runner == "docker":
        name = build.tag(image, choices.flavor)
        if engine.image_label(name, build.SOURCE_LABEL) != build.source_hash(image, choices.flavor):
            other = engine.image_id(name) is not None
            found = "an image made from other code, lock or base" if other else "no such image"
            raise Stop(f"the image {name} of this checkout", found, "docker image ls", remedy)


def missing(choices: Choices, runner: str, computes: bool = False) -> tuple[str, ...]:
    """The steps that must run before the recipe can train.

    Raises:
        Stop: as `need_environment`.
    """
    if choices.dry:
        return ("fetch", "format")
    need_environment(choices, runner, computes)
    return tuple(run(choices, runner, step_call.make(choices, "missing"), capture=True).split())


def missing_of_run(choices: Choices, runner: str, run_name: str) -> tuple[str, ...]:
    """The steps that must run before the run RECIPE/ID can be repeated."""
    if choices.dry:
        return ("fetch", "format")
    return tuple(run(choices, runner, step_call.make(choices, "missing", {"--run": run_name}), capture=True).split())


def run(choices: Choices, runner: str, call: StepCall, capture: bool = False) -> str:
    """Run a call of a step; returns its standard output with `capture`, else "". A dry call prints its commands.

    Raises:
        StepFailed: its exit status is not 0; it has reported why.
        Killed: a signal ended it.
        Stop: several nodes without an engine, or the engine cannot run it.
    """
    need_engine(call.nodes, runner)
    with pip_config.secrets(choices.dry) as scratch:
        if runner == "docker":
            try:
                commands, status, text = _in_containers(choices, call, scratch, capture)
            except container.OutOfMemory as end:
                todo = f"{end.todo}, then {again(choices, call)}"
                raise Killed(f"{end.wanted}, for {call.step.name}", end.found, end.where, todo) from None
        else:
            command, variables = environment.for_process(choices, runner, call)
            commands = [command]
            status, text = (0, "") if choices.dry else _as_process(call, command, variables, scratch, capture)
    if choices.dry:
        print_commands(commands, _prepared_by(choices, call) if runner == "docker" else [])
    declared = dataclasses.astuple(steps.exit_status())
    if status < 0 or (status > steps.exit_status().interrupted and status not in declared):  # 128 + signal
        signal = -status if status < 0 else status - 128
        raise Killed(
            f"{call.step.name} to finish",
            f"it was killed by signal {signal} (9: often out of memory)",
            f"runner {runner}",
            f"free memory, then {again(choices, call)}",
        )
    if status:
        raise StepFailed(call.step.name, status)
    return text


_printed: list[list[str]] = []  # commands that need to run only once


def print_commands(commands: list[list[str]], first: list[list[str]]) -> None:
    """Print commands as a shell takes them; those in `first` once a call of invoke."""
    for command in first:
        if command not in _printed:
            print(engine.shown(command))
            _printed.append(command)
    for command in commands:
        print(engine.shown(command))


def _prepared_by(choices: Choices, call: StepCall) -> list[list[str]]:
    """The commands that make what is mounted into a container: folders, and for a network pip's settings."""
    folders = [name for name in user_files.FOLDERS if not (matrix.ROOT / name).exists()]
    uid, gid = map(str, container.user())
    owner = [] if os.getuid() else ["-o", uid, "-g", gid]
    made = [["install", "-d", *owner, *folders]] if folders else []
    if call.step.network:
        made.append(inputs.argv("train", choices.flavor))
        made += [] if os.getuid() else [["chown", "-R", f"{uid}:{gid}", str(pip_config.SECRETS)]]
    return made


def _in_containers(choices: Choices, call: StepCall, scratch: Path, capture: bool) -> tuple[list[list[str]], int, str]:
    """The commands of a call, and unless the call is dry its exit status and output."""
    single = environment.for_container(choices, call, scratch, capture)
    nodes = cluster.containers(single, call) if call.nodes > 1 else [single]
    commands = [*([cluster.network_argv(nodes)] if call.nodes > 1 else []), *map(container.argv, nodes)]
    if choices.dry:
        return commands, 0, ""
    with lifeline.held(scratch) as pipe:
        nodes = [lifeline.tied(node, pipe) for node in nodes]
        if call.interactive:  # by docker's own client, which passes the terminal's keys and size on
            words = container.argv(nodes[0])
            return commands, *process.run(words, dict(os.environ), capture=False, interactive=True)
        return (commands, cluster.run(nodes), "") if call.nodes > 1 else (commands, *container.run(nodes[0], capture))


def _as_process(
    call: StepCall, command: list[str], variables: dict[str, str], scratch: Path, capture: bool
) -> tuple[int, str]:
    with lifeline.held(scratch) as pipe:
        return process.run(command, {**variables, lifeline.VARIABLE: str(pipe)}, capture, call.interactive)


def again(choices: Choices, call: StepCall) -> str:
    """The command that repeats a step that was killed, or resumes a training, with the flags of this call."""
    verb = call.step.verb
    if not verb or not call.step.recipe:
        return "run the same command again"
    words = ["invoke", verb, *(["--resume"] if verb == "train" else [])]
    words += ["--image", choices.image] if choices.image != "train" and verb == "train" else []
    words += ["--recipe", choices.recipe, "--flavor", choices.flavor, "--runner", choices.runner]
    words += [word for flag, value in call.flags.items() if verb == "ask" for word in (flag, str(value))]
    words += [word for flag, file in call.files.items() for word in (flag, str(file.path))]
    words += ["--nodes", str(call.nodes)] if call.nodes > 1 else []
    words += ["--gpus-per-node", str(call.processes)] if call.processes > 1 else []
    return shlex.join([*words, *(word for override in choices.overrides for word in ("--set", override))])


def need_engine(nodes: int, runner: str) -> None:
    """Raise Stop unless the runner can start several nodes, each a container."""
    if nodes > 1 and runner != "docker":
        raise Stop(
            f"a Docker engine for {nodes} nodes, each a container",
            f"runner {runner}",
            "--nodes",
            "--runner docker where an engine answers; or --gpus-per-node for more processes on this machine",
        )


def need_gpus(choices: Choices, count: int) -> None:
    """Raise Stop unless there is a GPU for each of `count` processes; on a CPU they share the cores."""
    found = len(gpu.look().gpus)
    if not choices.dry and matrix.load().flavor(choices.flavor).cuda and found < count:
        raise Stop(
            f"{count} GPUs, one for each process",
            str(found),
            "--nodes and --gpus-per-node",
            "lower one of them, or --flavor cpu",
        )
