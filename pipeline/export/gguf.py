"""Export a merged model as GGUF, for llama.cpp and Ollama, by llama.cpp's own converter.

    python -m pipeline gguf --quantize q8_0     # runs/RECIPE/latest/gguf/NAME-F16.gguf, NAME-Q8_0.gguf and Modelfile

The converter is a process of its own: it brings another version of the package `gguf` than the environment has.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.data import converter
from pipeline.errors import Stop, need_space
from pipeline.export import checkpoint, gguf_check, modelfile
from pipeline.files import atomic_folder, write_text
from pipeline.models import chat_template
from pipeline.runs import manifest

FOLDER = "gguf"
_TYPES = {"f16": 2.0, "q8_0": 34 / 32}  # bytes a weight: Q8_0 has a scale of 2 bytes for 32 weights
_METADATA = 64 * 2**20  # bytes, mostly of the vocabulary


def export(run: Path, made: dict[str, Any], models: Path, quantize: str, context: int) -> list[Path]:
    """Write gguf/ of a run: the merged model in F16, with `quantize` a second file, and a Modelfile; returns the files.

    Args:
        made: the run's manifest.
        quantize: "" or "q8_0".
        context: tokens of the longest prompt and its answer.

    Raises:
        Stop: no converter, no merged model or a changed one, no disk space, an architecture or tokenizer that the
            converter or the check does not know, or a file that is not the merged model.
    """
    merged, target = run / "merged", run / FOLDER
    script = converter.need(models) / converter.SCRIPT
    hashes = manifest.need_merged(run, made)
    gguf_check.need_supported(merged)
    template = chat_template.load(merged)
    kinds = ("f16", quantize) if quantize else ("f16",)
    stored = checkpoint.tensors(merged).values()
    elements = sum(checkpoint.size({each.name: (each.shape, each.dtype)}) // each.dtype.itemsize for each in stored)
    need_space(run, int(sum(elements * _TYPES[kind] + _METADATA for kind in kinds)))
    with atomic_folder(target) as staging:
        files = [staging / f"{made['recipe_name']}-{kind.upper()}.gguf" for kind in kinds]
        for file, kind in zip(files, kinds, strict=True):
            _convert(script, merged, file, kind, made["recipe_name"])
            gguf_check.need_same(merged, file, template, target / file.name)
        write_text(staging / "Modelfile", modelfile.text(files[-1].name, template, context))
    weights = {name: value for name, value in hashes.items() if name.endswith(".safetensors")}
    settings = {"quantize": quantize, "context": context}
    manifest.add(run, made, FOLDER, {**settings, "converter": converter.packages(), "made_of": weights})
    return [target / file.name for file in files]


def _convert(script: Path, merged: Path, file: Path, kind: str, name: str) -> None:
    command = [sys.executable, str(script), str(merged), "--outfile", str(file), "--outtype", kind]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with _ended_with_this_process():
        done = subprocess.run(
            [*command, "--model-name", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
    if done.returncode or not file.exists():
        if os.environ.get("PINTUNE_DEBUG") == "1":
            print(done.stdout, file=sys.stderr)
        lines = [line for line in done.stdout.splitlines() if line.strip() and not line.startswith("INFO")]
        found = lines[-1].strip() if lines else f"it ended with status {done.returncode}"
        todo = "use merged/ by Transformers; PINTUNE_DEBUG=1 shows what the converter says"
        raise Stop("a model that llama.cpp's converter takes", found[:200], str(merged), todo)


@contextlib.contextmanager
def _ended_with_this_process() -> Iterator[None]:
    """While a child runs, let SIGTERM raise SystemExit, upon which subprocess.run kills the child."""

    def leave(number: int, frame: Any) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
