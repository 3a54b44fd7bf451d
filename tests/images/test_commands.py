"""Whole command lines: what a person could paste, and nothing in it that should not be seen."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build
from images.errors import Stop
from images.running import cluster, container, process, runner, venv
from images.running.container import Container, Mount
from images.running.runner import Choices

PLAN = build.Plan(
    "train",
    "cpu",
    "linux/amd64",
    {"BASE": "debian:bookworm-slim@sha256:0", "LOCK": "train-cpu.txt"},
    {"dev.pintune.lock": "l0"},
    Path("/h"),
    Path("/d"),
    Path("/s"),
    ("HTTPS_PROXY",),
)
GIVEN = (
    " --build-arg HTTPS_PROXY --label dev.pintune.lock=l0"
    " --secret id=pip.conf,src=/s/pip.conf --secret id=uv.toml,src=/s/uv.toml --secret id=certificates,src=/s/certificates"
    " --build-context wheelhouse=/h --build-context debs=/d ."
)


def test_the_build_command() -> None:
    assert engine.shown(build.argv(PLAN)) == (
        "docker buildx build --load --provenance=false --platform linux/amd64 --file images/Dockerfile --target train --tag pintune/train:cpu"
        " --build-arg BASE=debian:bookworm-slim@sha256:0 --build-arg LOCK=train-cpu.txt" + GIVEN
    )


def test_the_release_command() -> None:
    plan = dataclasses.replace(PLAN, output=build.archive(Path("/r/train.tar"), 1700000000))
    assert engine.shown(build.argv(plan)) == (
        "docker buildx build --no-cache --sbom=false --output type=docker,dest=/r/train.tar,rewrite-timestamp=true --provenance=false"
        " --platform linux/amd64 --file images/Dockerfile --target train --tag pintune/train:cpu"
        " --build-arg BASE=debian:bookworm-slim@sha256:0 --build-arg LOCK=train-cpu.txt --build-arg SOURCE_DATE_EPOCH=1700000000"
        + GIVEN
    )


def test_the_offline_command_has_no_network() -> None:
    assert "--network=none" in build.argv(dataclasses.replace(PLAN, offline=True))


@pytest.mark.parametrize(
    ("environment", "day"),
    [
        ({}, matrix.load().base.snapshot),
        ({"PINTUNE_BASE_IMAGE": "debian:mine"}, ""),  # its apt sources are its own
        ({"PINTUNE_BASE_IMAGE": "debian:mine", "PINTUNE_SNAPSHOT": "20260101T000000Z"}, "20260101T000000Z"),
        ({"PINTUNE_SNAPSHOT": "off"}, ""),
    ],
)
def test_the_day_that_debian_packages_come_from(environment: dict[str, str], day: str) -> None:
    assert build.snapshot(matrix.load(), environment) == day


def test_a_snapshot_that_is_no_day_is_refused() -> None:
    with pytest.raises(Stop, match="PINTUNE_SNAPSHOT"):
        build.snapshot(matrix.load(), {"PINTUNE_SNAPSHOT": "yesterday"})


def test_the_base_is_pinned_unless_replaced() -> None:
    known = matrix.load()
    assert build.base_image(known, {}) == known.base.image
    assert build.base_image(known, {"PINTUNE_BASE_IMAGE": "debian:mine"}) == "debian:mine"


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
        "docker run --rm --user 501:20 --cap-drop ALL --security-opt no-new-privileges --read-only --init --tmpfs /tmp:exec,mode=1777 --network none"
        " --mount type=bind,source=/d,target=/pintune/data,readonly --mount type=bind,source=/r,target=/pintune/runs"
        " --env PINTUNE_RUNNER=docker pintune/train:cpu python -m pipeline train"
    )


@pytest.mark.parametrize(
    ("gpu", "words"), [("nvidia", ["--gpus", "all"]), ("cdi", ["--device", "nvidia.com/gpu=all"]), ("", [])]
)
def test_gpus_come_in_as_the_engine_can(gpu: str, words: list[str]) -> None:
    spec = dataclasses.replace(SPEC, gpu=gpu)
    line = container.argv(spec)
    shared = ["--shm-size", str(2**30)] if gpu else []  # NCCL's, among several
    assert line[line.index("none") + 1 : line.index("--mount")] == [*shared, *words]
    assert container.settings(spec).get("shm_size") == (2**30 if gpu else None)
    asked = container.settings(spec)["device_requests"]
    assert [(each["Driver"], each["Count"], each["DeviceIDs"], each["Capabilities"]) for each in asked] == {
        "nvidia": [("", -1, [], [["gpu"]])],
        "cdi": [("cdi", 0, ["nvidia.com/gpu=all"], [])],
        "": [],
    }[gpu]


def test_a_proxys_password_is_in_no_command() -> None:
    told = Container("i", (), (), {"HTTPS_PROXY": "http://me:secret@proxy.invalid"}, 1, 1)
    assert container.argv(told)[-3:] == ["--env", "HTTPS_PROXY", "i"]
    assert container.settings(told)["environment"] == {"HTTPS_PROXY": "http://me:secret@proxy.invalid"}


@pytest.mark.parametrize("given", ["./mine.toml", "sub//mine.toml", "mine.toml"])
def test_a_file_is_found_in_the_container_however_it_is_written(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(given).parent.mkdir(exist_ok=True)
    Path(given).write_text("")
    runner.run(Choices(given, "cpu", "docker", dry=True), "docker", "train")
    line = capsys.readouterr().out
    whole = Path(given).resolve()
    assert f"source={whole},target={whole},readonly" in line
    assert f"--recipe {whole}" in line


def test_what_to_do_after_a_kill_has_the_flags_of_the_call() -> None:
    again = runner._again(Choices("mine.toml", "cpu", "venv", ("lora.r=8",)), "train")
    assert again == "invoke train --resume --recipe mine.toml --flavor cpu --runner venv --set lora.r=8"


def test_the_sdk_is_asked_for_the_same() -> None:
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


def test_only_fetch_has_a_network_and_no_step_writes_everywhere() -> None:
    assert [name for name, step in runner.STEPS.items() if step.network] == ["fetch"]
    assert [name for name, step in runner.STEPS.items() if step.computes] == [
        "train",
        "evaluate",
        "export",
        "ask",
        "reproduce",
    ]
    assert runner.STEPS["train"].writes == runner.STEPS["export"].writes == ("runs",)


def test_the_environments_commands() -> None:
    make, install = venv.argv("train", "cpu")
    assert re.fullmatch(
        r"uv venv --quiet --python-preference system --python 3\.11 \S+/\.pintune/venv/train-cpu-[0-9a-f]{12}",
        engine.shown(make),
    )
    assert re.fullmatch(
        r"uv pip install --python \S+/bin/python --require-hashes --only-binary :all: --compile-bytecode -r images/locks/train-cpu\.txt",
        engine.shown(install),
    )


@pytest.mark.parametrize(
    ("wanted", "environment", "answers", "chosen"),
    [
        ("auto", {"PINTUNE_IMAGE": "train"}, True, "here"),
        ("auto", {}, True, "docker"),
        ("auto", {}, False, "venv"),
        ("venv", {}, True, "venv"),
        ("here", {"PINTUNE_IMAGE": "train"}, False, "here"),
    ],
)
def test_the_first_runner_that_fits_is_taken(
    wanted: str, environment: dict[str, str], answers: bool, chosen: str
) -> None:
    name, why = runner.choose(wanted, environment, lambda: answers)
    assert name == chosen
    assert why


@pytest.mark.parametrize("wanted", ["here", "podman"])
def test_a_named_runner_is_taken_or_refused(wanted: str) -> None:
    with pytest.raises(Stop):
        runner.choose(wanted, {}, lambda: True)


def test_a_recipe_file_that_is_not_there_stops_before_anything_starts() -> None:
    with pytest.raises(Stop, match=r"mine\.toml"):
        runner.run(Choices("mine.toml", "cpu", "venv"), "venv", "train")


def test_root_never_runs_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    assert container.user() == (1000, 1000)
    monkeypatch.setattr("os.getuid", lambda: 501)
    monkeypatch.setattr("os.getgid", lambda: 20)
    assert container.user() == (501, 20)


def test_folders_are_handed_over_to_the_containers_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Path] = []
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr("os.lchown", lambda path, uid, gid: given.append(path))
    monkeypatch.setattr(container, "OTHER_UID", -1)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("nowhere")
    container.hand_over(tmp_path / "runs")
    assert sorted(given) == [tmp_path / "runs", tmp_path / "runs" / "a", tmp_path / "runs" / "latest"]


def test_nodes_meet_on_a_network_without_a_way_out() -> None:
    first, second = cluster.specs(dataclasses.replace(SPEC, terminal=True), 2, name="pintune-7")
    assert cluster.network_argv([first, second]) == [["docker", "network", "create", "--internal", "pintune-7"]]
    for node, spec in enumerate((first, second)):
        line = engine.shown(container.argv(spec))
        assert f"--network pintune-7 {'--tty ' if node == 0 else ''}--name pintune-7-{node} --mount" in line
        assert line.endswith(f"python -m pipeline train --nodes 2 --node {node} --master pintune-7-0:29500")
        asked = container.settings(spec)
        assert (asked["name"], asked["network_mode"], asked["cap_drop"]) == (f"pintune-7-{node}", "pintune-7", ["ALL"])


@pytest.mark.parametrize(("visible", "wanted"), [("", [("0", "1"), ("2", "3")]), ("4,5,6,7", [("4", "5"), ("6", "7")])])
def test_each_node_gets_gpus_of_its_own(visible: str, wanted: list[tuple[str, str]]) -> None:
    told = {"CUDA_VISIBLE_DEVICES": visible, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if visible else {}
    for how in ("nvidia", "cdi"):
        nodes = cluster.specs(dataclasses.replace(SPEC, gpu=how, environment=told), 2, processes=2, name="pintune-7")
        assert [node.gpus for node in nodes] == wanted
        for node in nodes:
            line, (asked,) = engine.shown(container.argv(node)), container.settings(node)["device_requests"]
            assert "CUDA_VISIBLE_DEVICES" not in line
            if how == "nvidia":
                assert f"--gpus '\"device={','.join(node.gpus)}\"'" in line
                assert asked["DeviceIDs"] == list(node.gpus)
            else:
                assert all(f"--device nvidia.com/gpu={each}" in line for each in node.gpus)


def test_nodes_need_an_engine() -> None:
    with pytest.raises(Stop, match="--gpus-per-node"):
        runner.run(Choices("quickstart", "cpu", "venv"), "venv", "train", nodes=2)


@pytest.mark.parametrize(("answer", "status"), [("sys.exit(75)", 75), ("sys.exit(1)", None)])
def test_an_interrupt_reaches_a_process_as_sigterm(tmp_path: Path, answer: str, status: int | None) -> None:
    """Ctrl-C and SIGTERM are a KeyboardInterrupt here; a training answers with 75, having saved."""
    begun = tmp_path / "begun"
    code = f"import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: {answer}); pathlib.Path({str(begun)!r}).touch(); time.sleep(60)"

    def interrupt() -> None:
        while not begun.exists():
            time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    if status is None:
        with pytest.raises(KeyboardInterrupt):
            process.run([sys.executable, "-c", code], dict(os.environ), capture=False)
    else:
        assert process.run([sys.executable, "-c", code], dict(os.environ), capture=False) == (status, "")
    thread.join()
