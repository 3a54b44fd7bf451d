"""The output of a long command: what is shown, what is logged, and what a failure shows."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from images import matrix
from images.building import quiet

PLAIN = """#0 building with "default" instance using docker driver

#9 [environment 5/6] RUN --mount=type=bind,from=tools,target=/opt/tools     sh /layers/wheels.sh /tmp/lock.txt
#9 1.234 Resolved 80 packages
"""


@pytest.fixture(autouse=True)
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout without logs."""
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.delenv("PINTUNE_DEBUG", raising=False)
    return tmp_path


def _python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_build_that_succeeds_shows_one_line(at: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = _python("import sys; print('much'); print('more', file=sys.stderr)")
    assert quiet.run(command, "build-x", "train cpu", "2 min", at) == 0
    assert capfd.readouterr() == ("build  train cpu, usually 2 min; log: .pintune/logs/build-x.log\n", "")
    log = at / ".pintune" / "logs" / "build-x.log"
    assert sorted(log.read_text().split()) == ["more", "much"]
    assert log.stat().st_mode & 0o077 == 0


def test_a_failure_shows_the_end_of_its_log_and_where_the_log_is(at: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = _python("[print('line', n) for n in range(100)]; raise SystemExit(3)")
    assert quiet.run(command, "build-x", "train cpu", cwd=at) == 3
    out, err = capfd.readouterr()
    assert out == "build  train cpu; log: .pintune/logs/build-x.log\n"
    assert err.splitlines()[-2:] == ["line 99", "the whole log: .pintune/logs/build-x.log"]
    assert "line 75" in err and "line 74" not in err
    assert len((at / ".pintune/logs/build-x.log").read_text().splitlines()) == 100


def test_a_long_build_says_how_far_it_is(
    at: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quiet, "_LOOK", 0.05)
    monkeypatch.setattr(quiet, "_SAY", 0.3)
    code = f"import time; print({PLAIN!r}, flush=True); time.sleep(1.5)"
    assert quiet.run(_python(code), "build-x", "train cpu", cwd=at) == 0
    lines = capfd.readouterr().out.splitlines()[1:]
    assert 2 <= len(lines) <= 6
    assert lines[-1].split("  ", 2)[2] == "[environment 5/6] sh /layers/wheels.sh /tmp/lock.txt"


def test_on_a_terminal_one_line_is_rewritten(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from images import matrix; from images.building import quiet\n"
        f"matrix.ROOT = Path({str(tmp_path)!r}); quiet._LOOK = 0.1\n"
        "import sys; quiet.run([sys.executable, '-c', 'import time; print(1); time.sleep(0.5)'], 'x', 'y', cwd='/')"
    )
    shown = b""

    def read(handle: int) -> bytes:
        nonlocal shown
        shown += (part := os.read(handle, 1024))
        return part

    keep = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 1)  # pty.spawn copies to standard output
        status = pty.spawn(_python(code), read)
    finally:
        os.dup2(keep, 1)
        os.close(keep)
        os.close(null)
    assert status == 0, shown
    assert shown.count(b"\n") == 1
    assert shown.count(b"\rbuild  0:00  ") >= 2
    assert shown.endswith(b"\r\x1b[K")


def test_debug_shows_everything(at: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PINTUNE_DEBUG", "1")
    assert quiet.run(_python("print('much')"), "build-x", "train cpu", cwd=at) == 0
    assert capfd.readouterr().out == "much\n"
    assert not (at / ".pintune").exists()


def test_an_interrupt_ends_the_command(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    inner = f"import os, time, pathlib; pathlib.Path({str(mark)!r}).write_text(str(os.getpid())); time.sleep(60)"
    code = (
        "import signal, sys; from pathlib import Path; from images import errors, matrix\n"
        "from images.building import quiet\n"
        f"matrix.ROOT = Path({str(tmp_path)!r}); signal.signal(signal.SIGTERM, errors._interrupt)\n"
        f"quiet.run([sys.executable, '-c', {inner!r}], 'x', 'y', cwd='/')"
    )
    verb = subprocess.Popen(_python(code), stderr=subprocess.DEVNULL)
    for _ in range(200):
        if mark.exists() and mark.read_text():
            break
        time.sleep(0.1)
    verb.send_signal(signal.SIGTERM)
    assert verb.wait(20) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", ""), (PLAIN, "[environment 5/6] sh /layers/wheels.sh /tmp/lock.txt"), ("a\n\x1b[2mb\x1b[0m\r\n", "b")],
)
def test_what_a_log_says(tmp_path: Path, text: str, wanted: str) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    assert quiet.doing(log) == wanted
