"""The tool on the server: as plain JSON with an OpenAPI document, and by the Model Context Protocol.

POST /v1/answer_financial_question   GET /openapi.json   /mcp
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving import answer, http, mcp
from pipeline.serving.answer import Answer, Question
from pipeline.serving.http import Beside, Server
from pipeline.serving.protocol import Refusal
from pipeline.serving.tool import Answers

PATH = f"/v1/{answer.NAME}"


class Error(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    """An answer that there is not."""

    error: Error


_FAILURES = {
    400: "The body cannot be read",
    401: "No key, or a wrong one",
    403: "Without a key, another Host than this machine",
    405: "Another method than POST",
    408: "The body did not arrive",
    413: "The body, the table, a text, or all together are too large (too_large, context_length_exceeded)",
    415: "Another type than application/json",
    422: "Arguments that are not valid (invalid_value), or a model's text without an answer (no_answer)",
    429: "Too many requests wait",
    500: "The model failed",
    503: "The server ends",
    504: "The answer took too long",
}


@dataclass(frozen=True)
class Guarded:
    """An application behind the server's key, Host check and limit of a body."""

    app: ASGIApp
    server: Server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        request = Request(scope, receive)

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.server.metrics.requests.labels(str(message["status"])).inc()
            await send(message)

        try:
            self.server.admit(request)
            if request.method == "POST":
                http.need_json(request)
            body = await self.server.body(request)
        except Refusal as refusal:
            await http.refused(request, refusal)(scope, receive, counted)
            return
        whole: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, counted)


def routes(server: Server, answers: Answers, with_mcp: bool) -> tuple[list[Route], Beside]:
    """The routes of the tool, and what must run beside them."""
    plain = Guarded(json_app(answers), server)
    made = [Route(PATH, plain), Route("/openapi.json", plain)]
    if not with_mcp:
        return made, contextlib.nullcontext
    protocol = mcp.server(answers)
    app = mcp.http_app(protocol, checked=not server.key, body=server.limits.body)
    return [*made, Route("/mcp", Guarded(app, server))], protocol.session_manager.run


def json_app(answers: Answers) -> FastAPI:
    """The plain JSON endpoint."""
    # no pages of documentation: they load their scripts from elsewhere
    app = FastAPI(title="Pintune", version="1", docs_url=None, redoc_url=None)
    responses: dict[int | str, dict[str, Any]] = {
        status: {"model": Failure, "description": text} for status, text in _FAILURES.items()
    }

    @app.post(
        PATH, operation_id=answer.NAME, description=answer.DESCRIPTION, responses=responses, response_model=Answer
    )
    async def answer_financial_question(asked: Question, request: Request) -> Any:
        found = await http.while_connected(request, answers.answer(asked))
        return Response(status_code=http.GONE) if found is None else found

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return http.refused(request, refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return http.refused(request, answer.refused(list(error.errors())))

    @app.exception_handler(HTTPException)
    async def no_such(request: Request, error: HTTPException) -> Response:
        return http.no_such(request, error)

    return app
