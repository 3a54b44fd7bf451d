"""Loading base models and adapters: safetensors only, with a message for whatever cannot be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pipeline.errors import Stop
from pipeline.models import load, lora, record
from pipeline.recipe import Lora
from pipeline.training import fsdp
from tests.models import random_model


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "tiny"))


@pytest.mark.parametrize("precision", load.DTYPES)
def test_a_base_model_is_loaded_in_the_dtype_of_its_precision(tiny_model: Path, precision: str) -> None:
    base = load.load_base(tiny_model, load.DTYPES[precision], "cpu")
    assert {weight.dtype for weight in base.parameters()} == {load.DTYPES[precision]}
    assert base.config._attn_implementation == "sdpa"


def test_weights_in_pickle_are_never_read(folder: Path) -> None:
    base = load.load_base(folder, torch.float32, "cpu")
    (folder / "model.safetensors").unlink()
    torch.save(base.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(Stop, match=r"model weights in safetensors\n found: none"):
        load.load_base(folder, torch.float32, "cpu")


def test_truncated_weights_name_the_folder_and_the_next_command(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(Stop) as stopped:
        load.load_base(folder, torch.float32, "cpu")
    assert stopped.value.todo.startswith(f"fix the files in {folder}, which fetch did not bring")
    record.write(folder, source="the hub")
    with pytest.raises(Stop) as stopped:
        load.load_base(folder, torch.float32, "cpu")
    assert stopped.value.todo == f"delete {folder}, then invoke fetch"


def test_a_saved_adapter_is_loaded_onto_its_base_model(tiny_model: Path, tmp_path: Path) -> None:
    adapted = lora.new_adapter(load.load_base(tiny_model, torch.float32, "cpu"), Lora(r=2), 3, tiny_model)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    fsdp.save_adapter(adapted, tmp_path / "adapter")
    loaded = load.load_adapter(load.load_base(tiny_model, torch.float32, "cpu"), tmp_path / "adapter")
    ids = torch.arange(3, 40).unsqueeze(0)
    assert torch.equal(loaded(input_ids=ids).logits, adapted(input_ids=ids).logits)
    assert not torch.equal(
        loaded(input_ids=ids).logits, load.load_base(tiny_model, torch.float32, "cpu")(input_ids=ids).logits
    )
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(Stop, match="next: invoke train"):
        load.load_adapter(load.load_base(tiny_model, torch.float32, "cpu"), tmp_path / "adapter")
    with pytest.raises(Stop, match=r"no adapter_model\.safetensors"):
        load.load_adapter(load.load_base(tiny_model, torch.float32, "cpu"), tmp_path)


def test_the_precision_is_the_asked_one_or_that_of_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "device", lambda: "cpu")
    assert load.precision("auto") == ("fp32", "no GPU is there")
    assert load.precision("bf16")[0] == "bf16"
    with pytest.raises(Stop, match="--set training.precision=auto"):
        load.precision("fp16")
    monkeypatch.setattr(load, "device", lambda: "cuda")
    assert load.precision("auto")[0] == load.precision("fp16")[0] == "fp16"


def test_available_memory_is_shared_by_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "machine_memory", lambda: 12 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load.memory() == 12 * 2**30
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "3")
    assert load.memory() == 4 * 2**30


def test_the_machine_has_less_memory_available_than_in_all() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal:"))
    assert 0 < load.machine_memory() < int(total.split()[1]) * 1024


@pytest.mark.parametrize(
    ("kind", "window"), [("llama", None), ("mistral", None), ("mistral, sliding window", 300), ("phi3", None)]
)
def test_the_sliding_window_is_that_of_the_config(kind: str, window: int | None) -> None:
    assert load.sliding_window(random_model(kind).config) == window


@pytest.mark.parametrize(
    ("file", "text", "limits"),
    [
        ("memory.max", "1073741824\n", [2**30]),
        ("memory.max", "max\n", []),
        ("memory/memory.limit_in_bytes", "1073741824\n", [2**30]),
        ("other", "", []),
    ],
)
def test_the_limit_of_a_container_bounds_the_memory(tmp_path: Path, file: str, text: str, limits: list[int]) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    assert load._container_limits(tmp_path) == limits
