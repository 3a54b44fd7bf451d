"""All verbs, called in a copy of the checkout."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.marks import NO_ENGINE, Invoke


def test_every_verb_and_flag_has_help(call: Invoke) -> None:
    listed = call("--list").stdout
    verbs = re.findall(r"^  ([a-z.]+)  +\S", listed, re.MULTILINE)
    assert verbs == [
        "ask",
        "build",
        "clean",
        "data",
        "docs",
        "doctor",
        "down",
        "evaluate",
        "export",
        "fetch",
        "help",
        "lint",
        "llamafactory",
        "lock",
        "mcp",
        "notebook",
        "pull",
        "push",
        "reproduce",
        "runs",
        "score",
        "serve",
        "shell",
        "sweep",
        "tensorboard",
        "test",
        "train",
        "version",
        "webui",
        "wheelhouse",
        *(f"azure.{name}" for name in ("cost", "down", "fetch", "logs", "run", "ssh", "status", "train", "up")),
        *(f"launch.{name}" for name in ("azureml", "kubernetes", "skypilot", "slurm")),
    ]
    for verb in verbs:
        text = call("--help", verb).stdout
        for flag in re.findall(r"^  (?:-\w(?:[ =]\w+)?, )?--[\w-]+.*$", text, re.MULTILINE):
            assert len(flag.split("   ")) > 1 or re.search(rf"{re.escape(flag)}\n? +\S", text), (
                f"{verb}: {flag} has no help"
            )


def test_dry_prints_commands_to_paste_and_does_nothing(call: Invoke, bare: Path) -> None:
    done = call("--dry", "build", "--runner", "docker", "train", "--set", "lora.r=8", "evaluate")
    assert done.returncode == 0, done.stderr
    builds = [line for line in done.stdout.splitlines() if line.startswith("docker buildx build")]
    starts = [line for line in done.stdout.splitlines() if line.startswith("docker run")]
    assert len(builds) == 1
    assert [line.split("-m pipeline ")[1].split()[0] for line in starts] == [
        "fetch",
        "format",
        "train",
        "evaluate",
    ]
    assert all("--set lora.r=8" in line for line in starts)
    assert ["--network none" in line for line in starts] == [False, True, True, True]
    assert not [name for name in ("data", "models", "runs") if (bare / name).exists()]


@pytest.mark.parametrize(
    ("words", "environment", "message"),
    [
        (("build", "--runner", "docker"), NO_ENGINE, "start Docker, or use --runner venv"),
        (("train", "--runner", "docker"), NO_ENGINE, "a Docker engine that answers"),
        (("train", "--runner", "here"), {}, "to be inside a Pintune image"),
        (("train",), NO_ENGINE, "invoke build"),
        (("build", "--flavor", "cu99"), NO_ENGINE, "a flavor: cpu"),
        (("build", "--image", "test", "--flavor", "cpu"), NO_ENGINE, "a Docker engine for the image test"),
        (
            ("build", "--image", "serve", "--flavor", "cu128", "--runner", "docker", "--dry"),
            {},
            "a flavor of the image serve: cpu, cu130",
        ),
        (("build", "--image", "trian", "--runner", "docker", "--dry"), {}, "an image: train, dev, webui, serve"),
        (("build", "--release"), NO_ENGINE, "start Docker"),
        (("--dry", "build", "--image", "test", "--flavor", "cpu", "--runner", "docker"), {}, "a lock only"),
        (("--dry", "build", "--offline", "--runner", "venv"), {}, "only an engine builds images"),
        (("--dry", "build", "--release"), {"PINTUNE_RUNNER": "venv"}, "only an engine builds images"),
        (("--dry", "build", "--runner", "docker", "--wheelhouse", "/nope"), {}, "add --offline"),
        (("--dry", "push", "--image", "nosuch", "--registry", "r.example/p"), {}, "an image: train"),
        (("push", "--registry", "https://r.example"), {}, "a registry such as"),
        (("push", "--registry", "r.example/p"), {}, "a release build of train:cpu"),
        (("pull", "--registry", "r.example/p"), {}, "none recorded"),
        (("build",), {**NO_ENGINE, "PINTUNE_FLAVOR": "cu99"}, "a flavor: cpu"),
        (("train", "--runner", "podman"), {}, "a runner: auto, here, docker, venv"),
        (("ask", "--file", "none.json"), NO_ENGINE, "no such file"),
        (("score", "none.json", "--gold", "none.json"), NO_ENGINE, "no such file"),
        (("score", "tasks.py"), NO_ENGINE, "none given"),
        (
            ("score", "tasks.py", "--gold", "tasks.py", "--json"),
            {**NO_ENGINE, "PINTUNE_RUNNER": "venv"},
            "invoke build",
        ),
        (("build",), {**NO_ENGINE, "PIP_CERT": "/no/such.pem"}, "/no/such.pem"),
    ],
)
def test_a_wrong_call_ends_with_one_message_and_status_1(
    call: Invoke, words: tuple[str, ...], environment: dict[str, str], message: str
) -> None:
    done = call(*words, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert all(f"{part}: " in done.stderr for part in ("wanted", " found", " where", "  next"))
