"""Fixtures of the tests that interrupt a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.steps import losses, manifest, step


@pytest.fixture
def uninterrupted(place: Path) -> dict[str, Any]:
    """Adapter and losses of the uninterrupted run."""
    assert step("train") == 0
    results = {"adapter": manifest()["training"]["adapter_sha256"], "losses": losses()}
    os.rename("runs", "runs-uninterrupted")
    return results
