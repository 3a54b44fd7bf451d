"""Pintune's verbs: `invoke --list`. A --recipe, --flavor, --runner or --set given to one verb holds for those after it."""

from __future__ import annotations

from pathlib import Path

from invoke.collection import Collection
from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from images import matrix
from images.building import lock as locks
from images.building import offline as offline_builds
from images.building import registry as registries
from images.building import release as releases
from images.errors import Stop, plainly
from images.running import gpu, user_files
from images.running import runner as runners
from images.running.runner import Choices
from images.verbs import checks, cli
from images.verbs import doctor as doctors
from images.verbs import reproduce as reproductions
from images.verbs import runs as all_runs
from images.verbs import sweep as sweeps
from images.verbs.cli import FLAVOR, RUNNER, SHARED, TOGETHER

IMAGE = "which image: train, dev, webui or serve (default: train)"
REGISTRY = "registry and path, such as ghcr.io/OWNER/pintune (default: PINTUNE_REGISTRY"
NAMED = {"image": IMAGE, "flavor": FLAVOR}


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
        choices = cli.choices(c, flavor=flavor, runner=runner)
        carried = offline_builds.carried(offline, wheelhouse)
        if release or verify or offline:
            choices = runners.with_engine(choices)
        chosen = cli.runner(choices)
        released = (
            releases.build_release(image, choices.flavor, choices.dry, carried, verify) if release or verify else None
        )
        for line in released or (runners.make(choices, chosen, image, carried),):
            print(line, flush=True)


@task(help={**NAMED, "to": "the folder to fill (default: wheelhouse)"})
def wheelhouse(c: Context, image: str = "train", flavor: str = "", to: str = "wheelhouse") -> None:
    """Gather what a build without network needs into one folder (uses the network)."""
    with plainly():
        choices = cli.choices(c, flavor=flavor)
        print(offline_builds.gather(image, choices.flavor, Path(to).resolve(), choices.dry), flush=True)


@task(help={**NAMED, "registry": f"{REGISTRY})"})
def push(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Push the newest release build and record its digest."""
    with plainly():
        choices = cli.choices(c, flavor=flavor)
        print(registries.push(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={**NAMED, "registry": f"{REGISTRY}, else the one it was pushed to)"})
def pull(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Pull the image that was released as this version, by digest."""
    with plainly():
        choices = cli.choices(c, flavor=flavor)
        print(registries.pull(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={"upgrade": "take the newest versions that fit, instead of those locked before"})
def lock(c: Context, upgrade: bool = False) -> None:
    """Resolve the locks of images/matrix.toml (uses the network)."""
    with plainly():
        for path in locks.write_all(upgrade):
            print(f"lock   {path.relative_to(matrix.ROOT)}", flush=True)


@cli.verb()
def fetch(choices: Choices) -> None:
    """Fetch the recipe's data and model, by hash (uses the network)."""
    cli.step(choices, "fetch")


@cli.verb()
def data(choices: Choices) -> None:
    """Format the raw data into instruction, input and output (fetches first what is missing)."""
    cli.step(choices, *dict.fromkeys((*runners.missing(choices, cli.runner(choices)), "format")))


@cli.verb(resume="go on with the newest unfinished run", **TOGETHER)
def train(choices: Choices, resume: bool = False, nodes: int = 1, gpus_per_node: int = 1) -> None:
    """Train a LoRA adapter (fetches and formats first what is missing)."""
    processes = cli.processes(choices, nodes, gpus_per_node)
    cli.step(choices, *runners.missing(choices, cli.runner(choices), computes=True))
    cli.step(choices, "train", arguments=(*(("--resume",) if resume else ()), *processes), nodes=nodes)


@cli.verb()
def evaluate(choices: Choices) -> None:
    """Score base and tuned model on the held-out split."""
    cli.step(choices, "evaluate")


@cli.verb(**TOGETHER)
def sweep(choices: Choices, nodes: int = 1, gpus_per_node: int = 1) -> None:
    """Train and evaluate every combination of what --set lists (lora.r=8,16,32), and rank them; goes on where it was."""
    print(sweeps.sweep(choices, matrix.ROOT, cli.processes(choices, nodes, gpus_per_node), nodes), flush=True)


@cli.verb(run="the run, as RECIPE/ID")
def reproduce(choices: Choices, run: str) -> None:
    """Make a run again, in the environment of its manifest, and compare every output's hash."""
    reproductions.reproduce(choices, run, matrix.ROOT)


@cli.verb()
def export(choices: Choices) -> None:
    """Merge the adapter into the model, and check the merged one from disk."""
    cli.step(choices, "export")


@cli.verb(
    context="number of the context in the evaluation split, from 0 (default 0)",
    file="a JSON file with one context in TAT-QA's schema, instead of --context",
    question="the question (default: the context's first)",
)
def ask(choices: Choices, context: int = 0, file: str = "", question: str = "") -> None:
    """Ask the newest merged model about one context."""
    files = (user_files.file(file, "a JSON file with one context", "invoke ask --context 0"),) if file else ()
    about = ("--file", str(files[0])) if files else ("--context", str(context))
    arguments = (*about, *((f"--question={question}",) if question else ()))  # it may begin with a dash
    cli.step(choices, "ask", arguments=arguments, files=files)


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
        files = (
            user_files.file(predictions, "a prediction file", again),
            user_files.file(gold, "a gold file in TAT-QA's raw schema", again),
        )
        arguments = ("--predictions", str(files[0]), "--gold", str(files[1]), *(("--json",) if json else ()))
        cli.step(cli.choices(c, runner=runner), "score", arguments=arguments, files=files, aside=json)


@task
def runs(c: Context) -> None:
    """List the runs: scores, loss, time, adapter hash, and where their recipes differ."""
    with plainly():
        print(all_runs.table(matrix.ROOT))


@task(help={**SHARED, "json": "for programs"}, iterable=["set_"])
def doctor(
    c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, json: bool = False
) -> None:
    """Say what this machine has of what Pintune needs, and which flavor fits."""
    with plainly():
        try:
            choices, found = cli.choices(c, recipe, flavor, runner, set_), []
        except Stop as stop:  # an unknown flavor, or a GPU that none fits: the rest is worth knowing all the same
            choices = cli.choices(c, flavor="cpu")
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


ns = Collection(
    build,
    wheelhouse,
    push,
    pull,
    lock,
    fetch,
    data,
    train,
    evaluate,
    export,
    ask,
    score,
    runs,
    sweep,
    reproduce,
    doctor,
    test,
    lint,
)
