"""The service `serve`: an OpenAI-compatible API of a model, by the pipeline's own server, or on a GPU by vLLM."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path

from images import matrix
from images.errors import Stop
from images.running import container, environment, step_call, user_files
from images.running.choices import Choices
from images.running.user_files import UserFile
from images.services import program as programs
from images.services.program import LOOPBACK, Program, Token
from images.services.service import Service

IMAGE, KEY = "serve", "PINTUNE_API_KEY"
_SETTINGS = "PINTUNE_SERVE_"  # the server's limits (pipeline/serving/limits.py)
_CONTEXT, _SLOTS, _TOKENS = 4096, 16, 1024  # its defaults, for vLLM


@dataclasses.dataclass(frozen=True)
class Model:
    """A model to serve."""

    folder: UserFile
    name: str  # that requests give
    newest: bool  # the newest merged model of the recipe


def model(choices: Choices, folder: str) -> Model:
    """The model in a folder, or without one the recipe's newest merged model.

    Raises:
        Stop: there is none.
    """
    recipe = Path(choices.recipe).stem if choices.recipe.endswith(".toml") else choices.recipe
    if folder:
        if not (Path(folder) / "config.json").is_file():
            raise Stop("a Transformers folder", "no config.json", folder, "invoke serve, without --model, or another")
        return Model(user_files.of(Path(folder)), Path(folder).resolve().name, False)
    runs = matrix.ROOT / "runs" / recipe
    if merged := sorted(runs.glob("[0-9]*/merged/model*.safetensors")):
        return Model(user_files.of(merged[-1].parent), recipe, True)
    if choices.dry:
        return Model(user_files.of(runs / "latest" / "merged"), recipe, True)
    raise Stop(f"a merged model of {recipe}", "none", str(runs), "invoke export")


def service(
    choices: Choices,
    runner: str,
    served: Model,
    host: str,
    port: int,
    secret: Token,
    scratch: Path,
    with_mcp: bool = False,
) -> Service:
    """The service that serves a model.

    Args:
        runner: docker or venv.
        port: a free one of the address `host`.
        secret: the key that requests need.
        with_mcp: whether it has /mcp.

    Raises:
        Stop: /mcp, or another address than loopback, on a GPU.
    """
    vllm = bool(matrix.load().flavor(choices.flavor).cuda)
    if vllm and host not in LOOPBACK:  # its key guards /v1 alone, and others of its paths answer too
        found, todo = f"the address {host}", "leave out --host, and put a proxy in front that asks for a key"
        raise Stop("vLLM on loopback", found, "--host", todo)
    if with_mcp:
        need_own_server(choices, "--mcp")
    flags: dict[str, str | int | bool] = {"--host": "{host}", "--port": "{port}", "--mcp": with_mcp}
    if not served.newest:
        flags["--model"] = served.folder.name
    call = step_call.make(choices, IMAGE, flags)
    limits = _limits()
    program = Program(
        IMAGE,
        IMAGE,
        tuple(vllm_argv(served, served.folder.name) if vllm else step_call.argv(call)),
        port=8000,
        health="/health",
        patience=900 if vllm else 300,
        path="/v1",
        token="VLLM_API_KEY" if vllm else KEY,
        mounts=tuple(user_files.mounts([*call.user_files, served.folder])),
        environment={**limits, **({"PINTUNE_PUBLISHED": host} if runner == "docker" else {})},
        gpu=True,
    )
    of = identity(served) + (", with /mcp" if with_mcp else "")
    return programs.service(choices, runner, program, host, port, secret, scratch, of)


def _limits() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}


def identity(served: Model) -> str:
    """A model and a short hash of its files, by their hashes: a new export into the same folder is another model."""
    sums = served.folder.path / "SHA256SUMS"
    weights = hashlib.sha256(sums.read_bytes()).hexdigest()[:8] if sums.is_file() else "unknown"
    return f"{served.folder.name}, weights {weights}"


def is_served(of: str, choices: Choices, served: Model) -> bool:
    """Whether a service, by what it says that it is of, serves a model on the flavor."""
    return of.startswith(f"{identity(served)}, ") and choices.flavor in of.split(", ")


def need_own_server(choices: Choices, what: str) -> None:
    """Raise Stop if the flavor has vLLM, which knows neither the tool nor its protocol."""
    if matrix.load().flavor(choices.flavor).cuda:
        todo = "--flavor cpu"
        raise Stop("the flavor cpu, whose server has the tool", choices.flavor, what, todo)


def mcp(choices: Choices, runner: str, served: Model, scratch: Path) -> tuple[list[str], dict[str, str]]:
    """The command that answers calls of the tool over standard input and output, and its environment.

    Raises:
        Stop: on a GPU.
    """
    need_own_server(choices, "invoke mcp")
    call = step_call.make(choices, "mcp", {} if served.newest else {"--model": served.folder.name})
    own = _limits()
    if runner != "docker":
        command, variables = environment.for_process(choices, runner, call, IMAGE)
        return command, {**variables, **own}
    asked = environment.for_container(choices, call, scratch, capture=True, image_name=IMAGE)
    mounts = (*asked.mounts, *user_files.mounts([served.folder]))
    environment_ = {**asked.environment, **own}
    asked = dataclasses.replace(asked, mounts=mounts, environment=environment_, interactive=True)
    return container.argv(asked), dict(os.environ)


def vllm_argv(served: Model, folder: str) -> list[str]:
    """The command that serves a model by vLLM, greedy unless a request says otherwise, as it was evaluated."""
    config = _json(served.folder.path / "config.json")
    longest = config.get("max_position_embeddings")
    words = ["vllm", "serve", folder, "--served-model-name", served.name]
    words += ["--host", "{host}", "--port", "{port}", "--load-format", "safetensors"]
    words += ["--dtype", "bfloat16" if config.get("dtype") == "bfloat16" else "float16", "--allowed-origins", "[]"]
    words += ["--max-model-len", str(min(_CONTEXT, longest) if isinstance(longest, int) else _CONTEXT)]
    words += ["--max-num-seqs", str(_SLOTS)]
    defaults = {"temperature": 0.0, "max_new_tokens": _TOKENS}
    words += ["--override-generation-config", json.dumps(defaults)]
    words += ["--structured-outputs-config.backend", "guidance"]
    if parser := tool_parser(_chat_template(served.folder.path)):
        words += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    return words


def tool_parser(template: str) -> str:
    """vLLM's parser of the calls that a chat template asks for, "" for none (as pipeline/serving/tool_calls.py)."""
    if "[TOOL_CALLS]" in template:
        return "mistral"
    if "<|tool|>" in template or "<|tool_call|>" in template:
        return "phi4_mini_json"
    if "<tool_call>" in template:
        return "qwen3_coder" if "<function=" in template else "hermes"
    return "" if re.search(r"\btools\b", template) else "hermes"


def _chat_template(folder: Path) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    found = _json(folder / "tokenizer_config.json").get("chat_template", "")
    return found if isinstance(found, str) else json.dumps(found)


def _json(file: Path) -> dict[str, object]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
