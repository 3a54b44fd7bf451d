"""Rows as chats by the tokenizer's own template: what precedes and surrounds an answer, and which tokens end it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from pipeline.errors import Stop, one_line
from pipeline.models import control_tokens, reasoning, record, tool_text

Row = dict[str, Any]  # a formatted row

_OPENED = re.compile(r"<think>\s*\Z")
_EMPTY_TRACE = re.compile(r"^\s*<think>\s*</think>\s*")  # Qwen3's template begins an answer without a trace with it


@dataclass(frozen=True)
class ChatTemplate:
    """A tokenizer and what its template does."""

    tokenizer: Any
    system_role: bool  # whether the template takes a system message
    lead: str  # text before an answer's first character, such as Mistral's space
    ends: tuple[int, ...]  # stop tokens: each of these ids ends an answer; the first is the one that is trained
    control: re.Pattern[str] | None = None  # the texts that the tokenizer takes for control tokens
    opens: str = ""  # a <think> that ends every prompt, as in DeepSeek-R1's template, with the line end after it
    tools: bool = True  # whether the template has a form for tools, else they are written as `tool_text` does

    def has_control_tokens(self, row: Row) -> bool:
        """Whether a row's own text contains what the tokenizer takes for a control token, such as <|im_end|>."""
        own = [row.get(name) for name in ("instruction", "input", "system", "reasoning", "messages", "tools")]
        own.append(None if row.get("tool_calls") else row.get("output"))  # `answer_of` has written calls
        return any(map(self._has_control, control_tokens.texts(own)))

    def messages(self, row: Row) -> list[dict[str, Any]]:
        """What is said before a row's answer; without a system role the rules begin the first user message."""
        system = row.get("system", "")
        if "messages" in row:
            turns = [dict(each) for each in row["messages"] if each["role"] != "system"]
        else:
            turns = [{"role": "user", "content": f"{row['instruction']}\n{row['input']}".strip()}]
        if not self.tools:
            system, turns = tool_text.system(system, row.get("tools", ())), tool_text.turns(turns)
        if system and not self.system_role:
            turns[0]["content"] = f"{system}\n\n{turns[0]['content']}"
        return [*([{"role": "system", "content": system}] if system and self.system_role else []), *turns]

    def prompt(self, row: Row) -> str:
        """The text up to where the model begins to write."""
        return self._applied(row, self.messages(row), add_generation_prompt=True)

    def _applied(self, row: Row, messages: list[dict[str, Any]], **options: Any) -> str:
        if row.get("tools") and self.tools:
            options["tools"] = row["tools"]
        try:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))
        except (jinja2.TemplateError, TypeError, ValueError) as error:  # such as Mistral's, for a call without an id
            where = f"{self.tokenizer.name_or_path}, row {row.get('uid', 'to answer')}"
            raise Stop("a row that the chat template can write", one_line(error), where, "fix that row") from None

    def answer_of(self, row: Row) -> str:
        """The answer as the template writes it: with its reasoning trace, or as the calls of tools that it is.

        Raises:
            Stop: the template leaves out tools or cannot write the row, or the calls have control tokens in their
                arguments.
        """
        if row.get("tools") and str(row["tools"][0]["function"]["name"]) not in self.prompt(row):
            raise self._no_tools(row)
        answer = {"role": "assistant", "content": row["output"]}
        if trace := row.get("reasoning"):
            answer["reasoning_content"] = trace
        if calls := row.get("tool_calls"):
            for text in control_tokens.texts([calls, row["output"], trace]):
                if self._has_control(text):
                    raise Stop("tool calls without control tokens", text[:80], f"row {row['uid']}", "fix that row")
        if calls and not self.tools:
            answer["content"] = tool_text.turn(row["output"], calls)
        elif calls:
            turn = self._turn(row, {**answer, "tool_calls": calls})
            if not all(str(call["function"]["name"]) in turn for call in calls):
                raise self._no_tools(row)
            return self._with_trace(trace, turn, turn) if trace else turn
        said = str(answer["content"])
        return self._with_trace(trace, self._turn(row, answer), said) if trace else said

    def _with_trace(self, trace: str, turn: str, answer: str) -> str:
        """A turn that the template has written with its trace; or the answer after it, if the template leaves it out.

        Without the opening tag, if the prompt ends with it.
        """
        written = turn if trace in turn and reasoning.CLOSE in turn else reasoning.written(trace, answer)
        if not self.opens or not written.lstrip().startswith(reasoning.OPEN):
            return written
        return written.lstrip().removeprefix(reasoning.OPEN).removeprefix(self.opens.removeprefix(reasoning.OPEN))

    def _turn(self, row: Row, answer: dict[str, Any]) -> str:
        """What the template writes for an answer, up to its end token; "" if it changes the turns before it."""
        before, whole = self.prompt(row).removesuffix(self.opens), self._applied(row, [*self.messages(row), answer])
        end = self.tokenizer.decode([self.ends[0]])
        written = whole[len(before) :] if whole.startswith(before) else ""
        return _EMPTY_TRACE.sub("", written.rpartition(end)[0] if end in written else written)

    def _no_tools(self, row: Row) -> Stop:
        where, todo = f"{self.tokenizer.name_or_path}, row {row['uid']}", "use a model that calls tools, or drop them"
        return Stop("a chat template that writes tools", "one that leaves them out", where, todo)

    def ids(self, texts: Sequence[str], as_text: bool = False) -> list[list[int]]:
        """Token ids of texts; with `as_text` the control tokens in them are text, else they are themselves."""
        if not texts:
            return []
        options = {"add_special_tokens": False, "return_attention_mask": False, "split_special_tokens": as_text}
        return list(self.tokenizer(list(texts), **options).input_ids)

    def prompts(self, rows: Sequence[Row]) -> list[list[int]]:
        """Token ids of each row's prompt. A control token in a row's own text is text."""
        ids = self.ids([self.prompt(row) for row in rows])
        return [
            self._prompt_of_text(row) if self.has_control_tokens(row) else own
            for row, own in zip(rows, ids, strict=True)
        ]

    def _prompt_of_text(self, row: Row) -> list[int]:
        """Token ids of a prompt in which the template's control tokens are tokens and those in a row's text are text.

        A tokenizer splits at control tokens first. So each text between two of the template's is tokenized alone, as
        text if a row's own one is in it.
        """
        assert self.control is not None  # the row has control tokens
        before = self.prompt(row)
        mark = next(mark for number in itertools.count() if (mark := f"PINTUNE{number}MARK") not in before)
        found: list[str] = []

        def marked(control: re.Match[str]) -> str:
            found.append(control.group())
            return f"{mark}{len(found) - 1}{mark}"

        messages, tools = control_tokens.mapped(
            [self.messages(row), row.get("tools")], partial(self.control.sub, marked)
        )
        text = self._applied({"tools": tools}, messages, add_generation_prompt=True)
        parts = re.split(f"{mark}(\\d+){mark}", text)
        parts[1::2] = [found[int(number)] for number in parts[1::2]]
        runs = control_tokens.runs(self.tokenizer, parts)
        return [id for each, as_text in runs for id in self.ids([each], as_text)[0]]

    def prompt_lengths(self, groups: Sequence[Sequence[Row]]) -> list[list[int]]:
        """Tokens of each row's prompt, by group. The common prefix of a group, up to a line's end, is tokenized once.

        This assumes that no token spans that line end, which holds for tokenizers that split at line ends and for
        SentencePiece.
        """
        if any(self.has_control_tokens(row) for group in groups for row in group):
            return [list(map(len, self.prompts(group))) for group in groups]
        prompts = [[self.prompt(row) for row in group] for group in groups]
        starts = [texts[0].rfind("\n", 0, _common_prefix(texts)) + 1 for texts in prompts]
        tails = [text[start:] for texts, start in zip(prompts, starts, strict=True) for text in texts]
        lengths = iter(map(len, self.ids([*(texts[0] for texts in prompts), *tails])))
        firsts = [next(lengths) for _ in prompts]
        by_group = [[next(lengths) for _ in texts] for texts in prompts]
        return [[first - own[0] + length for length in own] for first, own in zip(firsts, by_group, strict=True)]

    def answers(self, rows: Sequence[Row]) -> list[list[int]]:
        """Token ids of each row's output as the template writes it, the end-of-turn token last.

        A control token in an output is text, but for the calls of tools, which `answer_of` has written.
        """
        ids = self.ids([self._before(row) + row["output"] for row in rows])
        for number, row in enumerate(rows):
            if row.get("masked"):
                rest = row["output"][row["masked"] :]
                ids[number] = [
                    *self._masked(row),
                    *(self.ids([rest])[0] if row.get("tool_calls") else self._as_text(rest)),
                ]
            elif not row.get("tool_calls") and self._has_control(row["output"]):
                ids[number] = [*self.ids([self._before(row)])[0], *self._as_text(row["output"])]
        return [[*own, self.ends[0]] for own in ids]

    def _before(self, row: Row) -> str:
        """What precedes an output: after a prompt that opens a trace, its end if the row has none."""
        closing = reasoning.CLOSE if self.opens.endswith("\n") else f"\n{reasoning.CLOSE}"
        return f"{closing}\n\n{self.lead}" if self.opens and not row.get("reasoning") else self.lead

    def untrained(self, rows: Sequence[Row]) -> list[int]:
        """How many of each answer's first tokens are not trained: those of a masked reasoning trace."""
        return [len(self._masked(row)) if row.get("masked") else 0 for row in rows]

    def _masked(self, row: Row) -> list[int]:
        """Token ids of an output's first `masked` characters, its reasoning trace."""
        return [*self.ids([self.lead])[0], *self._as_text(row["output"][: row["masked"]])]

    def _as_text(self, text: str) -> list[int]:
        return self.ids([text], as_text=self._has_control(text))[0]

    def _has_control(self, text: str) -> bool:
        return self.control is not None and self.control.search(text) is not None


def load(folder: Path) -> ChatTemplate:
    """The chat template of a Transformers folder; its generation config may name further stop tokens.

    Raises:
        Stop: as `load_tokenizer` and `inspect`.
    """
    return inspect(load_tokenizer(folder), folder)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Transformers folder.

    Raises:
        Stop: the folder or its tokenizer is missing, or it has no chat template or no end token.
    """
    if not (folder / "tokenizer_config.json").exists():
        found = "no tokenizer_config.json" if folder.exists() else "none"
        todo = "invoke export" if folder.name == "merged" else "invoke fetch"
        raise Stop("a Transformers folder with a tokenizer", found, str(folder), todo)
    from transformers import AutoTokenizer  # heavy: not before it is needed

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise Stop("a tokenizer that can be read", one_line(error), str(folder), record.remedy(folder)) from None
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        wanted, todo = "a tokenizer with a chat template and an end token", "use an instruction-tuned model"
        raise Stop(wanted, "one without", str(folder), todo)
    return tokenizer


def inspect(tokenizer: Any, model: Path | None = None) -> ChatTemplate:
    """What a tokenizer's template does, found out by applying it.

    Args:
        model: a Transformers folder, whose generation config may name further stop tokens.

    Raises:
        Stop: the template cannot write a question and its answer.
    """
    probe = [{"role": "system", "content": "wanted"}, {"role": "user", "content": "?"}]
    try:
        system_role = "wanted" in _applied(tokenizer, probe)
    except (jinja2.TemplateError, TypeError, ValueError):  # Mistral-7B-Instruct-v0.2's refuses
        system_role = False
    asked = [{"role": "user", "content": "?"}]
    try:
        before = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
        whole = _applied(tokenizer, [*asked, {"role": "assistant", "content": "wanted"}])
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        wanted = "a chat template for a question and its answer"
        todo = "use an instruction-tuned model, or fix its chat_template.jinja"
        raise Stop(wanted, one_line(error), str(tokenizer.name_or_path), todo) from None
    opened = _OPENED.search(before)
    opens = opened.group() if opened else ""
    before = before.removesuffix(opens)
    lead, found, tail = whole[len(before) :].partition("wanted") if whole.startswith(before) else ("", "", "")
    ends = list(_end_ids(tokenizer, model))
    if found:  # the token that the template writes after an answer comes first: Phi's <|end|> is not its end-of-text
        after = tokenizer(tail, add_special_tokens=False).input_ids[:1]
        control = control_tokens.pattern(tokenizer)  # all_special_ids lacks those of tokenizer.json alone
        special = [i for i in after if control and control.fullmatch(str(tokenizer.convert_ids_to_tokens(i)))]
        ends = [*special, *(i for i in after if i in ends), *ends]
    lead = _lead(tokenizer, before, _EMPTY_TRACE.sub("", lead)) if found else ""
    return ChatTemplate(
        tokenizer,
        system_role,
        lead,
        tuple(dict.fromkeys(ends)),
        control_tokens.pattern(tokenizer),
        opens,
        tool_text.is_written_by(tokenizer),
    )


def _common_prefix(texts: Sequence[str]) -> int:
    """Characters that all texts begin with, by bisection, since contexts are thousands of characters long."""
    first, last = min(texts), max(texts)  # all others sort between these two
    low, high = 0, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == last[:middle] else (low, middle - 1)
    return low


def _lead(tokenizer: Any, before: str, lead: str) -> str:
    """The text to put before an answer that is tokenized alone, so that its ids are those it has after the prompt.

    A SentencePiece tokenizer puts a space before any text, and a second one before a space.
    """
    texts = [before, f"{before}{lead}12.6 million", f"{lead}12.6 million", "12.6 million"]
    prompt, whole, *alone = tokenizer(texts, add_special_tokens=False).input_ids
    return "" if whole[len(prompt) :] == alone[1] != alone[0] else lead


def _applied(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    return str(tokenizer.apply_chat_template(messages, tokenize=False))


def _end_ids(tokenizer: Any, model: Path | None) -> list[int]:
    file = model / "generation_config.json" if model else None
    try:
        named = json.loads(file.read_text(encoding="utf-8")).get("eos_token_id") if file and file.exists() else None
    except ValueError:
        named = None
    listed = named if isinstance(named, list) else [named]
    return [tokenizer.eos_token_id, *(i for i in listed if isinstance(i, int))]
