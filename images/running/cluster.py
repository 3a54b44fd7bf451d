"""Several containers that train together on one engine: a network of their own without a way out, and on it a container a node."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import os

import docker.errors

from images import engine
from images.errors import Stop
from images.running import container
from images.running.container import Container

_PORT = 29500  # torchrun's own


def specs(spec: Container, nodes: int, processes: int = 1, name: str = "") -> list[Container]:
    """A container for each node, made of one that would train alone; the first node has the terminal.

    Where there are GPUs each node gets its own, one for each of its processes, in the order of CUDA_VISIBLE_DEVICES if that is set.
    """
    network = name or f"pintune-{os.getpid()}"
    named = spec.environment.get("CUDA_VISIBLE_DEVICES", "")
    numbers = named.split(",") if named else [str(number) for number in range(nodes * processes)]
    environment = {
        key: value for key, value in spec.environment.items() if not key.startswith("CUDA_")
    }  # in there they are numbered from 0
    return [
        dataclasses.replace(
            spec,
            name=f"{network}-{node}",
            network=network,
            gpus=tuple(numbers[node * processes : (node + 1) * processes]) if spec.gpu else (),
            environment=environment,
            terminal=spec.terminal and node == 0,
            command=(*spec.command, "--nodes", str(nodes), "--node", str(node), "--master", f"{network}-0:{_PORT}"),
        )
        for node in range(nodes)
    ]


def network_argv(nodes: list[Container]) -> list[list[str]]:
    """The commands that make what the containers meet on; none for one alone."""
    return [["docker", "network", "create", "--internal", nodes[0].network]] if len(nodes) > 1 else []


def run(nodes: list[Container]) -> int:
    """Run all of them to their end; returns the exit status, of one that failed if any did. When one has ended badly the others end by themselves.

    Raises:
        Stop: the engine could not make the network, or start one.
    """
    try:
        network = engine.client().networks.create(nodes[0].network, driver="bridge", internal=True)
    except docker.errors.APIError as error:
        raise Stop(
            "a network for the nodes",
            str(error.explanation or error),
            nodes[0].network,
            "docker network prune, then again",
        ) from None
    try:
        with concurrent.futures.ThreadPoolExecutor(len(nodes)) as pool:
            ends = [pool.submit(container.run, node) for node in nodes]
            try:
                for end in concurrent.futures.as_completed(ends):
                    if end.exception():  # it did not start: the others would wait for it
                        _signal(nodes, "SIGKILL")
            except KeyboardInterrupt:  # which reaches this thread alone
                _signal(nodes, "SIGTERM")
                done, late = concurrent.futures.wait(ends, timeout=container.PATIENCE)
                _signal(nodes, "SIGKILL")
                if late or any(end.result()[0] != container.PAUSED for end in done):
                    raise
            return max(
                (end.result()[0] for end in ends), key=lambda status: (status not in (0, container.PAUSED), status)
            )
    finally:
        with contextlib.suppress(docker.errors.APIError):
            network.remove()


def _signal(nodes: list[Container], name: str) -> None:
    for node in nodes:
        with contextlib.suppress(docker.errors.APIError):  # one that has ended
            engine.client().containers.get(node.name).kill(name)
