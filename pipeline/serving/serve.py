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
from pipeline.serving import limits as limiting
from pipeline.serving import tool_calls
from pipeline.serving.answering import Answering
from pipeline.serving.chat import Chat
from pipeline.serving.constrain import Grammars
from pipeline.serving.engine import Engine
from pipeline.serving.http import Server
from pipeline.serving.metrics import Metrics

KEY = "PINTUNE_API_KEY"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(folder: Path, name: str, precision: str, host: str, port: int, say: Callable[[str], None]) -> None:
    """Answer requests until SIGTERM or SIGINT; those in progress are finished first.

    Args:
        folder: a Transformers folder.
        name: of the model, which requests give.
        precision: the recipe's.

    Raises:
        Stop: an address without a key, a port that is taken, a model that cannot be served, or the engine has failed.
    """
    # a container's host publishes the port, and asks for a key
    key = os.environ.pop(KEY, "")
    if host not in _LOOPBACK and not key and os.environ.get("PINTUNE_RUNNER") != "docker":
        raise Stop(f"a key for the address {host}", f"no {KEY}", "--host", f"export {KEY}=…, or leave out --host")
    limits = limiting.of()
    listener = _bound(host, port)
    template = chat_template.load(folder)
    chosen, why = load.precision(precision)
    model = load.load_base(folder, load.DTYPES[chosen])
    load.need_vocabulary(model, template.tokenizer)
    limits = limiting.fitting(limits, model)
    grammars = Grammars(template, model.get_output_embeddings().weight.shape[0])
    chat = Chat(template, grammars, tool_calls.family(template), limits)
    engine = Engine(model, template.ends, limits.slots, limits.context, limits.queue)
    metrics = Metrics(engine)
    answering = Answering(name, chat, engine, metrics)
    app = Server(name, key, limits, engine, answering, metrics, say).app()
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
    say(f"serve  {folder}: {chosen} ({why}), {limits.slots} slots of {limits.context} tokens")
    say(f"serve  address {host}, port {listener.getsockname()[1]}")
    server.run(sockets=[listener])
    if engine.failure:
        raise Stop("a model that answers", one_line(engine.failure), str(folder), "invoke serve, and report it")


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
