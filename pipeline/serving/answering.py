"""From the engine's tokens to answers: whole ones, which are checked and once made again, and streamed ones."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import jsonschema
import referencing
import referencing.exceptions

from pipeline.serving import protocol, tool_calls
from pipeline.serving.chat import Chat, Prepared
from pipeline.serving.engine import Engine, Full, Generation, Stopping
from pipeline.serving.metrics import Metrics
from pipeline.serving.protocol import ChatRequest, Refusal
from pipeline.serving.text import Reader

_AGAIN = 0.7  # temperature of a second attempt, where the first was greedy: it would only be repeated

# the grammar keeps to patterns; Python's own matcher may take for ever on one
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": lambda *_: None})


@dataclass
class Answer:
    """An answer in the making."""

    id: str
    started: float  # by time.monotonic(), as all times here
    prompt: int  # tokens
    generation: Generation
    events: asyncio.Queue[tuple[list[int], str]]
    reader: Reader
    completion: int = 0  # tokens
    first: float = 0.0  # when the first token came; 0: not yet
    reason: str = ""  # why it has ended; "": it has not

    def close(self) -> None:
        """Give its slot back, if it still has one."""
        self.generation.cancel()

    async def texts(self) -> AsyncIterator[str]:
        """The parts of the content, as they become certain.

        Raises:
            Refusal: out of time, or the engine has failed.
        """
        while not self.reason:
            ids, why = await self.events.get()
            self.first = self.first or time.monotonic()
            self.completion += len(ids)
            if why in ("time", "error"):
                self.reason = why
                late = Refusal(504, "the answer took too long", "timeout")
                raise late if why == "time" else Refusal(500, "the model failed", "internal_error")
            if new := self.reader.add(ids):
                yield new
            self.reason = "stop" if self.reader.stopped else why
        self.close()
        if new := self.reader.finish():
            yield new


@dataclass
class Answering:
    """Makes the answers of one model."""

    model: str
    chat: Chat
    engine: Engine
    metrics: Metrics
    since: int = field(default_factory=lambda: int(time.time()))
    _usual: float = 1.0  # seconds of an answer, lately

    def begin(self, asked: ChatRequest, prepared: Prepared, started: float, again: bool = False) -> Answer:
        """An answer that the engine works on.

        Raises:
            Refusal: too many requests wait, or the server ends.
        """
        loop, events = asyncio.get_running_loop(), asyncio.Queue[tuple[list[int], str]]()

        def emit(ids: list[int], why: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(events.put_nowait, (ids, why))

        temperature = asked.temperature or 0.0
        seed = asked.seed if asked.seed is not None else secrets.randbits(62)
        generation = Generation(
            prepared.prompt,
            prepared.most,
            emit,
            started + self.chat.limits.seconds,
            (temperature or _AGAIN) if again else temperature,
            asked.top_p or 1.0,
            1 if again else seed,
            self.chat.grammars.matcher(prepared.grammar) if prepared.grammar else None,
        )
        family = self.chat.family
        marker = family.begin if family and prepared.tools and not prepared.forced else ""
        reader = Reader(self.chat.template, prepared.stops, marker)
        try:
            self.engine.submit(generation)
        except Full:
            wait = max(1, math.ceil(self._usual * (self.engine.waiting + 1) / self.chat.limits.slots))
            raise Refusal(429, f"{self.engine.waiting} requests wait already", "queue_full", str(wait)) from None
        except Stopping:
            raise Refusal(503, "the server ends", "stopping") from None
        return Answer(f"chatcmpl-{secrets.token_hex(12)}", started, len(prepared.prompt), generation, events, reader)

    async def whole(self, asked: ChatRequest, prepared: Prepared, answer: Answer) -> dict[str, Any]:
        """The whole answer, as JSON.

        Raises:
            Refusal: as `Answer.texts`, or it breaks its schema, twice.
        """
        message, problem = await self._message(prepared, answer)
        if problem:
            self.metrics.retries.inc()
            second = self.begin(asked, prepared, answer.started, again=True)
            answer.generation, answer.events, answer.reader = second.generation, second.events, second.reader
            answer.reason = ""
            before, answer.completion = answer.completion, 0
            message, problem = await self._message(prepared, answer)
            answer.completion += before
            if problem:
                raise Refusal(500, f"the answer breaks its schema, twice: {problem}", "schema_not_followed")
        self._usual += (time.monotonic() - answer.started - self._usual) / 8
        used = protocol.usage(answer.prompt, answer.completion)
        return protocol.completion(self._head(answer), message, _reason(answer, message), used)

    async def chunks(self, asked: ChatRequest, prepared: Prepared, answer: Answer) -> AsyncIterator[dict[str, Any]]:
        """The parts of a streamed answer; calls of tools come whole.

        Raises:
            Refusal: as `whole`; a streamed answer is not made again.
        """
        head = self._head(answer)
        yield protocol.chunk(head, {"role": "assistant", "content": "" if not prepared.forced else None})
        async for text in answer.texts():
            if not prepared.forced:
                yield protocol.chunk(head, {"content": text})
        message, problem = self._read(prepared, answer)
        if problem:
            raise Refusal(500, f"the answer breaks its schema: {problem}", "schema_not_followed")
        if calls := message.get("tool_calls"):
            yield protocol.chunk(head, {"tool_calls": [{"index": i, **call} for i, call in enumerate(calls)]})
        elif answer.reader.calls and message["content"]:  # what looked like a call was none
            yield protocol.chunk(head, {"content": message["content"][len(answer.reader.content) :]})
        yield protocol.chunk(head, {}, _reason(answer, message))
        self._usual += (time.monotonic() - answer.started - self._usual) / 8
        if asked.stream_options and asked.stream_options.include_usage:
            last = protocol.chunk(head, {})
            yield {**last, "choices": [], "usage": protocol.usage(answer.prompt, answer.completion)}

    def _head(self, answer: Answer) -> dict[str, Any]:
        return {"id": answer.id, "created": int(time.time()), "model": self.model}

    async def _message(self, prepared: Prepared, answer: Answer) -> tuple[dict[str, Any], str]:
        async for _ in answer.texts():
            pass
        return self._read(prepared, answer)

    def _read(self, prepared: Prepared, answer: Answer) -> tuple[dict[str, Any], str]:
        """The message of an answer that has ended, and what is wrong with it, "" for nothing."""
        text, calls, cut = answer.reader.content, answer.reader.calls, answer.reason == "length"
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        family = self.chat.family
        if prepared.forced or calls:
            assert family is not None
            found = tool_calls.parse(family.begin + text if prepared.forced else calls, family, set(prepared.tools))
            if found:
                listed = [_listed(call) for call in found]
                return {**message, "content": None if prepared.forced else text or None, "tool_calls": listed}, ""
            if prepared.forced:
                return {**message, "content": None}, "" if cut else "no call"
            return {**message, "content": f"{text} {calls.strip()}".strip()}, ""
        if prepared.schema is not None and not cut:
            return message, _broken(text, prepared.schema)
        return message, ""


def _listed(call: tool_calls.Call) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json.dumps(call.arguments, ensure_ascii=False)}
    return {"id": tool_calls.new_id(), "type": "function", "function": function}


def _reason(answer: Answer, message: dict[str, Any]) -> str:
    return "tool_calls" if message.get("tool_calls") else answer.reason


def _broken(text: str, schema: dict[str, Any]) -> str:
    """What is wrong with a text that must be JSON of a schema, "" for nothing."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return str(error)
    try:  # an empty registry: a reference to another document is an error, not fetched
        first = next(_Validator(schema, registry=referencing.Registry()).iter_errors(value), None)
    except referencing.exceptions.Unresolvable as error:
        raise Refusal(400, f"the schema refers to what it does not have: {error}"[:300], "invalid_schema") from None
    return f"{first.json_path}: {first.message[:200]}" if first else ""
