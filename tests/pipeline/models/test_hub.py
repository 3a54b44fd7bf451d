"""Models from the hub at a pinned commit, from a local server that answers as the hub's API documents it."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.data import fetch
from pipeline.files import git_blob_id, sha256
from pipeline.models.hub import HubModel
from tests.conftest import ROOT

PHI = fetch.MODELS["phi-4-mini-reasoning"]
assert isinstance(PHI, HubModel)


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's API (huggingface.co/docs/hub/api): the tree of a commit, and its files, the large ones by LFS."""

    protocol_version = "HTTP/1.1"
    folder: ClassVar[Path]
    gated: ClassVar[bool] = False
    corrupted: ClassVar[str] = ""
    requests: ClassVar[list[str]] = []

    def log_message(self, *words: Any) -> None:
        pass

    def _respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self) -> None:
        assert isinstance(PHI, HubModel)
        path = self.path.partition("?")[0]
        Hub.requests.append(f"{self.command} {path}")
        if Hub.gated and self.headers.get("Authorization") != "Bearer a-token":
            self._respond(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"})
        elif path == f"/api/models/{PHI.repository}/tree/{PHI.commit}":
            listed = [
                {
                    "type": "file",
                    "path": file.name,
                    "size": file.stat().st_size,
                    "oid": git_blob_id(file),
                    **self._lfs(file),
                }
                for file in self._files()
            ]
            self._respond(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})
        elif path.startswith(f"/{PHI.repository}/resolve/{PHI.commit}/"):
            file = Hub.folder / path.rpartition("/")[2]
            body = file.read_bytes() if file.name != Hub.corrupted else b"x" * file.stat().st_size
            self._respond(200, body, {"ETag": f'"{git_blob_id(file)}"', "X-Repo-Commit": PHI.commit})
        else:
            self._respond(404, b"{}", {"X-Error-Code": "RevisionNotFound"})

    do_HEAD = do_GET

    def _files(self) -> list[Path]:
        return sorted(Hub.folder.iterdir())

    def _lfs(self, file: Path) -> dict[str, Any]:
        return (
            {"lfs": {"oid": sha256(file), "size": file.stat().st_size, "pointerSize": 130}}
            if file.suffix == ".safetensors"
            else {}
        )


@pytest.fixture
def hub(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Hub.folder, Hub.gated, Hub.corrupted, Hub.requests = tmp_path / "hub", False, "", []
    shutil.copytree(tiny_model, Hub.folder)
    (Hub.folder / "modeling_phi3.py").write_text("raise SystemExit  # code is never fetched")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def _fetch(hub: str, **environment: str) -> subprocess.CompletedProcess[str]:
    words = ["fetch", "--recipe", "phi-4-mini-reasoning", "--set", "data.source=sample"]
    # steps in this process have set HF_HUB_OFFLINE
    inherited = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    variables = {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": hub,
        "HF_HOME": "hf",
        "NO_PROXY": "127.0.0.1",
        **environment,
    }
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *words], env=variables, capture_output=True, text=True, timeout=120
    )


def test_a_model_is_fetched_at_its_commit_and_every_hash_is_checked(hub: str) -> None:
    done = _fetch(hub)
    assert done.returncode == 0, done.stderr
    target = Path("models/phi-4-mini-reasoning")
    assert "every hash as that commit has it" in done.stdout
    assert (target / "model.safetensors").read_bytes() == (Hub.folder / "model.safetensors").read_bytes()
    assert not (target / "modeling_phi3.py").exists()
    assert not list(Path("models").glob(".*"))
    source = json.loads((target / "pintune.json").read_text())["source"]
    assert source == "microsoft/Phi-4-mini-reasoning@0e3b1e2d02ee478a3743abe3f629e9c0cb722e0a"
    requests = len(Hub.requests)
    assert "every file as fetched" in _fetch(hub).stdout
    assert len(Hub.requests) == requests  # no request for files that are there


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_a_file_with_another_hash_is_refused(hub: str, file: str) -> None:
    Hub.corrupted = file
    done = _fetch(hub)
    assert done.returncode == 1
    assert f"{file} with hash" in done.stderr
    assert not Path("models/phi-4-mini-reasoning").exists()
    Hub.corrupted, Hub.requests = "", []
    assert _fetch(hub).returncode == 0
    fetched = [line for line in Hub.requests if line.startswith("GET") and "/resolve/" in line]
    assert len(fetched) < len(list(Hub.folder.iterdir())) - 1  # complete files of the failed fetch were kept


def test_a_gated_model_names_the_page_to_accept_its_terms(hub: str) -> None:
    Hub.gated = True
    done = _fetch(hub, HF_TOKEN="")
    assert done.returncode == 1
    assert f"accept them at {hub}/microsoft/Phi-4-mini-reasoning" in done.stderr
    assert _fetch(hub, HF_TOKEN="a-token").returncode == 0


def test_without_a_network_the_message_names_the_alternatives(hub: str) -> None:
    done = _fetch("http://127.0.0.1:9")
    assert done.returncode == 1
    assert "--set model.random=true" in done.stderr
    assert "Traceback" not in done.stderr
