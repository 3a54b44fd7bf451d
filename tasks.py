"""Pintune's verbs: `invoke --list`. A --recipe, --flavor, --runner or --set also holds for the verbs after it."""

from __future__ import annotations

from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.tasks import task

from images import matrix
from images.building import registry as registries
from images.errors import reported
from images.running.choices import Choices
from images.verbs import azure, builds, checks, cli, launch, overview, serving, stages, workbench
from images.verbs import clean as cleaning
from images.verbs import doctor as doctors
from images.verbs import llama_board as board
from images.verbs import llama_factory as factory
from images.verbs import reproduce as reproductions
from images.verbs import runs as all_runs
from images.verbs import sweep as sweeps
from images.verbs.cli import FLAVOR, PARALLEL, RUNNER, SHARED

IMAGE = "which image: train, dev, webui or serve (default: train)"
REGISTRY = "registry and path, such as ghcr.io/OWNER/pintune (default: PINTUNE_REGISTRY"
NAMED = {"image": IMAGE, "flavor": FLAVOR}


@task(
    help={
        **NAMED,
        "runner": RUNNER,
        "release": "build from a commit without cache, to the same digest on every machine, with a bill of materials",
        "verify": "build the release twice and compare",
        "offline": "without network, from the folder that --wheelhouse names",
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
    """Build the image that steps run in, or without an engine the virtual environment."""
    with reported():
        builds.build(cli.choices(c, flavor=flavor, runner=runner), image, release, verify, offline, wheelhouse)


@task(help={**NAMED, "to": "the folder to fill (default: wheelhouse)"})
def wheelhouse(c: Context, image: str = "train", flavor: str = "", to: str = "wheelhouse") -> None:
    """Download everything that a build without network needs into one folder (uses the network)."""
    with reported():
        builds.gather(cli.choices(c, flavor=flavor), image, Path(to).resolve())


@task(help={**NAMED, "registry": f"{REGISTRY})"})
def push(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Push the newest release build and record its digest."""
    with reported():
        choices = cli.choices(c, flavor=flavor)
        print(registries.push(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={**NAMED, "registry": f"{REGISTRY}, else the one it was pushed to)"})
def pull(c: Context, image: str = "train", flavor: str = "", registry: str = "") -> None:
    """Pull the image that was released as this version, by digest."""
    with reported():
        choices = cli.choices(c, flavor=flavor)
        print(registries.pull(image, choices.flavor, registry, choices.dry), flush=True)


@task(help={"upgrade": "use the newest versions that fit, instead of keeping those in the locks"})
def lock(c: Context, upgrade: bool = False) -> None:
    """Resolve the locks of images/matrix.toml (uses the network)."""
    with reported():
        builds.write_locks(upgrade, bool(c.config.run.dry))


@cli.verb(format="gguf: also what export --format gguf needs, so that it can run without network")
def fetch(choices: Choices, format: str = "") -> None:
    """Fetch the recipe's data and model, by hash (uses the network)."""
    stages.fetch(choices, format)


@cli.verb()
def data(choices: Choices) -> None:
    """Format the raw data into instruction, input and output (fetches first what is missing)."""
    stages.data(choices)


@cli.verb(
    resume="resume the newest unfinished run",
    image="the image: train, or dev, which has the packages of training.trackers (default train)",
    **PARALLEL,
)
def train(choices: Choices, resume: bool = False, image: str = "train", nodes: int = 1, gpus_per_node: int = 1) -> None:
    """Train a LoRA adapter (fetches and formats first what is missing)."""
    stages.train(choices, resume, nodes, gpus_per_node, image)


@cli.verb()
def evaluate(choices: Choices) -> None:
    """Score base and tuned model on the held-out split."""
    cli.run_step(choices, "evaluate")


@cli.verb(**PARALLEL)
def sweep(choices: Choices, nodes: int = 1, gpus_per_node: int = 1) -> None:
    """Train, evaluate and rank every combination of what --set lists (lora.r=8,16,32); repeats no finished run."""
    print(sweeps.sweep(choices, matrix.ROOT, nodes, gpus_per_node), flush=True)


@cli.verb(run="the run, as RECIPE/ID")
def reproduce(choices: Choices, run: str) -> None:
    """Repeat a run in the environment of its manifest, and compare every output's hash."""
    reproductions.reproduce(choices, run, matrix.ROOT)


@cli.verb(
    format="gguf: then convert the merged model to GGUF (fetches llama.cpp's converter if it is missing)",
    quantize="q8_0: with --format gguf, a quantized file too",
    push_to_hub="then push the merged model to this repository, OWNER/NAME, with HF_TOKEN (uses the network)",
    adapter="a folder of PEFT with an adapter of another trainer, instead of the newest run's; it becomes a run",
)
def export(choices: Choices, format: str = "", quantize: str = "", push_to_hub: str = "", adapter: str = "") -> None:
    """Merge the adapter into the model, and check the merged model from disk."""
    stages.export(choices, format, quantize, push_to_hub, adapter)


@cli.verb(
    context="number of the context in the evaluation split, from 0 (default 0)",
    file="a JSON file with one context in TAT-QA's schema, instead of --context",
    table="a CSV file, or JSON rows: a table alone, with --question",
    question="the question (default: in a terminal, whatever you type; else the context's first)",
    json="for programs: answer, evidence, equation and the gold answer as one line",
)
def ask(
    choices: Choices, context: int = 0, file: str = "", table: str = "", question: str = "", json: bool = False
) -> None:
    """Ask the newest merged model about one context, or about a table of yours; in a terminal, as often as you like."""
    stages.ask(choices, context, file, table, question, json)


@cli.verb(
    from_="a YAML file of llamafactory-cli train: make a recipe of it instead",
    to="a new file to write (default: standard output)",
    run="train with it in the image webui, with results under runs/llama-factory/",
)
def llamafactory(choices: Choices, from_: str = "", to: str = "", run: bool = False) -> None:
    """Write the recipe as arguments of LLaMA Factory, or such arguments as a recipe; what does not match is named."""
    factory.llamafactory(choices, from_, to, run)


@cli.verb(
    model="a Transformers folder, instead of the recipe's newest merged model",
    host="address to listen on; another than loopback asks for a key, PINTUNE_API_KEY (default 127.0.0.1)",
    port="port to listen on; if it is taken, the next free one (default 8000)",
    mcp="offer the tool answer_financial_question by the Model Context Protocol too, at /mcp",
    check="ask it the questions that evaluate asked, and compare EM and answers; starts no server that stays",
)
def serve(
    choices: Choices,
    model: str = "",
    host: str = "127.0.0.1",
    port: int = 8000,
    mcp: bool = False,
    check: bool = False,
) -> None:
    """Start an OpenAI-compatible server of the newest merged model, in the background."""
    (serving.check if check else serving.serve)(choices, model, host, port, mcp)


@cli.verb(model="a Transformers folder, instead of the recipe's newest merged model")
def mcp(choices: Choices, model: str = "") -> None:
    """Offer the newest merged model as a tool (MCP) on standard input and output, for a client that starts it."""
    serving.mcp(choices, model)


@cli.verb(
    host="address to listen on (default 127.0.0.1); a token is asked for on any, JUPYTER_TOKEN or a new one",
    port="port to listen on; if it is taken, the next free one (default 8888)",
)
def notebook(choices: Choices, host: str = "127.0.0.1", port: int = 8888) -> None:
    """Start Jupyter Lab of the image dev over notebooks/, in the background."""
    workbench.notebook(choices, host, port)


@cli.verb(port="port to listen on, on this machine alone; if it is taken, the next free one (default 6006)")
def tensorboard(choices: Choices, port: int = 6006) -> None:
    """Start TensorBoard over all runs, with their settings and reports, in the background."""
    workbench.tensorboard(choices, port)


@cli.verb(step="the step whose mounts, network and limits it has (default train)")
def shell(choices: Choices, step: str = "train") -> None:
    """Open a shell in the image that a step runs in, with its mounts and walls."""
    workbench.shell(choices, step)


@cli.verb(
    host="address to listen on: loopback alone, since the page asks nobody for a token (default 127.0.0.1)",
    port="port to listen on; if it is taken, the next free one (default 7860)",
)
def webui(choices: Choices, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Start LLaMA Factory's WebUI in the background, with the recipe's data, models and recipes to choose."""
    board.webui(choices, host, port)


@task(help={"name": "of the service, such as serve (default: all of this checkout)"})
def down(c: Context, name: str = "") -> None:
    """Stop what listens in the background."""
    with reported():
        serving.down(name, bool(c.config.run.dry))


@task(
    help={
        "predictions": "a prediction file in the authors' format, such as runs/RECIPE/latest/predictions.json",
        "gold": "a file in TAT-QA's raw schema, with answers",
        "json": "for programs: means and every question's scores, as fractions of one",
        "runner": RUNNER,
    },
    positional=["predictions"],
)
def score(c: Context, predictions: str, gold: str = "", json: bool = False, runner: str = "") -> None:
    """Score a prediction file by the authors' rules: EM, F1 and scale, by answer type and source."""
    with reported():
        stages.score(cli.choices(c, runner=runner), predictions, gold, json)


@task
def runs(c: Context) -> None:
    """List the runs: scores, loss, time, adapter hash, and where their recipes differ."""
    with reported():
        print(all_runs.table(matrix.ROOT))


@task(help={**SHARED, "json": "for programs"}, iterable=["set_"])
def doctor(
    c: Context, recipe: str = "", flavor: str = "", runner: str = "", set_: list[str] | None = None, json: bool = False
) -> None:
    """Check what this machine has and lacks, and which flavor fits."""
    with reported():
        choices, problem = cli.choices_or_problem(c, recipe, flavor, runner, set_)
        text, well = doctors.examine(choices, problem, json)
        print(text)
        if not well:
            raise Exit(code=1)


@task(help={"slow": "the slow tests, instead of the others", "pick": "only tests whose name matches, as pytest -k"})
def test(c: Context, slow: bool = False, pick: str = "") -> None:
    """Run the tests in the locked test environment, and show their coverage."""
    with reported():
        checks.run(checks.tests(slow, pick), bool(c.config.run.dry))


@task
def lint(c: Context) -> None:
    """Check style, spelling, imports, types, Dockerfile and workflows in the locked test environment."""
    with reported():
        checks.run(checks.lint(), bool(c.config.run.dry))


@task
def docs(c: Context) -> None:
    """Build the documentation site, strict."""
    with reported():
        checks.run(checks.docs(), bool(c.config.run.dry))


@task(help={"runs": "remove all runs too, which nothing brings back", "yes": "do not ask, for scripts"})
def clean(c: Context, runs: bool = False, yes: bool = False) -> None:
    """Remove what can be made again, such as images, formatted data and fetched models; asks first."""
    with reported():
        cleaning.clean(matrix.ROOT, runs, yes, bool(c.config.run.dry))


@task(default=True)
def help(c: Context) -> None:
    """List the verbs in groups; so does `invoke` alone."""
    print(overview.verbs(ns))


@task
def version(c: Context) -> None:
    """Print Pintune's version; `invoke --version` prints that of invoke."""
    print(overview.version())


ns = cli.collection(
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
    serve,
    mcp,
    notebook,
    tensorboard,
    shell,
    down,
    score,
    runs,
    sweep,
    reproduce,
    llamafactory,
    webui,
    doctor,
    test,
    lint,
    docs,
    clean,
    help,
    version,
    azure.collection(),
    launch.verbs,
)
