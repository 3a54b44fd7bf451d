"""images/cloud/cloud-init.yaml, filled in for a VM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from images import matrix
from images.cloud import sizes
from images.cloud.sizes import Size
from images.errors import Stop

TEMPLATE = matrix.ROOT / "images" / "cloud" / "cloud-init.yaml"
LIMIT = 65_535  # bytes: Azure's limit of custom data, before it is encoded as base64
_PLAIN = re.compile(r"[A-Za-z0-9.:~/_-]*")  # needs no quotes in YAML, a shell or sed


def values(size: Size, registry: str, account: str, container: str) -> dict[str, str]:
    """What the template's names stand for.

    Raises:
        Stop: a value with a character that would need quotes.
    """
    vm = sizes.vm()
    made = {
        "DRIVER": size.driver,
        "DRIVER_BRANCH": vm.driver,
        "NVSWITCH": "yes" if size.nvswitch else "no",
        "DOCKER": vm.docker,
        "CONTAINERD": vm.containerd,
        "BUILDX": vm.buildx,
        "TOOLKIT": vm.toolkit,
        "REGISTRY": registry,
        "FLAVOR": size.flavor,
        "ACCOUNT": account,
        "CONTAINER": container,
    }
    for name, value in made.items():
        if not _PLAIN.fullmatch(value):
            raise Stop("letters, digits and . : ~ / _ -", repr(value), f"{name} of cloud-init.yaml", "another value")
    return made


def render(made: Mapping[str, str], template: Path = TEMPLATE) -> str:
    """The template with its values.

    Raises:
        Stop: a name without a value, a value without a name, or more than Azure takes.
    """
    text = template.read_text(encoding="utf-8")
    asked = set(re.findall(r"@([A-Z_]+)@", text))
    if asked != set(made):
        odd = ", ".join(sorted(asked ^ set(made)))
        raise Stop("the same names in template and values", odd, str(template), f"git checkout {template.name}")
    text = re.sub(r"@([A-Z_]+)@", lambda found: made[found[1]], text)
    if len(text.encode()) > LIMIT:
        raise Stop(f"at most {LIMIT} bytes", str(len(text.encode())), str(template), "shorten it")
    return text


def command(made: Mapping[str, str]) -> tuple[str, ...]:
    """The command of a shell that writes what `render` returns."""
    words = [word for name, value in made.items() for word in ("-e", f"s|@{name}@|{value}|g")]
    return ("sed", *words, str(TEMPLATE.relative_to(matrix.ROOT)))
