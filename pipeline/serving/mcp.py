"""The tool by the Model Context Protocol: over HTTP on the server, or over standard input and output.

python -m pipeline mcp        # for a client that starts it
"""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import SkipValidation
from starlette.applications import Starlette

from pipeline.serving import answer
from pipeline.serving.answer import Answer, Asked, Notes, Table
from pipeline.serving.protocol import Refusal
from pipeline.serving.tool import Answers


def server(answers: Answers) -> MCPServer[None]:
    """A server of one tool. A refusal is a result with `isError`, which the calling model reads."""
    made: MCPServer[None] = MCPServer("pintune", log_level="WARNING")

    # checked below, with messages of our own
    async def answer_financial_question(
        table: SkipValidation[Table],
        question: SkipValidation[Asked],
        notes: SkipValidation[Notes] = [],  # noqa: B006
    ) -> Answer:
        try:
            return await answers.answer(answer.checked({"table": table, "notes": notes, "question": question}))
        except Refusal as refusal:
            raise ToolError(f"{refusal.code} ({refusal.status}): {refusal.message}") from None

    hints = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
    made.add_tool(answer_financial_question, answer.NAME, description=answer.DESCRIPTION, annotations=hints)
    return made


def http_app(made: MCPServer[None], checked: bool, body: int) -> Starlette:
    """The streamable HTTP transport at /mcp; its sessions must run beside it.

    Args:
        checked: whether only this machine's names are taken as Host and Origin.
        body: bytes of a request.
    """
    security = None if checked else TransportSecuritySettings(enable_dns_rebinding_protection=False)
    return made.streamable_http_app(
        stateless_http=True,  # a call needs nothing of the one before
        json_response=True,
        max_request_body_size=body,
        transport_security=security,
    )
