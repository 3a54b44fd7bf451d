"""What this machine has and lacks: findings, each with a severity and a remedy, and the flavor that fits."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images import disk_space, engine, matrix, table
from images.building import build, lock
from images.cloud import sizes
from images.errors import StepFailed, Stop
from images.running import flavor as flavors
from images.running import gpu, here, runner, step_call, user_files, venv
from images.running.choices import Choices, choose_runner
from images.running.gpu import Seen


@dataclass(frozen=True)
class Finding:
    """The result of one check. `severity` is ok, note (works without it) or wrong (a verb will stop)."""

    severity: str
    what: str
    found: str
    remedy: str = ""


def examine(choices: Choices, problem: Stop | None, for_programs: bool) -> tuple[str, bool]:
    """The findings as text, and whether none of them is wrong. `problem` is why no flavor could be chosen."""
    found = [Finding("wrong", "flavor", f"{problem.wanted}: {problem.found}", problem.todo)] if problem else []
    found += findings(choices, gpu.look())
    text = as_json(found, choices.flavor) if for_programs else lines(found)
    return text, all(each.severity != "wrong" for each in found)


def findings(choices: Choices, seen: Seen) -> Iterator[Finding]:
    """All findings, in the order in which a first run depends on them."""
    yield Finding("ok", "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    known = matrix.load()
    yield from fit(known, choices.flavor, seen)
    yield from _runner(choices, bool(seen.gpus))
    yield _disk(bool(known.flavor(choices.flavor).cuda))
    yield _memory()
    yield from _locks()
    yield from _environments(choices.flavor)
    yield from _inputs()
    yield _need(choices, seen)


def fit(known: matrix.Matrix, chosen: str, seen: Seen) -> Iterator[Finding]:
    """Driver, GPUs, and whether each flavor runs on them."""
    if not seen.gpus:
        yield Finding(
            "wrong" if seen.trouble else "note",
            "GPU",
            seen.trouble or "none seen",
            "repair the NVIDIA driver" if seen.trouble else "none is needed for the flavor cpu",
        )
    else:
        yield Finding("ok", "driver", seen.driver)
        for each in seen.gpus:
            yield Finding(
                "ok",
                "GPU",
                f"{each.name}, compute capability {each.capability[0]}.{each.capability[1]}, {_gib(each.memory)}",
            )
    try:
        best, why = flavors.pick(known, seen)
    except Stop as stop:
        best, why = "", ""
        yield Finding("wrong", "flavors", stop.found, stop.todo)
    for flavor in known.flavors.values():
        against = flavors.misfit(flavor, seen)
        if flavor.name == best:
            yield Finding("ok", f"flavor {flavor.name}", f"fits: {why}")
        elif flavor.name == chosen and against:
            yield Finding("wrong", f"flavor {flavor.name}", f"asked for, but {against}", f"--flavor {best or 'cpu'}")
        else:
            yield Finding("ok", f"flavor {flavor.name}", f"not here: {against}" if against else "fits too")


def lines(found: list[Finding]) -> str:
    """The findings as a table."""
    remedies = [f"  -> {each.remedy}" if each.remedy else "" for each in found]
    return table.aligned(
        [(f"{each.severity:<5}", each.what, each.found + remedy) for each, remedy in zip(found, remedies, strict=True)]
    )


def as_json(found: list[Finding], flavor: str) -> str:
    """The findings for programs: {"flavor", "wrong", "findings": [{"severity", "what", "found", "remedy"}]}."""
    wrong = sum(each.severity == "wrong" for each in found)
    findings = [dataclasses.asdict(each) for each in found]
    return json.dumps({"flavor": flavor, "wrong": wrong, "findings": findings}, indent=2)


def _gib(size: int) -> str:
    return f"{size / 2**30:.0f} GiB" if size else "memory unknown"


def _runner(choices: Choices, with_gpu: bool) -> Iterator[Finding]:
    """Where steps would run, and the engine, which only the runner docker needs."""
    try:
        chosen, why = choose_runner(choices.runner)
        yield Finding("ok", "runner", f"{chosen} ({why})")
        if chosen == "here":
            yield Finding("ok", "image", f"{here.inside(choices.flavor)}, as the matrix asks for")
            return
    except Stop as stop:
        yield Finding("wrong", "runner", f"{stop.wanted}: {stop.found}", stop.todo)
        if os.environ.get("PINTUNE_IMAGE"):
            return
        chosen = choices.runner
    needed = "wrong" if chosen == "docker" else "note"
    try:
        version = engine.version()
    except Stop as stop:
        yield Finding(
            needed,
            "Docker engine",
            f"none answers ({stop.found})",
            "start Docker, or continue: the runner venv needs none",
        )
        return
    yield Finding("ok", "Docker engine", version)
    buildx = engine.buildx_version()
    yield (
        Finding("ok", "buildx", buildx)
        if buildx
        else Finding(needed, "buildx", "none", "install docker-buildx, or --runner venv")
    )
    if with_gpu:
        how = engine.gpu_access()
        yield (
            Finding("ok", "GPU in containers", how)
            if how
            else Finding(
                needed,
                "GPU in containers",
                "neither the nvidia runtime nor a CDI specification",
                engine.GPU_REMEDY,
            )
        )


def _disk(cuda: bool) -> Finding:
    places = [matrix.ROOT, *(matrix.ROOT / name for name in user_files.FOLDERS)]  # which may be links to other disks
    fullest = min(places, key=disk_space.free)
    what, needed = "an image, a model and its runs", 30 if cuda else 10
    if os.environ.get("PINTUNE_IMAGE"):
        what, needed = "a model and its runs", 20 if cuda else 2
    free = disk_space.free(fullest) / disk_space.GIB
    shown = f"{free:.1f} GiB free at {fullest}"
    if free >= needed:
        return Finding("ok", "disk", shown)
    return Finding("wrong", "disk", shown, f"free {needed - free:.1f} GiB more: {what} take {needed}")


def _memory() -> Finding:
    total = _total_memory() / 2**30
    shown = f"{total:.0f} GiB, {os.cpu_count()} cores"
    return (
        Finding("ok", "memory", shown)
        if total >= 6
        else Finding("note", "memory", shown, "the quickstart needs about 4 GiB")
    )


def _total_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _locks() -> Iterator[Finding]:
    try:
        rows = lock.wanted()
        for row in rows:
            lock.read(row)
        yield Finding("ok", "locks", f"{len(rows)}, all of the current matrix")
    except Stop as stop:
        yield Finding("wrong", "locks", f"{stop.found} ({stop.where})", stop.todo)


def _environments(flavor: str) -> Iterator[Finding]:
    if not matrix.lock_file("train", flavor).exists() or os.environ.get("PINTUNE_IMAGE"):
        return
    again = "invoke build" + (f" --flavor {flavor}" if flavor != "cpu" else "")
    if engine.answers():
        name = build.tag("train", flavor)
        label = engine.image_label(name, build.SOURCE_LABEL)
        if label == build.source_hash("train", flavor):
            yield Finding("ok", "image", f"{name} {engine.image_id(name)}")
        else:
            yield Finding("note", "image", f"{name}: {'older than this checkout' if label else 'not built'}", again)
    ready = venv.ready("train", flavor)
    shown = str(venv.folder("train", flavor).relative_to(matrix.ROOT))
    yield (
        Finding("ok", "environment", shown)
        if ready
        else Finding("note", "environment", "not built", f"{again} --runner venv")
    )


def _inputs() -> Iterator[Finding]:
    for folder, pattern, what in (("models", "*/model*.safetensors", "models"), ("data", "*/raw/*.json", "data")):
        names = sorted(
            {path.relative_to(matrix.ROOT / folder).parts[0] for path in (matrix.ROOT / folder).glob(pattern)}
        )
        yield (
            Finding("ok", what, ", ".join(names))
            if names
            else Finding("note", what, "none yet", "invoke fetch (train does it by itself)")
        )
    if mirror := os.environ.get("PINTUNE_MIRROR"):
        exists = Path(mirror).is_dir()
        yield Finding(
            "ok" if exists else "wrong",
            "mirror",
            mirror,
            "" if exists else "unset PINTUNE_MIRROR, or name a folder",
        )


def _need(choices: Choices, seen: Seen) -> Finding:
    """The memory that the recipe needs, as the pipeline estimates it with the runner that a run would use."""
    what = f"recipe {Path(choices.recipe).stem}"
    unknown = Finding("note", what, "memory unknown until environment and model exist", "invoke build fetch")
    try:
        chosen, _ = choose_runner(choices.runner)
        runner.need_environment(choices, chosen, computes=False)
    except Stop:
        return unknown
    try:
        made: dict[str, Any] | None = json.loads(
            runner.run(choices, chosen, step_call.make(choices, "estimate"), capture=True)
        )
    except (Stop, StepFailed) as error:
        reason = f"{error.wanted}: {error.found}" if isinstance(error, Stop) else "refused, as reported above"
        return Finding("wrong", what, reason, "correct the recipe or --set")
    return need(what, made, matrix.load().flavor(choices.flavor), seen) if made else unknown


def need(what: str, made: dict[str, Any], flavor: matrix.Flavor, seen: Seen) -> Finding:
    """The memory that a recipe needs, compared with that of the smallest GPU, or without one of the machine.

    With training.fsdp each GPU holds a share of everything except activations and runtime.
    """
    cuda = bool(flavor.cuda and seen.gpus)
    precision = made["precision"] if made["precision"] != "auto" else "fp16" if cuda else "fp32"
    shares = len(seen.gpus) if cuda and made["fsdp"] else 1
    parts = {
        name: size / (shares if name in ("weights", "adapter", "optimizer") else 1)
        for name, size in made[precision].items()
    }
    parts["total"] = sum(size for name, size in parts.items() if name != "total")
    has = min(each.memory for each in seen.gpus) if cuda else _total_memory()
    shown = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in parts.items() if name != "total")
    spread = f" on each of {shares} GPUs" if shares > 1 else ""
    found = f"about {parts['total'] / 2**30:.1f} GiB in {precision}{spread} ({shown}); available: {_gib(has)}"
    if not has or parts["total"] <= 0.9 * has:
        return Finding("ok" if has else "note", what, found)
    remedy = "--set training.batch_contexts=1, or a smaller training.max_length, or a smaller model"
    on_gpu = made["fp16" if made["precision"] == "auto" else precision]
    size = sizes.fitting(sum(size for name, size in on_gpu.items() if name != "total") / 0.9 / 2**30)
    if size:
        remedy += f", or a VM on Azure: invoke azure.up --size {size.name}"
    return Finding("wrong", what, found, remedy)
