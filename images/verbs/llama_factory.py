"""The verb llamafactory: a recipe as YAML of `llamafactory-cli train`, such a YAML as a recipe, training with one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from images import matrix, pip_config
from images.errors import StepFailed, Stop
from images.running import container, environment, process, step_call, user_files
from images.running import runner as runners
from images.running.choices import Choices
from images.running.step_call import StepCall
from images.running.steps import Step
from images.running.user_files import UserFile
from images.services.webui import ENVIRONMENT
from images.verbs import cli

IMAGE = "webui"
_RESULTS = "runs/llama-factory"
_FILE = "train.yaml"


def llamafactory(choices: Choices, origin: str, to: str, run: bool) -> None:
    """Print or write the YAML of the recipe, or the recipe of a YAML; with `run` train with the YAML."""
    if sum(map(bool, (origin, to, run))) > 1 and not (origin and to):
        raise Stop("--run, or --to, or --from with or without --to", "several", "the command line", "leave one out")
    if to and Path(to).exists() and not choices.dry:
        raise Stop("a new file", "one that exists", to, "name another one, or remove it")
    name = Path(choices.recipe).stem if choices.recipe.endswith(".toml") else choices.recipe
    results = _free(name)
    if run:
        _train(choices, results)
        return
    if origin:
        file = user_files.existing(origin, "a YAML file of llamafactory-cli train", "invoke llamafactory --from FILE")
        text = _converted(choices, {}, {"--from": file})
    else:
        text = _converted(choices, {"--output": results})
    if choices.dry:
        return
    if not to:
        print(text, end="", flush=True)
        return
    _write(Path(to), text)
    print("\n".join(line for line in text.splitlines() if line.startswith("#")))
    print(f"llamafactory  {to}", flush=True)


def _converted(choices: Choices, flags: Mapping[str, str | bool], files: Mapping[str, UserFile] | None = None) -> str:
    """What the step prints; without a recipe's flags, whose place a YAML takes."""
    runner = cli.runner(choices, on_stderr=True)
    if not choices.dry:
        runners.need_environment(choices, runner, computes=False)
    return runners.run(choices, runner, step_call.make(choices, "llamafactory", dict(flags), files), capture=True)


def _free(name: str) -> str:
    """The first folder of this name for results that does not exist: LLaMA Factory resumes in one that does."""
    number, folder = 1, f"{_RESULTS}/{name}"
    while (matrix.ROOT / folder).exists():
        number += 1
        folder = f"{_RESULTS}/{name}-{number}"
    return folder


def _write(file: Path, text: str) -> None:
    """Write a file that does not exist, whole."""
    staged = file.with_name(f".{file.name}.new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(file)


def _train(choices: Choices, results: str) -> None:
    """Train with LLaMA Factory; what it needs is fetched and formatted first."""
    matrix.load().image(IMAGE, choices.flavor)
    asked_for = cli.runner(choices)
    runner = "docker" if asked_for == "docker" else "venv"  # a devcontainer has not its packages
    if not choices.dry:
        runners.need_environment(choices, runner, computes=True, image=IMAGE)
    for step in (*runners.missing(choices, asked_for), "llamaboard"):  # which lays out the model in the right type
        cli.run_step(choices, step)
    text = _converted(choices, {"--output": results, "--view": True})
    if not choices.dry:
        (matrix.ROOT / results).mkdir(parents=True)
        _write(matrix.ROOT / results / _FILE, text)
        print("\n".join(line for line in text.splitlines() if line.startswith("#")), flush=True)
    call = StepCall(Step("llamafactory", ("runs",), gpu=True))
    command = ("llamafactory-cli", "train", f"{results}/{_FILE}")
    with pip_config.secrets(choices.dry) as scratch:
        if runner == "docker":
            asked = environment.for_container(choices, call, scratch, capture=False, image_name=IMAGE)
            asked = dataclasses.replace(asked, command=command, environment={**asked.environment, **ENVIRONMENT})
            if choices.dry:
                runners.print_commands([container.argv(asked)], [])
                return
            status, _ = container.run(asked)
        else:
            words, variables = environment.for_process(choices, runner, call, IMAGE)
            words = [str(Path(words[0]).with_name(command[0])), *command[1:]]
            if choices.dry:
                runners.print_commands([words], [])
                return
            status, _ = process.run(words, {**variables, **ENVIRONMENT}, False)
    if status:
        raise StepFailed("llamafactory", status)
    print(f"llamafactory  {results}: the adapter; next: invoke export --adapter {results}", flush=True)
