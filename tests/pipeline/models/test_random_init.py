"""Architectures built with random weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline import job
from pipeline.data import fetch
from pipeline.errors import Stop
from pipeline.models import random_init
from pipeline.recipe import load
from pipeline.training import memory


@pytest.mark.parametrize(
    ("source", "parameters"), [("phi-4-mini-reasoning", 3.836e9), ("mistral-7b-instruct", 7.242e9)]
)
def test_the_architectures_have_the_published_parameter_counts(source: str, parameters: float) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    values = dict(random_init.shape(source))
    config = AutoConfig.for_model(values.pop("model_type"), pad_token_id=0, **values)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert sum(each.numel() for each in model.parameters()) == pytest.approx(parameters, rel=1e-3)
    assert memory.Shape(config.to_dict()).parameters == sum(each.numel() for each in model.parameters())
    targets = load(source).lora.targets
    assert set(targets) <= {
        name.rpartition(".")[2] for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)
    }


def test_a_narrow_model_trains_and_an_invalid_width_is_refused(
    workplace: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.steps import RECIPE

    shutil.copytree(tiny_model, f"models/{fetch._TOKENIZER}")
    (workplace / "tiny.toml").write_text(
        RECIPE.replace('source = "tiny"', 'source = "mistral-7b-instruct"\nrandom = true\nwidth = 512')
    )
    shrunk = {**random_init.ARCHITECTURES["mistral-7b-instruct"], "num_hidden_layers": 2, "vocab_size": 300}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(random_init.ARCHITECTURES, "mistral-7b-instruct", shrunk)
        from tests.steps import latest, manifest, step

        assert step("fetch") == step("format") == step("train", "--set", "data.train_contexts=1") == 0
        folder = job.resolve(load("tiny.toml")).base_model
        first = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        assert folder.name == "mistral-7b-instruct-random-512"
        assert manifest()["inputs"]["model"]["source"] == folder.name
        assert latest().exists()
        shutil.rmtree(folder)
        assert step("fetch") == 0
        assert hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() == first  # equal on every build
        config = json.loads((folder / "config.json").read_text())
        keys = ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
        assert [config[key] for key in keys] == [512, 4, 1, 1792]
        assert step("fetch", "--set", "model.width=500") == 1
        assert "a multiple of 512" in capsys.readouterr().err
    with pytest.raises(Stop, match=r"model\.random for one of"):
        random_init.shape("smollm2-135m-instruct")
