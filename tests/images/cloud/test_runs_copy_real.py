"""Copies of runs with the locked azure-storage-blob, to the emulator Azurite."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import matrix

AZURITE = "azurite@3.35.0"
# the account that Azurite's documentation gives to everybody
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with the wheels of images/cloud/runs-copy.txt."""
    folder = matrix.ROOT / ".pintune" / "venv" / "runs-copy"
    if not (folder / "prepared").exists():
        lock = str(matrix.ROOT / "images" / "cloud" / "runs-copy.txt")
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", lock],
        ):
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
        (folder / "prepared").touch()
    return folder / "bin" / "python"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[str]:
    """A connection string of a running Azurite."""
    folder = Path(os.environ.get("PINTUNE_AZURITE") or matrix.ROOT / ".pintune" / "azurite")
    program = folder / "node_modules" / ".bin" / "azurite-blob"
    if not program.exists():
        assert shutil.which("npm"), "npm, which brings Azurite"
        done = subprocess.run(["npm", "install", "--prefix", str(folder), AZURITE], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        str(program),
        "--skipApiVersionCheck",
        "--disableTelemetry",
        "--silent",
        "--location",
        str(tmp_path / "blobs"),
    ]
    server = subprocess.Popen([*command, "--blobPort", str(port)])
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    yield (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    server.terminate()
    server.wait()


def test_runs_go_to_blobs_and_come_back(python: Path, connection: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(matrix.ROOT), "AZURE_STORAGE_CONNECTION_STRING": connection}
    make = "import os, sys; from azure.storage.blob import ContainerClient as C; "
    make += "C.from_connection_string(os.environ['AZURE_STORAGE_CONNECTION_STRING'], 'runs').create_container()"
    subprocess.run([python, "-c", make], check=True, env=environment)
    here, there = tmp_path / "here", tmp_path / "there"
    there.mkdir()
    run = here / "runs" / "quickstart" / "1"
    (run / "checkpoint-2").mkdir(parents=True)
    (run / "metrics.jsonl").write_text("{}\n", encoding="utf-8")
    large = os.urandom(70 * 2**20)  # above 64 MiB it goes in blocks
    (run / "checkpoint-2" / "adapter.safetensors").write_bytes(large)
    said = []
    for verb, folder in (("save", here), ("save", here), ("restore", there), ("restore", there)):
        command = [str(python), "-m", "images.cloud.runs_copy", verb, "https://unused.example", "runs"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        said.append(done.stdout.strip())
    assert said == ["runs  2 files saved", "runs  0 files saved", "runs  2 files restored", "runs  0 files restored"]
    assert (there / "runs/quickstart/1/checkpoint-2/adapter.safetensors").read_bytes() == large
