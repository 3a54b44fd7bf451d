"""images/matrix.toml, checked, and the paths of the locks made from it."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from images.errors import Stop, line

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "images" / "matrix.toml"


@dataclass(frozen=True)
class Base:
    """The base of every image."""

    image: str  # with digest
    platform: str  # as Docker writes it: linux/amd64
    python: str  # major.minor
    debian: str  # the suite's name, for apt
    snapshot: str  # a day of Debian's snapshot archive, such as 20261101T000000Z


@dataclass(frozen=True)
class Flavor:
    """What an image computes on. Without `cuda` it is the CPU, and the fields after it are empty."""

    name: str
    requirements: tuple[str, ...]
    torch_backend: str = ""  # uv's name of the PyTorch index with these wheels; "" if the package index has them
    cuda: str = ""  # version of CUDA in the wheels
    driver: str = ""  # oldest NVIDIA driver that supports it
    cubins: tuple[str, ...] = ()  # compute capabilities with machine code in the wheels
    ptx: tuple[str, ...] = ()  # compute capabilities with PTX in the wheels


@dataclass(frozen=True)
class Image:
    """A set of packages, and unless it is a lock only a target of the Dockerfile."""

    name: str
    requirements: tuple[str, ...]  # those of the image it extends come first
    flavors: tuple[str, ...]
    extends: str = ""
    lock_only: bool = False  # a lock for a virtual environment
    torch: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by flavor, in place of the flavor's own
    other: Mapping[str, Image] = field(default_factory=dict)  # by flavor, what the image is instead in that flavor
    excludes: tuple[str, ...] = ()  # packages that its requirements ask for, and that are left out


@dataclass(frozen=True)
class Matrix:
    """All versions."""

    base: Base
    tools: tuple[str, ...]
    flavors: dict[str, Flavor]
    images: dict[str, Image]

    def flavor(self, name: str) -> Flavor:
        """A flavor by name.

        Raises:
            Stop: no flavor of that name.
        """
        if name not in self.flavors:
            raise Stop(
                f"a flavor: {', '.join(self.flavors)}", repr(name), str(FILE), f"--flavor {next(iter(self.flavors))}"
            )
        return self.flavors[name]

    def image(self, name: str, flavor: str) -> Image:
        """An image by name, which must have this flavor.

        Raises:
            Stop: no image of that name, or not in that flavor.
        """
        self.flavor(flavor)
        if name not in self.images:
            listed = [image.name for image in self.images.values() if not image.lock_only]
            raise Stop(f"an image: {', '.join(listed)}", repr(name), str(FILE), f"--image {listed[0]}")
        image = self.images[name]
        if flavor not in image.flavors:
            raise Stop(
                f"a flavor of the image {name}: {', '.join(image.flavors)}",
                repr(flavor),
                f"{FILE}, [images.{name}]",
                f"--flavor {image.flavors[-1]}",
            )
        return image.other.get(flavor, image)

    def requirements(self, image: str, flavor: str) -> tuple[str, ...]:
        """The requirements of image and flavor together; their lock is resolved from them.

        Raises:
            Stop: as `image`.
        """
        made = self.image(image, flavor)
        return (*made.torch.get(flavor, self.flavor(flavor).requirements), *made.requirements)


def load(path: Path = FILE) -> Matrix:
    """The matrix of a file.

    Raises:
        Stop: missing, not TOML, a key missing or of the wrong type, or a base without a digest.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Stop("a matrix in TOML", line(error), str(path), f"git checkout {path.name}, or fix it") from None
    base = Base(**{key.name: _read(raw, path, str, "base", key.name) for key in fields(Base)})
    if not re.search(r"@sha256:[0-9a-f]{64}$", base.image):
        raise Stop(
            "a base pinned by digest: NAME:TAG@sha256:…",
            base.image,
            f"{path}, [base] image",
            "add the digest that docker pull prints",
        )
    flavors = {name: _flavor(raw, path, name) for name in _read(raw, path, dict, "flavors")}
    images: dict[str, Image] = {}
    for name in _read(raw, path, dict, "images"):
        images[name] = _image(raw, path, name, flavors, images)
    return Matrix(base, _strings(raw, path, "tools", "requirements"), flavors, images)


def _flavor(raw: dict[str, Any], path: Path, name: str) -> Flavor:
    body = _read(raw, path, dict, "flavors", name)
    requirements = _strings(raw, path, "flavors", name, "requirements")
    backend = _read(raw, path, str, "flavors", name, "torch_backend") if "torch_backend" in body else ""
    if "cuda" not in body:
        return Flavor(name, requirements, backend)
    cuda, driver = (_read(raw, path, str, "flavors", name, key) for key in ("cuda", "driver"))
    ptx = _strings(raw, path, "flavors", name, "ptx") if body.get("ptx") else ()
    cubins = _strings(raw, path, "flavors", name, "cubins")
    for key, values in (("cuda", [cuda]), ("driver", [driver]), ("cubins", cubins), ("ptx", ptx)):
        if wrong := [value for value in values if not _is_release(value)]:
            raise Stop("a version such as 12.8", repr(wrong[0]), f"{path}, flavors.{name}.{key}", "fix that key")
    return Flavor(name, requirements, backend, cuda, driver, cubins, ptx)


def _is_release(value: str) -> bool:
    try:
        return str(Version(value)) == Version(value).base_version
    except InvalidVersion:
        return False


def _image(
    raw: dict[str, Any], path: Path, name: str, flavors: Mapping[str, Flavor], above: Mapping[str, Image]
) -> Image:
    body = _read(raw, path, dict, "images", name)
    made_in = _strings(raw, path, "images", name, "flavors")
    if unknown := [flavor for flavor in made_in if flavor not in flavors]:
        raise Stop(
            f"flavors defined above: {', '.join(flavors)}",
            repr(unknown[0]),
            f"{path}, [images.{name}] flavors",
            "fix it",
        )
    torch = {flavor: _strings(raw, path, "images", name, "torch", flavor) for flavor in body.get("torch", {})}
    requirements, extends = _content(raw, path, above, name)
    other = {
        flavor: Image(name, content[0], made_in, content[1], excludes=_excludes(raw, path, name, flavor))
        for flavor in made_in
        if flavor in body
        for content in [_content(raw, path, above, name, flavor)]
    }
    return Image(name, requirements, made_in, extends, bool(body.get("lock_only")), torch, other)


def _content(raw: dict[str, Any], path: Path, above: Mapping[str, Image], *keys: str) -> tuple[tuple[str, ...], str]:
    """The requirements of an image, or of one in a flavor, those of the image it extends first; and that one's name."""
    where = f"{path}, [images.{'.'.join(keys)}] extends"
    extends = _read(raw, path, dict, "images", *keys).get("extends", "")
    if extends and (not isinstance(extends, str) or extends not in above):
        raise Stop(f"an image defined above: {', '.join(above)}", repr(extends), where, "fix it")
    own = _strings(raw, path, "images", *keys, "requirements")
    return ((*above[extends].requirements, *own) if extends else own), extends


def _excludes(raw: dict[str, Any], path: Path, name: str, flavor: str) -> tuple[str, ...]:
    keys = ("images", name, flavor)
    return _strings(raw, path, *keys, "excludes") if "excludes" in _read(raw, path, dict, *keys) else ()


def lock_file(image: str, flavor: str) -> Path:
    """Path of the lock of an image and flavor."""
    return ROOT / "images" / "locks" / f"{image}-{flavor}.txt"


def tools_lock_file() -> Path:
    """Path of the lock of the build's own tools."""
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
        found = "nothing" if value is None else repr(value)
        raise Stop(wanted, found, f"{path}, {'.'.join(keys)}", "add or fix that key")
    return value


def _strings(raw: dict[str, Any], path: Path, *keys: str) -> tuple[str, ...]:
    values = _read(raw, path, list, *keys)
    if not all(isinstance(value, str) for value in values):
        raise Stop("a list of strings", repr(values), f"{path}, {'.'.join(keys)}", "fix that key")
    return tuple(values)
