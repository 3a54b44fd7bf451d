"""Pushing to the hub: against a local server that answers the calls of huggingface_hub, in processes of their own."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.errors import Stop
from tests.conftest import ROOT

REPOSITORY, TOKEN = "someone/tables", "hf_a-secret-token"
RUN = "tiny/20260101-000000-abcdef"
FILES = {"README.md": b"---\nlicense: mit\n---\n\n# tiny\n", "model.safetensors": bytes(range(256)) * 40}


class Hub(http.server.BaseHTTPRequestHandler):
    """The hub's calls for an upload: repos/create, validate-yaml, preupload, the batch of LFS, PUT, verify, commit."""

    protocol_version = "HTTP/1.1"
    called: ClassVar[list[str]] = []
    stored: ClassVar[dict[str, bytes]] = {}  # of LFS, by SHA-256
    committed: ClassVar[dict[str, bytes]] = {}
    created: ClassVar[dict[str, Any]] = {}
    refuses: ClassVar[str] = ""

    def log_message(self, *words: Any) -> None:
        pass

    def _respond(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        name = self.path.partition("?")[0]
        Hub.called.append(name)
        if name == f"/api/models/{REPOSITORY}/tree/main":
            files = [{"type": "file", "path": path, "size": 1, "oid": "0" * 40} for path in Hub.committed]
            self._respond(200, files)
        else:
            self._respond(404, {"error": name})

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Hub.called.append("PUT")
        Hub.stored[self.path.rpartition("/")[2]] = body
        self._respond(200, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        name = self.path.partition("?")[0]
        Hub.called.append(name)
        here = f"http://{self.headers['Host']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" or (Hub.refuses and Hub.refuses in name):
            self._respond(403, {"error": "this token may not write"})
        elif name == "/api/repos/create":
            Hub.created.update(json.loads(body))
            self._respond(200, {"url": f"{here}/{REPOSITORY}"})
        elif name == "/api/validate-yaml":
            self._respond(200, {"errors": [], "warnings": []})
        elif name == f"/api/models/{REPOSITORY}/preupload/main":
            asked = [each["path"] for each in json.loads(body)["files"]]
            modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in asked}
            files = [{"path": path, "uploadMode": mode, "shouldIgnore": False} for path, mode in modes.items()]
            self._respond(200, {"files": files})
        elif name == f"/{REPOSITORY}.git/info/lfs/objects/batch":
            objects = [
                {
                    **each,
                    "actions": {
                        "upload": {"href": f"{here}/put/{each['oid']}", "header": {}},
                        "verify": {"href": f"{here}/verify", "header": {}},
                    },
                }
                for each in json.loads(body)["objects"]
            ]
            self._respond(200, {"transfer": "basic", "objects": objects})
        elif name == "/verify":
            self._respond(200, {})
        elif name == f"/api/models/{REPOSITORY}/commit/main":
            for line in map(json.loads, body.decode().splitlines()):
                if line["key"] == "file":
                    Hub.committed[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                elif line["key"] == "lfsFile":
                    Hub.committed[line["value"]["path"]] = Hub.stored[line["value"]["oid"]]
                elif line["key"] == "deletedFile":
                    del Hub.committed[line["value"]["path"]]
            url = f"{here}/{REPOSITORY}/commit/{'a' * 40}"
            self._respond(200, {"success": True, "commitOid": "a" * 40, "commitUrl": url})
        else:
            self._respond(404, {"error": name})


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The address of a stand-in for the hub."""
    for each in (Hub.called, Hub.stored, Hub.committed, Hub.created):
        each.clear()
    Hub.refuses = ""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An exported run."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / RUN
    for name, content in {**{f"merged/{name}": each for name, each in FILES.items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "adapter").mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (folder / "adapter" / name).touch()
    outputs = {f"merged/{name}": hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    sections: dict[str, Any] = {name: {} for name in ("recipe", "inputs", "training", "environment", "export")}
    made = {**sections, "outputs": outputs, "run": folder.name, "recipe_name": "tiny"}
    (folder / "manifest.json").write_text(json.dumps(made))
    return folder


def _push(endpoint: str, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    # a step that ran in this process has turned the hub off for it
    known = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment = {**known, "PYTHONPATH": str(ROOT), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    environment |= {"HF_TOKEN": token, "HF_HOME": "hf", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-m", "pipeline", "push_hub", "--run", RUN, "--repo", REPOSITORY, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_a_merged_model_is_pushed_in_one_commit_to_a_private_repository(endpoint: str, run: Path) -> None:
    done = _push(endpoint)
    assert done.returncode == 0, done.stderr
    assert Hub.committed == FILES
    assert (
        Hub.created["visibility"] == "private"
        and "/".join((Hub.created["organization"], Hub.created["name"])) == REPOSITORY
    )
    commits = [name for name in Hub.called if "/commit/" in name]
    assert len(commits) == 1 and "/api/validate-yaml" in Hub.called and "/verify" in Hub.called
    assert f"{endpoint}/{REPOSITORY}/commit/{'a' * 40}" in done.stdout
    assert TOKEN not in done.stdout + done.stderr


def test_weights_of_an_earlier_push_are_removed_in_the_same_commit(endpoint: str, run: Path) -> None:
    """Transformers would load them before the new ones."""
    old = ("model-00001-of-00002.safetensors", "model.safetensors.index.json", "notes.md")
    Hub.committed.update(dict.fromkeys(old, b"old"))
    assert _push(endpoint).returncode == 0
    assert Hub.committed == {**FILES, "notes.md": b"old"}
    assert len([name for name in Hub.called if "/commit/" in name]) == 1


@pytest.mark.parametrize("refused", ["repos/create", "commit/main"])
def test_a_refusal_is_one_message_without_the_token(endpoint: str, run: Path, refused: str) -> None:
    Hub.refuses = refused
    done = _push(endpoint)
    assert done.returncode == 1
    assert "wanted: the hub to take the model" in done.stderr and "HF_TOKEN may write" in done.stderr
    assert f" where: {endpoint}/{REPOSITORY}" in done.stderr
    assert TOKEN not in done.stdout + done.stderr and "Traceback" not in done.stderr
    assert Hub.committed == {}


def test_a_hub_that_does_not_answer_is_one_message(run: Path) -> None:
    done = _push("http://127.0.0.1:9")
    assert done.returncode == 1 and "wanted: the hub to take the model" in done.stderr
    assert TOKEN not in done.stdout + done.stderr


def test_nothing_is_sent_without_a_token_or_of_a_changed_folder(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.export import hub

    made = json.loads((run / "manifest.json").read_text())
    merged = run / "merged"
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(Stop, match="no HF_TOKEN"):
        hub.push(run, made, REPOSITORY, print)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(Stop, match="a repository as OWNER/NAME"):
        hub.push(run, made, "tables", print)
    with pytest.raises(Stop, match="a merged model of an export that ended"):
        hub.push(run, {**made, "outputs": {}}, REPOSITORY, print)
    (merged / "notes.txt").touch()
    with pytest.raises(Stop, match=r"others: notes\.txt"):
        hub.push(run, made, REPOSITORY, print)
    (merged / "notes.txt").unlink()
    (merged / "README.md").write_text("changed")
    with pytest.raises(Stop, match=r"others: README\.md"):
        hub.push(run, made, REPOSITORY, print)
