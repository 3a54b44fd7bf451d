"""The bill of materials of an image, from its lock and its package database.

The format is CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/.
"""

from __future__ import annotations

import datetime
import json
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from images import engine, matrix
from images.building import build, lock


def write(path: Path, record: dict[str, Any]) -> Path:
    """Write the bill of the image that a release's record names; the engine must have it."""
    image, flavor = record["image"], record["flavor"]
    status = engine.read_file(build.tag(image, flavor), "/var/lib/dpkg/status").decode()
    made = bill(record, matrix.lock_file(image, flavor).read_text(encoding="utf-8"), status)
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    return path


def bill(record: dict[str, Any], locked: str, status: str) -> dict[str, Any]:
    """The bill of an image, from the text of its lock and of its /var/lib/dpkg/status."""
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
        purl = f"pkg:pypi/{canonicalize_name(pin.name)}@{urllib.parse.quote(pin.version, safe='')}"
        # of several hashes, the lock does not say which file's is the installed one
        hashes = [_hash(each) for each in pin.hashes] if len(pin.hashes) == 1 else []
        yield {
            "type": "library",
            "name": pin.name,
            "version": pin.version,
            "purl": purl,
            "bom-ref": purl,
            **({"hashes": hashes} if hashes else {}),
        }


def _debian(status: str) -> Iterator[dict[str, Any]]:
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and not line.startswith(" "))
        if fields.get("Status", "").endswith(" installed"):
            name, version, machine = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{name}@{urllib.parse.quote(version, safe='')}?arch={machine}"
            yield {"type": "library", "name": name, "version": version, "purl": purl, "bom-ref": purl}


def _hash(value: str) -> dict[str, str]:
    return {"alg": "SHA-256", "content": value}
