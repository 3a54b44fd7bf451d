"""The service `serve`: an OpenAI-compatible API of a model, by the pipeline's own server, or on a GPU by vLLM."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import secrets
from pathlib import Path, PurePosixPath

from images import matrix
from images.errors import Stop
from images.running import container, environment, step_call, user_files
from images.running.choices import Choices
from images.running.user_files import UserFile
from images.services.service import Service

IMAGE, KEY, INSIDE = "serve", "PINTUNE_API_KEY", 8000
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
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


def key(host: str) -> tuple[str, bool]:
    """The key that requests need, "" for none, and whether it is a new one: PINTUNE_API_KEY; else one for an address
    that other machines reach."""
    if given := os.environ.get(KEY, ""):
        return given, False
    return ("", False) if host in _LOOPBACK else (f"pintune-{secrets.token_urlsafe(24)}", True)


def service(
    choices: Choices,
    runner: str,
    served: Model,
    host: str,
    port: int,
    secret: str,
    scratch: Path,
    with_mcp: bool = False,
) -> Service:
    """The service that serves a model.

    Args:
        runner: docker or venv.
        port: a free one of the address `host`.
        secret: the key that requests need, "" for none.
        with_mcp: whether it has /mcp.

    Raises:
        Stop: /mcp, or another address than loopback, on a GPU.
    """
    vllm = bool(matrix.load().flavor(choices.flavor).cuda)
    if vllm and host not in _LOOPBACK:  # its key guards /v1 alone, and others of its paths answer too
        found, todo = f"the address {host}", "leave out --host, and put a proxy in front that asks for a key"
        raise Stop("vLLM on loopback", found, "--host", todo)
    if with_mcp:
        need_own_server(choices, "--mcp")
    in_container = runner == "docker"
    at = ("0.0.0.0", INSIDE) if in_container else (host, port)
    flags: dict[str, str | int | bool] = {"--host": at[0], "--port": at[1], "--mcp": with_mcp}
    if not served.newest:
        flags["--model"] = served.folder.name
    call = step_call.make(choices, IMAGE, flags)
    own = _limits()
    of = f"{served.folder.name}, {choices.flavor}, {host}" + (", with /mcp" if with_mcp else "")
    of += f", settings {_settings(served, own)}"
    own |= {"VLLM_API_KEY" if vllm else KEY: secret} if secret else {}
    made = Service(IMAGE, of, host, port, "/v1", "/health", 900 if vllm else 300)
    if not in_container:
        command, variables = environment.for_process(choices, runner, call, IMAGE)
        if vllm:
            program = str(Path(command[0]).with_name("vllm"))
            command = vllm_argv(served, str(served.folder.path), *at, program)
        return dataclasses.replace(made, command=tuple(command), environment={**variables, **own})
    asked = environment.for_container(choices, call, scratch, capture=True, image_name=IMAGE)
    inside = PurePosixPath(user_files.WORKDIR) / served.folder.name
    command = vllm_argv(served, str(inside), *at) if vllm else list(asked.command)
    asked = dataclasses.replace(
        asked,
        command=tuple(command),
        mounts=(*asked.mounts, *user_files.mounts([served.folder])),
        environment={**asked.environment, **own, "PINTUNE_PUBLISHED": host},
        publish=("127.0.0.1" if host == "localhost" else host, port, INSIDE),
    )
    return dataclasses.replace(made, container=asked)


def _limits() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}


def _settings(served: Model, limits: dict[str, str]) -> str:
    """A short hash of what a running service does not take up: the model's files, the key that is set, the limits."""
    sums = served.folder.path / "SHA256SUMS"
    parts = [
        sums.read_text(encoding="utf-8") if sums.is_file() else "",
        os.environ.get(KEY, ""),
        sorted(limits.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:8]


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
    words = container.argv(dataclasses.replace(asked, mounts=mounts, environment={**asked.environment, **own}))
    return [*words[:2], "--interactive", *words[2:]], dict(os.environ)


def vllm_argv(served: Model, folder: str, host: str, port: int, program: str = "vllm") -> list[str]:
    """The command that serves a model by vLLM, greedy unless a request says otherwise, as it was evaluated."""
    config = _json(served.folder.path / "config.json")
    longest = config.get("max_position_embeddings")
    words = [program, "serve", folder, "--served-model-name", served.name]
    words += ["--host", host, "--port", str(port), "--load-format", "safetensors"]
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
