"""OpenAI's chat completions API: what a request may hold, and the forms of answers, chunks and errors.

A field that the server cannot follow is refused, not ignored; those that change no answer, such as `user`, are taken.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator


class Refusal(Exception):
    """A request that is not answered, as OpenAI's API reports it."""

    def __init__(self, status: int, message: str, code: str | None = None, param: str | None = None) -> None:
        self.status, self.message, self.code, self.param = status, message, code, param
        super().__init__(message)

    @property
    def body(self) -> dict[str, Any]:
        """The error's JSON."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Part(_Strict):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


class CalledFunction(BaseModel):
    """A call in an earlier turn."""

    name: str
    arguments: str  # JSON


class ToolCall(BaseModel):
    """A call in an earlier turn, with the ID that its result names."""

    id: str = ""
    type: Literal["function"] = "function"
    function: CalledFunction


class Message(BaseModel):
    """A turn. What answers of other servers have besides, such as `refusal`, is left out."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Part] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    @property
    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class Function(_Strict):
    """A function that the model may call."""

    name: str = Field(pattern=r"^[a-zA-Z0-9_.-]{1,64}$")
    description: str = ""
    parameters: dict[str, Any] = {"type": "object", "properties": {}}
    strict: bool | None = None


class Tool(_Strict):
    """A tool."""

    type: Literal["function"]
    function: Function


class NamedFunction(_Strict):
    """The function that must be called."""

    name: str


class NamedTool(_Strict):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


class Schema(BaseModel):
    """The schema of a structured answer."""

    name: str = ""
    description: str | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Strict):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: Schema | None = None


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool = False


class ChatRequest(_Strict):
    """The body of POST /v1/chat/completions."""

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    # only their defaults
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    top_logprobs: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    presence_penalty: Literal[0] | None = None
    logit_bias: dict[str, float] | None = Field(None, max_length=0)
    # for accounting elsewhere
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @field_validator("frequency_penalty", "presence_penalty", mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        return 0 if value == 0 and not isinstance(value, bool) else value  # 0.0 is not of Literal[0]

    @field_validator("stop")
    @classmethod
    def _few(cls, value: str | list[str] | None) -> str | list[str] | None:
        texts = [value] if isinstance(value, str) else value or []
        if len(texts) > 4 or not all(0 < len(text) <= 256 for text in texts):
            raise ValueError("at most 4 texts of 1 to 256 characters")
        return value


def read(body: bytes) -> ChatRequest:
    """The request of a body.

    Raises:
        Refusal: it is not JSON, or has a field that is missing, unknown or of a wrong value.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
    except RecursionError:
        raise Refusal(400, "the body is nested too deeply", "invalid_json") from None
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "json_invalid":
        raise Refusal(400, f"the body is not JSON: {first['msg']}", "invalid_json")
    unknown = first["type"] == "extra_forbidden"
    message = f"{where}: not a field that this server follows" if unknown else f"{where}: {first['msg']}"
    raise Refusal(400, message, "unknown_parameter" if unknown else "invalid_value", where or None)


def usage(prompt: int, completion: int) -> dict[str, int]:
    """The tokens of an answer."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def completion(head: dict[str, Any], message: dict[str, Any], reason: str, used: dict[str, int]) -> dict[str, Any]:
    """A whole answer; `head` has id, created and model."""
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": used}


def chunk(head: dict[str, Any], delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    """A part of a streamed answer."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {**head, "object": "chat.completion.chunk", "choices": [choice]}
