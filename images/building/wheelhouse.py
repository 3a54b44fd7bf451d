"""A folder of the wheels that a lock names, taken from the folders and indexes of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.parse
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from images.building.lock import Pin
from images.errors import Stop
from images.pip_config import Settings

_REMEDY = "invoke wheelhouse, where there is a network"


def gather(pins: Iterable[Pin], settings: Settings, wheelhouse: Path) -> list[str]:
    """Fill `wheelhouse` with the files of these pins that a local folder or index has; returns their names.

    Only files with a locked hash are taken; all others in `wheelhouse` are removed.
    """
    wheelhouse.mkdir(parents=True, exist_ok=True)
    taken = []
    for pin in pins:
        for file in _candidates(pin, settings):
            if sha256(file) in pin.hashes:
                _place(file, wheelhouse / file.name)
                taken.append(file.name)
                break
    for file in wheelhouse.iterdir():
        if file.name not in taken:
            file.unlink()
    return taken


def need(pins: Iterable[Pin], folder: Path) -> None:
    """Raise Stop unless `folder` has a wheel of every pin, by hash."""
    found = {sha256(file) for file in folder.glob("*.whl")}
    if missing := [f"{pin.name}=={pin.version}" for pin in pins if not pin.hashes & found]:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise Stop(
            "a wheel of every locked package, with a locked hash",
            f"none of {', '.join(missing[:5])}{more}",
            str(folder),
            _REMEDY,
        )


def need_debs(folder: Path) -> None:
    """Raise Stop unless `folder` has apt's lists and Debian packages."""
    for part, pattern in (("lists", "*Packages*"), ("archives", "*.deb")):
        if not any((folder / part).glob(pattern)):
            raise Stop(f"apt's {part}, as invoke wheelhouse gathers them", "none", str(folder / part), _REMEDY)


def is_wheel_of(pin: Pin, name: str) -> bool:
    """Whether a file name is that of a wheel of this package and version."""
    try:
        package, version, _, _ = parse_wheel_filename(name)
        return (package, version) == (canonicalize_name(pin.name), Version(pin.version))
    except (InvalidWheelFilename, InvalidVersion):
        return False


def _candidates(pin: Pin, settings: Settings) -> Iterator[Path]:
    for folder in settings.folders:
        yield from (file for file in sorted(folder.glob("*.whl")) if is_wheel_of(pin, file.name))
    for index in settings.local_indexes:
        page = index / canonicalize_name(pin.name) / "index.html"
        if page.is_file():
            links = _Links()
            links.feed(page.read_text(encoding="utf-8"))
            files = (page.parent / urllib.parse.unquote(link.partition("#")[0]) for link in links.hrefs)
            yield from (file for file in files if is_wheel_of(pin, file.name) and file.is_file())


class _Links(HTMLParser):
    """The links on a page of a simple index (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.hrefs: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hrefs += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _place(file: Path, target: Path) -> None:
    if target.exists() and target.stat().st_size == file.stat().st_size:
        return
    target.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:  # another file system
        shutil.copyfile(file, target)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; read in parts, since a wheel or a model may be larger than memory."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
