"""The verbs build, wheelhouse and lock."""

from __future__ import annotations

from pathlib import Path

from images import matrix
from images.building import lock, offline, release
from images.running import runner as runners
from images.running.choices import Choices, with_engine
from images.verbs import cli


def build(choices: Choices, image: str, releases: bool, verify: bool, is_offline: bool, wheelhouse: str) -> None:
    """Build an image or environment, or with `releases` or `verify` a release, and report it."""
    folder = offline.folder(is_offline, wheelhouse)
    if releases or verify or is_offline:
        choices = with_engine(choices)
    runner = cli.runner(choices)
    if releases or verify:
        for line in release.build_release(image, choices.flavor, choices.dry, folder, verify):
            print(line, flush=True)
    else:
        print(runners.make(choices, runner, image, folder), flush=True)


def gather(choices: Choices, image: str, to: Path) -> None:
    """Fill a folder for builds without network, and report it."""
    print(offline.gather(image, choices.flavor, to, choices.dry), flush=True)


def write_locks(upgrade: bool, dry: bool) -> None:
    """Resolve every lock, and report each as it is written; with `dry` print the commands."""
    if dry:
        print("\n".join(lock.shown()))
        return
    for path in lock.write_all(upgrade):
        print(f"lock   {path.relative_to(matrix.ROOT)}", flush=True)
