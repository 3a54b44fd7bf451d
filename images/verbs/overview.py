"""What `invoke` alone prints: the verbs in groups, and Pintune's version."""

from __future__ import annotations

import inspect
from importlib.metadata import version as version_of

from invoke.collection import Collection

from images import git
from images.table import aligned

GROUPS = {
    "set up": ("doctor", "build", "wheelhouse", "push", "pull", "clean"),
    "a run": ("fetch", "data", "train", "evaluate", "export"),
    "LLaMA Factory": ("llamafactory", "webui"),
    "use a model": ("ask", "serve", "mcp", "down"),
    "runs": ("runs", "score", "sweep", "reproduce"),
    "look and try": ("notebook", "tensorboard", "shell"),
    "Azure": tuple(
        f"azure.{verb}" for verb in ("up", "status", "train", "run", "logs", "fetch", "ssh", "cost", "down")
    ),
    "other machines": ("launch.slurm", "launch.kubernetes", "launch.skypilot", "launch.azureml"),
    "work on Pintune": ("test", "lint", "docs", "lock"),
    "help": ("help", "version"),
}


def version() -> str:
    """Pintune's version, and invoke's."""
    return f"pintune {git.version()} (invoke {version_of('invoke')})"


def verbs(known: Collection) -> str:
    """All verbs with the first line of their documentation, in groups."""
    rows = []
    for group, names in GROUPS.items():
        rows += [(f"{group}:", ""), *((f"  {name}", _first_line(known, name)) for name in names)]
    ends = (
        "invoke --help VERB shows its flags; invoke --dry VERB prints its commands and runs nothing.",
        "To start: invoke build data train evaluate export ask",
    )
    return "\n".join((version(), "", aligned(rows), "", *ends))


def _first_line(known: Collection, name: str) -> str:
    return (inspect.getdoc(known[name]) or "").partition("\n")[0]
