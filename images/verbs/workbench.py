"""The verbs notebook, tensorboard and shell."""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

from images import engine, matrix, pip_config
from images.errors import StepFailed, Stop
from images.running import container, environment, step_call, steps
from images.running import runner as runners
from images.running.choices import Choices
from images.services import program as programs
from images.services import workbench
from images.services.program import Program, Token
from images.services.service import Service
from images.verbs import background, cli, workspace

_NOT_STARTED = 125  # status of a `docker run` that starts no container


def notebook(choices: Choices, host: str, port: int) -> None:
    """Start Jupyter Lab in the background, and print its link once it is ready."""
    runner = _runner(choices, "dev")
    if not choices.dry:
        folder = matrix.ROOT / workbench.NOTEBOOKS
        if runner == "docker" and folder.is_dir():
            workspace.share(folder)
        user = container.user() if runner == "docker" else (os.getuid(), os.getgid())
        workbench.need_writable(folder, *user)
    program = workbench.notebook(runner == "docker")
    start(choices, runner, program, host, port)


def tensorboard(choices: Choices, port: int) -> None:
    """Start TensorBoard over all runs in the background, and print its link once it is ready."""
    runner = _runner(choices, "dev")
    start(choices, runner, workbench.tensorboard(runner == "docker"), "127.0.0.1", port)


def start(choices: Choices, runner: str, program: Program, host: str, port: int) -> None:
    """Start a program in the background, or find the one that runs, and print the link that opens it.

    Args:
        runner: docker, venv, or here in the program's own image.
        port: the one that is wanted, 0 for the program's own.

    Raises:
        Stop: its image has not been built, and as `start.start`.
    """
    programs.need_loopback(program, host)
    port = port or program.port
    if not choices.dry:
        runners.need_environment(choices, runner, program.gpu, program.image)
    token = programs.token(program.token, host, program.always_token) if program.token else Token("", False)

    def make(at: int, scratch: Path) -> Service:
        return programs.service(choices, runner, program, host, at, token, scratch)

    if begun := background.begin(choices, program.name, host, port, make):
        print(f"{program.name}  {begun.running.link}")
        print(f"{program.name}  {begun.how}; to stop it: invoke down")
        begun.say_port()
    sys.stdout.flush()


def shell(choices: Choices, step: str) -> None:
    """Open a shell with what a step sees: its image, mounts and walls, or its environment.

    Raises:
        Stop: no such step, no terminal, or no image.
    """
    known = [name for name, each in steps.load().steps.items() if not each.light]
    if step not in known:
        raise Stop(f"a step: {', '.join(known)}", repr(step), "--step", "--step train")
    image = "serve" if step in ("serve", "mcp") else "train"
    runner = _runner(choices, image)
    if not choices.dry:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            todo = "run it in a terminal; for a script, invoke --dry shell prints the command to adapt"
            raise Stop("a terminal for a shell", "standard input or output is none", "invoke shell", todo)
        runners.need_environment(choices, runner, steps.get(step).gpu, image)
    call = step_call.make(choices, step)
    with pip_config.secrets(choices.dry) as scratch:
        if runner == "docker":
            asked = environment.for_container(choices, call, scratch, True, image)
            asked = dataclasses.replace(asked, command=("bash",), interactive=True, terminal=True)
            command = container.argv(asked)
            variables = dict(os.environ)
        else:
            (python, *_), variables = environment.for_process(choices, runner, call, image)
            variables["PATH"] = f"{Path(python).parent}{os.pathsep}{variables.get('PATH', '')}"
            command = [os.environ.get("SHELL") or "/bin/sh"]
        if choices.dry:
            prefix = "" if runner == "docker" else f"PATH={shlex.quote(variables['PATH'])} "
            print(prefix + engine.shown(command))
            return
        writes = ", ".join(f"{name}/" for name in call.step.writes) or "nothing"
        walls = f"it may write to {writes}, {'with' if call.step.network else 'without'} a network"
        print(f"shell  as {step}: {walls if runner == 'docker' else f'the runner {runner}, without walls'}")
        print("shell  python -m pipeline --help lists the steps; exit ends it", flush=True)
        status = subprocess.run(command, cwd=matrix.ROOT, env=variables).returncode
    if runner == "docker" and status == _NOT_STARTED:
        raise StepFailed("shell", status)


def _runner(choices: Choices, image: str) -> str:
    """The runner; in a devcontainer `here` for the image that this is, and else an environment of the other's lock."""
    asked = cli.runner(choices)
    inside = os.environ.get("PINTUNE_IMAGE", "")
    own = (inside, "train") if inside == "dev" else (inside,)  # the dev image has train's packages
    return "venv" if asked == "here" and image not in own else asked
