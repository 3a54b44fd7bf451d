"""Every variant of LoRA trains, resumes to the same adapter after a kill, merges through the gate, and is refused where
it cannot."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.models import random_model
from tests.steps import latest, manifest, overrides, step, train_until_killed

VARIANTS = {
    "rslora": ("lora.rslora=true",),
    "dora": ("lora.dora=true",),
    "plus": ("lora.plus_ratio=16", "lora.dropout=0.1", "training.weight_decay=0.1"),
    "patterns": ('lora.rank_pattern={"layers.1.mlp.down_proj"=2}', "lora.alpha_pattern={o_proj=64}"),
    "saved": ('lora.modules_to_save=["lm_head", "norm"]',),
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["llama", "mistral", "phi3"])
def test_a_variant_trains_resumes_and_is_exported(
    place: Path, kind: str, variant: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    random_model(kind, vocab_size=300, max_position_embeddings=4096).float().save_pretrained("models/tiny")
    words = overrides(*VARIANTS[variant], "training.checkpoint_steps=1", "data.train_contexts=4", "training.epochs=1")
    assert step("train", *words) == 0, capsys.readouterr().err
    uninterrupted = manifest()["training"]["adapter_sha256"]
    assert step("export") == 0, capsys.readouterr().err
    os.rename("runs", "runs-uninterrupted")
    train_until_killed(3, monkeypatch, *words)
    assert step("train", *words, "--resume") == 0, capsys.readouterr().err
    assert manifest()["training"]["adapter_sha256"] == uninterrupted


def test_the_adapters_config_has_the_switches_of_peft(place: Path) -> None:
    words = ("lora.rslora=true", "lora.dora=true", "lora.rank_pattern={o_proj=2}", "lora.modules_to_save=lm_head")
    assert step("train", *overrides(*words, "data.train_contexts=1", "training.epochs=1")) == 0
    config = json.loads((latest() / "adapter" / "adapter_config.json").read_text())
    assert (config["use_rslora"], config["use_dora"]) == (True, True)
    assert (config["rank_pattern"], config["modules_to_save"]) == ({"o_proj": 2}, ["lm_head"])


def test_b_learns_faster_with_a_ratio(place: Path) -> None:
    """One step of AdamW moves every weight by about the learning rate, whatever its gradient."""
    from safetensors.torch import load_file

    short = ("data.train_contexts=1", "training.epochs=1", "training.warmup_steps=0", "training.learning_rate=1e-4")
    words = (*short, "training.scheduler=constant_with_warmup", "training.max_grad_norm=1000")
    moved = {}
    for ratio in (1, 16):
        assert step("train", *overrides(*words, f"lora.plus_ratio={ratio}")) == 0
        weights = load_file(latest() / "adapter" / "adapter_model.safetensors")
        moved[ratio] = max(float(each.abs().max()) for name, each in weights.items() if "lora_B" in name)  # from zero
        os.rename("runs", f"runs-{ratio}")
    assert moved[1] == pytest.approx(1e-4, rel=0.01)
    assert moved[16] == pytest.approx(16e-4, rel=0.01)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("lora.rank_pattern={q_prj=2}", "the end of an adapted layer's name, such as down_proj"),
        ("lora.alpha_pattern={o_prj=2}", "the end of an adapted layer's name, such as down_proj"),
        ("lora.rank_pattern={'('=2}", "lora.rank_pattern with the end of a layer's name, or a regular expression"),
        ("lora.alpha_pattern={'('=2}", "lora.alpha_pattern with the end of a layer's name, or a regular expression"),
        ("lora.rank_pattern={o_proj=0}", "lora.rank_pattern as a table of whole numbers of at least 1"),
        ("lora.alpha_pattern=3", "lora.alpha_pattern as a table of whole numbers of at least 1"),
        ("lora.modules_to_save=head", "lora.modules_to_save among"),
        ("lora.plus_ratio=0.5", "lora.plus_ratio: at least 1"),
    ],
)
def test_what_the_model_lacks_is_refused(
    place: Path, setting: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", "--set", setting) == 1
    assert message in capsys.readouterr().err
    assert not list(Path("runs").glob("*/[0-9]*"))


def test_modules_are_trained_whole_in_fp32_alone_and_unsharded(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = overrides("lora.modules_to_save=lm_head", "training.precision=bf16")
    assert step("train", *words) == 1
    assert "training.precision = fp32 for lora.modules_to_save" in capsys.readouterr().err
    assert step("train", *overrides("lora.dora=true", "training.fsdp=true")) == 1
    assert "training.fsdp = false, since lora.dora is not sharded" in capsys.readouterr().err
