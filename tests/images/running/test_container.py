"""Containers: the printed command, and the arguments of the engine's SDK."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from images import engine
from images.errors import Stop
from images.running import (
    container,
)
from images.running.container import Container, Mount
from images.running.limits import Limits

SPEC = Container(
    "pintune/train:cpu",
    ("python", "-m", "pipeline", "train"),
    (Mount(Path("/d"), "/pintune/data"), Mount(Path("/r"), "/pintune/runs", True)),
    {"PINTUNE_RUNNER": "docker"},
    501,
    20,
)


def test_the_run_command() -> None:
    assert engine.shown(container.argv(SPEC)) == (
        "docker run --rm --label dev.pintune.step --user 501:20 --cap-drop ALL --security-opt no-new-privileges"
        " --read-only --init --tmpfs /tmp:exec,mode=1777,size=2g --pids-limit 4096 --network none"
        " --mount type=bind,source=/d,target=/pintune/data,readonly --mount type=bind,source=/r,target=/pintune/runs"
        " --env PINTUNE_RUNNER=docker pintune/train:cpu python -m pipeline train"
    )


def test_more_cpus_than_the_engine_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "client", lambda: SimpleNamespace(info=lambda: {"NCPU": 2}))
    container.need_cpus(Limits(cpus=2))
    container.need_cpus(Limits())
    with pytest.raises(Stop) as stopped:
        container.need_cpus(Limits(cpus=999))
    assert str(stopped.value) == (
        "wanted: at most 2, the CPUs of the engine's machine\n found: 999\n where: PINTUNE_CPUS\n"
        "  next: lower PINTUNE_CPUS to 2, or unset it"
    )


@pytest.mark.parametrize(
    ("gpu", "words"), [("nvidia", ["--gpus", "all"]), ("cdi", ["--device", "nvidia.com/gpu=all"]), ("", [])]
)
def test_gpus_are_passed_as_the_engine_supports_it(gpu: str, words: list[str]) -> None:
    spec = dataclasses.replace(SPEC, gpu=gpu)
    line = container.argv(spec)
    shared = ["--shm-size", str(2**30)] if gpu else []  # NCCL's, among several
    assert line[line.index("none") + 1 : line.index("--mount")] == [*shared, *words]
    assert container.settings(spec).get("shm_size") == (2**30 if gpu else None)
    asked = container.settings(spec).get("device_requests", [])
    assert [(each["Driver"], each["Count"], each["DeviceIDs"], each["Capabilities"]) for each in asked] == {
        "nvidia": [("", -1, [], [["gpu"]])],
        "cdi": [("cdi", 0, ["nvidia.com/gpu=all"], [])],
        "": [],
    }[gpu]


def test_the_command_does_not_contain_a_proxys_password() -> None:
    spec = Container("i", (), (), {"HTTPS_PROXY": "http://me:secret@proxy.invalid"}, 1, 1)
    assert container.argv(spec)[-3:] == ["--env", "HTTPS_PROXY", "i"]
    assert container.settings(spec)["environment"] == {"HTTPS_PROXY": "http://me:secret@proxy.invalid"}


def test_the_sdk_gets_the_same_limits() -> None:
    asked = container.settings(SPEC)
    assert (asked["user"], asked["cap_drop"], asked["security_opt"], asked["read_only"], asked["network_mode"]) == (
        "501:20",
        ["ALL"],
        ["no-new-privileges"],
        True,
        "none",
    )
    assert [(mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in asked["mounts"]] == [
        ("/d", "/pintune/data", True),
        ("/r", "/pintune/runs", False),
    ]


def test_root_never_runs_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert container.user() == (1000, 1000)
    monkeypatch.setattr("os.getuid", lambda: 501)
    monkeypatch.setattr("os.getgid", lambda: 20)
    assert container.user() == (501, 20)


def test_folders_are_given_to_the_containers_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr("os.lchown", lambda path, uid, gid: given.append(path))
    monkeypatch.setattr(container, "OTHER_UID", -1)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("nowhere")
    container.hand_over(tmp_path / "runs")
    assert sorted(given) == [tmp_path / "runs", tmp_path / "runs" / "a", tmp_path / "runs" / "latest"]


def _of_command(words: list[str]) -> dict[str, Any]:
    """The settings of a `docker run` command."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in ("rm", "read-only", "init", "interactive", "tty"):
        parser.add_argument(f"--{flag}", action="store_true")
    valued = ("label", "user", "network", "tmpfs", "pids-limit", "memory", "memory-swap", "cpus", "shm-size", "gpus")
    for flag in (*valued, "name"):
        parser.add_argument(f"--{flag}", default="")
    for flag in ("cap-drop", "security-opt", "device", "mount", "env"):
        parser.add_argument(f"--{flag}", action="append", default=[])
    parser.add_argument("image")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    assert words[:2] == ["docker", "run"]
    given = parser.parse_args(words[2:])
    assert given.rm
    mounts = [dict(part.partition("=")[::2] for part in next(csv.reader(io.StringIO(each)))) for each in given.mount]
    gpus = [each.strip('"').removeprefix("device=") for each in given.gpus.split('","') if each]
    return {
        "image": given.image,
        "command": given.command,
        "labels": dict([given.label.partition("=")[::2]]),
        "user": given.user,
        "cap_drop": given.cap_drop,
        "security_opt": given.security_opt,
        "read_only": given.read_only,
        "init": given.init,
        "stdin_open": given.interactive,
        "tty": given.tty,
        "name": given.name,
        "tmpfs": given.tmpfs,
        "pids_limit": int(given.pids_limit),
        "mem_limit": given.memory,
        "memswap_limit": given.memory_swap,
        "nano_cpus": int(float(given.cpus or 0) * 10**9),
        "network": given.network,
        "shm_size": int(given.shm_size or 0),
        "nvidia": gpus[0].split(",") if gpus else [],
        "cdi": given.device,
        "mounts": [(each["type"], each["source"], each["target"], "readonly" in each) for each in mounts],
        "environment": [each.partition("=")[0] for each in given.env],
    }


def _of_settings(asked: dict[str, Any]) -> dict[str, Any]:
    """The settings of the SDK's arguments, in the same form."""
    asked = dict(asked)
    requests = asked.pop("device_requests", [])
    nvidia = [request["DeviceIDs"] or ["all"] for request in requests if request["Capabilities"] == [["gpu"]]]
    made = {
        **{
            "stdin_open": False,
            "tty": False,
            "name": "",
            "shm_size": 0,
            "mem_limit": "",
            "memswap_limit": "",
            "nano_cpus": 0,
        },
        **asked,
        "tmpfs": ":".join(*asked["tmpfs"].items()),
        "network": asked["network_mode"],
        "nvidia": [number for numbers in nvidia for number in numbers],
        "cdi": [name for request in requests if request["Driver"] == "cdi" for name in request["DeviceIDs"]],
        "mounts": [
            (mount["Type"], mount["Source"], mount["Target"], mount["ReadOnly"]) for mount in asked.get("mounts", [])
        ],
        "environment": list(asked.get("environment", {})),
    }
    del made["network_mode"]
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"terminal": True, "name": "node", "network": "internal"},
        {"terminal": True, "interactive": True},
        {"limits": Limits(pids=64, memory="12g", cpus=1.5, tmp="64m")},
        {"gpu": "nvidia"},
        {"gpu": "nvidia", "gpus": ("2", "3")},
        {"gpu": "cdi"},
        {"gpu": "cdi", "gpus": ("0",)},
        {"environment": {"A": "b c", "HF_TOKEN": "secret"}},
        {"mounts": (Mount(Path('/a,b "c" [d]*:e\nf/检'), "/pintune/data"),)},
        {"mounts": (), "environment": {}, "command": ("sh", "-c", "true --rm")},
    ],
    ids=str,
)
def test_the_printed_command_and_the_sdk_set_the_same(changes: dict[str, Any]) -> None:
    spec = dataclasses.replace(SPEC, **changes)
    assert _of_command(container.argv(spec)) == _of_settings(container.settings(spec))


def test_every_fact_has_both_renderings() -> None:
    assert container._WORDS.keys() == container._SETTINGS.keys()
