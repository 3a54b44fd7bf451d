"""The verbs as a person calls them, in a copy of the checkout."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from images import matrix
from images.building import lock
from images.verbs import doctor, runs
from tests.marks import Invoke

NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


def test_every_verb_and_flag_says_what_it_is_for(call: Invoke) -> None:
    listed = call("--list").stdout
    verbs = re.findall(r"^  ([a-z]+)  +\S", listed, re.MULTILINE)
    assert verbs == [
        "ask",
        "build",
        "data",
        "doctor",
        "evaluate",
        "export",
        "fetch",
        "lint",
        "lock",
        "pull",
        "push",
        "reproduce",
        "runs",
        "score",
        "sweep",
        "test",
        "train",
        "wheelhouse",
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
    "words", [("build", "--runner", "venv", "train", "export"), ("train", "--runner", "venv", "export")]
)
def test_a_flag_given_to_one_verb_holds_for_those_after_it(call: Invoke, words: tuple[str, ...]) -> None:
    done = call("--dry", *words)
    assert "docker" not in done.stdout.replace("--runner", "")
    assert done.stdout.count(" -m pipeline ") == 4


def test_a_sweep_trains_each_point_in_as_many_processes_as_asked(call: Invoke) -> None:
    done = call(
        "--dry",
        "sweep",
        "--runner",
        "docker",
        "--flavor",
        "cpu",
        "--set",
        "lora.r=2,4",
        "--nodes",
        "2",
        "--gpus-per-node",
        "3",
    )
    assert done.returncode == 0, done.stderr
    starts = [line for line in done.stdout.splitlines() if line.startswith("docker run") and "pipeline train" in line]
    assert [
        ("--processes 3" in line, f"--node {number % 2}" in line, f"lora.r={2 + 2 * (number // 2)}" in line)
        for number, line in enumerate(starts)
    ] == [(True, True, True)] * 4


def test_the_environment_sets_recipe_flavor_and_runner(call: Invoke) -> None:
    done = call("--dry", "export", PINTUNE_RUNNER="venv", PINTUNE_RECIPE="mistral")
    assert "runner venv (asked for), flavor cpu" in done.stdout
    assert "--recipe mistral" in done.stdout


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        (("build", "--runner", "docker"), NO_ENGINE, "start Docker, or take --runner venv"),
        (("train", "--runner", "docker"), NO_ENGINE, "a Docker engine that answers"),
        (("train", "--runner", "here"), {}, "to be inside a Pintune image"),
        (("train",), NO_ENGINE, "invoke build"),
        (("build", "--flavor", "cu99"), NO_ENGINE, "a flavor: cpu"),
        (("build", "--image", "serve", "--flavor", "cpu"), NO_ENGINE, "a Docker engine for the image serve"),
        (
            ("build", "--image", "serve", "--flavor", "cpu", "--runner", "docker", "--dry"),
            {},
            "a flavor of the image serve: cu130",
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
        (("score", "tasks.py", "--gold", "tasks.py", "--json"), NO_ENGINE, "invoke build"),
        (("build",), {**NO_ENGINE, "PIP_CERT": "/no/such.pem"}, "/no/such.pem"),
    ],
)
def test_what_cannot_be_ends_in_one_message_and_status_1(
    call: Invoke, words: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    done = call(*words, **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert all(f"{part}: " in done.stderr for part in ("wanted", " found", " where", "  next"))


def test_a_lock_that_does_not_match_the_matrix_stops_the_build(call: Invoke, bare: Path) -> None:
    file = bare / "images" / "matrix.toml"
    text = file.read_text()
    try:
        file.write_text(text.replace("peft==0.21.0", "peft==0.20.0"))
        for words in (
            ("build", "--runner", "venv"),
            ("--dry", "build", "--runner", "docker"),
            ("train", "--runner", "venv"),
        ):
            done = call(*words)
            assert (done.returncode, "invoke lock" in done.stderr) == (1, True), done.stderr
    finally:
        file.write_text(text)


def test_no_python_of_the_matrix_is_said_with_a_remedy(call: Invoke, bare: Path) -> None:
    known = matrix.load()
    requirements = known.requirements("train", "cpu")
    sealed = matrix.digest(
        ("3.99", known.base.platform, *requirements)
    )  # the lock of that Python, so that the build gets to it
    changes = {
        bare / "images" / "matrix.toml": ('python = "3.11"', 'python = "3.99"'),
        bare / "images" / "locks" / "train-cpu.txt": (lock.asked_for(lock.row("train", "cpu")), sealed),
    }
    kept = {file: file.read_text() for file in changes}
    try:
        for file, (old, new) in changes.items():
            assert old in kept[file]
            file.write_text(kept[file].replace(old, new))
        done = call("build", "--runner", "venv", UV_PYTHON_DOWNLOADS="never")
        assert done.returncode == 1
        assert "apt-get install python3.99" in done.stderr
    finally:
        for file, text in kept.items():
            file.write_text(text)
    assert not list((bare / ".pintune").glob("venv/*/pintune-lock"))


def test_doctor_finds_what_is_there_and_what_is_not(call: Invoke) -> None:
    done = call("doctor", **NO_ENGINE)
    assert re.search(r"^(ok|wrong) +disk ", done.stdout, re.MULTILINE), done.stdout
    for what in ("Python", "Docker engine", "memory", "GPU", "flavor cpu", "locks", "environment", "models", "data"):
        assert re.search(rf"^(ok|note) +{what} ", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert "-> invoke build --runner venv" in done.stdout
    told = json.loads(call("doctor", "--json", **NO_ENGINE).stdout)
    wrong = {each["what"] for each in told["findings"] if each["severity"] == "wrong"}
    assert wrong <= {"disk"}  # how much is free is this machine's
    assert (told["flavor"], told["wrong"], done.returncode) == ("cpu", len(wrong), bool(wrong))
    assert {"severity", "what", "found", "remedy"} == set(told["findings"][0])


MACHINES = {
    "T4, driver 535": ("Tesla T4, 7.5, 15360, 535.183.01", 0, "cu128", "ok"),
    "A100, driver 550": ("NVIDIA A100-SXM4-80GB, 8.0, 81920, 550.127.05", 0, "cu128", "ok"),
    "H100, driver 580": ("NVIDIA H100 80GB HBM3, 9.0, 81559, 580.95.05", 0, "cu130", "ok"),
    "no GPU": ("No devices were found", 6, "cpu", "note"),
    "driver 470": ('Field "compute_cap" is not a valid field to query.', 2, "cpu", "ok"),
    "broken driver": (
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        9,
        "cpu",
        "wrong",
    ),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_doctor_picks_the_flavor_of_the_machine(call: Invoke, tmp_path: Path, machine: str) -> None:
    """The verb itself, with a stand-in that prints what nvidia-smi printed on such machines."""
    printed, status, flavor, severity = MACHINES[machine]
    (tmp_path / "nvidia-smi").write_text(
        f"#!/bin/sh\ncase \"$*\" in *compute_cap*) cat <<'END'\n{printed}\nEND\nexit {status};; esac\necho 'Tesla T4, 15109, 470.256.02'\n"
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **NO_ENGINE}
    done = call("doctor", "--json", **path)
    told = json.loads(done.stdout)
    found = {each["what"]: each for each in told["findings"]}
    assert told["flavor"] == flavor
    assert found["GPU"]["severity"] == severity
    fits = machine not in ("driver 470", "broken driver")
    wrong = {what for what, each in found.items() if each["severity"] == "wrong"}
    assert (
        bool(wrong - {"disk"}) is not fits
    )  # how much is free on the disk is this machine's, whatever its GPU is said to be
    assert done.returncode == bool(wrong) and bool(told["wrong"]) is bool(wrong)
    assert f"flavor {flavor}" in found
    if machine == "driver 470":
        assert "driver 470.256.02 is older than 525.60.13" in found["flavor"]["found"]
        assert "update the driver to 525.60.13" in found["flavor"]["remedy"]
    dry = call("--dry", "train", "--runner", "venv", **path)
    assert (dry.returncode == 0) is fits  # what auto does not fit is no silent cpu


def test_doctor_reports_what_it_was_asked_for_wrongly(call: Invoke) -> None:
    for words, environment, what in (
        ((), {"PINTUNE_FLAVOR": "zzz"}, "flavor"),
        ((), {"PINTUNE_RUNNER": "zzz"}, "runner"),
        (("--runner", "docker"), {}, "runner"),
        ((), {"PINTUNE_IMAGE": "dev", "PINTUNE_FLAVOR": "cpu", "PINTUNE_LOCK": "beef"}, "runner"),
    ):
        done = call("doctor", "--json", *words, **NO_ENGINE, **environment)
        wrong = [each["what"] for each in json.loads(done.stdout)["findings"] if each["severity"] == "wrong"]
        assert (done.returncode, what in wrong) == (1, True), done.stdout


def test_a_gpu_that_is_asked_for_and_missing_stops_the_run(call: Invoke) -> None:
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


def test_an_image_that_this_one_is_not_is_refused_inside(call: Invoke) -> None:
    inside = {"PINTUNE_IMAGE": "dev", "PINTUNE_FLAVOR": "cpu"}
    good = lock.sha256(matrix.lock_file("dev", "cpu"))
    done = call("build", PINTUNE_LOCK=good, **inside)
    assert (done.returncode, "this is the image dev cpu that the matrix asks for" in done.stdout) == (0, True), (
        done.stderr
    )
    for words in (("build",), ("train",)):
        done = call(*words, PINTUNE_LOCK="0" * 64, **inside)
        assert (done.returncode, "invoke build --image dev --flavor cpu" in done.stderr) == (1, True), done.stderr
    done = call("build", "--flavor", "cu130", PINTUNE_LOCK=good, **inside)
    assert (done.returncode, "one of cpu" in done.stderr) == (1, True)


def test_doctor_reports_a_wrong_lock_as_wrong(call: Invoke, bare: Path) -> None:
    file = bare / "images" / "locks" / "train-cpu.txt"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        done = call("doctor", **NO_ENGINE)
        assert (done.returncode, "wrong  locks" in done.stdout) == (1, True)
    finally:
        file.write_text(text)


def test_findings_line_up() -> None:
    lines = doctor.table(
        [doctor.Finding("ok", "a", "x"), doctor.Finding("note", "long name", "y", "do z")]
    ).splitlines()
    assert lines == ["ok     a          x", "note   long name  y  -> do z"]


def test_runs_are_listed_with_their_state(tmp_path: Path) -> None:
    assert runs.table(tmp_path) == "no runs yet; next: invoke train"
    whole, half, lost = (tmp_path / "runs" / "quickstart" / f"2026010{i}-000000-abc" for i in (1, 2, 3))
    for folder in (whole, half, lost):
        folder.mkdir(parents=True)
    (whole / "manifest.json").write_text(
        json.dumps({"training": {"last_loss": 0.5, "seconds": 61.2, "adapter_sha256": "f" * 64}})
    )
    score = {"em": 0.5, "f1": 0.625, "scale": 1.0}
    (whole / "evaluation.json").write_text(
        json.dumps({"questions": 72, "base": {"all": {**score, "em": 0.0}}, "tuned": {"all": score}})
    )
    (half / "unfinished.json").write_text("{}")
    head, *rows = runs.table(tmp_path).splitlines()
    assert head.split() == [
        "run",
        "questions",
        "EM",
        "base",
        "tuned",
        "F1",
        "loss",
        "time",
        "adapter",
        "state",
        "recipe",
    ]
    assert rows[0].split() == [
        "quickstart/20260101-000000-abc",
        "72",
        "0.0",
        "50.0",
        "62.5",
        "0.500",
        "61",
        "s",
        "f" * 12,
        "trained",
    ]
    assert rows[1].endswith("unfinished: invoke train --resume")
    assert rows[2].endswith("no manifest: delete it")
