"""A chat request as the model reads it: token ids of the prompt, and the grammar and the stops of the answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jinja2
import jsonschema

from pipeline.errors import Stop, one_line
from pipeline.models.chat_template import ChatTemplate
from pipeline.serving import tool_calls, turns
from pipeline.serving.constrain import JSON_OBJECT, Grammars, Refused
from pipeline.serving.limits import Limits
from pipeline.serving.protocol import ChatRequest, NamedTool, Refusal
from pipeline.serving.tool_calls import Family


@dataclass(frozen=True)
class Prepared:
    """What a request asks the engine for."""

    prompt: list[int]
    most: int  # new tokens
    grammar: str  # "": none
    schema: dict[str, Any] | None  # that the finished text is checked against
    stops: list[str]
    tools: frozenset[str]  # names of those that may be called
    forced: bool  # whether the answer is a call


@dataclass(frozen=True)
class Chat:
    """A model's chat template with the grammars of its vocabulary."""

    template: ChatTemplate
    grammars: Grammars
    family: Family | None
    limits: Limits

    def prepare(self, request: ChatRequest) -> Prepared:
        """What a request asks for.

        Raises:
            Refusal: it asks for what this model or this server cannot do, or for too much.
        """
        tools, forced = self._tools(request)
        grammar, schema = self._grammar(request, forced)
        prompt = self._prompt(request, tools)
        if forced:
            assert self.family is not None
            prompt = prompt + self.template.ids([self.family.opening])[0]
        stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
        names = frozenset(each["function"]["name"] for each in tools)
        return Prepared(prompt, self._most(request, len(prompt)), grammar, schema, stops, names, bool(forced))

    def _most(self, request: ChatRequest, prompt: int) -> int:
        """How many tokens the answer may have.

        Raises:
            Refusal: more are asked for than there may be.
        """
        room = self.limits.context - prompt
        if room < 1:
            message = f"the prompt has {prompt} tokens; prompt and answer may have {self.limits.context} together"
            raise Refusal(400, message, "context_length_exceeded", "messages")
        asked = request.max_completion_tokens or request.max_tokens
        if asked and asked > self.limits.tokens:
            message = f"max_tokens: {asked}; an answer may have {self.limits.tokens}"
            raise Refusal(400, message, "invalid_value", "max_tokens")
        return min(asked or self.limits.tokens, room)

    def _tools(self, request: ChatRequest) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
        """The tools that the model is shown, and of those that it must call one of, the schemas by name."""
        choice = request.tool_choice or "auto"
        if not request.tools:
            if choice not in ("none", "auto"):
                raise Refusal(400, "tool_choice demands a call, and there are no tools", "invalid_value", "tool_choice")
            return [], {}
        if choice == "none":
            return [], {}
        schemas = {each.function.name: each.function.parameters for each in request.tools}
        if isinstance(choice, NamedTool) and choice.function.name not in schemas:
            raise Refusal(400, f"no tool of the name {choice.function.name}", "invalid_value", "tool_choice")
        if self.family is None:
            raise Refusal(400, "this model's chat template has a form for tools that is not known here", None, "tools")
        shown = [each.model_dump(exclude_none=True, exclude={"function": {"strict"}}) for each in request.tools]
        if self.template.control and self.template.control.search(json.dumps(shown, ensure_ascii=False)):
            raise Refusal(400, "tools: contain a control token of the model", "invalid_value", "tools")
        if isinstance(choice, NamedTool):
            return shown, {choice.function.name: schemas[choice.function.name]}
        return shown, schemas if choice == "required" else {}

    def _grammar(self, request: ChatRequest, forced: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """The grammar of the answer, "" for none, and the schema of an answer in JSON."""
        asked = request.response_format
        schema = None
        if asked and asked.type == "json_object":
            schema = JSON_OBJECT
        elif asked and asked.type == "json_schema":
            if asked.json_schema is None:
                raise Refusal(400, "response_format: json_schema is missing", "invalid_value", "response_format")
            schema = asked.json_schema.schema_
        where = "tools" if forced else "response_format"
        if schema is not None and request.tools and request.tool_choice != "none":
            raise Refusal(400, "response_format in JSON together with tools; leave one out", None, "response_format")
        try:
            if forced:
                assert self.family is not None
                return self.grammars.of_calls(forced, self.family.as_list), None
            if schema is None:
                return "", None
            jsonschema.Draft202012Validator.check_schema(schema)
            return self.grammars.of_schema(schema), schema
        except (Refused, jsonschema.SchemaError, RecursionError) as error:
            found = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise Refusal(400, f"{where}: {found}", "invalid_schema", where) from None

    def _prompt(self, request: ChatRequest, tools: list[dict[str, Any]]) -> list[int]:
        """Token ids up to where the model begins to write."""
        row = turns.row(request)
        if any(self._has_control(each.get("tool_calls")) for each in row["messages"]):
            raise Refusal(400, "messages: a tool call contains a control token of the model", None, "messages")
        try:
            if tools and self.family == tool_calls.PHI4:
                return self._with_tools_in_system(row, tools)
            return self.template.prompts([{**row, "tools": tools}])[0]
        except (jinja2.TemplateError, TypeError, ValueError, Stop) as error:
            found = error.found if isinstance(error, Stop) else one_line(error)
            raise Refusal(400, f"messages: the model's chat template refuses them: {found}", None, "messages") from None

    def _has_control(self, value: Any) -> bool:
        control = self.template.control
        return control is not None and control.search(json.dumps(value, ensure_ascii=False)) is not None

    def _with_tools_in_system(self, row: dict[str, Any], tools: list[dict[str, Any]]) -> list[int]:
        """A prompt of Phi-4, whose template reads the tools from the system message."""
        if self.template.has_control_tokens(row):
            raise Refusal(400, "messages: a control token of the model, beside tools", "invalid_value", "messages")
        functions = json.dumps([each["function"] for each in tools], ensure_ascii=False)
        messages = [{"role": "system", "content": row["system"], "tools": functions}, *row["messages"]]
        text = self.template.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return self.template.ids([str(text)])[0]
