"""Several containers on one engine that train together: an internal network, and a container for each node on it."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os

import docker.errors

from images import engine
from images.errors import Stop, line
from images.running import container, step_call, steps
from images.running.container import Container
from images.running.step_call import Node, StepCall

_PORT = 29500  # torchrun's default


def containers(single: Container, call: StepCall, name: str = "") -> list[Container]:
    """A container for each node of a call, made from the one that would run it alone; node 0 has the terminal.

    Each node gets a GPU for each of its processes, in the order of CUDA_VISIBLE_DEVICES if that is set.
    """
    network, processes = name or f"pintune-{os.getpid()}", call.processes
    visible = single.environment.get("CUDA_VISIBLE_DEVICES", "")
    numbers = visible.split(",") if visible else [str(number) for number in range(call.nodes * processes)]
    # inside, a container's GPUs are numbered from 0
    environment = {key: value for key, value in single.environment.items() if not key.startswith("CUDA_")}
    return [
        dataclasses.replace(
            single,
            name=f"{network}-{node}",
            network=network,
            gpus=tuple(numbers[node * processes : (node + 1) * processes]) if single.gpu else (),
            environment=environment,
            terminal=single.terminal and node == 0,
            command=tuple(step_call.argv(call, node=Node(node, f"{network}-0:{_PORT}"))),
        )
        for node in range(call.nodes)
    ]


def network_argv(nodes: list[Container]) -> list[str]:
    """The command that makes the network of the containers."""
    return ["docker", "network", "create", "--internal", "--label", container.LABEL, nodes[0].network]


def run(nodes: list[Container]) -> int:
    """Run all containers to their end; returns the exit status, of one that failed if any did.

    When one fails, the training in the others ends by itself.

    Raises:
        Stop: the engine cannot make the network, or start a container.
    """
    name, paused = nodes[0].network, steps.exit_status().paused
    networks = engine.client().networks
    try:
        networks.prune({"label": container.LABEL, "until": "1h"})  # of verbs that were killed, without containers
        network = networks.create(name, driver="bridge", internal=True, labels={container.LABEL: ""})
    except docker.errors.APIError as error:
        raise Stop("a network for the nodes", line(error), name, "docker network prune, then again") from None
    try:
        with concurrent.futures.ThreadPoolExecutor(len(nodes)) as pool:
            ends = [pool.submit(container.run, node) for node in nodes]
            try:
                for end in concurrent.futures.as_completed(ends):
                    if end.exception():  # it did not start, and the others would wait for it
                        _signal(nodes, "SIGKILL")
            except KeyboardInterrupt:  # which reaches the main thread alone
                _signal(nodes, "SIGTERM")
                done, late = concurrent.futures.wait(ends, timeout=container.STOP_TIMEOUT)
                _signal(nodes, "SIGKILL")
                if late or any(end.result()[0] != paused for end in done):
                    raise
            return max((end.result()[0] for end in ends), key=lambda status: (status not in (0, paused), status))
    finally:
        with contextlib.suppress(docker.errors.APIError):
            network.remove()


def _signal(nodes: list[Container], name: str) -> None:
    for node in nodes:
        with contextlib.suppress(docker.errors.APIError):  # it has ended
            engine.client().containers.get(node.name).kill(name)
