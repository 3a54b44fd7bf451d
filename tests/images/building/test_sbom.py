"""The bill of materials is valid and complete."""

from __future__ import annotations

import json

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images import matrix
from images.building import lock, sbom
from tests.marks import RELEASE

STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u13
Description: GNU C Library
 Status: not a field

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: login
Status: install ok installed
Architecture: amd64
Version: 1:4.13+dfsg1-1
"""


def test_the_bill_of_materials_is_valid_and_complete() -> None:
    text = matrix.lock_file("train", "cpu").read_text(encoding="utf-8")
    made = sbom.bill(RELEASE, text, STATUS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    names = {part["name"]: part for part in made["components"]}
    assert {pin.name for pin in lock.parse(text)} | {"libc6", "login"} == set(names)
    assert names["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert names["login"]["purl"] == "pkg:deb/debian/login@1%3A4.13%2Bdfsg1-1?arch=amd64"
    assert made["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert made == sbom.bill(RELEASE, text, STATUS)
