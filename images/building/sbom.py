"""The bill of materials of an image: CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/), from its lock and its package database."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from images import engine, matrix
from images.building import build, lock


def write(path: Path, record: dict[str, Any]) -> Path:
    """Write the bill of the image that a release's record names, which the engine holds."""
    image, flavor = record["image"], record["flavor"]
    status = engine.read_file(build.tag(image, flavor), "/var/lib/dpkg/status").decode()
    path.write_text(
        json.dumps(bill(record, matrix.lock_file(image, flavor).read_text(encoding="utf-8"), status), indent=2) + "\n",
        encoding="utf-8",
    )
    return path


def bill(record: dict[str, Any], locked: str, status: str) -> dict[str, Any]:
    """The bill of an image: `locked` is its lock's text, `status` the text of its /var/lib/dpkg/status."""
    name = f"pintune/{record['image']}:{record['flavor']}"
    made = datetime.datetime.fromtimestamp(record["source_date_epoch"], datetime.timezone.utc)
    whole = {
        "type": "container",
        "name": name,
        "version": record["version"],
        "bom-ref": record["digest"],
        "hashes": [_hash(record["digest"].partition(":")[2])],
    }
    parts = [*_wheels(locked), *_debian(status)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, record['digest'])}",
        "version": 1,
        "metadata": {"timestamp": made.isoformat(), "component": whole},
        "components": parts,
        "dependencies": [{"ref": record["digest"], "dependsOn": [part["bom-ref"] for part in parts]}],
    }


def _wheels(locked: str) -> Iterator[dict[str, Any]]:
    for pin in lock.parse(locked):
        address = f"pkg:pypi/{pin.name.lower().replace('_', '-')}@{pin.version.replace('+', '%2B')}"
        one = (
            [_hash(each) for each in pin.hashes] if len(pin.hashes) == 1 else []
        )  # of several, the lock does not say which file it is
        yield {
            "type": "library",
            "name": pin.name,
            "version": pin.version,
            "purl": address,
            "bom-ref": address,
            **({"hashes": one} if one else {}),
        }


def _debian(status: str) -> Iterator[dict[str, Any]]:
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            quoted = version.replace("+", "%2B").replace(":", "%3A")
            address = f"pkg:deb/debian/{name}@{quoted}?arch={machine}"
            yield {"type": "library", "name": name, "version": version, "purl": address, "bom-ref": address}


def _hash(value: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": value}
