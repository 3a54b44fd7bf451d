"""The commands of `invoke test`, `invoke lint` and `invoke docs`, in the environment of the lock `test`."""

from __future__ import annotations

import shlex
import subprocess

from images import matrix
from images.errors import StepFailed
from images.running import venv


def tests(slow: bool, pick: str) -> list[list[str]]:
    """pytest on the slow tests or on all others, with coverage at the end; `pick` as its -k."""
    coverage = ["--cov", "--cov-report", "term:skip-covered"]
    return [["pytest", *coverage, "-m", "slow" if slow else "not slow", *(["-k", pick] if pick else [])]]


def lint() -> list[list[str]]:
    """Style, spelling, imports, types, the Dockerfile, and the workflows' pins and schema."""
    folder = matrix.ROOT / ".github" / "workflows"
    workflows = [str(path.relative_to(matrix.ROOT)) for path in sorted(folder.glob("*.yml"))]
    return [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["codespell"],
        ["lint-imports"],
        ["mypy"],
        ["mypy", "--python-version", "3.10", "tasks.py", "images"],
        ["hadolint", "images/Dockerfile"],
        ["zizmor", "--offline", "--quiet", *workflows],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows],
    ]


def docs() -> list[list[str]]:
    """The documentation site, from mkdocs.yml; a warning is a failure."""
    return [["mkdocs", "build", "--strict"]]


def run(commands: list[list[str]], dry: bool = False) -> None:
    """Run commands in the environment, which is made if it is not up to date; with `dry` print them.

    Raises:
        StepFailed: a command failed; those after it did not run.
        Stop: as `venv.build`.
    """
    if (made := venv.build("test", "cpu", dry=dry)) and not dry:
        print(made, flush=True)
    programs = venv.python("test", "cpu").parent
    if dry:
        for program, *words in commands:
            print(shlex.join([str(programs / program), *words]))
        return
    for program, *words in commands:
        if status := subprocess.run([programs / program, *words], cwd=matrix.ROOT).returncode:
            raise StepFailed(program, status)
