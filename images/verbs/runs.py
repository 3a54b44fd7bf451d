"""The verb `runs`: the folders runs/RECIPE/ID/ with their manifests and evaluations, as a table."""

from __future__ import annotations

import fcntl
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.matrix import ROOT
from images.table import aligned

_HEAD = ("run", "questions", "EM base", "tuned", "F1", "loss", "time", "adapter", "state", "recipe")


@dataclass(frozen=True)
class Run:
    """A run's folder and the contents of its files; empty where a file is missing."""

    folder: Path
    recipe: dict[str, Any]  # as resolved
    inputs: dict[str, Any]  # hashes of model and data
    training: dict[str, Any]
    evaluation: dict[str, Any]
    evaluated: dict[str, Any]  # the recipe of its evaluation, as resolved

    @property
    def name(self) -> str:
        """RECIPE/ID."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    def score(self, key: str, who: str = "tuned") -> float | None:
        """EM, F1 or scale over all questions, in percent; None without an evaluation."""
        try:
            return float(100 * self.evaluation[who]["all"][key])
        except (KeyError, TypeError):
            return None


def found(root: Path, recipe: str = "*") -> list[Run]:
    """All runs under root/runs, or those of one recipe, oldest first."""
    return [_read(folder) for folder in sorted(root.glob(f"runs/{recipe}/[0-9]*")) if folder.is_dir()]


def rows(root: Path) -> list[tuple[str, ...]]:
    """One row for each run, oldest first."""
    runs = found(root)
    return [
        _row(run, differences(run, [each for each in runs if each.folder.parent == run.folder.parent])) for run in runs
    ]


def table(root: Path) -> str:
    """The rows with a header; without runs, a line of advice."""
    made = rows(root)
    return aligned([_HEAD, *made]) if made else "no runs yet; next: invoke train"


def differences(run: Run, others: Sequence[Run]) -> str:
    """The keys of a run's recipe that differ between runs, with its values."""
    every = [dict(_flat(each.recipe)) for each in others if each.recipe]
    own = dict(_flat(run.recipe))
    return " ".join(f"{key}={_shown(own[key])}" for key in own if any(each.get(key) != own[key] for each in every))


def is_merged(run: Run) -> bool:
    """Whether `export` has merged the run's adapter."""
    return (run.folder / "merged" / "config.json").exists()


def _flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, body in values.items():
        if isinstance(body, dict):
            yield from ((f"{section}.{key}", value) for key, value in body.items())


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _row(run: Run, differing: str) -> tuple[str, ...]:
    try:
        training = run.training
        known = "unknown" not in training  # else another trainer made it
        loss, seconds, adapter = (
            f"{training['last_loss']:.3f}" if known else "",
            f"{training['seconds']:.0f} s" if known else "",
            training["adapter_sha256"][:12],
        )
    except (KeyError, TypeError, ValueError):
        state = _unfinished(run.folder)
        return (run.name, "", "", "", "", "", "", "", state, differing)
    state = ("merged" if is_merged(run) else "trained") + ("" if known else ", of another trainer")
    scores = (run.score("em", "base"), run.score("em"), run.score("f1"))
    questions = str(run.evaluation["questions"]) if scores[0] is not None else ""
    return (
        run.name,
        questions,
        *("" if each is None else f"{each:.1f}" for each in scores),
        loss,
        seconds,
        adapter,
        state,
        differing,
    )


def _unfinished(folder: Path) -> str:
    """What is going on in the folder of a run without a manifest."""
    mark = folder / "unfinished.json"
    try:
        with mark.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # its process holds a lock, in a container too
    except BlockingIOError:
        return f"training now{_process(_json(folder / 'process.json'))}"
    except OSError as error:
        return (
            "no manifest: delete it" if isinstance(error, FileNotFoundError) else f"unfinished.json: {error.strerror}"
        )
    name = folder.parent.name
    shipped = (ROOT / "pipeline" / "recipes" / f"{name}.toml").exists()
    recipe = "" if name == "quickstart" else f" --recipe {name}{'' if shipped else '.toml'}"
    return f"unfinished, resume with invoke train{recipe} --resume"


def _process(of: dict[str, Any]) -> str:
    """Where a process is and since when, as it wrote itself."""
    if not of.keys() >= {"pid", "host", "runner", "since"}:
        return ""
    if of["runner"] == "docker":
        who = f"container {of['host']}"
    else:
        who = f"pid {of['pid']}" + ("" if of["host"] == socket.gethostname() else f" on {of['host']}")
    return f" ({who}, since {of['since'].replace('T', ' ').replace('+00:00', ' UTC')})"


def _read(folder: Path) -> Run:
    manifest, evaluation, unfinished = (
        _json(folder / f"{name}.json") for name in ("manifest", "evaluation", "unfinished")
    )
    started = manifest or unfinished
    return Run(
        folder,
        _of(started, "recipe"),
        _of(started, "inputs"),
        manifest.get("training") or {},
        evaluation,
        _of(manifest.get("evaluation"), "recipe"),
    )


def _of(section: Any, key: str) -> dict[str, Any]:
    found = section.get(key) if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return read if isinstance(read, dict) else {}
