"""The findings of `invoke doctor`."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from images import matrix
from images.running import (
    gpu,
)
from images.verbs import doctor
from tests.marks import NO_ENGINE, Invoke

KNOWN = matrix.load()


T4 = gpu.parse("Tesla T4, 7.5, 15360, 535.183.01\n")


A100 = gpu.parse("NVIDIA A100-SXM4-80GB, 8.0, 81920, 550.127.05\n" * 2)


H100 = gpu.parse("NVIDIA H100 80GB HBM3, 9.0, 81559, 580.95.05\n")


L4 = gpu.parse("NVIDIA L4, 8.9, 23034, 580.82.07\n")


P100 = gpu.parse("Tesla P100-PCIE-16GB, 6.0, 16384, 580.65.06\n")


NONE = gpu.Seen()


def _findings(seen: gpu.Seen, chosen: str) -> dict[str, doctor.Finding]:
    return {finding.what: finding for finding in doctor.fit(KNOWN, chosen, seen)}


def test_doctor_reports_which_flavor_fits_and_why_others_do_not() -> None:
    findings = _findings(A100, "cu128")
    assert findings["driver"].found == "550.127.05"
    assert findings["GPU"].found == "NVIDIA A100-SXM4-80GB, compute capability 8.0, 80 GiB"
    assert findings["flavor cu128"] == doctor.Finding(
        "ok", "flavor cu128", "fits: NVIDIA A100-SXM4-80GB, driver 550.127.05"
    )
    assert (
        findings["flavor cu130"].found == "not here: driver 550.127.05 is older than 580.65.06, which CUDA 13.0 needs"
    )
    assert {finding.severity for finding in findings.values()} == {"ok"}


def test_doctor_reports_that_the_requested_flavor_does_not_fit() -> None:
    assert _findings(T4, "cu130")["flavor cu130"].severity == "wrong"
    assert _findings(T4, "cu130")["flavor cu130"].remedy == "--flavor cu128"
    assert _findings(NONE, "cpu")["GPU"].severity == "note"
    assert _findings(gpu.Seen(trouble="nvidia-smi: broken"), "cpu")["GPU"].severity == "wrong"
    assert _findings(P100, "cpu")["flavors"].severity == "wrong"


GIB = 2**30


ESTIMATE: dict[str, Any] = {"precision": "auto", "fsdp": False} | {
    precision: {
        "weights": size * GIB,
        "adapter": 0,
        "optimizer": 0,
        "activations": 4 * GIB,
        "runtime": 0,
        "total": (size + 4) * GIB,
    }
    for precision, size in (("fp16", 14), ("fp32", 28))
}


@pytest.mark.parametrize(
    ("seen", "flavor", "severity"), [(H100, "cu130", "ok"), (T4, "cu128", "wrong"), (L4, "cu130", "ok")]
)
def test_a_recipe_is_compared_with_the_gpus_memory(seen: gpu.Seen, flavor: str, severity: str) -> None:
    found = doctor.need("recipe big", ESTIMATE, KNOWN.flavor(flavor), seen)
    assert found.severity == severity
    assert "about 18.0 GiB in fp16 (weights 14.0" in found.found
    assert ("invoke azure.up --size Standard_NV36ads_A10_v5" in found.remedy) == (severity == "wrong")


def test_the_recipes_own_precision_counts() -> None:
    assert doctor.need("recipe big", {**ESTIMATE, "precision": "fp32"}, KNOWN.flavor("cu130"), L4).severity == "wrong"


def test_a_sharded_model_is_compared_with_each_gpus_memory() -> None:
    two = dataclasses.replace(T4, gpus=T4.gpus * 2)
    found = doctor.need("recipe big", {**ESTIMATE, "fsdp": True}, KNOWN.flavor("cu128"), two)
    assert found.severity == "ok"
    assert "about 11.0 GiB in fp16 on each of 2 GPUs (weights 7.0" in found.found
    assert doctor.need("recipe big", {**ESTIMATE, "fsdp": True}, KNOWN.flavor("cu128"), T4).severity == "wrong"


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize(
    ("free", "cuda", "image", "more"),
    [
        (25, True, "", "5.0"),
        (25, False, "", None),
        (31, True, "", None),
        (9.9, False, "", "0.1"),
        (2.1, False, "dev cpu", None),  # inside an image, none is to be built
        (1.9, False, "dev cpu", "0.1"),
        (19, True, "dev cu128", "1.0"),
    ],
)
def test_doctor_reports_a_disk_that_is_too_small(
    monkeypatch: pytest.MonkeyPatch, free: float, cuda: bool, image: str, more: str | None
) -> None:
    monkeypatch.setenv("PINTUNE_IMAGE", image)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(int(free * 2**30)))
    found = doctor._disk(cuda)
    assert found.found.startswith(f"{free:.1f} GiB free")
    assert (found.severity, f"free {more} GiB more" in found.remedy) == ("wrong" if more else "ok", more is not None)


def test_doctor_measures_the_disk_that_a_link_leads_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PINTUNE_IMAGE", raising=False)
    (tmp_path / "disk").mkdir()
    (tmp_path / "runs").symlink_to(tmp_path / "disk")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    free = {"disk": 2, "runs": 2}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free.get(Path(path).name, 99) * 2**30))
    found = doctor._disk(cuda=False)
    assert (found.severity, found.found) == ("wrong", f"2.0 GiB free at {tmp_path / 'runs'}")


def test_doctor_reports_what_exists_and_what_is_missing(call: Invoke) -> None:
    done = call("doctor", **NO_ENGINE)
    assert re.search(r"^(ok|wrong) +disk ", done.stdout, re.MULTILINE), done.stdout
    for what in ("Python", "Docker engine", "memory", "GPU", "flavor cpu", "locks", "environment", "models", "data"):
        assert re.search(rf"^(ok|note) +{what} ", done.stdout, re.MULTILINE), done.stdout + done.stderr
    assert "-> invoke build --runner venv" in done.stdout
    report = json.loads(call("doctor", "--json", **NO_ENGINE).stdout)
    wrong = {each["what"] for each in report["findings"] if each["severity"] == "wrong"}
    assert wrong <= {"disk"}  # free disk space is this machine's own
    assert (report["flavor"], report["wrong"], done.returncode) == ("cpu", len(wrong), bool(wrong))
    assert {"severity", "what", "found", "remedy"} == set(report["findings"][0])


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
    """With a program on the PATH that prints what nvidia-smi printed on such machines."""
    printed, status, flavor, severity = MACHINES[machine]
    (tmp_path / "nvidia-smi").write_text(
        f"#!/bin/sh\ncase \"$*\" in *compute_cap*) cat <<'END'\n{printed}\nEND\nexit {status};; esac\n"
        "echo 'Tesla T4, 15109, 470.256.02'\n"
    )
    (tmp_path / "nvidia-smi").chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", **NO_ENGINE}
    done = call("doctor", "--json", **path)
    report = json.loads(done.stdout)
    found = {each["what"]: each for each in report["findings"]}
    assert report["flavor"] == flavor
    assert found["GPU"]["severity"] == severity
    fits = machine not in ("driver 470", "broken driver")
    wrong = {what for what, each in found.items() if each["severity"] == "wrong"}
    assert bool(wrong - {"disk"}) is not fits  # free disk space is this machine's own
    assert done.returncode == bool(wrong) and bool(report["wrong"]) is bool(wrong)
    assert f"flavor {flavor}" in found
    if machine == "driver 470":
        assert "driver 470.256.02 is older than 525.60.13" in found["flavor"]["found"]
        assert "update the driver to 525.60.13" in found["flavor"]["remedy"]
    dry = call("--dry", "train", "--runner", "venv", **path)
    assert (dry.returncode == 0) is fits  # what auto does not fit is no silent cpu


def test_doctor_reports_wrong_choices(call: Invoke) -> None:
    for words, environment, what in (
        ((), {"PINTUNE_FLAVOR": "zzz"}, "flavor"),
        ((), {"PINTUNE_RUNNER": "zzz"}, "runner"),
        (("--runner", "docker"), {}, "runner"),
        ((), {"PINTUNE_IMAGE": "dev", "PINTUNE_FLAVOR": "cpu", "PINTUNE_LOCK": "beef"}, "runner"),
    ):
        done = call("doctor", "--json", *words, **NO_ENGINE, **environment)
        wrong = [each["what"] for each in json.loads(done.stdout)["findings"] if each["severity"] == "wrong"]
        assert (done.returncode, what in wrong) == (1, True), done.stdout


def test_doctor_reports_a_changed_lock(call: Invoke, bare: Path) -> None:
    file = bare / "images" / "locks" / "train-cpu.txt"
    text = file.read_text()
    try:
        file.write_text(text + "\n")
        done = call("doctor", **NO_ENGINE)
        assert (done.returncode, "wrong  locks" in done.stdout) == (1, True)
    finally:
        file.write_text(text)


def test_findings_are_aligned() -> None:
    lines = doctor.lines(
        [doctor.Finding("ok", "a", "x"), doctor.Finding("note", "long name", "y", "do z")]
    ).splitlines()
    assert lines == ["ok     a          x", "note   long name  y  -> do z"]
