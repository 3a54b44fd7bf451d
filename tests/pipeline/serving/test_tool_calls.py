"""Tool calls, as models of each family write them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.models.chat_template import ChatTemplate
from pipeline.serving import tool_calls
from pipeline.serving.tool_calls import HERMES, MISTRAL, PHI4, PLAIN, Call, Family

F, G = Call("f", {"a": 1}), Call("g", {})
WRITTEN_F, WRITTEN_G = '{"name": "f", "arguments": {"a": 1}}', '{"name": "g", "arguments": {}}'


@pytest.mark.parametrize(
    ("of", "text", "calls"),
    [
        (HERMES, '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>', [F]),
        (HERMES, f"<tool_call>{WRITTEN_F}</tool_call>\n<tool_call>{WRITTEN_G}", [F, G]),
        (HERMES, '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>', []),
        (HERMES, '<tool_call>\n{"name": "f", "arguments": "a"}\n</tool_call>', []),
        (HERMES, "<tool_call>\nno JSON", []),
        (MISTRAL, f'[TOOL_CALLS][{WRITTEN_F[:-1]}, "id": "abcdefghi"}}, {WRITTEN_G}]', [F, G]),
        (MISTRAL, '[TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', [F]),
        (MISTRAL, '[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]g[ARGS]{}', [F, G]),
        (MISTRAL, '[TOOL_CALLS]f[CALL_ID]abcdefghi[ARGS]{"a": 1}', [F]),
        (PHI4, '<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]<|/tool_call|>', [F]),
        (PHI4, f'<|tool_call|>[{{"type": "function", "function": {WRITTEN_F}}}]<|/tool_call|>', [F]),
    ],
)
def test_calls_are_read(of: Family, text: str, calls: list[Call]) -> None:
    assert tool_calls.parse(text, of, {"f", "g"}) == calls


@pytest.mark.parametrize(
    ("template", "of"),
    [
        ("[INST]{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", MISTRAL),
        ("{{ '<|tool|>' + message['tools'] + '<|/tool|>' }}", PHI4),
        ("{% if tools %}<tools></tools> <tool_call>{% endif %}", HERMES),
        ("{% if tools %}<tool_call><function=f></function>{% endif %}", None),
        ("{% if tools %}functions{% endif %}", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", PLAIN),
    ],
)
def test_the_family_follows_the_chat_template(template: str, of: Family | None) -> None:
    tokenizer = SimpleNamespace(chat_template=template)
    written = "{% if tools %}" in template  # as `tool_text.is_written_by` finds with a real tokenizer
    assert tool_calls.family(ChatTemplate(tokenizer, True, "", (1,), tools=written)) == of


def test_ids_are_as_mistral_demands() -> None:
    ids = {tool_calls.new_id() for _ in range(100)}
    assert len(ids) == 100 and all(len(each) == 9 and each.isalnum() for each in ids)
