"""A session of `ask` in a real pseudo-terminal, with a tiny model."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.steps import RECIPE, step
from tests.terminal import CTRL_C, CTRL_D, Terminal, terminal

WORDS = [sys.executable, "-m", "pipeline", "ask", "--recipe", "tiny.toml", "--interactive"]


@pytest.fixture(scope="module")
def merged(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a merged model."""
    folder = tmp_path_factory.mktemp("asked")
    shutil.copytree(tiny_model, folder / "models" / "tiny")
    (folder / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("PINTUNE_MIRROR", raising=False)
        patch.setenv("PINTUNE_FLAVOR", "cpu")
        for name in ("fetch", "format", "train", "export"):
            assert step(name) == 0
    return folder


@contextlib.contextmanager
def asking(place: Path, *words: str, **environment: str) -> Iterator[Terminal]:
    known = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    with terminal([*WORDS, *words], place, {**known, "PYTHONPATH": str(ROOT), "TERM": "xterm", **environment}) as made:
        yield made


def test_questions_are_asked_again_and_again_with_one_model(merged: Path) -> None:
    with asking(merged, "--context", "1") as person:
        shown = person.until("\n> ")
        assert "merged\n" in shown and "context 1 of data/sample/raw/heldout.json" in shown
        table = shown.partition("heldout.json\n\n")[2].splitlines()
        assert len({line.find(line.split("  ")[-1]) >= 0 for line in table[:3]}) == 1
        first = re.search(r"^  1  (.+)$", shown, re.MULTILINE)
        assert first and "quit" in shown
        person.type("1\n")
        answered = person.until("\n> ")
        assert f"Question: {first[1]}\n" in answered and "(gold: " in answered and table[0] in answered
        person.type("What is new?\n")
        answered = person.until("\n> ")
        assert "Question: What is new?\n" in answered and "Answer: " in answered and "gold" not in answered
        person.type("\n")
        assert "show context N" in person.until("\n> ")
        person.type("context 0\n")
        assert "context 0 of data/sample/raw/heldout.json" in person.until("\n> ")
        person.type("context\n")
        assert "context 0 of data/sample/raw/heldout.json" in person.until("\n> ")
        person.type("quit\n")
        assert person.end()[0] == 0


def test_what_is_wrong_is_said_and_the_session_goes_on(merged: Path) -> None:
    with asking(merged) as person:
        person.until("\n> ")
        for typed, said in (
            ("context 40", "wanted: a context from 0 to 39\n found: 40"),
            ("context -1", "wanted: a context from 0 to 39\n found: -1"),
            ("99", "wanted: a question from 1 to "),
            ("why " * 900, "wanted: a question of at most 2000 tokens"),
        ):
            person.type(f"{typed}\n")
            assert said in person.until("\n> ")
        person.type("What is new?\n")
        assert "Answer: " in person.until("\n> ")
        person.type(CTRL_D)
        status, left = person.end()
        assert (status, left) == (0, "\n")


def test_ctrl_c_interrupts_an_answer_and_drops_a_line(merged: Path) -> None:
    with asking(merged, "--set", "evaluation.max_new_tokens=1500") as person:
        person.until("\n> ")
        person.type("half a question" + CTRL_C)
        person.until("\n> ")
        person.type("What is new?\n")
        person.until("What is new?\n")
        time.sleep(0.5)
        person.type(CTRL_C)
        assert "Answer" not in person.until("interrupted\n> ")
        person.type("quit\n")
        assert person.end()[0] == 0


def test_an_earlier_line_comes_back_with_the_arrow(merged: Path) -> None:
    with asking(merged) as person:
        person.until("\n> ")
        person.type("context 1\n")
        person.until("context 1 of")
        person.until("\n> ")
        person.type("\x1b[A\n")
        person.until("context 1 of")
        person.type(CTRL_D)
        assert person.end()[0] == 0


def test_sigterm_ends_it_and_sets_the_terminal_back(merged: Path) -> None:
    with asking(merged) as person:
        person.until("\n> ")
        person.process.send_signal(signal.SIGTERM)
        assert person.end()[0] == 128 + signal.SIGTERM


def test_a_context_of_a_file_is_the_only_one(merged: Path) -> None:
    (merged / "mine.csv").write_text(",2019,2018\nSales,1,2\n")
    with asking(merged, "--file", "mine.csv") as person:
        assert "the context of the file\n\n       2019  2018\nSales     1     2\n" in person.until("\n> ")
        person.type("context 2\n")
        assert "wanted: the context of the file" in person.until("\n> ")
        person.type("1\n")
        assert "a question in words" in person.until("\n> ")
        person.type("quit\n")
        assert person.end()[0] == 0


def test_lines_of_a_pipe_are_read_without_a_prompt(merged: Path) -> None:
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    given = b"What is new?\n\xff\xfe?\nexit\nNever asked?\n"
    done = subprocess.run(WORDS, cwd=merged, input=given, env=known, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().count("\nAnswer: ") == 2 and b"Never" not in done.stdout and b"\n> " not in done.stdout


def test_one_question_in_a_terminal_is_answered_once(merged: Path) -> None:
    words = [word for word in WORDS if word != "--interactive"]
    known = {**os.environ, "PYTHONPATH": str(ROOT)}
    with terminal([*words, "--question", "What is new?"], merged, known) as person:
        status, written = person.end(240)
    assert status == 0 and written.count("Answer: ") == 1 and "Question: What is new?\n" in written
