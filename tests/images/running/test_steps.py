"""The steps of pipeline/steps.toml, as the host reads them."""

from __future__ import annotations

from images.running import (
    steps,
)


def test_only_fetch_has_a_network_and_no_step_writes_everywhere() -> None:
    assert [name for name, step in steps.load().steps.items() if step.network] == ["fetch"]
    assert [name for name, step in steps.load().steps.items() if step.gpu] == [
        "train",
        "evaluate",
        "export",
        "ask",
        "reproduce",
    ]
    assert steps.get("train").writes == steps.get("export").writes == ("runs",)
