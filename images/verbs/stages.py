"""The verbs that run the pipeline's steps: data, train, export, ask and score."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

from images.errors import Stop
from images.running import runner as runners
from images.running import user_files
from images.running.choices import Choices
from images.verbs import cli

_TRAINING = ("train", "dev")


def data(choices: Choices) -> None:
    """Fetch what is missing, then format."""
    for step in dict.fromkeys((*runners.missing(choices, cli.runner(choices, prepares=True)), "format")):
        cli.run_step(choices, step)


def train(choices: Choices, resume: bool, nodes: int, gpus_per_node: int, image: str) -> None:
    """Fetch and format what is missing, then train, all in one image.

    Raises:
        Stop: an image that cannot train, or as the steps.
    """
    if image not in _TRAINING:
        wanted = f"an image that trains: {' or '.join(_TRAINING)}"
        raise Stop(wanted, repr(image), "--image", "invoke train --image dev")
    choices = replace(choices, image=image)
    cli.need_processes(choices, nodes, gpus_per_node)
    for step in runners.missing(choices, cli.runner(choices), computes=True):
        cli.run_step(choices, step)
    cli.run_step(choices, "train", {"--resume": resume}, nodes=nodes, processes=gpus_per_node)


def fetch(choices: Choices, format: str) -> None:
    """Fetch data and model, and what a format of export needs, if one is named."""
    _need_format(format, "")
    cli.run_step(choices, "fetch")
    if format:
        cli.run_step(choices, "fetch_gguf")


def export(choices: Choices, format: str, quantize: str, push_to_hub: str, adapter: str) -> None:
    """Merge and check, with `adapter` one of another trainer; then convert to a format and push to a repository of the
    hub, if they are named."""
    _need_format(format, quantize)
    files = {}
    if adapter:
        if not (Path(adapter) / "adapter_config.json").is_file():
            found = "no adapter_config.json" if Path(adapter).is_dir() else "no such folder"
            raise Stop("a folder of PEFT with an adapter", found, adapter, "invoke export --adapter FOLDER")
        files["--adapter"] = user_files.of(Path(adapter))
    if push_to_hub and not choices.dry and not os.environ.get("HF_TOKEN"):  # before minutes of merging
        todo = f"HF_TOKEN=… invoke export --push-to-hub {push_to_hub}"
        raise Stop("a token of the Hugging Face hub that may write", "no HF_TOKEN", "the environment", todo)
    if format:
        cli.run_step(choices, "fetch_gguf")
    if adapter:  # no training has fetched and formatted
        for step in runners.missing(choices, cli.runner(choices)):
            cli.run_step(choices, step)
    cli.run_step(choices, "export", files=files)
    if format:
        cli.run_step(choices, "gguf", {"--quantize": quantize})
    if push_to_hub:
        cli.run_step(choices, "push_hub", {"--repo": push_to_hub})


def _need_format(format: str, quantize: str) -> None:
    """Raise Stop unless both are known; "" is the merged folder alone, not quantized."""
    todo = "invoke export --format gguf, and --quantize q8_0 for a smaller file too"
    if format not in ("", "gguf"):
        raise Stop("--format gguf, or none", format, "the command line", todo)
    if quantize and (quantize, format) != ("q8_0", "gguf"):
        found = quantize if format else f"{quantize} without --format"
        raise Stop("--quantize q8_0 with --format gguf", found, "the command line", todo)


def ask(choices: Choices, context: int, file: str, table: str, question: str, json: bool) -> None:
    """Ask about a context of a file, a table alone, or else a context of the data.

    Again and again, if a person calls the verb alone in a terminal and gives no question.
    """
    files = {}
    if file and table:
        raise Stop("--file or --table", "both", "the command line", "leave one out")
    if file := file or table:
        files["--file"] = user_files.existing(file, "a file with one context or table", "invoke ask --context 0")
    flags: dict[str, str | int | bool] = {"--context": 0 if file else context, "--question": question, "--json": json}
    asks_on = not (question or json) and cli.is_alone() and sys.stdin.isatty() and sys.stdout.isatty()
    cli.run_step(choices, "ask", flags, files, on_stderr=json, interactive=asks_on)


def score(choices: Choices, predictions: str, gold: str, json: bool) -> None:
    """Score a prediction file against a gold file."""
    usage = "invoke score PREDICTIONS --gold FILE"
    files = {
        "--predictions": user_files.existing(predictions, "a prediction file", usage),
        "--gold": user_files.existing(gold, "a gold file in TAT-QA's raw schema", usage),
    }
    cli.run_step(choices, "score", {"--json": json}, files, on_stderr=json)
