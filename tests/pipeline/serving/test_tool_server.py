"""The tool on a live server of a tiny random model: its protocols, and refusals; a random model has no answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from mcp import Client, StdioServerParameters
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from pipeline.serving import answer
from tests.conftest import ROOT
from tests.live_server import metric, placed, server, until

ASKED: dict[str, Any] = {
    "table": [["", "2019", "2018"], ["Other", "44.1", "56.7"]],
    "notes": ["In millions."],
    "question": "What was the change in Other?",
}
RAGGED = {**ASKED, "table": [["a", "b"], ["c"]]}
LARGE = {**ASKED, "table": [["a"]] * 201}
FLAGS = ("--mcp", "--set", "training.max_length=600", "--set", "evaluation.max_new_tokens=12")


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return placed(tiny_model, tmp_path_factory.mktemp("tool"))


@pytest.fixture(scope="module")
def link(folder: Path) -> Iterator[str]:
    with server(folder, *FLAGS, PINTUNE_SERVE_SLOTS="4", PINTUNE_SERVE_BODY="200000") as (port, _):
        yield f"http://127.0.0.1:{port}"


def post(link: str, body: Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    known = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return httpx.post(f"{link}/v1/{answer.NAME}", content=content, headers=known, timeout=60)


def test_a_text_without_an_answer_is_an_error_and_never_an_answer(link: str) -> None:
    got = post(link, ASKED)
    assert got.status_code == 422
    error = got.json()["error"]
    assert error["code"] == "no_answer"
    assert error["message"].startswith("no answer can be read from what the model wrote: ")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (RAGGED, 422, "invalid_value"),
        (LARGE, 413, "too_large"),
        ({**ASKED, "notes": ["word " * 200]}, 413, "context_length_exceeded"),
        (b" " * 300_000, 413, "request_too_large"),
        (b"{", 422, "invalid_json"),
        (b'{"table": [["\\ud800"]], "question": "?"}', 422, "invalid_value"),
        (b"[" * 100_000, 400, None),
        (b"[]", 422, "invalid_value"),
    ],
)
def test_what_cannot_be_asked_is_refused(link: str, body: Any, status: int, code: str | None) -> None:
    got = post(link, body)
    assert (got.status_code, got.json()["error"]["code"]) == (status, code)


def test_it_is_guarded_as_the_rest_of_the_server_is(link: str, folder: Path) -> None:
    assert post(link, ASKED, Host="evil.example").status_code == 403
    assert post(link, ASKED, Content_Type="text/plain").status_code == 415
    assert httpx.get(f"{link}/v1/{answer.NAME}").status_code == 405
    for path in ("/mcp", f"/v1/{answer.NAME}"):
        assert httpx.post(f"{link}{path}", json={}, headers={"Host": "evil.example"}).status_code == 403
    assert httpx.post(f"{link}/mcp", json={}, headers={"Origin": "http://evil.example"}).status_code == 403
    with server(folder, *FLAGS, PINTUNE_API_KEY="secret") as (port, _):
        own = f"http://127.0.0.1:{port}"
        for path in ("/mcp", f"/v1/{answer.NAME}"):
            assert httpx.post(f"{own}{path}", json=ASKED).status_code == 401
        assert httpx.get(f"{own}/openapi.json").status_code == 401
        assert post(own, ASKED, Authorization="Bearer secret").json()["error"]["code"] == "no_answer"


def test_without_the_flag_there_is_no_mcp(folder: Path) -> None:
    with server(folder) as (port, _):
        assert httpx.post(f"http://127.0.0.1:{port}/mcp", json={}).status_code == 404
        assert httpx.get(f"http://127.0.0.1:{port}/openapi.json").status_code == 200


def test_calls_are_counted(link: str) -> None:
    def refused() -> float:
        lines = httpx.get(f"{link}/metrics").text.splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith('pintune_requests_total{status="422"}'))

    before = refused()
    post(link, RAGGED)
    assert refused() == before + 1


def test_a_client_that_hangs_up_frees_its_slot(folder: Path) -> None:
    body = json.dumps(ASKED).encode()
    lines = [f"POST /v1/{answer.NAME} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    long = ("--set", "training.max_length=600", "--set", "evaluation.max_new_tokens=1000")
    with server(folder, *long) as (port, _):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(head + body)
            until(lambda: metric(port, "running") == 1)
        until(lambda: metric(port, "running") == 0)
        assert metric(port, "completion_tokens_total") < 1000


async def _through(to: Any) -> None:
    """All that a client of MCP does with the tool."""
    async with Client(to) as client:
        (tool,) = (await client.list_tools()).tools
        assert (tool.name, tool.description) == (answer.NAME, answer.DESCRIPTION)
        parameters = answer.tool()["function"]["parameters"]["properties"]
        for name, schema in parameters.items():
            assert {key: tool.input_schema["properties"][name].get(key) for key in schema} == schema
        assert tool.output_schema is not None
        assert set(tool.output_schema["properties"]) == set(answer.result_schema()["properties"])
        for arguments, code in (
            (ASKED, "no_answer (422)"),
            (RAGGED, "invalid_value (422)"),
            (LARGE, "too_large (413)"),
        ):
            result = await client.call_tool(answer.NAME, arguments)
            assert result.is_error
            assert code in result.content[0].text  # type: ignore[union-attr]
        missing = await client.call_tool(answer.NAME, {"table": [["a"]]})
        assert missing.is_error


def test_mcp_over_http(link: str) -> None:
    asyncio.run(_through(f"{link}/mcp"))


def test_mcp_over_standard_input(folder: Path) -> None:
    words = ["-m", "pipeline", "mcp", "--model", "models/tiny", *FLAGS[1:]]
    asyncio.run(
        _through(StdioServerParameters(command=sys.executable, args=words, cwd=folder, env={"PYTHONPATH": str(ROOT)}))
    )


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_request_is_answered_as_the_document_says(link: str, mode: GenerationMode) -> None:
    document = schemathesis.openapi.from_url(f"{link}/openapi.json")
    found: list[Any] = list(document.get_all_operations())
    (operation,) = (each.ok() for each in found)

    @settings(max_examples=60, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        # a random model has no answer to a valid question, so that 422 is right for it too
        answered = case.call()
        # schemathesis does not count 413 among refusals
        refused = [negative_data_rejection] if answered.status_code == 413 else []
        case.validate_response(answered, excluded_checks=[positive_data_acceptance, *refused])

    check()
