"""Azure's VM sizes with an NVIDIA GPU, and what the VM is made of: images/cloud/azure.toml, checked."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from images import matrix
from images.cloud.gpus import GPUS
from images.errors import Stop, line
from images.table import aligned

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILE = matrix.ROOT / "images" / "cloud" / "azure.toml"
PRICES = {1: "below $1/h", 2: "$1 to $5/h", 3: "$5 to $20/h", 4: "above $20/h"}


@dataclass(frozen=True)
class Vm:
    """What every VM is made of."""

    image: str  # URN: publisher:offer:sku:version
    driver: str  # branch of the server driver
    docker: str  # versions of packages from here on
    containerd: str
    buildx: str
    toolkit: str


@dataclass(frozen=True)
class Size:
    """A size of VM."""

    name: str
    gpu: str  # model
    gpus: str  # how many; a part of one is a fraction
    gpu_gib: int  # memory of each
    vcpus: int
    memory_gib: int
    price: int  # class, a key of PRICES
    driver: str = "server"  # or grid
    nvswitch: bool = False
    trusted: bool = True  # starts with Trusted Launch

    @property
    def flavor(self) -> str:
        """The flavor that fits the GPU with the driver that the VM gets."""
        return "cu128" if self.driver == "grid" else "cu130"

    @property
    def shown(self) -> str:
        """The size in words, such as `1 x A100 80 GiB, $1 to $5/h`."""
        return f"{self.gpus} x {self.gpu} {self.gpu_gib} GiB, {PRICES[self.price]}"


def vm(path: Path = FILE) -> Vm:
    """What every VM is made of.

    Raises:
        Stop: as `_read`.
    """
    return Vm(**_values(_read(path, "vm"), Vm, path, "vm"))


def load(path: Path = FILE) -> dict[str, Size]:
    """All sizes by name, in the order of the file.

    Raises:
        Stop: the file is missing, no TOML, or a size lacks a key or has a wrong one.
    """
    made = {}
    for name, body in _read(path, "sizes").items():
        if not isinstance(body, dict):
            raise Stop("a table of keys", repr(body), f"{path}, sizes.{name}", "fix that size")
        size = Size(**_values({"name": name, **body}, Size, path, f"sizes.{name}"))
        for key, known in (("price", set(PRICES)), ("driver", {"server", "grid"}), ("gpu", set(GPUS))):
            if getattr(size, key) not in known:
                wanted = f"one of {', '.join(map(str, sorted(known)))}"
                raise Stop(wanted, repr(getattr(size, key)), f"{path}, sizes.{name}.{key}", "fix that key")
        made[name] = size
    return made


def get(name: str, path: Path = FILE) -> Size:
    """A size by its name, in any case and with or without `Standard_`.

    Raises:
        Stop: not among those that Pintune knows; the message lists the nearest.
    """
    known = load(path)
    by_case = {each.lower(): size for each, size in known.items()}
    lower = name.lower()
    found = by_case.get(lower) or by_case.get(f"standard_{lower}")
    if found:
        return found
    near = difflib.get_close_matches(f"standard_{lower.removeprefix('standard_')}", by_case, 1, 0.5)
    best = by_case[near[0]].name if near else next(iter(known))
    raise Stop("a size with an NVIDIA GPU that Azure sells", repr(name), f"--size; {path} lists them", f"--size {best}")


def fitting(gpu_gib: float, path: Path = FILE) -> Size | None:
    """The cheapest size one GPU of which has at least this memory, in GiB; None if none has."""
    enough = [size for size in load(path).values() if size.gpu_gib >= gpu_gib]
    return min(enough, key=lambda size: (size.price, size.gpu_gib, size.vcpus), default=None)


def table(path: Path = FILE) -> str:
    """All sizes as a table."""
    rows = [("size", "GPUs", "GPU memory", "vCPUs", "memory", "price on demand", "flavor")]
    for each in load(path).values():
        gpus, memory = f"{each.gpus} x {each.gpu}", f"{each.gpu_gib} GiB"
        price = PRICES[each.price]
        rows.append((each.name, gpus, memory, str(each.vcpus), f"{each.memory_gib} GiB", price, each.flavor))
    return aligned(rows)


def _read(path: Path, section: str) -> dict[str, Any]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get(section)
    except (OSError, ValueError) as error:
        raise Stop("facts of Azure in TOML", line(error), str(path), f"git checkout {path.name}, or fix it") from None
    if not isinstance(found, dict) or not found:
        raise Stop("a table", repr(found), f"{path}, {section}", f"git checkout {path.name}, or fix it")
    return found


def _values(raw: Mapping[str, Any], kind: type, path: Path, where: str) -> dict[str, Any]:
    """The keys of a table, as many and of the types that the class has."""
    known = {each.name: each for each in fields(kind)}
    types = {"str": str, "int": int, "bool": bool}
    for name in raw:
        if name not in known:
            raise Stop(f"keys {', '.join(known)}", name, f"{path}, {where}", "fix that key")
    for name, each in known.items():
        value = raw.get(name, each.default)
        if type(value) is not types[str(each.type)] or value == "" or (type(value) is int and value < 1):
            found = repr(value) if name in raw else "nothing"
            raise Stop(f"a value of type {each.type}", found, f"{path}, {where}.{name}", "add or fix that key")
    return dict(raw)
