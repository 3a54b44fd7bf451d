"""A printed command does in a shell what it does when it is run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from images.cloud.command import Command, filled, script
from tests.images.cloud.test_azure import VALUES, every_command

SAY = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))")


def test_a_shell_reads_each_printed_command_as_it_would_be_run() -> None:
    for each in {each.argv: each for each in every_command()}.values():
        made = Command("", (*SAY, *each.argv))
        shell = subprocess.run(["sh", "-c", made.shown], capture_output=True, text=True, env=VALUES)
        run = subprocess.run(filled(made.argv, VALUES), capture_output=True, text=True)
        assert shell.stdout == run.stdout != "", each.shown


@pytest.mark.parametrize(
    "word", ["$(rm x)", "`x`", "a b", "it's", "it's $IP", '"$IP"', "\\$IP", "$filter 'x' $IP", "*"]
)
def test_a_word_is_never_taken_for_shell(word: str) -> None:
    made = Command("", (*SAY, word))
    shell = subprocess.run(["sh", "-c", made.shown], capture_output=True, text=True, env=VALUES)
    run = subprocess.run(filled(made.argv, VALUES), capture_output=True, text=True)
    assert shell.stdout == run.stdout


def test_a_script_says_why_once_for_each_group_of_commands() -> None:
    first = Command("look", ("echo", "a"), into="A")
    assert script([first, Command("look", ("echo", "$A")), Command("end", ("true",), output="f")]) == (
        '# look\nA=$(echo a)\necho "$A"\n# end\ntrue > f'
    )
