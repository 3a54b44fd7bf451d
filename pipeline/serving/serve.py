"""Serve a merged model: OpenAI's chat completions, from the weights, precision, template and stop tokens that evaluate
uses.

python -m pipeline serve --port 8000
python -m pipeline serve --model models/mine
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import uvicorn

from pipeline.errors import Stop, one_line
from pipeline.models import chat_template, load
from pipeline.recipe import Recipe
from pipeline.serving import limits as limiting
from pipeline.serving import mcp, mount, tool_calls
from pipeline.serving.answer import Tool
from pipeline.serving.answering import Answering
from pipeline.serving.chat import Chat
from pipeline.serving.constrain import Grammars
from pipeline.serving.engine import Engine
from pipeline.serving.http import Server
from pipeline.serving.metrics import Metrics
from pipeline.serving.tool import Answers

KEY = "PINTUNE_API_KEY"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    folder: Path,
    name: str,
    recipe: Recipe,
    tokens: int,
    host: str,
    port: int,
    with_mcp: bool,
    say: Callable[[str], None],
) -> None:
    """Answer requests until SIGTERM or SIGINT; those in progress are finished first.

    Args:
        folder: a Transformers folder.
        name: of the model, which requests give.
        recipe: its own, by which it is asked.
        tokens: of an answer to the tool.
        with_mcp: whether the tool is offered by the Model Context Protocol too.

    Raises:
        Stop: an address without a key, a port that is taken, a model that cannot be served, or the engine has failed.
    """
    key = os.environ.pop(KEY, "")
    reached = os.environ.get("PINTUNE_PUBLISHED", host)  # a container listens on all addresses of its own
    if reached not in _LOOPBACK and not key:
        raise Stop(f"a key for the address {reached}", f"no {KEY}", "--host", f"export {KEY}=…, or leave out --host")
    listener = _bound(host, port)
    answering = loaded(folder, name, recipe, say)
    engine, limits = answering.engine, answering.chat.limits
    web = Server(name, key, limits, engine, answering, answering.metrics, say)
    answers = Answers(Tool(recipe, answering.chat.template, tokens), answering, web.report)
    app = web.app(*mount.routes(web, answers, with_mcp))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,  # the server has lines of its own
        server_header=False,
        timeout_graceful_shutdown=limits.drain,
    )
    server = uvicorn.Server(config)
    engine.on_failure = lambda: server.handle_exit(signal.SIGTERM, None)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them again once it has ended
        signal.signal(number, lambda *_: None)
    say(f"serve  address {host}, port {listener.getsockname()[1]}")
    server.run(sockets=[listener])
    if engine.failure:
        raise Stop("a model that answers", one_line(engine.failure), str(folder), "invoke serve, and report it")


def stdio(folder: Path, name: str, recipe: Recipe, tokens: int, say: Callable[[str], None]) -> None:
    """Answer calls of the tool by the Model Context Protocol over standard input and output, until the input ends.

    Raises:
        Stop: as `serve`.
    """
    answering = loaded(folder, name, recipe, say)
    tool = Tool(recipe, answering.chat.template, tokens)
    answering.engine.start()
    try:
        mcp.server(Answers(tool, answering, lambda begun: None)).run("stdio")
    finally:
        answering.engine.stop()


def loaded(folder: Path, name: str, recipe: Recipe, say: Callable[[str], None]) -> Answering:
    """A model with its engine, which has not started.

    Raises:
        Stop: the model cannot be served.
    """
    limits = limiting.of()
    template = chat_template.load(folder)
    chosen, why = load.precision(recipe.training.precision)
    model = load.load_base(folder, load.DTYPES[chosen])
    load.need_vocabulary(model, template.tokenizer)
    limits = limiting.fitting(limits, model)
    grammars = Grammars(template, model.get_output_embeddings().weight.shape[0])
    chat = Chat(template, grammars, tool_calls.family(template), limits)
    engine = Engine(model, template.ends, limits.slots, limits.context, limits.queue)
    say(f"serve  {folder}: {chosen} ({why}), {limits.slots} slots of {limits.context} tokens")
    return Answering(name, chat, engine, Metrics(engine))


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound before the model is loaded, and does not listen yet.

    Raises:
        Stop: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise Stop(f"the address {host} with port {port}", one_line(error), "--host and --port", "--port 0") from None
    return made
