"""Fresh LoRA adapters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.models import lora
from pipeline.recipe import Lora
from tests.models import random_model
from tests.steps import step


def test_an_unknown_lora_target_lists_the_linear_layers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", "--set", "lora.targets=['qkv_proj']") == 1
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err
    assert step("train", "--set", "lora.r=0") == 1
    assert "lora.r: at least 1" in capsys.readouterr().err
    config = Path("models/tiny/config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), "tie_word_embeddings": True}))
    assert step("train", "--set", "lora.targets=['lm_head']") == 1  # tied to the input embeddings
    assert "among down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in capsys.readouterr().err


def _adapter(targets: tuple[str, ...], seed: int) -> Any:
    base, folder = random_model("llama"), Path("models/tiny")
    base.name_or_path = str(folder)  # as of a model that was loaded from it
    return lora.new_adapter(base, Lora(r=2, targets=targets), seed, folder)


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, third = (_adapter(("all-linear",), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first if "lora_A" in name)


def test_only_the_adapter_is_trained_and_it_changes_nothing_at_first() -> None:
    adapted, base = _adapter(("q_proj", "down_proj"), 1), random_model("llama")
    trained = [name for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert len(trained) == 2 * 2 * 2  # A and B of two layers' two targets
    assert all("lora_" in name and ("q_proj" in name or "down_proj" in name) for name in trained)
    ids = torch.arange(3, 40).unsqueeze(0)
    assert torch.equal(adapted(input_ids=ids).logits, base(input_ids=ids).logits)


def test_the_config_on_disk_does_not_depend_on_the_order_of_a_set() -> None:
    config = _adapter(("v_proj", "q_proj", "down_proj", "k_proj"), 1).peft_config["default"]
    assert config.target_modules == ["down_proj", "k_proj", "q_proj", "v_proj"]
    assert config.base_model_name_or_path == "models/tiny"
