"""The working folder of LLaMA Board: data, models and presets that are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.steps import step

BOARD = Path("runs/llama-board")


def _yaml(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((BOARD / name).read_text(encoding="utf-8"))
    return found


def test_the_recipes_data_models_and_presets_are_offered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("format", "--set", "data.language=zh") == 0
    capsys.readouterr()
    assert step("llamaboard") == 0
    assert "data set pintune: data/sample/en-" in capsys.readouterr().out
    info = json.loads((BOARD / "data" / "dataset_info.json").read_text())
    assert list(info)[:4] == ["pintune", "pintune_sharegpt", "pintune_heldout", "pintune_heldout_sharegpt"]
    assert len(info) == 8 and all(name.startswith("sample_") for name in list(info)[4:])
    for entry in info.values():
        assert (BOARD / "data" / entry["file_name"]).is_file()
    settings = _yaml("llamaboard_cache/user_config.yaml")
    assert settings["last_model"] == "Custom" and settings["lang"] == "en"
    model, base = BOARD / settings["path_dict"]["Custom"], Path("models/tiny")
    assert model == BOARD / "models" / "tiny"
    assert json.loads((model / "config.json").read_text()) == {
        **json.loads((base / "config.json").read_text()),
        "dtype": "float32",
    }
    for file in base.iterdir():
        if file.name != "config.json":
            assert (model / file.name).is_symlink() and (model / file.name).samefile(file)
    capsys.readouterr()
    assert step("llamafactory", "--view") == 0
    assert yaml.safe_load(capsys.readouterr().out)["model_name_or_path"] == "runs/llama-board/models/tiny"
    assert step("llamafactory", "--view", "--set", "training.precision=bf16") == 0
    assert yaml.safe_load(capsys.readouterr().out)["model_name_or_path"] == "models/tiny"
    preset = _yaml("llamaboard_config/tiny.yaml")
    assert preset["train.dataset"] == ["pintune"] and preset["train.learning_rate"] == "0.01"
    assert preset["train.save_steps"] == 10 and preset["train.max_samples"] == "48" and preset["train.lora_rank"] == 4
    assert preset["train.compute_type"] == "fp32" and preset["train.gradient_accumulation_steps"] == 8
    extra = json.loads(preset["train.extra_args"])
    assert extra["trust_remote_code"] is False and extra["preprocessing_num_workers"] == 1 and extra["seed"] == 42
    assert [file.name for file in (BOARD / "llamaboard_config").iterdir()] == ["tiny.yaml"]  # no other model is there


def test_what_was_trained_and_chosen_stays(place: Path) -> None:
    adapter = BOARD / "saves" / "Custom" / "lora" / "train_1" / "adapter_model.safetensors"
    adapter.parent.mkdir(parents=True)
    adapter.write_bytes(b"1")
    (BOARD / "llamaboard_cache").mkdir()
    chosen = {"lang": "zh", "hub_name": "modelscope", "path_dict": {"Qwen3-4B-Thinking": "/models/q"}}
    (BOARD / "llamaboard_cache" / "user_config.yaml").write_text(yaml.safe_dump(chosen))
    (BOARD / "llamaboard_config").mkdir()
    (BOARD / "llamaboard_config" / "mine.yaml").write_text("top.lang: zh\n")
    assert step("llamaboard") == step("llamaboard") == 0
    settings = _yaml("llamaboard_cache/user_config.yaml")
    assert (settings["lang"], settings["hub_name"]) == ("zh", "modelscope")
    assert settings["path_dict"].keys() == {"Qwen3-4B-Thinking", "Custom"}
    assert adapter.read_bytes() == b"1" and (BOARD / "llamaboard_config" / "mine.yaml").exists()


def test_broken_settings_are_written_anew(place: Path) -> None:
    (BOARD / "llamaboard_cache").mkdir(parents=True)
    (BOARD / "llamaboard_cache" / "user_config.yaml").write_text("a: [1")
    assert step("llamaboard") == 0 and _yaml("llamaboard_cache/user_config.yaml")["last_model"] == "Custom"


def test_data_that_are_not_formatted_are_refused(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.steps import RECIPE

    (workplace / "tiny.toml").write_text(RECIPE, encoding="utf-8")
    assert step("llamaboard") == 1 and "next: invoke " in capsys.readouterr().err
    assert not BOARD.exists()
