"""Fresh LoRA adapters."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
