"""OpenAI's and MCP's own clients against `invoke serve --mcp` and `invoke mcp`, by a real engine and without one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.marks import Invoke

pytestmark = pytest.mark.docker
SMALL = ("--set", "training.max_length=600", "--set", "evaluation.max_new_tokens=12")
SCHEMA = {
    "type": "object",
    "properties": {"people": {"type": "integer", "minimum": 0, "maximum": 999}, "kind": {"enum": ["town", "village"]}},
    "required": ["people", "kind"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "clock",
        "description": "Tells the time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"enum": ["UTC", "CET"]}},
            "required": ["zone"],
            "additionalProperties": False,
        },
    },
}
STATEMENT = {"table": [["", "2019"], ["Other", "44.1"]], "question": "What was Other?"}


@pytest.fixture(params=["docker", "venv"])
def flags(
    request: pytest.FixtureRequest, engine_there: None, invoke: Invoke, checkout: Path, tiny_model: Path
) -> tuple[str, ...]:
    """The flags of a verb, once its image or environment and its model are there."""
    of = ("--flavor", "cpu", "--runner", str(request.param))
    done = invoke("build", "--image", "serve", *of)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.copytree(tiny_model, checkout / "models" / "clients", dirs_exist_ok=True)
    return ("--model", "models/clients", *of, *SMALL)


@pytest.fixture
def link(flags: tuple[str, ...], invoke: Invoke) -> Iterator[str]:
    started = invoke("serve", "--mcp", "--port", "18700", *flags)
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        (found,) = set(re.findall(r"(http://127\.0\.0\.1:\d+)/v1", started.stdout))
        yield found
    finally:
        assert invoke("down", "--name", "serve").returncode == 0


async def _tool(to: Any) -> None:
    from mcp import Client  # what the host side's own environment lacks

    async with Client(to) as client:
        (tool,) = (await client.list_tools()).tools
        assert tool.name == "answer_financial_question"
        result = await client.call_tool(tool.name, STATEMENT)
        assert result.is_error and "no_answer (422)" in str(result.content[0])  # a random model has none


def test_both_clients_talk_to_a_server(link: str) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{link}/v1", api_key="none", max_retries=0)
    assert [each.id for each in client.models.list()] == ["clients"]
    asked: Any = {"model": "clients", "messages": [{"role": "user", "content": "Where?"}], "max_tokens": 200}
    answer = client.chat.completions.create(**asked)
    parts = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    told = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
    assert told == answer.choices[0].message.content and parts[-1].usage == answer.usage
    form: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    kept = client.chat.completions.create(**asked, response_format=form).choices[0].message.content
    assert json.loads(kept or "")["kind"] in ("town", "village")
    (call,) = (
        client.chat.completions.create(**asked, tools=[TOOL], tool_choice="required").choices[0].message.tool_calls
    )
    assert call.function.name == "clock" and json.loads(call.function.arguments)["zone"] in ("UTC", "CET")
    asyncio.run(_tool(f"{link}/mcp"))


def test_a_client_starts_the_tool_itself(flags: tuple[str, ...], checkout: Path) -> None:
    from mcp import StdioServerParameters

    known = {name: value for name, value in os.environ.items() if not name.startswith("PINTUNE_")}
    known["PINTUNE_BASE_IMAGE"] = os.environ.get("PINTUNE_BASE_IMAGE", "")
    words = ["-m", "invoke", "mcp", *flags]
    asyncio.run(_tool(StdioServerParameters(command=sys.executable, args=words, cwd=checkout, env=known)))
