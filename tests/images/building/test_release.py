"""Times in a release; test_release_real.py builds one."""

from __future__ import annotations

import pytest

from images import engine, git
from images.building import release
from images.errors import Stop


@pytest.mark.parametrize(("base", "epoch"), [(5, 10), (20, 20)])
def test_times_are_never_older_than_the_base(monkeypatch: pytest.MonkeyPatch, base: int, epoch: int) -> None:
    monkeypatch.setattr("images.git.commit_time", lambda: 10)
    monkeypatch.setattr(engine, "created", lambda name: base)
    assert release.source_date_epoch("debian") == epoch


def test_a_release_build_that_is_missing_names_its_command() -> None:
    with pytest.raises(Stop, match="invoke build --release --image dev --flavor cu128"):
        release.record("dev", "cu128")


def test_a_dry_release_prints_one_command_even_to_verify() -> None:
    for verify in (False, True):
        (commands,) = release.build_release("train", "cpu", dry=True, offline=None, twice=verify)
        inputs, command = commands.splitlines()
        assert inputs == "python -m images.building.inputs train cpu"
        assert command.startswith("docker buildx build --no-cache --sbom=false")
        assert f"SOURCE_DATE_EPOCH={git.commit_time()} " in command
