"""Rows of a prompt and its completion, as TRL and OpenAI's older files have them, or of a question and its answer.

{"prompt": "Sales were 1,200. Sales?", "completion": "1,200"}
{"prompt": [{"role": "user", "content": "…"}], "completion": [{"role": "assistant", "content": "1,200"}]}
{"question": "Sales?", "context": "Sales were 1,200.", "answer": "1,200"}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.data.readers import conversation, messages
from pipeline.data.readers.conversation import Conversation
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

FORM = "prompt and completion, prompt and response, or question and answer; optionally context, system"

PROMPTS, COMPLETIONS = ("prompt", "question"), ("completion", "response", "answer")


def read(record: Mapping[str, Any], where: str, reading: Reading) -> Conversation:
    """The conversation of a row.

    Raises:
        Stop: a field is missing, or is neither text nor a list of messages.
    """
    prompt, completion = _first(record, PROMPTS), _first(record, COMPLETIONS)
    reading.see_keys(record, {prompt, completion, "context", "system", "tools", *messages.TRACES})
    asked, answered = record.get(prompt), record.get(completion)
    if isinstance(asked, list):
        if conversation.optional(record.get("context"), where, "context"):
            wanted, found = "the context in a message, since the prompt is a list of these", "a field of its own"
            raise Stop(wanted, found, f"{where}, field 'context'", "fix that row")
        if not isinstance(answered, list):
            answered = [{"role": "assistant", "content": conversation.answer(answered, where, completion, reading)}]
        made = messages.of_list([*asked, *answered], record.get("tools"), where, prompt, reading)
        whole = conversation.with_system(made["messages"], record.get("system"), where)
        fields = ["system"] * (len(whole) - len(asked) - len(answered))
        for name, said in ((prompt, asked), (completion, answered)):
            fields += [f"{name}[{number}].content" for number in range(len(said))]
        made = {**made, "messages": whole, "fields": fields}
        return messages.with_row_trace(made, record, where, reading)
    text = conversation.text(asked, where, prompt)
    if added := conversation.optional(record.get("context"), where, "context"):
        text = f"{added}\n{text}"
    system = conversation.optional(record.get("system"), where, "system")
    if isinstance(answered, list):
        raise Stop("a text, since the prompt is one", "a list", f"{where}, field {completion!r}", "fix that row")
    answer = conversation.answer(answered, where, completion, reading)
    made = conversation.of_turns(text, answer, system, names=(prompt, completion))
    made = messages.with_row_trace(made, record, where, reading)
    tools = messages.tool_list(record.get("tools"), where)
    return {**made, "tools": tools} if tools else made


def _first(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in record), names[0])
