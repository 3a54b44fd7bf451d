"""The server: OpenAI's chat completions over HTTP, on one engine.

POST /v1/chat/completions   GET /v1/models   GET /health   GET /metrics
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from pipeline.serving import metrics, protocol
from pipeline.serving.answering import Answer, Answering
from pipeline.serving.chat import Prepared
from pipeline.serving.engine import Engine
from pipeline.serving.limits import Limits
from pipeline.serving.protocol import ChatRequest, Refusal

GONE = 499  # nginx's status for a client that has hung up: nobody reads it, but the metrics count it
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_BODY_SECONDS = 30  # for a request to arrive
_DROPPED, _DROP_SECONDS = 32 * 2**20, 5  # bytes that are read of a body that is too large, and for how long

T = TypeVar("T")
Beside = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Server:
    """Answers requests for one model."""

    model: str  # the name that requests give
    key: str  # that requests must have; "": none, for loopback only
    limits: Limits
    engine: Engine
    answering: Answering
    metrics: metrics.Metrics
    say: Callable[[str], None]

    def app(self, others: Sequence[Route] = (), beside: Beside = contextlib.nullcontext) -> Starlette:
        """The ASGI application, which starts and stops the engine.

        Args:
            others: further routes.
            beside: what runs while the server does.
        """

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            self.engine.start()
            async with beside():
                yield
            await asyncio.to_thread(self.engine.stop)

        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._models),
            Route("/health", self._health),
            Route("/metrics", self._metrics),
            *others,
        ]
        handlers = {Refusal: refused, HTTPException: no_such, Exception: _failed}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)  # type: ignore[arg-type]

    async def _health(self, request: Request) -> Response:
        alive = self.engine.alive
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    async def _metrics(self, request: Request) -> Response:
        return Response(self.metrics.text(), media_type=metrics.TYPE)

    async def _models(self, request: Request) -> Response:
        self.admit(request)
        model = {"id": self.model, "object": "model", "created": self.answering.since, "owned_by": "pintune"}
        if (name := request.path_params.get("name")) is None:
            return JSONResponse({"object": "list", "data": [model]})
        self._need_model(name)
        return JSONResponse(model)

    async def _chat(self, request: Request) -> Response:
        started, status = time.monotonic(), 500
        try:
            response = await self._answered(request, started)
            status = response.status_code
            return response
        except Refusal as refusal:
            status = refusal.status
            self.say(f"serve  {status} {refusal.code or refusal.message[:80]}")
            raise
        finally:
            self.metrics.requests.labels(str(status)).inc()

    async def _answered(self, request: Request, started: float) -> Response:
        self.admit(request)
        need_json(request)
        asked = protocol.read(await self.body(request))
        self._need_model(asked.model)
        prepared = await asyncio.to_thread(self.answering.chat.prepare, asked)
        answer = self.answering.begin(asked, prepared, started)
        if asked.stream:
            stream = self._stream(asked, prepared, answer)
            return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        try:
            whole = await while_connected(request, self.answering.whole(asked, prepared, answer))
            return Response(status_code=GONE) if whole is None else JSONResponse(whole)
        finally:
            answer.close()
            self.report(answer)

    async def _stream(self, asked: ChatRequest, prepared: Prepared, answer: Answer) -> AsyncIterator[str]:
        try:
            async for each in self.answering.chunks(asked, prepared, answer):
                yield f"data: {json.dumps(each, ensure_ascii=False)}\n\n"
            yield "data: [DONE]\n\n"
        except Refusal as refusal:  # too late for another status
            yield f"data: {json.dumps(refusal.body, ensure_ascii=False)}\n\n"
        finally:
            answer.close()
            self.report(answer)

    def report(self, answer: Answer) -> None:
        """Count an answer that has ended."""
        seconds = time.monotonic() - answer.started
        self.metrics.prompt_tokens.inc(answer.prompt)
        self.metrics.completion_tokens.inc(answer.completion)
        self.metrics.seconds.observe(seconds)
        if answer.first:
            self.metrics.first.observe(answer.first - answer.started)
        ended = answer.reason or "the client has gone"
        self.say(f"serve  {answer.prompt} + {answer.completion} tokens, {seconds:.2f} s, {ended}")

    def admit(self, request: Request) -> None:
        """Raise Refusal unless the request has the key, or is for this machine by name where there is none."""
        if self.key:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            same = hmac.compare_digest(given.strip().encode(), self.key.encode())
            if scheme.lower() != "bearer" or not same:
                raise Refusal(401, "no key or a wrong one: Authorization: Bearer KEY", "invalid_api_key")
        elif _named(request.headers.get("host", "")) not in _LOOPBACK:
            # a name that a web page's owner has pointed at this machine
            raise Refusal(403, "without a key, only requests to localhost or 127.0.0.1 are answered", "wrong_host")

    def _need_model(self, name: str) -> None:
        if name != self.model:
            raise Refusal(
                404, f"no model of the name {name[:80]!r}; this is {self.model!r}", "model_not_found", "model"
            )

    async def body(self, request: Request) -> bytes:
        """The body.

        Raises:
            Refusal: it is too large or arrives too slowly.
        """
        body, size = bytearray(), 0
        try:
            async with asyncio.timeout(_BODY_SECONDS) as time_left:
                async for part in request.stream():
                    size += len(part)
                    if size <= self.limits.body:
                        body += part
                    elif size > self.limits.body + _DROPPED:
                        break
                    elif size - len(part) <= self.limits.body:
                        # a client whose data is left unread may see a broken connection instead of the reason
                        time_left.reschedule(asyncio.get_running_loop().time() + _DROP_SECONDS)
        except TimeoutError:
            if size <= self.limits.body:
                raise Refusal(408, f"the body did not arrive in {_BODY_SECONDS} s", "timeout") from None
        if size > self.limits.body:
            raise Refusal(413, f"the body is larger than {self.limits.body} bytes", "request_too_large")
        return bytes(body)


def need_json(request: Request) -> None:
    """Raise Refusal unless the body is JSON by its type."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        # a web page cannot send this type to another address without asking it first
        raise Refusal(415, "the Content-Type must be application/json", "unsupported_media_type")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of work, or None if the client hangs up before: the work is cancelled then."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def refused(request: Request, refusal: Refusal) -> Response:
    """The response of a refusal."""
    headers = {401: {"WWW-Authenticate": "Bearer"}, 429: {"Retry-After": str(refusal.param)}}.get(refusal.status, {})
    # what was not read of a body would be taken for the next request
    closing = {"Connection": "close"} if refusal.status in (401, 403, 408, 413, 415) else {}
    body = refusal.body
    if refusal.status == 429:
        body["error"]["param"] = None
    return JSONResponse(body, refusal.status, {**headers, **closing})


def no_such(request: Request, error: HTTPException) -> Response:
    """The response where there is no such path or method."""
    refusal = Refusal(error.status_code, f"{request.method} {request.url.path}: {error.detail}")
    return JSONResponse(refusal.body, error.status_code, error.headers)


def _failed(request: Request, error: Exception) -> Response:
    refusal = Refusal(500, f"the server failed: {type(error).__name__}", "internal_error")
    return JSONResponse(refusal.body, 500)


def _named(host: str) -> str:
    """The name in a Host header, without its port; "" for what is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
