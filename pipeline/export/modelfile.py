"""The Modelfile with which Ollama runs a GGUF file: template, stop tokens, greedy decoding (Ollama, docs/modelfile.md).

Ollama takes a template in Go's syntax and not the chat template that the file has. It is derived here for one question
and its answer, with or without a system message.
"""

from __future__ import annotations

from pipeline.models.chat_template import ChatTemplate

_SYSTEM, _PROMPT = "{{ .System }}", "{{ .Prompt }}"


def text(name: str, template: ChatTemplate, context: int) -> str:
    """The Modelfile of a GGUF file beside it.

    Args:
        context: tokens of the longest prompt and its answer, which Ollama would cut off by default.
    """
    lines = [f"# ollama create NAME -f Modelfile, in this folder\nFROM ./{name}"]
    if made := go_template(template):
        lines.append(f'TEMPLATE """{made}"""')
    else:
        lines.append(
            "# The chat template is in the file, but in Ollama's syntax it is not known: write TEMPLATE first."
        )
    stops = [template.tokenizer.convert_ids_to_tokens(each) for each in template.ends]
    lines += [f'PARAMETER stop "{each}"' for each in dict.fromkeys(stops)]
    return "\n".join([*lines, "PARAMETER temperature 0", f"PARAMETER num_ctx {context}"]) + "\n"


def go_template(template: ChatTemplate) -> str:
    """The chat template for one question in Go's syntax; "" if it does more with a message than put text around it."""
    alone, both = (template.prompt({"instruction": _PROMPT, "input": "", "system": each}) for each in ("", _SYSTEM))
    before, found, after = alone.partition(_PROMPT)
    with_system, _, after_both = both.partition(_PROMPT)
    begin = template.tokenizer.bos_token  # which llama.cpp puts first, as the file says
    if begin and template.tokenizer(_PROMPT).input_ids[:1] == [template.tokenizer.bos_token_id]:
        before, with_system = before.removeprefix(begin), with_system.removeprefix(begin)
    plain = (before, after, with_system.replace(_SYSTEM, "", 1))
    known = found and after == after_both and with_system.count(_SYSTEM) == 1
    if not known or any(mark in each for each in plain for mark in ("{{", '"""')):
        return ""
    if before == with_system.replace(f"{_SYSTEM}\n\n", "", 1):  # no role of its own: the rules begin the question
        start = f"{before}{{{{ if .System }}}}{_SYSTEM}\n\n{{{{ end }}}}"
    else:
        start = f"{{{{ if .System }}}}{with_system}{{{{ else }}}}{before}{{{{ end }}}}"
    return f"{start}{_PROMPT}{after}{{{{ .Response }}}}"
