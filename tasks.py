"""Pintune's verbs: `invoke --list`. A --recipe, --flavor, --runner or --set given to one verb holds for those after it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from images import doctor as doctors
from images import lock as locks
from images import matrix, runner, venv
from images import runs as all_runs
from images.errors import StepFailed, Stop
from images.runner import Choices

RECIPE = "recipe: a shipped name, or a path ending in .toml (default: PINTUNE_RECIPE, else quickstart)"
FLAVOR = "what it computes on: cpu (default: PINTUNE_FLAVOR, else cpu)"
RUNNER = "where steps run: auto, docker, venv or here (default: PINTUNE_RUNNER, else auto)"
SET = "override one recipe key, such as lora.r=32; may be repeated"
SHARED = {"recipe": RECIPE, "flavor": FLAVOR, "runner": RUNNER, "set_": SET}
BUILT = {"flavor": FLAVOR, "runner": RUNNER}

_given = {name: os.environ.get(f"PINTUNE_{name.upper()}") or default for name, default in
          (("recipe", "quickstart"), ("flavor", "cpu"), ("runner", "auto"))}  # fmt: skip
_overrides: list[str] = []
_announced: list[str] = []


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, _interrupt)  # so that a step ends with the verb that started it


@contextlib.contextmanager
def _plainly() -> Iterator[None]:
    """No traceback reaches a person, unless PINTUNE_DEBUG=1."""
    try:
        yield
    except (Stop, StepFailed) as stop:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        raise Exit("" if isinstance(stop, StepFailed) else f"pintune stopped\n{stop}", code=getattr(stop, "status", 1)) from None
    except Exit:
        raise
    except KeyboardInterrupt:
        raise Exit("pintune interrupted; a training goes on with: invoke train --resume", code=130) from None
    except Exception as error:
        if os.environ.get("PINTUNE_DEBUG") == "1":
            raise
        shown = f"{type(error).__name__}: {error}".splitlines()[0]
        unforeseen = Stop("the verb to end well", shown, "on the host's side", "set PINTUNE_DEBUG=1 to see where, and report it")
        raise Exit(f"pintune stopped\n{unforeseen}", code=1) from None


def _choices(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> Choices:
    for name, value in (("recipe", recipe), ("flavor", flavor), ("runner", runner)):
        _given[name] = value or _given[name]
    _overrides.extend(set_ or [])
    return Choices(**_given, overrides=tuple(_overrides), dry=bool(c.config.run.dry))


def _runner(choices: Choices) -> str:
    chosen, why = runner.choose(choices.runner, dry=choices.dry)
    if chosen not in _announced:
        print(f"runner {chosen} ({why}), flavor {choices.flavor}", flush=True)
        _announced.append(chosen)
    return chosen


def _step(choices: Choices, *steps: str, arguments: tuple[str, ...] = (), files: tuple[Path, ...] = ()) -> None:
    chosen = _runner(choices)
    if not choices.dry:
        runner.need_environment(choices, chosen)
    for step in steps:
        runner.run(choices, chosen, step, arguments, files)


@task(help=BUILT)
def build(c: Context, flavor: str = "", runner: str = "") -> None:
    """Build what steps run in: the image, or without an engine the virtual environment."""
    from images import runner as runners

    with _plainly():
        choices = _choices(c, flavor=flavor, runner=runner)
        print(runners.make(choices, _runner(choices)), flush=True)


@task
def lock(c: Context) -> None:
    """Resolve every lock of images/matrix.toml anew (uses the network)."""
    with _plainly():
        for path in locks.write_all():
            print(f"lock   {path.relative_to(matrix.ROOT)}", flush=True)


@task(help=SHARED, iterable=["set_"])
def fetch(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Fetch the recipe's data and model, by hash (uses the network)."""
    with _plainly():
        _step(_choices(c, recipe, flavor, runner, set_), "fetch")


@task(help=SHARED, iterable=["set_"])
def data(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Format the raw data into instruction, input and output (fetches first what is missing)."""
    with _plainly():
        choices = _choices(c, recipe, flavor, runner, set_)
        _step(choices, *dict.fromkeys((*_missing(choices), "format")))


@task(help={**SHARED, "resume": "go on with the newest unfinished run"}, iterable=["set_"])
def train(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, resume: bool = False) -> None:
    """Train a LoRA adapter (fetches and formats first what is missing)."""
    with _plainly():
        choices = _choices(c, recipe, flavor, runner, set_)
        _step(choices, *_missing(choices))
        _step(choices, "train", arguments=("--resume",) if resume else ())


@task(help=SHARED, iterable=["set_"])
def evaluate(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Score base and tuned model on the held-out split."""
    with _plainly():
        _step(_choices(c, recipe, flavor, runner, set_), "evaluate")


@task(help=SHARED, iterable=["set_"])
def export(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Merge the adapter into the model, and check the merged one from disk."""
    with _plainly():
        _step(_choices(c, recipe, flavor, runner, set_), "export")


@task(
    help={
        **SHARED,
        "context": "number of the context in the evaluation split, from 0 (default 0)",
        "file": "a JSON file with one context in TAT-QA's schema, instead of --context",
        "question": "the question (default: the context's first)",
    },
    iterable=["set_"],
)
def ask(
    c: Context,
    recipe: str = "",
    flavor: str = "",
    runner: str = "",
    set_: list[str] | None = None,
    context: int = 0,
    file: str = "",
    question: str = "",
) -> None:
    """Ask the newest merged model about one context."""
    with _plainly():
        if file and not Path(file).is_file():
            raise Stop("a JSON file with one context", "no such file", file, "invoke ask --context 0")
        given = ("--file", str(Path(file))) if file else ("--context", str(context))
        arguments = (*given, *((f"--question={question}",) if question else ()))  # it may begin with a dash
        _step(_choices(c, recipe, flavor, runner, set_), "ask", arguments=arguments, files=(Path(file),) if file else ())


@task
def runs(c: Context) -> None:
    """List the runs: scores, loss, time, adapter hash."""
    with _plainly():
        print(all_runs.table(matrix.ROOT))


@task(help={"flavor": FLAVOR})
def doctor(c: Context, flavor: str = "") -> None:
    """Say what this machine has of what Pintune needs."""
    with _plainly():
        found = list(doctors.findings(_choices(c, flavor=flavor).flavor))
        print(doctors.table(found))
        if any(each.severity == "wrong" for each in found):
            raise Exit(code=1)


@task(help={"slow": "the slow tests, instead of the others", "pick": "only tests whose name matches, as pytest -k"})
def test(c: Context, slow: bool = False, pick: str = "") -> None:
    """Run the tests in the locked test environment."""
    words = ["-m", "pytest", "-m", "slow" if slow else "not slow", *(["-k", pick] if pick else [])]
    _checked([words])


@task
def lint(c: Context) -> None:
    """Check style and types in the locked test environment."""
    _checked([["-m", "ruff", "check", "."], ["-m", "ruff", "format", "--check", "."], ["-m", "mypy"],
              ["-m", "mypy", "--python-version", "3.10", "tasks.py", "images"]])  # fmt: skip


def _checked(commands: list[list[str]]) -> None:
    with _plainly():
        print(venv.build("test", "cpu", dry=False), flush=True)
        python = str(venv.python("test", "cpu"))
        for command in commands:
            if status := subprocess.run([python, *command], cwd=matrix.ROOT).returncode:
                raise Exit(code=status)


def _missing(choices: Choices) -> tuple[str, ...]:
    """The steps that must run before this recipe can train."""
    if choices.dry:
        return ("fetch", "format")
    chosen = _runner(choices)
    runner.need_environment(choices, chosen)
    return tuple(runner.run(choices, chosen, "missing", capture=True).split())


ns = Collection(build, lock, fetch, data, train, evaluate, export, ask, runs, doctor, test, lint)
