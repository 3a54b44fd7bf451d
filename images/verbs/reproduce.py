"""The verb `reproduce`: the environment of a run's manifest, in which the pipeline trains again and compares."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from images import engine, git, matrix
from images.building import build, lock, registry
from images.errors import Stop, line
from images.running import runner, step_call, user_files, venv
from images.running.choices import Choices
from images.verbs import cli


def reproduce(choices: Choices, run: str, root: Path) -> None:
    """Pull or build the run's environment, fetch and format what is missing, train again and compare.

    Raises:
        Stop: no such run, another lock, or as `runner.make`.
        StepFailed: the pipeline found a difference, and reported it.
    """
    name = run.removeprefix("./").removeprefix("runs/").strip("/")
    manifest = _manifest(root / "runs" / name / "manifest.json")
    environment = manifest["environment"]
    if choices.overrides:
        raise Stop(
            "the run's own recipe",
            f"--set {choices.overrides[0]}",
            "the command line",
            "leave out --set, or train a new run with it",
        )
    recorded = str(environment.get("runner") or "auto").replace("here", "auto")  # auto is `here` inside an image
    own = str(manifest["recipe"]["data"]["source"])
    chosen = replace(
        choices,
        flavor=environment.get("flavor") or choices.flavor,
        runner=recorded if choices.runner == "auto" else choices.runner,
        overrides=(f"data.source={own}",) if user_files.is_path(own) else (),
    )
    runner_name = cli.runner(chosen)
    chosen = replace(chosen, image=_image(chosen, environment, name))
    if (before := environment.get("revision")) and before != (now := git.revision()[0]):
        same = f"git checkout {before[:12]} for the same code"
        print(f"reproduce  made by revision {before[:12]}, this is {now[:12] or 'no repository'}: {same}", flush=True)
    if environment.get("dirty"):
        print("reproduce  made by code that was not committed", flush=True)
    if not choices.dry:
        _make(chosen, runner_name, environment)
    for step in runner.missing_of_run(chosen, runner_name, name):
        runner.run(chosen, runner_name, step_call.make(chosen, step, {"--run": name}))
    processes = (manifest.get("training") or {}).get("processes", 1)
    runner.run(chosen, runner_name, step_call.make(chosen, "reproduce", {"--run": name}, processes=processes))


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["environment"], manifest["recipe"]["data"]["source"], manifest["outputs"]
        unknown = (manifest.get("training") or {}).get("unknown")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Stop("a finished run, as RECIPE/ID", line(error), str(path), "invoke runs lists them") from None
    if unknown:
        found = f"an adapter of another trainer: unknown are {', '.join(unknown)}"
        raise Stop("a run that Pintune trained", found, str(path), "train a run of ours: invoke train")
    return dict(manifest)


def _image(choices: Choices, environment: dict[str, Any], run: str) -> str:
    """The image of a run's lock: train, or dev for one made in a devcontainer or with --image dev.

    Raises:
        Stop: neither has that lock.
    """
    locks = {image: lock.sha256(matrix.lock_file(image, choices.flavor)) for image in ("train", "dev")}
    before, now = environment.get("lock_sha256"), locks["train"]
    if before and before not in locks.values():
        revision = environment.get("revision") or "the revision of its manifest"
        raise Stop(
            f"the lock that {run} was made with, {before[:12]}",
            f"{now[:12]}: other versions of packages",
            str(matrix.lock_file("train", choices.flavor).relative_to(matrix.ROOT)),
            f"git checkout {revision[:12]}, then again",
        )
    return next((image for image, made_of in locks.items() if made_of == before), "train")


def _make(choices: Choices, runner_name: str, environment: dict[str, Any]) -> None:
    """Make the image or environment of this checkout, and report where the image's digest is not the run's."""
    if runner_name == "venv" and not venv.ready(choices.image, choices.flavor):
        print(runner.make(choices, runner_name, choices.image), flush=True)
    if runner_name != "docker":
        return
    name = build.tag(choices.image, choices.flavor)
    wanted = build.source_hash(choices.image, choices.flavor)
    if engine.image_label(name, build.SOURCE_LABEL) != wanted:
        with contextlib.suppress(Stop):  # this version may not be released, or its registry not reachable
            print(registry.pull(choices.image, choices.flavor, "", dry=False), flush=True)
    if engine.image_label(name, build.SOURCE_LABEL) != wanted:
        print(runner.make(choices, runner_name, choices.image), flush=True)
    before, now = environment.get("image_digest"), engine.image_id(name)
    if before and before != now:
        found = f"the run's image was {before[:19]}, this is {str(now)[:19]}"
        print(f"reproduce  {found}: another build of the same lock", flush=True)
