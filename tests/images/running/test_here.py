"""The runner `here` outside an image: the packages that prepare data."""

from __future__ import annotations

from importlib import metadata

import pytest

from images.building import lock
from images.errors import Stop
from images.running import here


def test_other_versions_are_named_and_a_missing_package_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = lock.row("train", "cpu")
    versions = {pin.name: pin.version for pin in lock.read(row)}
    monkeypatch.setattr(metadata, "version", versions.__getitem__)
    here.need_packages(row)
    assert capsys.readouterr().out == ""
    older = versions | {"transformers": "5.0.0"}
    monkeypatch.setattr(metadata, "version", older.__getitem__)
    here.need_packages(row)
    assert f"transformers 5.0.0, locked {versions['transformers']}" in capsys.readouterr().out

    def lacks(name: str) -> str:
        if name == "pydantic":
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", lacks)
    with pytest.raises(Stop, match=f"no pydantic(.|\n)*'pydantic=={versions['pydantic']}'"):
        here.need_packages(row)
