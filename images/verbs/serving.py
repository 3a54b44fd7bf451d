"""The verbs serve, mcp and down."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from images import engine, matrix, pip_config
from images.errors import StepFailed, Stop
from images.running import runner as runners
from images.running import step_call, user_files
from images.running.choices import Choices
from images.services import program as programs
from images.services import questions
from images.services import serve as serving
from images.services import start as services
from images.services.service import Running, Service
from images.verbs import background, cli

_LISTENING = ("serve", "notebook", "tensorboard", "webui")  # verbs of services


def serve(choices: Choices, model: str, host: str, port: int, mcp: bool) -> None:
    """Start the server of a model in the background, and print its link once it is ready."""
    started, _ = _start(choices, serving.model(choices, model), host, port, mcp, programs.token(serving.KEY, host))
    if started:
        print("serve  to stop it: invoke down", flush=True)


def _start(
    choices: Choices, served: serving.Model, host: str, port: int, mcp: bool, secret: programs.Token
) -> tuple[Running | None, float]:
    """The server and after how many seconds it was ready, 0 if it ran already; for a dry call none.

    Args:
        secret: the key that requests need.
    """
    runner = "docker" if cli.runner(choices) == "docker" else "venv"  # a devcontainer has environments
    if not choices.dry:
        runners.need_environment(choices, runner, image=serving.IMAGE)

    def make(at: int, scratch: Path) -> Service:
        return serving.service(choices, runner, served, host, at, secret, scratch, mcp)

    begun = background.begin(choices, serving.IMAGE, host, port, make)
    if begun is None:
        return None, 0.0
    print(f"serve  {begun.running.url}: the model {served.name} ({served.folder.name}), {begun.how}")
    begun.say_port()
    if begun.seconds and secret.is_new:
        print(f"serve  key, shown once: {secret.value}", flush=True)
    return begun.running, begun.seconds


def check(choices: Choices, model: str, host: str, port: int, mcp: bool) -> None:
    """Ask the server what evaluate asked, and compare; one that did not run before is stopped again.

    Raises:
        Stop: there is no such evaluation, another model is served, or a request is refused.
        StepFailed: the server does not answer as evaluate did.
    """
    if model:
        todo = "leave one out: only a run's own merged model has an evaluation to compare with"
        raise Stop("--check or --model", "both", "the command line", todo)
    served, runner = serving.model(choices, ""), cli.runner(choices)
    run = "/".join(served.folder.path.parent.parts[-2:])
    running = [] if choices.dry else services.found(serving.IMAGE)
    if running and not serving.is_served(running[0].of, choices, served):
        wanted, todo = f"a server of {serving.identity(served)}", "invoke down --name serve, then invoke serve --check"
        raise Stop(f"{wanted}, on {choices.flavor}", running[0].of, running[0].url, todo)
    if not choices.dry:
        runners.need_environment(choices, runner)
    asked = runners.run(choices, runner, step_call.make(choices, "check_questions", {"--run": run}), capture=True)
    secret = programs.token(serving.KEY, host)
    started, seconds = (running[0], 0.0) if running else _start(choices, served, host, port, mcp, secret)
    with _scratch(choices.dry) as folder:
        file = folder / "answers.jsonl"
        try:
            if started:
                answers = questions.ask(
                    started.url, secret.value, [json.loads(line) for line in asked.split("\n") if line], _say
                )
                file.write_text("".join(f"{json.dumps(each)}\n" for each in answers), encoding="utf-8")
                file.chmod(0o644)  # whatever the umask: the container's user reads it
        finally:
            if seconds:
                services.stop(serving.IMAGE)
        cli.run_step(choices, "check_answers", {"--run": run}, {"--answers": user_files.of(file)})


def _say(line: str) -> None:
    print(line, flush=True)


@contextlib.contextmanager
def _scratch(dry: bool) -> Iterator[Path]:
    """A folder in the checkout, which an engine can mount wherever it runs; for a dry call only its name."""
    parent = matrix.ROOT / ".pintune"
    if dry:
        yield parent / "check"
        return
    parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="check-", dir=parent) as made:
        Path(made).chmod(0o755)
        yield Path(made)


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
    for verb, name in itertools.pairwise(words):
        if verb == "down" and name in _LISTENING:
            todo = f"invoke down --name {name}; to start it again: invoke down, then invoke {name}"
            raise Stop(
                "a service's name after --name", f"the verb {name} after the verb down", "the command line", todo
            )


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
