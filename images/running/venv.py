"""The virtual environment of the venv runner: the wheels of the image's lock, for machines without an engine."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from images import disk_space, matrix, pip_config
from images.building import lock, quiet, wheelhouse
from images.errors import Stop

_USUALLY = "about a minute, with a fast network"  # without CUDA, on two cores: docs/benchmarks.md
_SEAL = "pintune-lock"  # written last: an environment without it is incomplete


def folder(image: str, flavor: str) -> Path:
    """The environment's folder, which another lock changes."""
    return matrix.ROOT / ".pintune" / "venv" / f"{image}-{flavor}-{lock.sha256(matrix.lock_file(image, flavor))[:12]}"


def python(image: str, flavor: str) -> Path:
    """The environment's interpreter, whether it exists or not."""
    return folder(image, flavor) / "bin" / "python"


def ready(image: str, flavor: str) -> bool:
    """Whether the environment is complete and of this lock."""
    return (
        matrix.lock_file(image, flavor).exists()
        and (folder(image, flavor) / _SEAL).exists()
        and python(image, flavor).exists()
    )


def argv(image: str, flavor: str) -> list[list[str]]:
    """The commands that make the environment: an empty one of the matrix's Python, then the locked wheels."""
    known = matrix.load()
    target = str(folder(image, flavor))
    install = [
        "uv",
        "pip",
        "install",
        "--python",
        f"{target}/bin/python",
        "--require-hashes",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--compile-bytecode",
        "-r",
        str(matrix.lock_file(image, flavor).relative_to(matrix.ROOT)),
    ]
    return [["uv", "venv", "--quiet", "--python-preference", "system", "--python", known.base.python, target], install]


def build(image: str, flavor: str, dry: bool) -> str:
    """Make the environment unless it is complete; returns the line that reports where it is.

    Raises:
        Stop: a lock that does not match, no Python of the matrix's version, no disk space, or wheels not to be found.
    """
    known = matrix.load()
    known.flavor(flavor)
    commands = argv(image, flavor)
    pins = lock.read(lock.row(image, flavor))
    if dry:
        return "\n".join(shlex.join([pip_config.uv(), *command[1:]]) for command in commands)
    target = folder(image, flavor)
    if ready(image, flavor):
        return f"build  {target.relative_to(matrix.ROOT)}: up to date"
    disk_space.need_space(
        4 * disk_space.GIB, disk_space.free(target), str(target), "free some disk space, then invoke build"
    )
    shutil.rmtree(target, ignore_errors=True)
    settings = pip_config.read()
    with tempfile.TemporaryDirectory(prefix="pintune-venv-") as scratch:
        wheels = matrix.ROOT / ".pintune" / "wheelhouse" / f"{image}-{flavor}"
        taken = wheelhouse.gather(pins, settings, wheels)
        backend = pip_config.torch_backend(settings, taken, known.flavor(flavor).torch_backend)
        environment = pip_config.uv_environment(settings, Path(scratch), [wheels], backend)
        create, install = ([pip_config.uv(), *command[1:]] for command in commands)
        _create(create, environment, known.base.python)
        log, usually = f"venv-{image}-{flavor}", "" if known.flavor(flavor).cuda else _USUALLY
        if status := quiet.run(install, log, f"environment {image} {flavor}", usually, environment=environment):
            raise Stop(
                "the locked wheels, with these hashes",
                f"uv ended with status {status}; its last lines are above",
                str(quiet.log_file(log).relative_to(matrix.ROOT)),
                "check the network and `pip config list`, then invoke build",
            )
    _leave_out_cuda(target)
    (target / _SEAL).write_text(lock.sha256(matrix.lock_file(image, flavor)) + "\n", encoding="utf-8")
    return f"build  {target.relative_to(matrix.ROOT)}: {len(pins)} packages"


def _leave_out_cuda(target: Path) -> None:
    """Remove what images/layers/wheels.sh removes: torchaudio's libraries, if torch has no CUDA."""
    for site in target.glob("lib/python*/site-packages"):
        if not (site / "torch" / "lib" / "libtorch_cuda.so").exists():
            for file in site.glob("torchaudio/lib/*.so"):
                file.unlink()


def _create(command: list[str], environment: dict[str, str], python: str) -> None:
    made = subprocess.run(command, cwd=matrix.ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    if made.returncode:
        reason, todo = made.stderr.strip()[-600:], "correct what uv names, then invoke build"
        if re.search("No interpreter found|python-build-standalone", reason):
            todo = f"install Python {python} (Debian 12: apt-get install python{python}), or use Docker"
        raise Stop(f"Python {python}, installed or fetched by uv", reason, " ".join(command[1:3]), todo)
