"""TensorBoard as `invoke tensorboard` starts it, over a real run."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import violations
from tests.conftest import ROOT
from tests.steps import latest, overrides, step


@contextlib.contextmanager
def _board(folder: Path) -> Iterator[int]:
    """Its port, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "pipeline.runs.board", "--port", str(port)]
    with subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        try:
            end = time.monotonic() + 120
            while _get(port, "/data/environment")[0] != 200:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.2)
            yield port
        finally:
            process.terminate()


def _get(port: int, path: str, host: str = "", body: object = None) -> tuple[int, str, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace"), dict(answer.headers)
    except OSError:
        return 0, "", {}
    finally:
        connection.close()


def _json(port: int, path: str, body: object = None) -> Any:
    status, text, _ = _get(port, path, body=body)
    assert status == 200, text
    return json.loads(text)


@pytest.fixture
def evaluated(place: Path) -> Path:
    """A working folder with two runs, one of them evaluated."""
    small = overrides("data.train_contexts=2", "training.epochs=1")
    assert step("train", *small, *overrides("lora.r=2")) == 0
    assert step("train", *small) == step("evaluate") == 0
    return place


def test_every_run_is_there_once_with_curves_settings_and_report(evaluated: Path) -> None:
    newest = latest()
    with _board(evaluated) as port:
        end = time.monotonic() + 60
        while len(names := _json(port, "/data/runs")) < 2 and time.monotonic() < end:
            time.sleep(0.5)
        assert len(names) == 2 and f"tiny/tensorboard/{newest.name}" in names
        tags = _json(port, "/data/plugin/scalars/tags")
        assert {"train/loss", "train/learning_rate", "train/tokens"} <= set(tags[f"tiny/tensorboard/{newest.name}"])
        # HParams: a row for each run, with our keys
        experiment = _json(port, "/data/plugin/hparams/experiment", {"experimentName": ""})
        assert {"lora.r", "training.learning_rate", "model.source"} <= {
            each["name"] for each in experiment["hparamInfos"]
        }
        asked = {"experimentName": "", "allowedStatuses": ["STATUS_UNKNOWN"], "colParams": [], "sliceSize": 10}
        groups = _json(port, "/data/plugin/hparams/session_groups", asked)["sessionGroups"]
        assert sorted(group["hparams"]["lora.r"] for group in groups) == [2.0, 4.0]
        # the tab with reports
        listing = _json(port, "/data/plugins_listing")["reports"]
        assert (listing["tab_name"], listing["enabled"]) == ("Runs and reports", True)
        # by state: two runs of one second have no order
        rows = sorted(_json(port, "/data/plugin/reports/runs"), key=lambda row: str(row["state"]))
        assert [(row["state"], row["report"]) for row in rows] == [("evaluated", True), ("trained", False)]
        assert rows[0]["name"] == f"tiny/{newest.name}"
        assert "export async function render" in _get(port, "/data/plugin/reports/index.js")[1]
        name = urllib.parse.quote(rows[0]["name"], safe="")
        status, page, headers = _get(port, f"/data/plugin/reports/report?run={name}")
        assert status == 200 and page == (newest / "report.html").read_bytes().decode()
        assert headers["Content-Security-Policy"].startswith("default-src 'none'")
        for outside in ("../../tiny.toml", "tiny/latest", ""):
            status = _get(port, f"/data/plugin/reports/report?run={urllib.parse.quote(outside, safe='')}")[0]
            assert status == 404
        for width in (1280, 420):
            assert violations(f"http://127.0.0.1:{port}/#reports", width, "name=reports") == []


def test_only_requests_to_this_machine_are_answered(tmp_path: Path) -> None:
    with _board(tmp_path) as port:
        for host in ("localhost", "127.0.0.1:6006", "[::1]:6006"):
            assert _get(port, "/data/plugin/reports/runs", host)[0] == 200
        for host in ("evil.example", "localhost.evil.example:6006", "127.0.0.1.evil.example"):
            status, text, _ = _get(port, "/data/plugin/reports/runs", host)
            assert status == 403 and host.partition(":")[0] in text
