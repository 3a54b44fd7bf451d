"""The limits of a step's container, with a real engine."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build
from images.running import (
    container,
    environment,
    step_call,
)
from images.running.choices import Choices
from images.running.container import Container, Mount
from images.running.limits import Limits

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def base(engine_there: None) -> str:
    """The base image, which has a shell."""
    name = build.base_image(matrix.load())
    if engine.image_id(name) is None:
        engine.pull(name)
    return name


ESCAPES = {
    "write to /": "touch /here",
    "write to the code": "touch /opt/pintune/pipeline/here",
    "write to its data": "touch /pintune/data/here",
    "reach a network": "python -c \"import socket; socket.create_connection(('1.1.1.1', 53), 3)\"",
    "see a network device": "test $(ls /sys/class/net | grep -vc '^lo$') -gt 0",
    "become root": "python -c 'import os; os.setuid(0)'",
    "find a file that makes it root": 'test -n "$(find / -xdev -type f -perm /6000 2>/dev/null)"',
    "have a capability": "test $(sed -n 's/^CapBnd:\\t//p' /proc/self/status) != 0000000000000000",
    "gain privileges": "grep -q 'NoNewPrivs:.*0' /proc/self/status",
}


def _of_a_training(scratch: Path) -> Container:
    choices = Choices("quickstart", "cpu", "docker")
    return environment.for_container(choices, step_call.make(choices, "train"), scratch, capture=True)


@pytest.mark.parametrize("attempt", ESCAPES)
def test_a_training_container_cannot(image: str, checkout: Path, attempt: str) -> None:
    spec = _of_a_training(checkout)
    spec = dataclasses.replace(spec, command=("sh", "-c", f"{ESCAPES[attempt]} && echo it could"))
    status, text = container.run(spec, capture=True)
    assert status != 0
    assert "it could" not in text


def test_the_same_container_can_do_its_work(image: str, checkout: Path) -> None:
    """So the attempts above fail because of missing rights, and not because the container is broken."""
    spec = _of_a_training(checkout)
    script = "touch /pintune/runs/here /tmp/here && rm /pintune/runs/here && echo it could"
    spec = dataclasses.replace(spec, command=("sh", "-c", script))
    assert container.run(spec, capture=True) == (0, "it could\n")


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)


def test_a_full_disk_is_reported(image: str) -> None:
    done = _docker(
        "run",
        "--rm",
        "--network",
        "none",
        "--tmpfs",
        "/pintune/data:size=64k,uid=1000,gid=1000",
        image,
        "python",
        "-m",
        "pipeline",
        "fetch",
    )
    assert done.returncode == 1
    assert "disk space" in done.stderr
    assert "No space left on device" in done.stderr


def test_a_container_writes_only_to_runs_and_reaches_no_network(image: str, checkout: Path) -> None:
    """In a container with exactly the settings of a training step."""
    code = """
import os, socket

attempts = {
    "root": lambda: open("/x", "w"),
    "data": lambda: open("/pintune/data/x", "w"),
    "models": lambda: open("/pintune/models/x", "w"),
    "network": lambda: socket.create_connection(("192.0.2.1", 80), 3),
    "uid": lambda: os.setuid(0),
}
done = []
for name, attempt in attempts.items():
    try:
        attempt()
        done.append(name)
    except OSError:
        pass
print(done, os.getuid(), os.access("/pintune/runs", os.W_OK))
"""
    mounts = []
    for name in ("data", "models", "runs"):
        container.hand_over(checkout / name)
        mounts.append(container.Mount(checkout / name, f"/pintune/{name}", writable=name == "runs"))
    uid, gid = container.user()
    status, text = container.run(
        container.Container(image, ("python", "-c", code), tuple(mounts), {}, uid, gid), capture=True
    )
    assert (status, text.strip()) == (0, f"[] {uid} True")


SMALL = Limits(pids=16, memory="64m", cpus=0.5, tmp="1m")


def _within(script: str, image: str) -> tuple[int, str]:
    spec = Container(image, ("sh", "-c", script), (), {}, *container.user(), limits=SMALL)
    return container.run(spec, capture=True)


@pytest.mark.parametrize(
    "script",
    [
        "head -c 2000000 /dev/zero >/tmp/a 2>/dev/null || echo full",
        # a shell that cannot fork says so and ends
        "(for i in $(seq 40); do sleep 5 & done) 2>/dev/null || echo full",
    ],
    ids=("tmp", "pids"),
)
def test_a_container_cannot_exceed_its_limits(script: str, base: str) -> None:
    assert _within(script, base)[1] == "full\n"


def test_a_container_that_exceeds_its_memory_is_reported_with_the_setting(base: str) -> None:
    assert _within("head -c 1000 /dev/zero | tail", base)[0] == 0
    with pytest.raises(container.OutOfMemory, match="killed at PINTUNE_MEMORY=64m") as stopped:
        _within("head -c 500000000 /dev/zero | tail; exit 1", base)
    assert "raise PINTUNE_MEMORY" in stopped.value.todo


@pytest.mark.parametrize("name", ["a [b]* ?", 'o\'clock "x"', "a:b,c", "two\nlines", "检出"])
def test_a_folder_of_any_name_is_mounted(image: str, checkout: Path, name: str) -> None:
    """Also as a link to another disk."""
    folder = checkout.parent / name
    container.hand_over(folder)
    link = checkout.parent / f"{name} link"
    link.symlink_to(folder)
    container.hand_over(link)
    uid, gid = container.user()
    for source in (folder, link):
        spec = Container(image, ("touch", "/pintune/runs/here"), (Mount(source, "/pintune/runs", True),), {}, uid, gid)
        assert container.run(spec)[0] == 0
        assert subprocess.run(container.argv(spec)).returncode == 0  # as printed
        (folder / "here").unlink()
