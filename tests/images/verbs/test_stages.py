"""The verbs that run steps: flags, and calls that are refused."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.marks import NO_ENGINE, Invoke
from tests.terminal import terminal


def test_a_missing_gpu_stops_a_run_with_a_cuda_flavor(call: Invoke) -> None:
    for words in (
        ("train", "--flavor", "cu130", "--runner", "venv"),
        ("evaluate", "--flavor", "cu128", "--runner", "venv"),
    ):
        done = call(*words)
        assert (done.returncode, "no NVIDIA GPU is seen" in done.stderr, "next: --flavor cpu" in done.stderr) == (
            1,
            True,
            True,
        ), done.stderr


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("ask",), "ask --recipe quickstart"),
        (("ask", "--context", "3", "--question=-5?"), "ask --recipe quickstart --context 3 '--question=-5?'"),
        (("ask", "--file", "tasks.py", "--context", "3"), "ask --recipe quickstart --file tasks.py"),
        (("ask", "--json"), "ask --recipe quickstart --json"),
        (("train", "--resume", "--gpus-per-node", "2"), "train --recipe quickstart --resume --processes 2"),
        (("fetch", "--format", "gguf"), "fetch_gguf"),
        (("export", "--format", "gguf", "--quantize", "q8_0"), "gguf --recipe quickstart --quantize q8_0"),
        (
            ("score", "tasks.py", "--gold", "./README.md", "--json"),
            "score --predictions tasks.py --gold README.md --json",
        ),
    ],
)
def test_flags_reach_the_step(call: Invoke, words: tuple[str, ...], command: str) -> None:
    done = call("--dry", *words, PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(f"-m pipeline {command}")


IN_A_TERMINAL = [sys.executable, "-m", "invoke", "--dry"]


@pytest.mark.parametrize(
    ("words", "asks_on"),
    [
        (("ask",), True),
        (("ask", "--context", "3"), True),
        (("ask", "--question", "Why?"), False),
        (("ask", "--json"), False),
        (("export", "ask"), False),  # in a chain nobody waits for it
    ],
)
def test_in_a_terminal_ask_alone_asks_on_under_the_same_hardening(
    bare: Path, words: tuple[str, ...], asks_on: bool
) -> None:
    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}
    environment = {**known, **NO_ENGINE, "NO_COLOR": "1", "PINTUNE_RUNNER": "docker", "PINTUNE_FLAVOR": "cpu"}
    with terminal([*IN_A_TERMINAL, *words], bare, environment) as person:
        status, written = person.end()
    assert status == 0, written
    line = written.splitlines()[-1]
    assert ("--interactive --tty" in line, line.endswith("--interactive")) == (asks_on, asks_on), line
    assert ("NO_COLOR=1" in line) == asks_on
    for each in ("--cap-drop ALL", "--security-opt no-new-privileges", "--read-only", "--network none"):
        assert each in line


def test_the_converter_is_there_before_the_merge_and_only_fetching_it_has_a_network(call: Invoke) -> None:
    done = call("--dry", "export", "--format", "gguf", PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    ran = [line.partition("-m pipeline ")[2].split()[0] for line in done.stdout.splitlines() if "-m pipeline" in line]
    assert ran == ["fetch_gguf", "export", "gguf"], done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("export", "--format", "onnx"), "found: onnx"),
        (("export", "--quantize", "q8_0"), "q8_0 without --format"),
        (("export", "--format", "gguf", "--quantize", "q4_0"), "found: q4_0"),
        (("fetch", "--format", "ggml"), "found: ggml"),
    ],
)
def test_an_unknown_format_is_refused_before_any_step(call: Invoke, words: tuple[str, ...], found: str) -> None:
    done = call(*words, PINTUNE_RUNNER="venv", PINTUNE_FLAVOR="cpu")
    assert (done.returncode, found in done.stderr) == (1, True), done.stderr
    assert "--format gguf" in done.stderr


@pytest.mark.parametrize("flags", [("--nodes", "0"), ("--gpus-per-node", "0")])
def test_no_process_at_all_is_refused(call: Invoke, flags: tuple[str, str]) -> None:
    done = call("--dry", "train", "--flavor", "cpu", *flags)
    assert (done.returncode, "--nodes and --gpus-per-node of at least 1" in done.stderr) == (1, True), done.stderr


def test_score_needs_neither_image_nor_environment(call: Invoke, bare: Path, raw_context: dict[str, Any]) -> None:
    uid = raw_context["questions"][0]["uid"]
    (bare / "gold.json").write_text(json.dumps([raw_context]))
    (bare / "answers.json").write_text(json.dumps({uid: ["0", ""]}))
    done = call("score", "answers.json", "--gold", "gold.json", **NO_ENGINE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("runner here (the step needs only Python)")
    assert re.search(r"^all +\d", done.stdout, re.MULTILINE)
