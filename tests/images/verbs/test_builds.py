"""`invoke build` in a copy of the checkout."""

from __future__ import annotations

from pathlib import Path

from images import matrix
from images.building import lock
from tests.marks import Invoke


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


def test_a_missing_python_is_reported_with_a_remedy(call: Invoke, bare: Path) -> None:
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


def test_inside_an_image_another_one_is_refused(call: Invoke) -> None:
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
