"""Build commands, their inputs, and a full disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build
from images.errors import Stop

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
    " --secret id=pip.conf,src=/s/pip.conf --secret id=uv.toml,src=/s/uv.toml"
    " --secret id=certificates,src=/s/certificates"
    " --build-context wheelhouse=/h --build-context debs=/d ."
)


def test_the_build_command() -> None:
    assert engine.shown(build.argv(PLAN)) == (
        "docker buildx build --load --provenance=false --platform linux/amd64 --file images/Dockerfile"
        " --target train --tag pintune/train:cpu"
        " --build-arg BASE=debian:bookworm-slim@sha256:0 --build-arg LOCK=train-cpu.txt" + GIVEN
    )


def test_the_release_command() -> None:
    plan = dataclasses.replace(PLAN, output=build.archive(Path("/r/train.tar"), 1700000000))
    assert engine.shown(build.argv(plan)) == (
        "docker buildx build --no-cache --sbom=false --output type=docker,dest=/r/train.tar,rewrite-timestamp=true"
        " --provenance=false"
        " --platform linux/amd64 --file images/Dockerfile --target train --tag pintune/train:cpu"
        " --build-arg BASE=debian:bookworm-slim@sha256:0 --build-arg LOCK=train-cpu.txt"
        " --build-arg SOURCE_DATE_EPOCH=1700000000" + GIVEN
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


def test_an_invalid_snapshot_is_refused() -> None:
    with pytest.raises(Stop, match="PINTUNE_SNAPSHOT"):
        build.snapshot(matrix.load(), {"PINTUNE_SNAPSHOT": "yesterday"})


def test_the_base_is_pinned_unless_replaced() -> None:
    known = matrix.load()
    assert build.base_image(known, {}) == known.base.image
    assert build.base_image(known, {"PINTUNE_BASE_IMAGE": "debian:mine"}) == "debian:mine"


def test_no_build_starts_on_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "need_buildx", lambda: None)
    monkeypatch.setattr(engine, "free_space", lambda: 2**30)
    with pytest.raises(
        Stop, match=r"8 GiB free\n found: 1\.0 GiB\n where: the engine's.*\n  next: docker system prune"
    ):
        build.build("train", "cpu")
