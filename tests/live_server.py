"""A live server of a tiny random model, in a process of its own, and requests to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai

from tests.conftest import ROOT

MODEL = "tiny"


@contextlib.contextmanager
def server(
    folder: Path, *flags: str, model: str = MODEL, **environment: str
) -> Iterator[tuple[int, subprocess.Popen[str]]]:
    """A server of a model in a working folder; its port and its process."""
    log = (folder / "server.log").open("w")
    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "serve", "--model", f"models/{model}", "--port", "0", *flags],
        cwd=folder,
        env={**known, "PYTHONPATH": str(ROOT), **environment},
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        end = time.monotonic() + 200
        while not (found := re.search(r"port (\d+)", (folder / "server.log").read_text())):
            assert process.poll() is None and time.monotonic() < end, (folder / "server.log").read_text()
            time.sleep(0.05)
        port = int(found.group(1))
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                assert json.load(answer) == {"status": "ok"}
                break
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        yield port, process
    finally:
        process.kill()
        process.wait()
        log.close()


def placed(tiny_model: Path, folder: Path) -> Path:
    shutil.copytree(tiny_model, folder / "models" / "tiny")
    return folder


def client_of(port: int, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=key, max_retries=0, timeout=120)


def ask(client: openai.OpenAI, text: str = "Hello", **options: Any) -> Any:
    given: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 24}
    return client.chat.completions.create(**{**given, **options})


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(rf"^pintune_{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found.group(1))


def raw(
    port: int, body: bytes, *headers: str, path: str = "/v1/chat/completions", host: str = "localhost"
) -> tuple[int, Any]:
    """Status and JSON of a request that is written by hand."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    if not any(each.lower().startswith("content-type") for each in headers):
        lines.append("Content-Type: application/json")
    if not any(each.lower().startswith(("content-length", "transfer")) for each in headers):
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):  # the server may answer and close before it has read all
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                answer += part
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest) if rest.startswith(b"{") else rest


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
