"""Steps that run inside the test process use the kernels of `python -m pipeline`, whatever the processor has."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import pipeline.__main__
from pipeline.__main__ import use_the_same_kernels

use_the_same_kernels()  # before any test module imports torch


@pytest.fixture(autouse=True)
def warnings_stay_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` silences warnings for its process, which here is pytest's: a test must fail on them."""
    monkeypatch.setattr(pipeline.__main__, "warnings", SimpleNamespace(simplefilter=lambda action: None))
