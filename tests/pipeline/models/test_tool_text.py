"""Tools as text for templates without a form for them, and in the template's own form for others: what is trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import packing
from pipeline.data.readers import conversation
from pipeline.errors import Stop
from pipeline.models import chat_template, tool_text

TOOL = {
    "type": "function",
    "function": {"name": "rate", "parameters": {"type": "object", "properties": {"pair": {"type": "string"}}}},
}


def _call(pair: str, identifier: str) -> dict[str, Any]:
    return {"id": identifier, "type": "function", "function": {"name": "rate", "arguments": {"pair": pair}}}


CONVERSATION: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "EUR and USD?"},
        {"role": "assistant", "content": "", "tool_calls": [_call("EUR", "one"), _call("USD", "two")]},
        {"role": "tool", "content": "1.1", "tool_call_id": "two"},
        {"role": "tool", "content": "0.9", "tool_call_id": "one"},
        {"role": "assistant", "content": "0.9 and 1.1."},
    ],
    "tools": [TOOL],
}
CALLS = """<tool_call>{"name": "rate", "arguments": {"pair": "EUR"}}</tool_call>
<tool_call>{"name": "rate", "arguments": {"pair": "USD"}}</tool_call>"""
AS_TEXT = (
    """<|im_start|>system
Be brief.

You have these functions, one a line, with the JSON Schema of their arguments:
<tools>
{"name":"rate","parameters":{"type":"object","properties":{"pair":{"type":"string"}}}}
</tools>
To call one, write a line such as this, with its name and arguments; otherwise answer in words:
<tool_call>{"name": "a_function", "arguments": {"an_argument": 1}}</tool_call><|im_end|>
<|im_start|>user
EUR and USD?<|im_end|>
<|im_start|>assistant
"""
    + CALLS
    + """<|im_end|>
<|im_start|>user
<tool_response>0.9</tool_response>
<tool_response>1.1</tool_response><|im_end|>
<|im_start|>assistant
0.9 and 1.1.<|im_end|>"""
)
# Like Qwen2.5: tools, calls and results in a form of its own; without a system role, so its text is the user's
OWN = """{%- if tools %}<|im_start|>system
tools: {% for tool in tools %}{{ tool.function | tojson }}{% endfor %}<|im_end|>
{% endif %}{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}
{{ m.content or '' }}{% for call in m.tool_calls or [] %}<tool_call>
{{ call.function | tojson }}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
IN_OWN = """<|im_start|>system
tools: {"name": "rate", "parameters": {"type": "object", "properties": {"pair": {"type": "string"}}}}<|im_end|>
<|im_start|>user
Be brief.

EUR and USD?<|im_end|>
<|im_start|>assistant
<tool_call>
{"name": "rate", "arguments": {"pair": "EUR"}}
</tool_call><tool_call>
{"name": "rate", "arguments": {"pair": "USD"}}
</tool_call><|im_end|>
<|im_start|>tool
1.1<|im_end|>
<|im_start|>tool
0.9<|im_end|>
<|im_start|>assistant
0.9 and 1.1.<|im_end|>"""


def _template(tiny: Any, text: str = "") -> chat_template.ChatTemplate:
    tokenizer = copy.deepcopy(tiny)
    if text:
        tokenizer.chat_template = text
    return chat_template.inspect(tokenizer)


@pytest.fixture
def tiny(tiny_model: Path) -> Any:
    return chat_template.load_tokenizer(tiny_model)


@pytest.mark.parametrize(("own", "whole"), [("", AS_TEXT), (OWN, IN_OWN)])
def test_calls_and_answers_are_trained_and_nothing_else(own: str, whole: str, tiny: Any) -> None:
    template = _template(tiny, own)
    assert template.tools == bool(own)
    rows = [{**row, "output": template.answer_of(row)} for row in conversation.rows(CONVERSATION, "u")]
    (encoded,), left_out = packing.encode(template, rows, 4096)
    ((ids, labels),) = encoded.questions
    assert left_out == 0 and template.tokenizer.decode([*encoded.prefix, *ids]) == whole
    trained = "".join(
        template.tokenizer.decode([token]) for token, label in zip(ids, labels, strict=True) if label != packing.IGNORED
    )
    assert trained == f"{rows[0]['output']}<|im_end|>0.9 and 1.1.<|im_end|>"
    assert all(label in (token, packing.IGNORED) for token, label in zip(ids, labels, strict=True))
    assert encoded.answers == 2


def test_a_template_without_a_system_role_has_the_tools_in_the_user_turn(tiny: Any) -> None:
    text = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    template = _template(tiny, text)
    first = conversation.rows(CONVERSATION, "u")[0]
    prompt = template.prompt(first)
    assert not template.system_role and not template.tools
    assert prompt.startswith("<|im_start|>user\nBe brief.\n\nYou have these functions")
    assert prompt.endswith("</tool_call>\n\nEUR and USD?<|im_end|><|im_start|>assistant\n")


def test_words_before_a_call_are_kept_and_results_without_ids_keep_their_order() -> None:
    assert tool_text.turn("I look.", [_call("EUR", "")]).startswith("I look.\n<tool_call>")
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "", "tool_calls": [_call("EUR", ""), _call("USD", "")]},
        {"role": "tool", "content": "first"},
        {"role": "tool", "content": "second"},
    ]
    _, results = tool_text.turns(messages)
    assert results["role"] == "user"
    assert results["content"] == "<tool_response>first</tool_response>\n<tool_response>second</tool_response>"


@pytest.mark.parametrize("lost", ["tools", "calls", "results"])
def test_a_template_that_leaves_out_a_part_has_no_form_of_its_own(lost: str, tiny: Any) -> None:
    cut = {
        "tools": OWN.replace("{{ tool.function | tojson }}", ""),
        "calls": OWN.replace("{{ call.function | tojson }}", ""),
        "results": OWN.replace("m.role != 'system'", "m.role != 'system' and m.role != 'tool'"),
    }[lost]
    assert cut != OWN and not _template(tiny, cut).tools


def test_a_row_that_the_template_refuses_is_named(tiny: Any) -> None:
    strict = OWN.replace(
        "<tool_call>\n{{", "{% if not call.id %}{{ raise_exception('a call needs an id') }}{% endif %}<tool_call>\n{{"
    )
    template = _template(tiny, strict)
    row = conversation.rows(CONVERSATION, "u")[0]
    assert template.tools and template.answer_of(row)
    row["tool_calls"] = [{key: value for key, value in row["tool_calls"][0].items() if key != "id"}]
    with pytest.raises(Stop, match="a call needs an id"):
        template.answer_of(row)
