"""What `invoke test` and `invoke lint` run, in an environment of their own lock."""

from __future__ import annotations

import subprocess

from images import matrix
from images.errors import StepFailed
from images.running import venv


def tests(slow: bool, pick: str) -> list[list[str]]:
    """pytest on the slow tests or on all others, with coverage at the end; `pick` as its -k."""
    coverage = ["--cov", "--cov-report", "term:skip-covered"]
    return [["pytest", *coverage, "-m", "slow" if slow else "not slow", *(["-k", pick] if pick else [])]]


def lint() -> list[list[str]]:
    """Style, types, Dockerfile, and the workflows' pins and schema."""
    workflows = [
        str(path.relative_to(matrix.ROOT)) for path in sorted((matrix.ROOT / ".github" / "workflows").glob("*.yml"))
    ]
    return [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["mypy", "--python-version", "3.10", "tasks.py", "images"],
        ["hadolint", "images/Dockerfile"],
        ["zizmor", "--offline", "--quiet", *workflows],
        ["check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows],
    ]


def run(commands: list[list[str]]) -> None:
    """Make the environment unless it is there, and run the commands.

    Raises:
        StepFailed: one of them failed; those after it were not run.
        Stop: as `venv.build`.
    """
    print(venv.build("test", "cpu", dry=False), flush=True)
    programs = venv.python("test", "cpu").parent
    for program, *words in commands:
        if status := subprocess.run([programs / program, *words], cwd=matrix.ROOT).returncode:
            raise StepFailed(program, status)
