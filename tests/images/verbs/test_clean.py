"""`invoke clean`: what it shows, when it asks, what it removes; the rest of these rules is in test_leftovers.py."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from images.verbs import clean
from tests.marks import NO_ENGINE, Invoke


@pytest.fixture
def made(bare: Path) -> Path:
    """The bare copy with formatted data and a run."""
    for name in ("data/sample/raw/train.json", "data/sample/en/report.json", "runs/q/20260101-000000-a/manifest.json"):
        (bare / name).parent.mkdir(parents=True)
        (bare / name).write_text("{}" * 1000)
    made_of = {"raw train": hashlib.sha256(b"{}" * 1000).hexdigest()}
    (bare / "data/sample/en/report.json").write_text(json.dumps({"made_of": made_of}).ljust(2000))
    (bare / "runs/q/latest").symlink_to("20260101-000000-a")
    return bare


def test_without_a_terminal_it_shows_the_table_and_refuses(call: Invoke, made: Path) -> None:
    done = call("clean", **NO_ENGINE)
    assert done.returncode == 1
    assert done.stdout.splitlines()[:2] == [
        "size    what            where           comes back by",
        "2.0 kB  formatted data  data/sample/en  invoke data",
    ]
    assert "next: invoke clean --yes" in done.stderr
    assert "next: invoke clean --runs --yes" in call("clean", "--runs", **NO_ENGINE).stderr
    assert (made / "data/sample/en").exists()


def test_a_dry_call_only_lists(call: Invoke, made: Path) -> None:
    done = call("--dry", "clean", "--runs", "--yes", **NO_ENGINE)
    assert (done.returncode, "runs/q/20260101-000000-a  never" in done.stdout) == (0, True), done.stderr
    assert (made / "data/sample/en").exists()
    assert (made / "runs/q/20260101-000000-a").exists()


def test_a_run_goes_only_with_its_flag(call: Invoke, made: Path) -> None:
    assert "removed 1 of" in call("clean", "--yes", **NO_ENGINE).stdout
    assert sorted(path.name for path in (made / "data" / "sample").iterdir()) == ["raw"]
    assert "nothing to remove" in call("clean", "--yes", **NO_ENGINE).stdout
    assert (made / "runs/q/latest/manifest.json").exists()
    assert "removed 1 of" in call("clean", "--yes", "--runs", **NO_ENGINE).stdout
    assert not list((made / "runs/q").iterdir())


@pytest.mark.parametrize(("answer", "goes"), [(b"y\n", True), (b"\n", False), (b"no\n", False)])
def test_on_a_terminal_it_asks(made: Path, answer: bytes, goes: bool) -> None:
    ours, its = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "invoke", "clean"],
        cwd=made,
        stdin=its,
        stdout=subprocess.PIPE,
        env={**os.environ, **NO_ENGINE},
    ) as verb:
        os.write(ours, answer)
        out = verb.communicate(timeout=60)[0].decode()
    os.close(ours)
    os.close(its)
    assert (verb.returncode, "Remove all of it? [y/N]" in out) == (0, True)
    assert (made / "data/sample/en").exists() != goes


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**6, "2.0 MB"), (3 * 10**9, "3.0 GB")]
)
def test_a_size_has_a_unit_that_fits(number: int, text: str) -> None:
    assert clean.size(number) == text
