"""manifest.json: image, lock, code, recipe, inputs, seeds, packages, machine, speed, and the hash of every output."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from pipeline.errors import Stop
from pipeline.files import sha256, tree_sha256, write_json
from pipeline.job import Job
from pipeline.recipe import Recipe, as_values
from pipeline.runs.store import MANIFEST

_EVALUATION = ("evaluation.json", "predictions.json", "predictions-base.json", "answers.jsonl", "report.html")
_WRITTEN = {"evaluation": _EVALUATION, "export": ("merged",), "gguf": ("gguf",)}  # by a later step, for its section
_TRAINED = ("adapter", "metrics.jsonl")
_AGAIN = "invoke export"
_OWN = ("README.md", "SHA256SUMS")  # of merged/: nobody loads them, and the card is the user's to edit


def of_training(recipe: Recipe, run: Path, inputs: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a run that has just been trained.

    Args:
        inputs: as `inputs` returned before the training.
        training: what the training reports of itself.
    """
    return {
        "manifest": 1,
        "run": run.name,
        "recipe_name": recipe.name,
        "recipe": as_values(recipe),
        "environment": environment(),
        "inputs": inputs,
        "seeds": {"all": recipe.training.seed},
        "training": training,
        "outputs": outputs(run),
    }


def add(run: Path, manifest: dict[str, Any], section: str, values: dict[str, Any]) -> None:
    """Add a later step's section to a run's manifest, and the hashes of what it wrote; those of other files stay."""
    by = {
        key: os.environ.get(f"PINTUNE_{key.upper()}") or None for key in ("runner", "image_digest", "lock", "revision")
    }
    own = _WRITTEN[section]
    kept = {name: value for name, value in manifest["outputs"].items() if name.partition("/")[0] not in own}
    made = {**manifest, section: {**values, "at": now(), "by": by}, "outputs": {**kept, **_hashes(run, own)}}
    write_json(run / MANIFEST, made)


def need_trained_adapter(run: Path, manifest: dict[str, Any]) -> None:
    """Raise Stop if a run's adapter is not the one that was trained, by its weights or its config."""
    folder = run / "adapter"
    trained = {"adapter_model.safetensors": manifest["training"].get("adapter_sha256")}
    if known := manifest["outputs"].get("adapter/adapter_config.json"):
        trained["adapter_config.json"] = known
    for name, wanted in trained.items():
        found = sha256(folder / name) if (folder / name).exists() else "of no such file"
        if found != wanted:
            todo = f"bring it back; or make the run again: invoke reproduce {run.parent.name}/{run.name}"
            raise Stop(f"the adapter that was trained, sha256 {wanted}", f"sha256 {found}", str(folder / name), todo)


def need_exported(run: Path, manifest: dict[str, Any]) -> None:
    """Raise Stop if what is loaded of a run's merged model is not what export wrote; hidden files and its card are not.

    The remedy replaces merged/ with what the adapter makes, and nothing of a person's.
    """
    differing, _ = _compared(run, manifest)
    others = [name for name in differing if name not in _OWN and not name.startswith(".")]
    if others:
        raise Stop("the merged model that export wrote", f"others: {', '.join(others)}", str(run / "merged"), _AGAIN)


def need_merged(run: Path, manifest: dict[str, Any]) -> dict[str, str]:
    """The hashes of the files in merged/, which are as export wrote them.

    Raises:
        Stop: there is no merged model of an export that ended, or a file is another one.
    """
    merged = run / "merged"
    recorded = any(name.startswith("merged/") for name in manifest["outputs"])
    if not recorded or not isinstance(manifest.get("export"), dict) or not merged.is_dir():
        raise Stop("a merged model of an export that ended", "none", str(merged), _AGAIN)
    others, found = _compared(run, manifest)
    if others:
        raise Stop("the files that export wrote", f"others: {', '.join(others)}", str(merged), _AGAIN)
    return found


def _compared(run: Path, manifest: dict[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The files of merged/ that are not as export wrote them, or are missing; and the hashes of all that are there."""
    names = (name for name in manifest["outputs"] if name.startswith("merged/"))
    recorded = {name.removeprefix("merged/"): manifest["outputs"][name] for name in names}
    found = tree_sha256(run / "merged")
    return sorted(name for name in recorded.keys() | found.keys() if recorded.get(name) != found.get(name)), found


def need_same(then: dict[str, Any], now: dict[str, Any], where: Path) -> None:
    """Raise Stop unless model and data have the same hashes; names the files that differ."""
    if others := differing(then, now):
        raise Stop(
            "the model and data that the run was trained with",
            f"others: {', '.join(others)}",
            str(where),
            "bring them back, or start anew with invoke train",
        )


def differing(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The keys, such as model.files.config.json, whose values differ."""
    before, after = _flat(then), _flat(now)
    return sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))


def _flat(values: dict[str, Any], at: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat.update(_flat(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value})
    return flat


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """Where this process runs; what only the host knows comes in PINTUNE_* variables, null if they are not set."""
    import torch

    return {
        "at": now(),
        "runner": os.environ.get("PINTUNE_RUNNER"),
        "image": os.environ.get("PINTUNE_IMAGE"),
        "image_digest": os.environ.get("PINTUNE_IMAGE_DIGEST") or None,
        "base_image": os.environ.get("PINTUNE_BASE") or None,
        "flavor": os.environ.get("PINTUNE_FLAVOR"),
        **code(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": _processor(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpus": _gpus(),
        "packages": dict(sorted((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())),
    }


def code() -> dict[str, Any]:
    """The hash of the lock, and the revision of the checkout, if the host has set them."""
    return {
        "lock_sha256": os.environ.get("PINTUNE_LOCK"),
        "revision": os.environ.get("PINTUNE_REVISION") or None,  # "" without a repository
        "dirty": {"1": True, "0": False}.get(os.environ.get("PINTUNE_DIRTY", "")),
    }


def inputs(job: Job) -> dict[str, Any]:
    """Hashes of the model's files and of raw and formatted data."""
    data = {}
    for role, split in (("train", job.train), ("evaluation", job.evaluation)):
        data[role] = {"split": split.name, "raw_sha256": sha256(split.raw), "rows_sha256": sha256(split.rows)}
    return {"model": model_inputs(job.base_model), "data": {"source": job.recipe.data.source, **data}}


def model_inputs(folder: Path) -> dict[str, Any]:
    """Hashes of a base model's files."""
    return {"source": folder.name, "files": tree_sha256(folder)}


def outputs(run: Path) -> dict[str, str]:
    """SHA-256 of every output file of a run, by its path in the run."""
    return _hashes(run, (*_TRAINED, *(name for names in _WRITTEN.values() for name in names)))


def _hashes(run: Path, names: tuple[str, ...]) -> dict[str, str]:
    hashes: dict[str, str] = {}
    for name in names:
        path = run / name
        if path.is_dir():
            hashes.update({f"{name}/{file}": value for file, value in tree_sha256(path).items()})
        elif path.exists():
            hashes[name] = sha256(path)
    return hashes


def _processor() -> str:
    for line in (
        Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else ()
    ):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _gpus() -> list[dict[str, Any]]:
    import torch

    if not torch.cuda.is_available():
        return []
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    seen = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    return [
        {"name": gpu.name, "memory_bytes": gpu.total_memory, "capability": f"{gpu.major}.{gpu.minor}", "driver": driver}
        for gpu in seen
    ]
