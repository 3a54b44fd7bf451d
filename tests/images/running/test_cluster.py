"""Several containers that train together."""

from __future__ import annotations

import dataclasses

import pytest

from images import engine
from images.running import (
    cluster,
    container,
    steps,
)
from images.running.step_call import StepCall
from tests.images.running.test_container import SPEC

CALL = StepCall(steps.get("train"), nodes=2)


def test_nodes_share_an_internal_network() -> None:
    first, second = cluster.containers(dataclasses.replace(SPEC, terminal=True), CALL, name="pintune-7")
    assert cluster.network_argv([first, second]) == [
        "docker",
        "network",
        "create",
        "--internal",
        "--label",
        "dev.pintune.step",
        "pintune-7",
    ]
    for node, spec in enumerate((first, second)):
        line = engine.shown(container.argv(spec))
        assert f"--network pintune-7 {'--tty ' if node == 0 else ''}--name pintune-7-{node} --mount" in line
        assert line.endswith(f"python -m pipeline train --nodes 2 --node {node} --master pintune-7-0:29500")
        asked = container.settings(spec)
        assert (asked["name"], asked["network_mode"], asked["cap_drop"]) == (f"pintune-7-{node}", "pintune-7", ["ALL"])


@pytest.mark.parametrize(("visible", "wanted"), [("", [("0", "1"), ("2", "3")]), ("4,5,6,7", [("4", "5"), ("6", "7")])])
def test_each_node_gets_gpus_of_its_own(visible: str, wanted: list[tuple[str, str]]) -> None:
    variables = {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if visible else {}
    call = dataclasses.replace(CALL, processes=2)
    for how in ("nvidia", "cdi"):
        nodes = cluster.containers(dataclasses.replace(SPEC, gpu=how, environment=variables), call, name="pintune-7")
        assert [node.gpus for node in nodes] == wanted
        for node in nodes:
            line, (asked,) = engine.shown(container.argv(node)), container.settings(node)["device_requests"]
            assert "CUDA_VISIBLE_DEVICES" not in line
            if how == "nvidia":
                assert f"--gpus '\"device={','.join(node.gpus)}\"'" in line
                assert asked["DeviceIDs"] == list(node.gpus)
            else:
                assert all(f"--device nvidia.com/gpu={each}" in line for each in node.gpus)
