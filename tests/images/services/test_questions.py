"""Requests to a server that counts, refuses and waits."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from images.errors import Stop
from images.services import questions

ASKED = [{"uid": f"q{i}", "body": {"messages": [{"role": "user", "content": f"数 {i}"}]}} for i in range(20)]


class _Server(http.server.ThreadingHTTPServer):
    refuse: list[tuple[int, dict[str, str], bytes]]
    heard: list[tuple[str, str, str]]
    working = most = 0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["messages"][0]["content"]
        self.server.heard.append((self.path, self.headers.get("Authorization", ""), asked))
        self.server.working += 1
        self.server.most = max(self.server.most, self.server.working)
        time.sleep(0.05)
        self.server.working -= 1
        status, headers, answer = self.server.refuse.pop() if self.server.refuse else (200, {}, b"")
        said = {"choices": [{"message": {"content": f"answer to {asked}"}}]}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer or json.dumps(said).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    made = _Server(("127.0.0.1", 0), _Handler)
    made.refuse, made.heard = [], []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


def _url(server: _Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/v1"


def test_four_at_once_and_the_answers_in_order(server: _Server) -> None:
    said: list[str] = []
    found = questions.ask(_url(server), "secret", ASKED, said.append)
    assert [each["uid"] for each in found] == [each["uid"] for each in ASKED]
    assert [each["message"]["content"] for each in found] == [f"answer to 数 {i}" for i in range(20)]
    assert server.most == 4 and {each[:2] for each in server.heard} == {("/v1/chat/completions", "Bearer secret")}
    assert len(said) == 10 and said[-1] == "check  20 of 20 questions answered"


def test_a_busy_server_is_asked_again(server: _Server) -> None:
    server.refuse = [(429, {"Retry-After": "0"}, b"{}")] * 3
    assert len(questions.ask(_url(server), "", ASKED, lambda line: None)) == 20
    assert len(server.heard) == 23 and {each[1] for each in server.heard} == {""}


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (401, b"{}", "wanted: the key that the server was started with"),
        (400, b'{"error": {"message": "max_tokens: 2000"}}', "status 400: max_tokens: 2000"),
        (502, b"<html>bad gateway</html>", "status 502: <html>bad gateway"),
        (200, b'{"choices": []}', "status 200"),
    ],
)
def test_a_refusal_ends_it(server: _Server, status: int, body: bytes, found: str) -> None:
    server.refuse = [(status, {}, body)]
    with pytest.raises(Stop) as stopped:
        questions.ask(_url(server), "", ASKED, lambda line: None)
    assert found in str(stopped.value) and _url(server) in str(stopped.value)
    assert len(server.heard) < 20


def test_no_server_is_said() -> None:
    with pytest.raises(Stop, match="wanted: a server that answers"):
        questions.ask("http://127.0.0.1:9/v1", "", ASKED[:1], lambda line: None)
