"""Fixtures for both sides: a tiny model, a copy of the checkout to run verbs in, an engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.marks import Invoke, marked_settings

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def lacking(what: str) -> None:
    """Skip a test that needs something; in CI, fail."""
    if IN_CI:
        pytest.fail(f"CI must have {what}")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="session")
def mirror() -> Path:
    """The folder with the real TAT-QA files, dev and test_gold."""
    folder = os.environ.get("PINTUNE_MIRROR", "")
    if not folder or not (Path(folder) / "tatqa_dataset_dev.json").exists():
        lacking("PINTUNE_MIRROR with TAT-QA's dev and test_gold")
    return Path(folder)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of 2 layers whose tokens are bytes, as a Transformers folder."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("models") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(
        models.BPE(
            vocab={char: i + 2 for i, char in enumerate(alphabet)} | {"<|im_start|>": 0, "<|im_end|>": 1}, merges=[]
        )
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<|im_start|>", special=True), AddedToken("<|im_end|>", special=True)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|im_end|>", clean_up_tokenization_spaces=False
    )
    tokenizer.chat_template = CHAT
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        eos_token_id=1,
        bos_token_id=0,
        pad_token_id=1,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "model.safetensors").chmod(
        0o644
    )  # safetensors writes for its owner alone; a container reads it as another user
    return folder


@pytest.fixture
def workplace(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the tiny model as models/tiny, to run steps in this process."""
    (tmp_path / "models").mkdir()
    shutil.copytree(tiny_model, tmp_path / "models" / "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PINTUNE_MIRROR", raising=False)
    return tmp_path


@pytest.fixture
def place(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The workplace with tests.steps' recipe, its data fetched and formatted."""
    from tests.steps import RECIPE, step

    monkeypatch.setenv("PINTUNE_FLAVOR", "cpu")
    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    assert step("fetch") == step("format") == 0
    return workplace


def _copy(folder: Path, base: Path) -> Path:
    """A copy of this checkout, to run verbs in without touching its data/, models/ and runs/."""
    anywhere = shutil.ignore_patterns("node_modules", "__pycache__", ".*_cache", "results", "*.egg-info")
    at_root = {".venv", ".pintune", ".hypothesis", "wheelhouse", "data", "models", "runs"}

    def ignore(path: str, names: list[str]) -> set[str]:
        return anywhere(path, names) | (at_root & set(names) if Path(path) == ROOT else set())

    shutil.copytree(ROOT, folder, ignore=ignore, symlinks=True)
    for parent in folder.parents:
        if parent.is_relative_to(base):
            parent.chmod(0o755)  # the container's user must get through
    return folder


def invoke_in(folder: Path) -> Invoke:
    def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("PINTUNE_") or key in ("PINTUNE_MIRROR", "PINTUNE_BASE_IMAGE")
        }
        command = [sys.executable, "-m", "invoke", *words]
        return subprocess.run(
            command, cwd=folder, env={**known, **environment}, capture_output=True, text=True, timeout=1500
        )

    return run


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout that the tests with a real engine share."""
    return _copy(tmp_path_factory.mktemp("checkout") / "pintune", tmp_path_factory.getbasetemp().parent)


@pytest.fixture(scope="session")
def invoke(checkout: Path) -> Invoke:
    """Run `invoke` in the copied checkout: `invoke("train", "--runner", "venv", MORE="environment")`."""
    return invoke_in(checkout)


@pytest.fixture(scope="session")
def engine_there() -> None:
    """A Docker engine with buildx answers."""
    from images import engine

    if not engine.answers() or engine.buildx_version() is None:
        lacking("a Docker engine with buildx")


def commit_all(folder: Path) -> None:
    """Commit whatever a copy of the checkout holds, on a fixed date."""
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.invalid")
    when = {"GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z", "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z"}
    for words in (("add", "--all"), ("commit", "--quiet", "--allow-empty", "--message", "all")):
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, env={**os.environ, **when})


@pytest.fixture(scope="session")
def committed(engine_there: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout in which all is committed, as a release needs it."""
    folder = _copy(tmp_path_factory.mktemp("committed") / "pintune", tmp_path_factory.getbasetemp().parent)
    git = folder / ".git"
    git.unlink() if git.is_file() else shutil.rmtree(git, ignore_errors=True)  # a file in a git worktree
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    commit_all(folder)
    return folder


@pytest.fixture
def bare(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout as a clone is: nothing built, nothing fetched."""
    return _copy(tmp_path / "pintune", tmp_path_factory.getbasetemp().parent)


@pytest.fixture
def call(bare: Path) -> Invoke:
    """Run `invoke` in the bare copy."""
    return invoke_in(bare)


@pytest.fixture(scope="session")
def image(engine_there: None, invoke: Invoke, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The train image, built once a session by the verb, with marks in pip's settings that must not stay in it."""
    done = invoke("build", "--runner", "docker", **marked_settings(tmp_path_factory.mktemp("settings")))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return "pintune/train:cpu"


@pytest.fixture
def raw_context() -> dict[str, Any]:
    """One valid context in the raw schema, to break."""
    from pipeline.tatqa import sample

    made: dict[str, Any] = json.loads(json.dumps(sample.contexts("heldout")[0]))
    return made
