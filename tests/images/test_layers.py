"""The scripts that make layers, run without an engine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

LAYERS = ROOT / "images" / "layers"
OFFICIAL = """Types: deb
# http://snapshot.example/archive/debian/20260501T000000Z
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
"""


def _sources(tmp_path: Path, listed: str, day: str) -> subprocess.CompletedProcess[str]:
    """Run sources.sh on a folder in place of /etc/apt."""
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(listed)
    script = (LAYERS / "sources.sh").read_text().replace("/etc/apt", str(tmp_path))
    return subprocess.run(["sh", "-s", "bookworm", day], input=script, capture_output=True, text=True)


def test_the_snapshot_comes_from_the_archive_that_the_base_names(tmp_path: Path) -> None:
    done = _sources(tmp_path, OFFICIAL, "20261101T000000Z")
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "sources.list.d").iterdir())
    lines = (tmp_path / "sources.list").read_text().splitlines()
    archive = "http://snapshot.example/archive"
    assert [line.removeprefix("deb [check-valid-until=no] ") for line in lines] == [
        f"{archive}/debian/20261101T000000Z bookworm main",
        f"{archive}/debian/20261101T000000Z bookworm-updates main",
        f"{archive}/debian-security/20261101T000000Z bookworm-security main",
    ]
    assert all(line.startswith("deb [check-valid-until=no] ") for line in lines)


def test_without_a_day_the_bases_own_sources_are_kept(tmp_path: Path) -> None:
    assert _sources(tmp_path, OFFICIAL, "").returncode == 0
    assert (tmp_path / "sources.list.d" / "debian.sources").read_text() == OFFICIAL


def test_a_base_that_names_no_snapshot_is_reported(tmp_path: Path) -> None:
    done = _sources(tmp_path, "deb http://mirror.example/debian bookworm main\n", "20261101T000000Z")
    assert (done.returncode, "next: PINTUNE_SNAPSHOT=off" in done.stderr) == (1, True)


def test_modules_are_compiled_to_the_same_bytes(tmp_path: Path) -> None:
    """Also in another order, and next to other modules."""
    made = []
    for run, names in enumerate((("a", "b", "c"), ("c", "a"))):
        folder = tmp_path / str(run)
        folder.mkdir()
        for name in names:
            (folder / f"{name}.py").write_text(
                '"""Text."""\nKNOWN = frozenset({"x", "y"})\nSAME = ("x", "y", KNOWN, "x")\n'
            )
        (folder / "broken.py").write_text("def (")
        subprocess.run([sys.executable, "-B", str(LAYERS / "compile.py"), str(folder)], check=True, capture_output=True)
        (made_here,) = (folder / "__pycache__").glob("a.*.pyc")
        made.append(made_here.read_bytes().replace(str(folder).encode(), b"F" * len(str(folder))))
        assert not list((folder / "__pycache__").glob("broken*"))
        loaded = subprocess.run(
            [sys.executable, "-c", "import a; print(a.__cached__, a.SAME[3])"],
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert loaded.stdout.split()[1:] == ["x"]
    assert made[0] == made[1]
