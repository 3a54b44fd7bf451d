"""What this machine has of what Pintune needs; each finding with its remedy."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from images import build, engine, lock, matrix, venv
from images.errors import Stop


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `severity` is ok, note (works without it) or wrong (a verb will stop on it)."""

    severity: str
    what: str
    found: str
    remedy: str = ""


def findings(flavor: str) -> Iterator[Finding]:
    """Everything, in the order in which a first run meets it."""
    yield Finding("ok", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    yield from _engine()
    yield _disk()
    yield _memory()
    yield _gpu()
    yield from _locks(flavor)
    yield from _environments(flavor)
    yield from _inputs()


def table(found: list[Finding]) -> str:
    """The findings as lines."""
    width = max(len(each.what) for each in found)
    return "\n".join(f"{each.severity:<5}  {each.what:<{width}}  {each.found}" + (f"  -> {each.remedy}" if each.remedy else "") for each in found)


def _engine() -> Iterator[Finding]:
    try:
        version = engine.client().version()["Version"]
    except Stop as stop:
        yield Finding("note", "Docker engine", f"none answers ({stop.found})", "start Docker, or go on: the venv runner needs none")
        return
    yield Finding("ok", "Docker engine", version)
    buildx = engine.buildx_version()
    yield Finding("ok", "buildx", buildx) if buildx else Finding("wrong", "buildx", "none", "install docker-buildx, or --runner venv")


def _disk() -> Finding:
    free = shutil.disk_usage(matrix.ROOT).free / 2**30
    shown = f"{free:.0f} GiB free at {matrix.ROOT}"
    return Finding("ok", "disk", shown) if free >= 10 else Finding("wrong", "disk", shown, "free 10 GiB: an image, a model and its runs")


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    shown = f"{total:.0f} GiB, {os.cpu_count()} cores"
    return Finding("ok", "memory", shown) if total >= 6 else Finding("note", "memory", shown, "the quickstart needs about 4 GiB")


def _gpu() -> Finding:
    asked = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return Finding("note", "GPU", "none seen (no nvidia-smi)", "none is needed for the flavor cpu")
    if done.returncode:
        return Finding("note", "GPU", f"nvidia-smi: {done.stdout.strip() or done.stderr.strip()}", "check the NVIDIA driver")
    return Finding("ok", "GPU", "; ".join(done.stdout.strip().splitlines()))


def _locks(flavor: str) -> Iterator[Finding]:
    try:
        known = matrix.load()
        for image in known.images:
            pins = lock.read(matrix.lock_file(image, flavor), known.requirements(image, flavor))
            yield Finding("ok", f"lock {image}-{flavor}", f"{len(pins)} packages, matches the matrix")
    except Stop as stop:
        yield Finding("wrong", "locks", f"{stop.found} ({stop.where})", stop.todo)


def _environments(flavor: str) -> Iterator[Finding]:
    if not matrix.lock_file("train", flavor).exists():
        return
    if engine.answers():
        name = build.tag("train", flavor)
        label = engine.image_label(name, build.SOURCE_LABEL)
        if label == build.source_hash("train", flavor):
            yield Finding("ok", "image", f"{name} {engine.image_id(name)}")
        else:
            yield Finding("note", "image", f"{name}: {'older than this checkout' if label else 'not built'}", "invoke build")
    there = venv.ready("train", flavor)
    shown = str(venv.folder("train", flavor).relative_to(matrix.ROOT))
    yield Finding("ok", "environment", shown) if there else Finding("note", "environment", "not built", "invoke build --runner venv")


def _inputs() -> Iterator[Finding]:
    for folder, pattern, what in (("models", "*/model*.safetensors", "models"), ("data", "*/raw/*.json", "data")):
        there = sorted({path.relative_to(matrix.ROOT / folder).parts[0] for path in (matrix.ROOT / folder).glob(pattern)})
        yield Finding("ok", what, ", ".join(there)) if there else Finding("note", what, "none yet", "invoke fetch (train does it by itself)")
    if mirror := os.environ.get("PINTUNE_MIRROR"):
        is_there = Path(mirror).is_dir()
        yield Finding("ok" if is_there else "wrong", "mirror", mirror, "" if is_there else "unset PINTUNE_MIRROR, or name a folder")
