"""Times in a release; test_release_real.py builds one."""

from __future__ import annotations

import pytest

from images import engine
from images.building import release


@pytest.mark.parametrize(("base", "epoch"), [(5, 10), (20, 20)])
def test_times_are_never_older_than_the_base(monkeypatch: pytest.MonkeyPatch, base: int, epoch: int) -> None:
    monkeypatch.setattr("images.git.commit_time", lambda: 10)
    monkeypatch.setattr(engine, "created", lambda name: base)
    assert release.source_date_epoch("debian") == epoch
