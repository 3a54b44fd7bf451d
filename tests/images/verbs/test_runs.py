"""The table of runs, and where their recipes differ."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from images.verbs import runs
from tests.conftest import ROOT


def test_a_run_of_another_trainer_has_no_loss_and_no_time(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "quickstart" / "20260101-000000-abc"
    (run / "merged").mkdir(parents=True)
    (run / "merged" / "config.json").write_text("{}")
    made = {"adapter_sha256": "f" * 64, "by": "another trainer", "unknown": ["data", "seeds"]}
    (run / "manifest.json").write_text(json.dumps({"training": made}))
    assert runs.table(tmp_path).splitlines()[1].split() == [
        "quickstart/20260101-000000-abc", "f" * 12, "merged,", "of", "another", "trainer",
    ]  # fmt: skip


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
    assert rows[1].endswith("unfinished, resume with invoke train --resume")
    assert rows[2].endswith("no manifest: delete it")


def _run(root: Path, name: str, recipe: dict[str, Any], em: float = 0.0) -> None:
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    training = {"last_loss": 0.5, "seconds": 61.2, "adapter_sha256": "f" * 64}
    (folder / "manifest.json").write_text(json.dumps({"recipe": recipe, "training": training}))
    scores = {"all": {"em": em, "f1": em, "scale": 1.0}}
    (folder / "evaluation.json").write_text(json.dumps({"questions": 72, "base": scores, "tuned": scores}))


def test_runs_show_where_their_recipes_differ(tmp_path: Path) -> None:
    base = {"lora": {"r": 8, "targets": ["all-linear"]}, "training": {"seed": 1}}
    _run(tmp_path, "a/20260101-000000-a", base)
    _run(tmp_path, "a/20260102-000000-b", {**base, "lora": {"r": 16, "targets": ["q_proj", "v_proj"]}})
    _run(tmp_path, "b/20260101-000000-c", {**base, "training": {"seed": 2}})
    unfinished = tmp_path / "runs" / "a" / "20260103-000000-d"
    unfinished.mkdir()
    (unfinished / "unfinished.json").write_text(json.dumps({"recipe": base}))
    differing = [row[-1] for row in runs.rows(tmp_path)]
    assert differing == [
        "lora.r=8 lora.targets=all-linear",
        "lora.r=16 lora.targets=q_proj,v_proj",
        "lora.r=8 lora.targets=all-linear",
        "",
    ]


def test_a_run_that_trains_now_is_told_from_a_killed_one(tmp_path: Path) -> None:
    """By the lock of a process of its own; process.json stays when that is killed."""
    script = "import sys, pathlib; from pipeline.runs import store; "
    script += (
        "run = store.create(pathlib.Path(sys.argv[1]), {}, {}); mark = store.lock(run); print(run.name, flush=True)"
    )
    script += "; sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path / "runs" / "mine")]

    def state(**environment: str) -> tuple[str, str, int]:
        """While a process trains, after it was killed, and its pid."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdin=pipe, stdout=pipe, text=True
        )
        assert process.stdout
        name = process.stdout.readline().strip()
        training = {row[0]: row[-2] for row in runs.rows(tmp_path)}[f"mine/{name}"]
        process.kill()
        process.communicate()
        killed = {row[0]: row[-2] for row in runs.rows(tmp_path)}[f"mine/{name}"]
        (tmp_path / "runs" / "mine" / name).rename(tmp_path / f"{name}-{process.pid}")
        return training, killed, process.pid

    training, killed, pid = state(PINTUNE_RUNNER="venv")
    assert re.fullmatch(rf"training now \(pid {pid}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\)", training)
    assert killed == "unfinished, resume with invoke train --recipe mine.toml --resume"
    training, _, _ = state(PINTUNE_RUNNER="docker")
    assert training.startswith(f"training now (container {socket.gethostname()}, since ")


def test_a_process_on_another_machine_is_named_with_it() -> None:
    of = {"pid": 7, "host": "elsewhere", "runner": "here", "since": "2026-01-01T00:00:00+00:00"}
    assert runs._process(of) == " (pid 7 on elsewhere, since 2026-01-01 00:00:00 UTC)"
    assert runs._process({}) == ""  # of an older revision, or not yet written
