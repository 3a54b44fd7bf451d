"""Packages by hash from the caller's package index: pip knows its address, proxy and certificates."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pipeline.errors import Stop

# pip asks the build backend of sources that it only downloads for their metadata. This one gives what the sources
# state themselves: no code of theirs runs, and nothing else is downloaded.
_BACKEND = """
import pathlib, shutil

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    folder = pathlib.Path(metadata_directory) / "stated.dist-info"
    folder.mkdir()
    shutil.copyfile("PKG-INFO", folder / "METADATA")
    return folder.name

def build_wheel(*arguments):
    raise NotImplementedError
"""


def download(lock: Path, target: Path, what: str, *options: str, backend: str = "") -> None:
    """Download the packages of a lock into a folder; pip compares their hashes.

    Args:
        what: the packages and the file names in words, for messages.
        options: further ones for pip download.
        backend: the module that builds the sources among the packages, which is not run.

    Raises:
        Stop: no network, no such package, another hash.
    """
    environment = dict(os.environ)
    if backend:
        stand_in = target / "backend" / Path(*backend.split(".")).with_suffix(".py")
        stand_in.parent.mkdir(parents=True)
        (stand_in.parent / "__init__.py").touch()  # or an installed one goes before it
        stand_in.write_text(_BACKEND, encoding="utf-8")
        environment["PYTHONPATH"] = str((target / "backend").resolve())  # pip runs it in the sources' folder
        options = ("--no-build-isolation", *options)
    bar = "on" if sys.stderr.isatty() else "off"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-cache-dir"]
    command += ["--disable-pip-version-check", "--progress-bar", bar, "--quiet", *options, "-d", str(target)]
    done = subprocess.run(
        [*command, "-r", str(lock)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    if done.returncode:
        lines = done.stdout.strip().splitlines()
        told = " / ".join(line for line in lines if line.startswith("ERROR")) or " ".join(lines[-1:])
        raise Stop(
            f"{what} from the package index",
            told or f"pip ended with status {done.returncode}",
            "pip's index settings",
            f"check the network and `pip config list`, or put {what} into a folder named by PINTUNE_MIRROR",
        )
