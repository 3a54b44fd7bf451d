"""Grammars that a generation keeps to: each step allows only the tokens with which the text can still become valid.

llguidance computes the masks. It refuses a schema that it cannot read; what it can read but not enforce, such as
uniqueItems, is left to the check of the finished text (pipeline/serving/answering.py).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher, LLTokenizer

from pipeline.models.chat_template import ChatTemplate

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions

_OPTIONS: JsonCompileOptions = {
    "whitespace_flexible": False,  # a small model may write spaces until it is cut off
    "lenient": True,
    "coerce_one_of": True,
}
_NAMED = ("properties", "$defs", "definitions", "dependentSchemas")  # their keys are names
_VALUES = ("const", "enum", "default", "examples")  # not schemas
JSON_OBJECT: dict[str, Any] = {"type": "object"}


class Refused(Exception):
    """A schema that no grammar can be made of; the message says why."""


class Grammars:
    """Makes the grammars of a model's vocabulary."""

    def __init__(self, template: ChatTemplate, vocabulary: int) -> None:
        """Args:
        vocabulary: number of the model's logits.
        """
        ends = list(template.ends)
        self._tokenizer: LLTokenizer = llguidance.hf.from_tokenizer(template.tokenizer, vocabulary, ends)

    def of_schema(self, schema: dict[str, Any]) -> str:
        """The grammar of a JSON Schema.

        Raises:
            Refused: it is not valid, or has a remote reference, a pattern with look-around or patternProperties.
        """
        if _has_patterns(schema):  # Python's matcher, which checks the finished text, may take for ever on one
            raise Refused("patternProperties are not supported; name the properties")
        return self._checked(LLMatcher.grammar_from_json_schema(schema, overrides=_OPTIONS))

    def of_calls(self, tools: dict[str, dict[str, Any]], as_list: bool) -> str:
        """The grammar of one tool call, {"name": ..., "arguments": ...}, with `as_list` in a list.

        Args:
            tools: schemas of the arguments, by the tools' names.

        Raises:
            Refused: as `of_schema`, and names the tool.
        """
        for name, schema in tools.items():
            try:
                self.of_schema(schema)
            except Refused as refused:
                raise Refused(f"tool {name}: {refused}") from None
        rules = []
        for number, (name, schema) in enumerate(tools.items()):
            head = f'{{"name": {json.dumps(name)}, "arguments": '
            body = json.dumps({**schema, "x-guidance": _OPTIONS})
            rules += [f'c{number}: {json.dumps(head)} j{number} "}}"', f"j{number}: %json {body}"]
        one = " | ".join(f"c{number}" for number in range(len(tools)))
        start = f'start: "[" ({one}) "]"' if as_list else f"start: {one}"
        return self._checked(LLMatcher.grammar_from_lark("\n".join([start, *rules])))

    def matcher(self, grammar: str) -> Matcher:
        """A matcher at the start of a grammar."""
        return Matcher(LLMatcher(self._tokenizer, grammar, log_level=0))

    def _checked(self, grammar: str) -> str:
        wrong, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._tokenizer)
        if wrong:
            raise Refused(" ".join(messages[0].split())[:300])
        return grammar


class Matcher:
    """Where a generation is in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def restrict(self, logits: torch.Tensor) -> None:
        """Set the logits of all tokens that must not come next to minus infinity, in place.

        Args:
            logits: [vocabulary].
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: len(logits)]).to(logits.device)
        logits.masked_fill_(allowed == 0, float("-inf"))

    def accept(self, token: int) -> None:
        """Move on by a token.

        Raises:
            RuntimeError: the grammar does not allow it, or has become too complex.
        """
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"the grammar refuses a token: {self._matcher.get_error()}")

    @property
    def complete(self) -> bool:
        """Whether the text is complete, and nothing can follow."""
        return bool(self._matcher.is_stopped())


def _has_patterns(schema: Any) -> bool:
    """Whether a schema has patternProperties anywhere; a property may have that name."""
    if isinstance(schema, list):
        return any(map(_has_patterns, schema))
    if not isinstance(schema, dict):
        return False
    named = [each for key in _NAMED if isinstance(schema.get(key), dict) for each in schema[key].values()]
    others = [value for key, value in schema.items() if key not in (*_NAMED, *_VALUES)]
    return "patternProperties" in schema or any(map(_has_patterns, [*named, *others]))
