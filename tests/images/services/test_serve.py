"""The service `serve`: its model, its key, and whole command lines."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build
from images.errors import Stop
from images.running import container
from images.running.choices import Choices
from images.services import containers, program, serve
from images.services.program import Token

CHOICES = Choices("quickstart", "cpu", "docker", dry=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with two merged models."""
    for name in ("20260101-000000-a", "20260102-000000-b"):
        merged = tmp_path / "runs" / "quickstart" / name / "merged"
        merged.mkdir(parents=True)
        (merged / "model.safetensors").touch()
        (merged / "config.json").write_text(json.dumps({"max_position_embeddings": 2048}))
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.setattr(build, "source_hash", lambda image, flavor: "0")
    for name in ("PINTUNE_API_KEY", "PINTUNE_PIDS", "CUDA_VISIBLE_DEVICES", "PINTUNE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_the_newest_merged_model_is_served(checkout: Path) -> None:
    found = serve.model(CHOICES, "")
    assert (found.folder.name, found.name) == ("runs/quickstart/20260102-000000-b/merged", "quickstart")
    with pytest.raises(Stop, match="a merged model of other"):
        serve.model(dataclasses.replace(CHOICES, recipe="other", dry=False), "")
    with pytest.raises(Stop, match="no config.json"):
        serve.model(CHOICES, str(checkout))
    assert serve.model(CHOICES, str(checkout / found.folder.name)).name == "merged"


def _service(host: str, secret: str, flavor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of the `docker run` command."""
    monkeypatch.setattr(matrix, "lock_file", lambda image, flavor: matrix.FILE)
    monkeypatch.setattr(container, "user", lambda: (501, 20))
    monkeypatch.setenv("PINTUNE_SERVE_SLOTS", "2")
    choices = dataclasses.replace(CHOICES, flavor=flavor)
    token = Token(secret, False)
    made = serve.service(choices, "docker", serve.model(choices, ""), host, 8003, token, tmp_path)
    return container.argv(containers.of(made))


def test_the_command_of_a_container(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardened as a training is; published on loopback alone."""
    line = engine.shown(_service("127.0.0.1", "", "cpu", tmp_path, monkeypatch))
    root, network = str(checkout), containers.network("serve")
    assert line.startswith(
        f"docker run --detach --label dev.pintune.service=serve --label dev.pintune.checkout={root}"
        " --label 'dev.pintune.service.of=runs/quickstart/20260102-000000-b/merged, weights unknown, cpu, 127.0.0.1,"
        " settings 3dc82d02'"
        " --label dev.pintune.service.url=http://127.0.0.1:8003/v1 --user 501:20 --cap-drop ALL"
        " --security-opt no-new-privileges --read-only --init --tmpfs /tmp:exec,mode=1777,size=2g --pids-limit 4096"
        f" --network {network} --publish 127.0.0.1:8003:8000"
        f" --mount type=bind,source={root}/data,target=/pintune/data,readonly"
        f" --mount type=bind,source={root}/models,target=/pintune/models,readonly"
        f" --mount type=bind,source={root}/runs,target=/pintune/runs,readonly --env PINTUNE_RUNNER=docker"
    )
    assert line.endswith(
        " --env PINTUNE_SERVE_SLOTS=2 --env PINTUNE_PUBLISHED=127.0.0.1 pintune/serve:cpu"
        " python -m pipeline serve --recipe quickstart --host 0.0.0.0 --port 8000"
    )


def test_a_key_is_not_in_the_command(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flavor, host, name in (("cpu", "0.0.0.0", "PINTUNE_API_KEY"), ("cu130", "127.0.0.1", "VLLM_API_KEY")):
        words = _service(host, "secret-key", flavor, tmp_path, monkeypatch)
        assert words[words.index("--publish") + 1] == f"{host}:8003:8000"
        assert name in words and "secret-key" not in " ".join(words)


def test_vllm_is_not_published_since_its_key_guards_a_part(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Stop, match="vLLM on loopback"):
        _service("0.0.0.0", "secret-key", "cu130", tmp_path, monkeypatch)


def test_another_key_limit_or_export_is_another_service(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "lock_file", lambda image, flavor: matrix.FILE)

    def of() -> str:
        token = program.token(serve.KEY, "127.0.0.1")
        return serve.service(CHOICES, "docker", serve.model(CHOICES, ""), "127.0.0.1", 8003, token, checkout).of

    found = [of()]
    monkeypatch.setenv("PINTUNE_API_KEY", "mine")
    found.append(of())
    monkeypatch.setenv("PINTUNE_SERVE_SLOTS", "3")
    found.append(of())
    (serve.model(CHOICES, "").folder.path / "SHA256SUMS").write_text("0  model.safetensors\n")
    found.append(of())
    monkeypatch.setattr(build, "source_hash", lambda image, flavor: "1")  # the image was built again
    found.append(of())
    assert of() == found[-1] and len(set(found)) == 5 and "mine" not in " ".join(found)


def test_vllm_computes_as_the_model_is_stored(checkout: Path) -> None:
    served = serve.model(CHOICES, "")
    for stored, computed in (("bfloat16", "bfloat16"), ("float16", "float16"), ("float32", "float16")):
        (served.folder.path / "config.json").write_text(json.dumps({"dtype": stored}))
        words = serve.vllm_argv(served, "m")
        assert words[words.index("--dtype") + 1] == computed


def test_vllms_command(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = _service("127.0.0.1", "", "cu130", tmp_path, monkeypatch)
    at = words.index("pintune/serve:cu130")
    assert words[at - 20 : at].count("--gpus") <= 1 and "--gpus" in words
    assert engine.shown(words[at + 1 :]) == (
        "vllm serve runs/quickstart/20260102-000000-b/merged --served-model-name quickstart --host 0.0.0.0"
        " --port 8000 --load-format safetensors --dtype float16 --allowed-origins '[]' --max-model-len 2048"
        " --max-num-seqs 16"
        """ --override-generation-config '{"temperature": 0.0, "max_new_tokens": 1024}'"""
        " --structured-outputs-config.backend guidance --enable-auto-tool-choice --tool-call-parser hermes"
    )


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}[TOOL_CALLS]", "mistral"),
        ("<|tool|>{{ message['tools'] }}<|/tool|>", "phi4_mini_json"),
        ("{% if tools %}<tool_call>{% endif %}", "hermes"),
        ("{% if tools %}<tool_call><function=x>{% endif %}", "qwen3_coder"),
        ("{% if tools %}another form{% endif %}", ""),
        ("{{ messages }}", "hermes"),
    ],
)
def test_the_parser_of_calls_follows_the_chat_template(template: str, parser: str) -> None:
    assert serve.tool_parser(template) == parser
