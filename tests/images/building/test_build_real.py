"""The train image, built by a real engine: it runs anywhere, and contains no settings of the host."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from images import engine, pip_config
from tests.marks import AUTHORITY, TOKEN, Invoke, marked_settings

pytestmark = pytest.mark.docker


def _docker(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=600)


def test_the_image_imports_without_network_as_a_user(image: str) -> None:
    done = _docker(
        "run",
        "--rm",
        "--network",
        "none",
        image,
        "python",
        "-c",
        "import torch, transformers, peft, os; print(os.getuid())",
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1000"), done.stderr


def test_it_runs_as_any_user_on_a_read_only_root(image: str) -> None:
    words = (
        "--user",
        "4321:4321",
        "--read-only",
        "--tmpfs",
        "/tmp",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    )
    done = _docker("run", "--rm", "--network", "none", *words, image, "python", "-m", "pipeline", "missing")
    assert (done.returncode, done.stdout) == (0, "fetch\nformat\n"), done.stderr


def _bytes_of(image: str) -> Iterator[bytes]:
    """All files of an image; parts overlap, so that no mark is cut in two."""
    made = engine.client().containers.create(image)
    try:
        last = b""
        for part in map(bytes, cast("Iterator[bytes]", made.export(chunk_size=1 << 22))):
            yield last + part
            last = part[-200:]
    finally:
        made.remove()


def _addresses() -> list[bytes]:
    """This machine's own pip settings, and the marks in those of the build."""
    settings = pip_config.read()
    own = [
        settings.index,
        *settings.extra_indexes,
        *settings.links,
        *map(str, settings.folders),
        *map(str, settings.local_indexes),
    ]
    return [text.encode() for text in (TOKEN, AUTHORITY, *own) if text]


def test_no_address_certificate_or_token_is_in_the_image(image: str) -> None:
    history = _docker("history", "--no-trunc", image).stdout + _docker("image", "inspect", image).stdout
    marks = _addresses()
    assert not [mark for mark in marks if mark.decode() in history]
    found = {mark for part in _bytes_of(image) for mark in marks if mark in part}
    assert not found


def test_the_search_for_marks_finds_existing_text(image: str) -> None:
    """The last line of a file in the image: the search reads contents to the end."""
    assert any(b"sys.exit(main())" in part for part in _bytes_of(image))


def test_a_fresh_build_of_the_tools_contains_no_marks(
    image: str, checkout: Path, tmp_path: Path, invoke: Invoke
) -> None:
    """The stage that reads pip.conf, without cache: a cached layer may be older than the marks."""
    settings = marked_settings(tmp_path)
    printed = invoke("--dry", "build", "--runner", "docker", **settings).stdout.splitlines()
    first = next(shlex.split(line) for line in printed if line.startswith("python -m"))
    subprocess.run([sys.executable, *first[1:]], cwd=checkout, check=True, env={**os.environ, **settings})
    words = next(shlex.split(line) for line in printed if line.startswith("docker buildx"))
    words[words.index("--target") + 1] = "tools"
    words[words.index("--tag") + 1] = "pintune/test-tools"
    built = subprocess.run([*words[:3], "--no-cache", *words[3:]], cwd=checkout, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    try:
        kept = (checkout / ".pintune" / "secrets" / "pip.conf").read_text()
        assert TOKEN in kept
        marks = _addresses()
        assert not {mark for part in _bytes_of("pintune/test-tools") for mark in marks if mark in part}
    finally:
        _docker("image", "rm", "-f", "pintune/test-tools")


def test_an_edit_makes_the_image_stale(image: str, invoke: Invoke, checkout: Path) -> None:
    file = checkout / "pipeline" / "progress.py"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        done = invoke("train", "--runner", "docker")
        assert done.returncode == 1
        assert "an image made from other code, lock or base" in done.stderr
    finally:
        file.write_text(text)


def test_a_docker_command_without_buildx_is_reported(invoke: Invoke, engine_there: None, tmp_path: Path) -> None:
    """With a docker command without buildx before the real one on the PATH."""
    docker = tmp_path / "docker"
    docker.write_text(
        '#!/bin/sh\n[ "$1" = buildx ] && { echo "docker: unknown command: docker buildx" >&2; exit 1; }\n'
        "exec /usr/bin/env -i true\n"
    )
    docker.chmod(0o755)
    done = invoke("build", "--flavor", "cpu", "--runner", "docker", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, "wanted: docker buildx" in done.stderr) == (1, True), done.stderr


def test_a_build_shows_few_lines_and_keeps_its_log(image: str, invoke: Invoke, checkout: Path) -> None:
    done = invoke("build", "--runner", "docker")
    assert done.returncode == 0, done.stderr
    assert [line.split("  ")[0] for line in done.stdout.splitlines()] == [
        "runner docker (asked for), flavor cpu (no NVIDIA GPU is seen)",
        "build",
        "build",
    ]
    assert not done.stderr
    assert "[train 1/1] COPY" in (checkout / ".pintune" / "logs" / "build-train-cpu.log").read_text()


def test_a_failed_build_shows_the_end_of_its_log(engine_there: None, call: Invoke, bare: Path) -> None:
    done = call("build", "--runner", "docker", PINTUNE_BASE_IMAGE="127.0.0.1:1/none")
    log = ".pintune/logs/build-train-cpu.log"
    assert (done.returncode, f"the whole log: {log}" in done.stderr) == (1, True), done.stderr
    assert "127.0.0.1:1/none" in done.stderr.partition("pintune stopped")[0]
    assert f" where: {log}" in done.stderr
    assert "127.0.0.1:1/none" in (bare / log).read_text()
