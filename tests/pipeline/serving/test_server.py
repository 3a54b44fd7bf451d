"""The server as a process, through OpenAI's own client and through raw sockets, with a tiny random model."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import openai
import pytest

from tests.conftest import ROOT
from tests.live_server import MODEL, ask, client_of, metric, placed, raw, server, until

SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "people": {"type": "integer", "minimum": 0, "maximum": 99999},
        "kind": {"enum": ["town", "village"]},
    },
    "required": ["city", "people", "kind"],
    "additionalProperties": False,
}
FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}


def _tool(name: str, **properties: Any) -> Any:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": f"Finds {name}", "parameters": schema}}


TOOLS = [_tool("weather", city={"type": "string", "maxLength": 9}), _tool("clock", zone={"enum": ["UTC", "CET"]})]


@pytest.fixture(scope="module")
def port(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with server(placed(tiny_model, tmp_path_factory.mktemp("served")), PINTUNE_SERVE_SLOTS="4") as (port, _):
        yield port


@pytest.fixture
def client(port: int) -> openai.OpenAI:
    return client_of(port)


def test_the_model_has_a_name_and_no_path(client: openai.OpenAI) -> None:
    assert [each.id for each in client.models.list()] == [MODEL]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


_ANSWERS = """
import json, pathlib, sys
from pipeline.__main__ import use_the_same_kernels
use_the_same_kernels()
import torch
from pipeline.generation.generate import answers
from pipeline.models import chat_template, load
folder, rows = json.load(sys.stdin)
folder = pathlib.Path(folder)
print(json.dumps(answers(load.load_base(folder, torch.float32), chat_template.load(folder), rows, 24, 4)))
"""


def test_the_answer_is_that_of_evaluation(client: openai.OpenAI, tiny_model: Path) -> None:
    """Alone and among others, streamed or not."""
    texts = [f"Question {number}: {'how much ' * number}?" for number in range(8)]
    rows = [{"instruction": "", "input": text, "uid": text} for text in texts]
    # in a process of its own, as evaluate is: what other tests have set in this one changes the last bits
    given, known = json.dumps([str(tiny_model), rows]), {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", _ANSWERS], input=given, env=known, capture_output=True, text=True)
    wanted = json.loads(done.stdout)
    assert len(set(wanted)) > 4
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda text: ask(client, text), texts))
    assert [each.choices[0].message.content for each in together] == wanted
    assert [ask(client, text).choices[0].message.content for text in texts] == wanted
    for text, answer, want in list(zip(texts, together, wanted, strict=True))[:3]:
        parts = list(ask(client, text, stream=True, stream_options={"include_usage": True}))
        assert "".join(part.choices[0].delta.content or "" for part in parts[:-1]) == want
        assert parts[0].choices[0].delta.role == "assistant"
        assert parts[-2].choices[0].finish_reason == answer.choices[0].finish_reason
        assert (parts[-1].choices, parts[-1].usage) == ([], answer.usage)


def test_without_include_usage_a_stream_has_none(client: openai.OpenAI) -> None:
    assert [part.usage for part in ask(client, stream=True) if part.usage or not part.choices] == []


def test_structured_output_is_of_its_schema(client: openai.OpenAI) -> None:
    """A random model never writes JSON by itself."""
    for number in range(20):
        answer = ask(client, f"{number}", response_format=FORMAT, max_tokens=200, temperature=1, seed=number)
        assert answer.choices[0].finish_reason == "stop"
        jsonschema.validate(json.loads(answer.choices[0].message.content), SCHEMA)
    parts = ask(client, response_format=FORMAT, max_tokens=200, stream=True)
    jsonschema.validate(json.loads("".join(part.choices[0].delta.content or "" for part in parts)), SCHEMA)


def test_json_object_gives_an_object(client: openai.OpenAI) -> None:
    answer = ask(client, response_format={"type": "json_object"}, max_tokens=30)
    assert answer.choices[0].message.content.startswith("{")


def test_an_answer_that_breaks_its_schema_twice_is_an_error(port: int, client: openai.OpenAI) -> None:
    """uniqueItems is no matter of grammar; three of two values are never unique."""
    two = {"type": "array", "items": {"enum": [1, 2]}, "minItems": 3, "maxItems": 3, "uniqueItems": True}
    before = metric(port, "schema_retries_total")
    with pytest.raises(openai.InternalServerError, match="twice") as failed:
        ask(client, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": two}})
    assert failed.value.code == "schema_not_followed"
    assert metric(port, "schema_retries_total") == before + 1


def test_a_forced_call_is_of_its_tool(client: openai.OpenAI) -> None:
    for choice, names in (
        ("required", {"weather", "clock"}),
        ({"type": "function", "function": {"name": "clock"}}, {"clock"}),
    ):
        answer = ask(client, tools=TOOLS, tool_choice=choice, max_tokens=120).choices[0]
        (call,) = answer.message.tool_calls
        assert answer.finish_reason == "tool_calls" and call.function.name in names and answer.message.content is None
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
        jsonschema.validate(json.loads(call.function.arguments), schemas[call.function.name])
        parts = list(ask(client, tools=TOOLS, tool_choice=choice, max_tokens=120, stream=True))
        (streamed,) = [call for part in parts for call in part.choices[0].delta.tool_calls or []]
        assert streamed.function == type(streamed.function)(**call.function.model_dump())
        assert parts[-1].choices[0].finish_reason == "tool_calls"


def test_tools_that_are_not_called_leave_the_text(client: openai.OpenAI) -> None:
    for choice in ("auto", "none"):
        answer = ask(client, tools=TOOLS, tool_choice=choice).choices[0]
        assert answer.message.content and not answer.message.tool_calls
    plain = ask(client).choices[0].message.content
    assert ask(client, tools=TOOLS, tool_choice="none").choices[0].message.content == plain


def test_a_turn_with_a_call_and_its_result_goes_on(client: openai.OpenAI) -> None:
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "What time is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "abcdefghi", "content": "12:00"},
    ]
    assert ask(client, messages=messages, tools=TOOLS).usage.prompt_tokens > 100


def test_sampling_repeats_with_a_seed(client: openai.OpenAI) -> None:
    texts = [ask(client, temperature=1.5, top_p=0.9, seed=seed).choices[0].message.content for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_a_stop_ends_the_answer_and_is_not_in_it(client: openai.OpenAI) -> None:
    whole = ask(client).choices[0].message.content
    stop = whole[5:8]
    answer = ask(client, stop=[stop]).choices[0]
    assert (answer.message.content, answer.finish_reason) == (whole[: whole.index(stop)].strip(), "stop")


@pytest.mark.parametrize(
    ("options", "status", "code", "param"),
    [
        ({"model": "other"}, 404, "model_not_found", "model"),
        ({"messages": []}, 400, "invalid_value", "messages"),
        ({"n": 2}, 400, "invalid_value", "n"),
        ({"logprobs": True}, 400, "invalid_value", "logprobs"),
        ({"frequency_penalty": 0.5}, 400, "invalid_value", "frequency_penalty"),
        ({"temperature": -1}, 400, "invalid_value", "temperature"),
        ({"max_tokens": 10**6}, 400, "invalid_value", "max_tokens"),
        ({"extra_body": {"best_of": 3}}, 400, "unknown_parameter", "best_of"),
        ({"tool_choice": "required"}, 400, "invalid_value", "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "no"}}}, 400, None, "tool_choice"),
        ({"tools": TOOLS, "response_format": FORMAT}, 400, None, "response_format"),
        ({"response_format": {"type": "json_schema"}}, 400, None, "response_format"),
        ({"messages": [{"role": "user", "content": "table " * 5000}]}, 400, "context_length_exceeded", "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, None, None),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}, 400, None, "messages"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_refused_in_openais_form(
    client: openai.OpenAI, options: Any, status: int, code: str | None, param: str | None
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        ask(client, **options)
    assert refused.value.status_code == status
    body: Any = refused.value.body
    assert body["type"] and body["message"]
    assert code in (None, body["code"]) and (param is None or body["param"] == param)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "banana"},
        {"$ref": "https://x.invalid/y"},
        {"$dynamicRef": "http://127.0.0.1:9/x"},
        {"type": "object", "maxProperties": 0, "not": {"$ref": "#/nope"}},
        {"type": "object", "properties": {"a": {"type": "object", "patternProperties": {"^(a+)+$": {}}}}},
    ],
)
def test_a_schema_that_cannot_be_kept_to_is_refused(client: openai.OpenAI, schema: Any) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert refused.value.code == "invalid_schema"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"model": ', (), 400),
        (b"\xff\xfe", (), 400),
        (b"[" * 100_000, (), 400),
        (b"{}", (), 400),
        (b"{}", ("Content-Type: text/plain",), 415),
        (b" " * 10_000_000, (), 413),
        (b"%x\r\n" % 2_000_000 + b" " * 2_000_000, ("Transfer-Encoding: chunked",), 413),
    ],
)
def test_a_broken_or_huge_body_is_refused(port: int, body: bytes, headers: tuple[str, ...], status: int) -> None:
    found, answer = raw(port, body, *headers)
    assert found == status
    assert answer["error"]["type"] == "invalid_request_error"


def test_without_a_key_only_this_machine_is_answered(port: int) -> None:
    """A web page whose name was pointed at 127.0.0.1."""
    status, answer = raw(port, b"{}", host="evil.example")
    assert (status, answer["error"]["code"]) == (403, "wrong_host")


def test_another_path_or_method_is_refused_in_the_same_form(port: int, client: openai.OpenAI) -> None:
    assert raw(port, b"{}", path="/v1/nothing")[0] == 404
    status, answer = raw(port, b"{}", path="/health")
    assert status == 405 and answer["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_frees_its_slot(port: int, stream: bool) -> None:
    asked = {"model": MODEL, "messages": [{"role": "user", "content": "long"}], "max_tokens": 1000, "stream": stream}
    body = json.dumps(asked).encode()
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode()
    written = metric(port, "completion_tokens_total")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(head + body)
        until(lambda: metric(port, "running") == 1)
    until(lambda: metric(port, "running") == 0)
    assert metric(port, "completion_tokens_total") - written < 1000


def test_many_connections_are_answered(client: openai.OpenAI) -> None:
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        found = list(pool.map(lambda number: ask(client, f"{number % 8}", max_tokens=4), range(64)))
    texts = {number: found[number].choices[0].message.content for number in range(8)}
    assert all(each.choices[0].message.content == texts[number % 8] for number, each in enumerate(found))


def test_key_queue_time_and_drain(tiny_model: Path, tmp_path: Path) -> None:
    """A server with a key, a single slot and a queue of one."""
    limits = {"PINTUNE_SERVE_SLOTS": "1", "PINTUNE_SERVE_QUEUE": "1", "PINTUNE_SERVE_DRAIN": "100"}
    with server(placed(tiny_model, tmp_path), PINTUNE_API_KEY="the-key", **limits) as (port, process):
        for key in ("wrong", "the-ke", ""):
            status, answer = raw(port, b"{}", f"Authorization: Bearer {key}")
            assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
        assert raw(port, b"{}", "Authorization: Bearer the-key", host="elsewhere.example")[0] == 400
        client = client_of(port, "the-key")
        first = ask(client, max_tokens=1000, stream=True)
        next(iter(first))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            second = pool.submit(ask, client, max_tokens=4)
            until(lambda: metric(port, "waiting") == 1)
            with pytest.raises(openai.RateLimitError) as full:
                ask(client)
            assert int(full.value.response.headers["retry-after"]) >= 1
            process.send_signal(signal.SIGTERM)
            parts = list(first)  # both are finished
            assert parts[-1].choices[0].finish_reason in ("length", "stop")
            assert second.result().choices[0].message.content
        with pytest.raises(openai.APIConnectionError):
            ask(client)
        assert process.wait(60) == 0
        written = (tmp_path / "server.log").read_text()
        assert "the-key" not in written and "Hello" not in written


def test_an_address_without_a_key_or_a_taken_port_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    placed(tiny_model, tmp_path)
    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}

    def stopped(*words: str) -> str:
        command = [sys.executable, "-m", "pipeline", "serve", "--model", "models/tiny", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env={**known, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=500
        )
        assert done.returncode == 1
        return done.stderr

    assert "a key for the address 0.0.0.0" in stopped("--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "Address already in use" in stopped("--port", str(taken.getsockname()[1]))


@pytest.mark.slow
@pytest.mark.network
def test_a_real_model_speaks_sense_and_keeps_to_forms(tmp_path: Path) -> None:
    name = "smollm2-135m-instruct"
    subprocess.run(
        [sys.executable, "-m", "pipeline", "fetch"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    with server(tmp_path, model=name) as (port, _):
        client = client_of(port)
        question = "What is the capital of France?"
        assert "Paris" in ask(client, question, model=name).choices[0].message.content
        form = ask(
            client, f"{question} As JSON: city, people, kind.", model=name, response_format=FORMAT, max_tokens=80
        )
        jsonschema.validate(json.loads(form.choices[0].message.content), SCHEMA)
        forced = ask(
            client, "What is the weather in Paris?", model=name, tools=TOOLS, tool_choice="required", max_tokens=80
        )
        (call,) = forced.choices[0].message.tool_calls
        assert call.function.name in ("weather", "clock") and json.loads(call.function.arguments)
