"""Pintune's verbs: `invoke --list`. A --recipe, --flavor, --runner or --set given to one verb holds for those after it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from images import checks, given, gpu, matrix
from images import doctor as doctors
from images import lock as locks
from images import offline as offline_builds
from images import registry as registries
from images import release as releases
from images import runner as runners
from images import runs as all_runs
from images.errors import Stop, plainly
from images.runner import Choices

RECIPE = "recipe: a shipped name, or a path ending in .toml (default: PINTUNE_RECIPE, else quickstart)"
FLAVOR = "what it computes on: cpu, cu128, cu130, or auto, by the GPU that is seen (default: PINTUNE_FLAVOR, else auto)"
RUNNER = "where steps run: auto, docker, venv or here (default: PINTUNE_RUNNER, else auto)"
SET = "override one recipe key, such as lora.r=32; may be repeated"
SHARED = {"recipe": RECIPE, "flavor": FLAVOR, "runner": RUNNER, "set_": SET}
IMAGE = "which image: train, dev, webui or serve (default: train)"
REGISTRY = "registry and path, such as ghcr.io/OWNER/pintune (default: PINTUNE_REGISTRY"
NAMED = {"image": IMAGE, "flavor": FLAVOR}

_given = {name: os.environ.get(f"PINTUNE_{name.upper()}") or default for name, default in
          (("recipe", "quickstart"), ("flavor", "auto"), ("runner", "auto"))}  # fmt: skip
_overrides: list[str] = []
_announced: list[str] = []
_why: dict[str, str] = {}


def _choices(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> Choices:
    for name, value in (("recipe", recipe), ("flavor", flavor), ("runner", runner)):
        _given[name] = value or _given[name]
    _overrides.extend(set_ or [])
    taken, _why["flavor"] = runners.flavor(_given["flavor"])
    return Choices(_given["recipe"], taken, _given["runner"], tuple(_overrides), bool(c.config.run.dry))


def _runner(choices: Choices, aside: bool = False) -> str:
    chosen, why = runners.choose(choices.runner, dry=choices.dry)
    line = f"runner {chosen} ({why}), flavor {choices.flavor} ({_why['flavor']})"
    if line not in _announced:
        print(line, flush=True, file=sys.stderr if aside else sys.stdout)
        _announced.append(line)
    return chosen


def _step(choices: Choices, *steps: str, arguments: tuple[str, ...] = (), files: tuple[Path, ...] = (), aside: bool = False) -> None:
    chosen = _runner(choices, aside)
    if not choices.dry:
        runners.need_environment(choices, chosen, any(runners.STEPS[step].computes for step in steps))
    for step in steps:
        runners.run(choices, chosen, step, arguments, files)


@task(
    help={
        **NAMED,
        "runner": RUNNER,
        "release": "build from nothing, to the same digest on every machine, with its bill of materials",
        "verify": "build the release twice and say what differs",
        "offline": "without any network, from the folder that --wheelhouse names",
        "wheelhouse": "the folder that `invoke wheelhouse` filled (default: wheelhouse)",
    }
)
def build(
    c: Context,
    image: str = "train",
    flavor: str = "",
    runner: str = "",
    release: bool = False,
    verify: bool = False,
    offline: bool = False,
    wheelhouse: str = "",
) -> None:
    """Build what steps run in: the image, or without an engine the virtual environment."""
    with plainly():
        choices = _choices(c, flavor=flavor, runner=runner)
        carried = offline_builds.carried(offline, wheelhouse)
        if release or verify or offline:
            choices = runners.with_engine(choices)
        chosen = _runner(choices)
        released = releases.build_release(image, choices.flavor, choices.dry, carried, verify) if release or verify else None
        for line in released or (runners.make(choices, chosen, image, carried),):
            print(line, flush=True)


@task(help={**NAMED, "to": "the folder to fill (default: wheelhouse)"})
def wheelhouse(c: Context, image: str = "train", flavor: str = "", to: str = "wheelhouse") -> None:
    """Gather what a build without network needs into one folder (uses the network)."""
    with plainly():
        choices = _choices(c, flavor=flavor)
        print(offline_builds.gather(image, choices.flavor, Path(to).resolve(), choices.dry), flush=True)


@task(help={**NAMED, "registry": f"{REGISTRY})"})
def push(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Push the newest release build and record its digest."""
    with plainly():
        choices = _choices(c, flavor=flavor)
        print(registries.push(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={**NAMED, "registry": f"{REGISTRY}, else the one it was pushed to)"})
def pull(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Pull the image that was released as this version, by digest."""
    with plainly():
        choices = _choices(c, flavor=flavor)
        print(registries.pull(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={"upgrade": "take the newest versions that fit, instead of those locked before"})
def lock(c: Context, upgrade: bool = False) -> None:
    """Resolve the locks of images/matrix.toml (uses the network)."""
    with plainly():
        for path in locks.write_all(upgrade):
            print(f"lock   {path.relative_to(matrix.ROOT)}", flush=True)


@task(help=SHARED, iterable=["set_"])
def fetch(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Fetch the recipe's data and model, by hash (uses the network)."""
    with plainly():
        _step(_choices(c, recipe, flavor, runner, set_), "fetch")


@task(help=SHARED, iterable=["set_"])
def data(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Format the raw data into instruction, input and output (fetches first what is missing)."""
    with plainly():
        choices = _choices(c, recipe, flavor, runner, set_)
        _step(choices, *dict.fromkeys((*runners.missing(choices, _runner(choices)), "format")))


@task(help={**SHARED, "resume": "go on with the newest unfinished run"}, iterable=["set_"])
def train(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, resume: bool = False) -> None:
    """Train a LoRA adapter (fetches and formats first what is missing)."""
    with plainly():
        choices = _choices(c, recipe, flavor, runner, set_)
        _step(choices, *runners.missing(choices, _runner(choices), computes=True))
        _step(choices, "train", arguments=("--resume",) if resume else ())


@task(help=SHARED, iterable=["set_"])
def evaluate(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Score base and tuned model on the held-out split."""
    with plainly():
        _step(_choices(c, recipe, flavor, runner, set_), "evaluate")


@task(help=SHARED, iterable=["set_"])
def export(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None) -> None:
    """Merge the adapter into the model, and check the merged one from disk."""
    with plainly():
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
    with plainly():
        files = (given.file(file, "a JSON file with one context", "invoke ask --context 0"),) if file else ()
        about = ("--file", str(files[0])) if files else ("--context", str(context))
        arguments = (*about, *((f"--question={question}",) if question else ()))  # it may begin with a dash
        _step(_choices(c, recipe, flavor, runner, set_), "ask", arguments=arguments, files=files)


@task(
    help={
        "predictions": "a prediction file in the authors' format, such as runs/RECIPE/latest/predictions.json",
        "gold": "a file in TAT-QA's raw schema, with answers",
        "json": "for programs: means and every question's scores, fractions of one",
        "runner": RUNNER,
    },
    positional=["predictions"],
)
def score(c: Context, predictions: str, gold: str = "", json: bool = False, runner: str = "") -> None:
    """Score a prediction file by the authors' rules: EM, F1 and scale, by answer type and source."""
    with plainly():
        again = "invoke score PREDICTIONS --gold FILE"
        files = (given.file(predictions, "a prediction file", again), given.file(gold, "a gold file in TAT-QA's raw schema", again))
        arguments = ("--predictions", str(files[0]), "--gold", str(files[1]), *(("--json",) if json else ()))
        _step(_choices(c, runner=runner), "score", arguments=arguments, files=files, aside=json)


@task
def runs(c: Context) -> None:
    """List the runs: scores, loss, time, adapter hash."""
    with plainly():
        print(all_runs.table(matrix.ROOT))


@task(help={**SHARED, "json": "for programs"}, iterable=["set_"])
def doctor(c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, json: bool = False) -> None:
    """Say what this machine has of what Pintune needs, and which flavor fits."""
    with plainly():
        try:
            choices, found = _choices(c, recipe, flavor, runner, set_), []
        except Stop as stop:  # an unknown flavor, or a GPU that none fits: the rest is worth knowing all the same
            choices = _choices(c, flavor="cpu")
            found = [doctors.Finding("wrong", "flavor", f"{stop.wanted}: {stop.found}", stop.todo)]
        found += doctors.findings(choices, gpu.look())
        print(doctors.as_json(found, choices.flavor) if json else doctors.table(found))
        if any(each.severity == "wrong" for each in found):
            raise Exit(code=1)


@task(help={"slow": "the slow tests, instead of the others", "pick": "only tests whose name matches, as pytest -k"})
def test(c: Context, slow: bool = False, pick: str = "") -> None:
    """Run the tests in the locked test environment."""
    with plainly():
        checks.run(checks.tests(slow, pick))


@task
def lint(c: Context) -> None:
    """Check style, types, Dockerfile and workflows in the locked test environment."""
    with plainly():
        checks.run(checks.lint())


ns = Collection(build, wheelhouse, push, pull, lock, fetch, data, train, evaluate, export, ask, score, runs, doctor, test, lint)
