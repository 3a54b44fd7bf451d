"""images/matrix.toml, checked, and the places of what is made from it."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.errors import Stop

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "images" / "matrix.toml"


@dataclass(frozen=True)
class Base:
    """What every image starts from."""

    image: str  # with digest
    platform: str  # as Docker writes it: linux/amd64
    python: str  # major.minor


@dataclass(frozen=True)
class Flavor:
    """What an image computes on."""

    name: str
    requirements: tuple[str, ...]
    torch_backend: str  # uv's name of the PyTorch index that has these wheels


@dataclass(frozen=True)
class Image:
    """A set of packages; a target of the Dockerfile of the same name, if there is one."""

    name: str
    requirements: tuple[str, ...]  # those of the image it extends come first


@dataclass(frozen=True)
class Matrix:
    """All version facts."""

    base: Base
    tools: tuple[str, ...]
    flavors: dict[str, Flavor]
    images: dict[str, Image]

    def flavor(self, name: str) -> Flavor:
        """A flavor by name.

        Raises:
            Stop: there is none of that name.
        """
        if name not in self.flavors:
            raise Stop(f"a flavor: {', '.join(self.flavors)}", repr(name), str(FILE), f"--flavor {next(iter(self.flavors))}")
        return self.flavors[name]

    def requirements(self, image: str, flavor: str) -> tuple[str, ...]:
        """What image and flavor ask for together; their lock is resolved from it."""
        return (*self.flavor(flavor).requirements, *self.images[image].requirements)


def load(path: Path = FILE) -> Matrix:
    """The matrix of a file.

    Raises:
        Stop: not there, not TOML, a key missing or of the wrong type, a base without a digest.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop("a matrix in TOML", str(error), str(path), f"git checkout {path.name}, or mend that line") from None
    base = Base(**{key: _read(raw, path, str, "base", key) for key in ("image", "platform", "python")})
    if "@sha256:" not in base.image:
        raise Stop("a base pinned by digest: NAME:TAG@sha256:…", base.image, f"{path}, [base] image", "add the digest that docker pull prints")
    flavors = {
        name: Flavor(name, _strings(raw, path, "flavors", name, "requirements"), _read(raw, path, str, "flavors", name, "torch_backend"))
        for name in _read(raw, path, dict, "flavors")
    }
    images: dict[str, Image] = {}
    for name, body in _read(raw, path, dict, "images").items():
        extended: tuple[str, ...] = ()
        if "extends" in body:
            if body["extends"] not in images:
                raise Stop(f"an image defined above: {', '.join(images)}", repr(body["extends"]), f"{path}, [images.{name}] extends", "mend it")
            extended = images[body["extends"]].requirements
        images[name] = Image(name, (*extended, *_strings(raw, path, "images", name, "requirements")))
    return Matrix(base, _strings(raw, path, "tools", "requirements"), flavors, images)


def lock_file(image: str, flavor: str) -> Path:
    """Where the lock of an image and flavor lies."""
    return ROOT / "images" / "locks" / f"{image}-{flavor}.txt"


def tools_lock_file() -> Path:
    """Where the lock of the build's own tools lies."""
    return ROOT / "images" / "locks" / "tools.txt"


def digest(lines: tuple[str, ...]) -> str:
    """SHA-256, in hex, of lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _read(raw: dict[str, Any], path: Path, kind: type, *keys: str) -> Any:
    value: Any = raw
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, kind) or not value:
        names: dict[type, str] = {str: "a string", dict: "a table", list: "a list of strings"}
        wanted = names[kind]
        raise Stop(wanted, "nothing" if value is None else repr(value), f"{path}, {'.'.join(keys)}", "add or mend that key")
    return value


def _strings(raw: dict[str, Any], path: Path, *keys: str) -> tuple[str, ...]:
    values = _read(raw, path, list, *keys)
    if not all(isinstance(value, str) for value in values):
        raise Stop("a list of strings", repr(values), f"{path}, {'.'.join(keys)}", "mend that key")
    return tuple(values)
