"""Steps in the test process use the kernels of `python -m pipeline`, on any processor, and do not silence warnings."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import pipeline.__main__
from pipeline.__main__ import use_the_same_kernels

use_the_same_kernels()  # before any test module imports torch


@pytest.fixture(autouse=True)
def warnings_stay_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `main` from silencing warnings, which are errors here (pyproject.toml), in pytest's own process."""
    monkeypatch.setattr(pipeline.__main__, "warnings", SimpleNamespace(simplefilter=lambda action: None))
