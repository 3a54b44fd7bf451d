"""Rows as chats, by the tokenizer's own template: what stands before the answer, around it, and which tokens end it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import Stop


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a Transformers folder.

    Raises:
        Stop: the folder or its tokenizer is not there, or it has no chat template or no end token.
    """
    if not (folder / "tokenizer_config.json").exists():
        raise Stop(
            "a Transformers folder with a tokenizer",
            "none" if not folder.exists() else "no tokenizer_config.json",
            str(folder),
            "invoke export" if folder.name == "merged" else "invoke fetch",
        )
    from transformers import AutoTokenizer  # heavy: not before it is needed

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise Stop(
            "a tokenizer that can be read",
            f"{type(error).__name__}: {error}".splitlines()[0][:200],
            str(folder),
            f"delete {folder}, then invoke fetch",
        ) from None
    if not tokenizer.chat_template or tokenizer.eos_token_id is None:
        raise Stop(
            "a tokenizer with a chat template and an end token",
            "one without",
            str(folder),
            "use an instruction-tuned model",
        )
    return tokenizer


@dataclass(frozen=True)
class Chat:
    """A tokenizer with what its template does: whether it takes a system message, what it writes around an answer, what ends one."""

    tokenizer: Any
    system_role: bool
    lead: str  # before an answer's first character, such as Mistral's space
    ends: tuple[int, ...]  # ids of which each ends an answer; the first is the one that is learnt

    def messages(self, row: dict[str, Any]) -> list[dict[str, str]]:
        """A row as a chat: the rules as the system's words, or at the head of the user's where the template has no system role."""
        user = f"{row['instruction']}\n{row['input']}".strip()
        if row.get("system") and not self.system_role:
            user = f"{row['system']}\n\n{user}"
        system = [{"role": "system", "content": row["system"]}] if row.get("system") and self.system_role else []
        return [*system, {"role": "user", "content": user}]

    def prompt(self, row: dict[str, Any]) -> str:
        """Everything up to where the model begins to write."""
        return str(self.tokenizer.apply_chat_template(self.messages(row), tokenize=False, add_generation_prompt=True))

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts that hold their special tokens already."""
        return (
            list(self.tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False).input_ids)
            if texts
            else []
        )

    def prompts(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Token ids of each row's prompt."""
        return self.ids([self.prompt(row) for row in rows])

    def prompt_lengths(self, groups: Sequence[Sequence[dict[str, Any]]]) -> list[list[int]]:
        """Tokens of each row's prompt, by group. What the prompts of a group begin with, up to a line's end, is tokenized once.

        Tokens are taken not to reach over that end, as no tokenizer's do that splits at line ends, nor a SentencePiece one's.
        """
        prompts = [[self.prompt(row) for row in group] for group in groups]
        starts = [texts[0].rfind("\n", 0, _alike(texts)) + 1 for texts in prompts]
        tails = [text[start:] for texts, start in zip(prompts, starts, strict=True) for text in texts]
        lengths = iter(map(len, self.ids([*(texts[0] for texts in prompts), *tails])))
        firsts = [next(lengths) for _ in prompts]
        by_group = [[next(lengths) for _ in texts] for texts in prompts]
        return [[first - own[0] + length for length in own] for first, own in zip(firsts, by_group, strict=True)]

    def answers(self, rows: Sequence[dict[str, Any]]) -> list[list[int]]:
        """Token ids of each row's output as the template writes it, the end-of-turn token last."""
        return [[*ids, self.ends[0]] for ids in self.ids([self.lead + row["output"] for row in rows])]


def _alike(texts: Sequence[str]) -> int:
    """Characters that all texts begin with; by halves, since contexts are thousands long."""
    first, last = min(texts), max(texts)  # all others stand between these two
    low, high = 0, min(len(first), len(last))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if first[:middle] == last[:middle] else (low, middle - 1)
    return low


def chat(tokenizer: Any, model: Path | None = None) -> Chat:
    """What a tokenizer's template does, found out by using it; `model`'s generation config may name more ids that end an answer.

    Raises:
        Stop: the template cannot write a question and its answer.
    """
    import jinja2

    try:
        system_role = "wanted" in _applied(
            tokenizer, [{"role": "system", "content": "wanted"}, {"role": "user", "content": "?"}]
        )
    except (jinja2.TemplateError, TypeError, ValueError):  # Mistral-7B-Instruct-v0.2's refuses
        system_role = False
    asked = [{"role": "user", "content": "?"}]
    try:
        before = str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True))
        whole = _applied(tokenizer, [*asked, {"role": "assistant", "content": "wanted"}])
    except (jinja2.TemplateError, TypeError, ValueError) as error:
        raise Stop(
            "a chat template for a question and its answer",
            f"{type(error).__name__}: {error}".splitlines()[0][:200],
            str(tokenizer.name_or_path),
            "use an instruction-tuned model, or mend its chat_template.jinja",
        ) from None
    lead, found, tail = whole[len(before) :].partition("wanted") if whole.startswith(before) else ("", "", "")
    ends = list(_end_ids(tokenizer, model))
    if found:  # the token that the template puts behind an answer comes first: Phi's <|end|> is not its end-of-text
        ends = [
            *(
                i
                for i in tokenizer(tail, add_special_tokens=False).input_ids[:1]
                if i in tokenizer.all_special_ids or i in ends
            ),
            *ends,
        ]
    return Chat(tokenizer, system_role, _lead(tokenizer, before, lead) if found else "", tuple(dict.fromkeys(ends)))


def _lead(tokenizer: Any, before: str, lead: str) -> str:
    """What to put before an answer that is tokenized alone, so that its ids are those it has behind the prompt.

    A SentencePiece tokenizer puts a space before any text, and a second one before a space.
    """
    prompt, whole, *alone = tokenizer(
        [before, f"{before}{lead}12.6 million", f"{lead}12.6 million", "12.6 million"], add_special_tokens=False
    ).input_ids
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
