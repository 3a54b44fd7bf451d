"""The verbs serve, mcp and down."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Sequence

from images import engine, matrix, pip_config
from images.errors import StepFailed, Stop
from images.running import runner as runners
from images.running.choices import Choices
from images.services import program as programs
from images.services import serve as serving
from images.services import start as services
from images.verbs import cli


def serve(choices: Choices, model: str, host: str, port: int, mcp: bool) -> None:
    """Start the server of a model in the background, and print its link once it is ready."""
    asked = cli.runner(choices)
    runner = "docker" if asked == "docker" else "venv"  # a devcontainer has no server's packages, but environments
    served = serving.model(choices, model)
    secret = programs.token(serving.KEY, host)
    if not choices.dry:
        runners.need_environment(choices, runner, image=serving.IMAGE)
    with pip_config.secrets(choices.dry) as scratch:
        running = services.found(serving.IMAGE) if not choices.dry else []
        at = port if choices.dry or running else services.free_port(host, port)
        service = serving.service(choices, runner, served, host, at, secret, scratch, mcp)
        if choices.dry:
            print("\n".join(services.shown(service)))
            return
        started, seconds = services.start(service)
    how = f"ready after {seconds:.1f} s" if seconds else "it runs already"
    print(f"serve  {started.url}: the model {served.name} ({served.folder.name}), {how}")
    if seconds and at != port:
        print(f"serve  port {port} was taken")
    if seconds and secret.is_new:
        print(f"serve  key, shown once: {secret.value}")
    print("serve  to stop it: invoke down", flush=True)


def mcp(choices: Choices, model: str) -> None:
    """Answer calls of the tool over standard input and output, until the input ends."""
    with contextlib.redirect_stdout(sys.stdout if choices.dry else sys.stderr):  # standard output is the protocol's
        runner = "docker" if cli.runner(choices) == "docker" else "venv"
        served = serving.model(choices, model)
        serving.need_own_server(choices, "invoke mcp")
        if not choices.dry:
            runners.need_environment(choices, runner, image=serving.IMAGE)
    with pip_config.secrets(choices.dry) as scratch:
        command, variables = serving.mcp(choices, runner, served, scratch)
        if choices.dry:
            print(engine.shown(command))
        elif status := subprocess.run(command, cwd=matrix.ROOT, env=variables).returncode:
            raise StepFailed("mcp", status)


def _need_no_verb_meant_as_name(words: Sequence[str]) -> None:
    """Raise Stop for `invoke down serve`, which would stop everything and then start a server: NAME is a flag."""
    if ("down", "serve") in itertools.pairwise(words):
        todo = "invoke down --name serve; to start it again: invoke down, then invoke serve"
        raise Stop("a service's name after --name", "the verb serve after the verb down", "the command line", todo)


def down(name: str, dry: bool) -> None:
    """Stop the service of a name, or all that run."""
    _need_no_verb_meant_as_name(sys.argv[1:])
    running = services.found(name)
    if dry:
        print("\n".join(f"down   would stop {each.name} at {each.url}" for each in running) or "down   nothing runs")
        return
    if name and not running:
        others = ", ".join(each.name for each in services.found()) or "nothing"
        raise Stop(f"a service of the name {name} that runs", f"{others} runs", "--name", "invoke down stops all")
    for each in services.stop(name):
        print(f"down   stopped {each.name}, {each.url}")
    if not running:
        print("down   nothing runs", flush=True)
