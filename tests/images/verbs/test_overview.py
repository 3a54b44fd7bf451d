"""What `invoke` alone prints."""

from __future__ import annotations

import re

import tasks
from images import git
from images.verbs import overview
from tests.marks import Invoke


def test_invoke_alone_lists_every_verb_in_a_group(call: Invoke) -> None:
    done = call()
    assert done.returncode == 0, done.stderr
    assert done.stdout == call("help").stdout
    assert sorted(re.findall(r"^  ([a-z.]+)  +\S", done.stdout, re.MULTILINE)) == sorted(tasks.ns.task_names)


def test_the_version_is_pintunes(call: Invoke) -> None:
    assert call("version").stdout.startswith(f"pintune {git.version()} (invoke ")
    assert call().stdout.startswith(overview.version())
