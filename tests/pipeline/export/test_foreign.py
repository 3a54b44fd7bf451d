"""An adapter of another trainer: merged, checked, answered and scored, and nothing is claimed of how it was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.files import sha256
from tests.adapters import edit, write_adapter
from tests.steps import latest, manifest, step


@pytest.fixture
def adapter(place: Path) -> Path:
    """An adapter as PEFT saves it, whose config names a repository of the hub."""
    folder = write_adapter(
        place / "elsewhere" / "train_2026",
        place / "models" / "tiny",
        r=3,
        lora_alpha=6,
        target_modules=["q_proj", "down_proj"],
    )
    edit(folder / "adapter_config.json", base_model_name_or_path="somebody/Tiny")
    return folder


def test_it_becomes_a_run_that_is_asked_and_scored(
    place: Path, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("export", "--adapter", str(adapter)) == 0
    printed = capsys.readouterr().out
    assert "unknown are data, hyperparameters, seeds" in printed and "names somebody/Tiny" not in printed
    run = latest()
    made = manifest()
    assert made["training"]["by"] == "another trainer" and made["training"]["base_model"] == "somebody/Tiny"
    assert made["training"]["adapter_sha256"] == sha256(adapter / "adapter_model.safetensors")
    assert (made["seeds"], made["inputs"]["data"]["source"]) == ({"all": None}, "unknown")
    assert made["recipe"]["lora"]["r"] == 3 and made["recipe"]["lora"]["alpha"] == 6
    assert made["recipe"]["lora"]["targets"] == ["down_proj", "q_proj"]
    assert made["export"]["targets"] == 4 and made["outputs"]["merged/model.safetensors"]
    assert sorted(file.name for file in (run / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    card = (run / "merged" / "README.md").read_text()
    assert "Another trainer made the adapter" in card and "split unknown" in card and "learning_rate" not in card
    assert step("ask") == 0 and "Answer:" in capsys.readouterr().out
    assert step("evaluate") == 0 and "trained by another trainer" in (run / "report.html").read_text()


def test_another_base_model_is_named(place: Path, adapter: Path, capsys: pytest.CaptureFixture[str]) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="../../models/tiny-instruct/")
    assert step("export", "--adapter", str(adapter)) == 0
    assert (
        "names ../../models/tiny-instruct/ as its base model; it is merged into models/tiny" in capsys.readouterr().out
    )


def test_a_failed_check_leaves_no_run_and_no_latest(
    place: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.export import gate

    monkeypatch.setitem(gate.TOLERANCE, "float16", 0.0)
    assert step("export", "--adapter", str(adapter)) == 1
    assert "of base + adapter" in capsys.readouterr().err
    assert list(Path("runs").rglob("*")) == [Path("runs/tiny")]


def _pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def _no_config(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def _no_lora(folder: Path) -> None:
    edit(folder / "adapter_config.json", peft_type="LOHA")


def _no_json(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("[1]")


def _unformatted(folder: Path) -> None:
    shutil.rmtree("data")


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_pickle, "a pickle is not loaded"),
        (_no_config, "no adapter_config.json"),
        (_no_lora, "peft_type LOHA"),
        (_no_json, "found: [1]"),
        (_unformatted, "next: invoke "),
    ],
)
def test_what_is_no_adapter_or_lacks_data_is_refused(
    place: Path, adapter: Path, break_it: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    break_it(adapter)
    assert step("export", "--adapter", str(adapter)) == 1
    assert said in capsys.readouterr().err
    assert not Path("runs/tiny/latest").exists() and not list(Path("runs").glob("tiny/[0-9]*"))


def test_the_manifest_in_merged_is_json_without_a_path_of_this_machine(place: Path, adapter: Path) -> None:
    assert step("export", "--adapter", str(adapter)) == 0
    text = (latest() / "merged" / "manifest.json").read_text()
    assert json.loads(text)["training"]["adapter"] == "train_2026" and str(place) not in text
