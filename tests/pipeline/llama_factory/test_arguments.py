"""Recipes as arguments of LLaMA Factory and back: nothing is lost in silence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import job, recipe
from pipeline.errors import Stop
from pipeline.llama_factory import arguments, convert, recipes, text
from pipeline.llama_factory.arguments import Counted, Note
from tests.steps import step

SHIPPED = ("quickstart", "phi-4-mini-reasoning", "mistral-7b-instruct")
NOT_FORMATTED = Counted(False, 0, 6.0, 0, False, False)


def _made(name: str, *overrides: str, data: Counted = NOT_FORMATTED, gpu: bool = False) -> tuple[dict[str, Any], str]:
    """A recipe's arguments, and its notes as one text."""
    of = job.resolve(recipe.load(name, overrides))
    made, said = arguments.arguments(of, data, gpu, Path("runs/llama-factory/x"))
    return made, "\n".join(f"{note.key}: {note.why}" for note in said)


def _back(tmp_path: Path, made: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The values and the text of the recipe that is made of arguments."""
    file = tmp_path / "train.yaml"
    file.write_text(text.as_yaml("x", made, []), encoding="utf-8")
    written = convert.to_recipe(file)
    (tmp_path / "back.toml").write_text(written, encoding="utf-8")
    return recipe.as_values(recipe.load(str(tmp_path / "back.toml"))), written


def _kept(values: dict[str, Any]) -> dict[str, Any]:
    """The settings that have a counterpart."""
    training = {key: value for key, value in values["training"].items() if key not in ("precision", "row_tokens")}
    contexts = training.pop("batch_contexts") * training.pop("accumulation")
    data = {key: value for key, value in values["data"].items() if not key.startswith("evaluation")}
    return {"model": values["model"], "data": data, "lora": values["lora"], "training": training, "step": contexts}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_comes_back_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made, _ = _made(name)
    values, _ = _back(tmp_path, made)
    assert _kept(values) == _kept(recipe.as_values(recipe.load(name)))
    asked = recipe.load(name).training.precision
    assert values["training"]["precision"] == ("fp32" if asked == "auto" else asked)


def test_every_setting_with_a_counterpart_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changed = [
        "model.random=true", "model.width=384", "lora.r=5", "lora.alpha=7", "lora.dropout=0.1",
        'lora.targets=["q_proj"]', "lora.rslora=true", "lora.dora=true", "lora.plus_ratio=16",
        'lora.modules_to_save=["lm_head", "norm"]',
        "training.seed=7", "training.precision=bf16", "training.gradient_checkpointing=true", "training.epochs=0.5",
        "training.batch_contexts=3", "training.accumulation=2", "training.learning_rate=1e-6", "training.max_length=99",
        "training.scheduler=constant_with_warmup", "training.warmup_steps=3", "training.weight_decay=0.01",
        "training.max_grad_norm=0.3", "training.heldout_contexts=5", "training.heldout_steps=10",
        "training.early_stopping=4", "training.checkpoint_steps=20", "training.checkpoints_kept=3",
        "data.train=hard", "data.language=zh", "data.table=html", "data.target=answer",
    ]  # fmt: skip
    made, _ = _made("quickstart", *changed)
    values, _ = _back(tmp_path, made)
    wanted = recipe.as_values(recipe.load("quickstart", changed))
    assert _kept(values) == _kept(wanted) and values["training"]["precision"] == "bf16"


def test_no_key_of_a_recipe_is_left_out_in_silence() -> None:
    """Each key has an argument, or shapes the rows, or is named when it is set."""
    by_rows = {f"data.{each.name}" for each in dataclasses.fields(recipe.Data)} - {"data.reasoning"}
    by_model = {f"model.{each.name}" for each in dataclasses.fields(recipe.Model)}
    others = {
        "lora.targets", "lora.rslora", "lora.dora", "lora.plus_ratio", "lora.modules_to_save",
        "training.precision", "training.gradient_checkpointing", "training.accumulation",
        "training.heldout_steps", "training.early_stopping", "training.checkpoint_steps",
    }  # fmt: skip
    changed = [
        "training.row_tokens=4096", "training.fsdp=true", "training.heldout_contexts=3", "training.heldout_steps=7",
        "training.heldout_questions=3", "training.heldout_metric=em", "lora.rank_pattern={o_proj=2}",
        "lora.alpha_pattern={o_proj=2}", "training.trackers=mlflow",
    ]  # fmt: skip
    _, said = _made("quickstart", *changed, data=Counted(True, 480, 8.0, 0, False, True))
    named = {line.partition(":")[0] for line in said.splitlines()}
    every = {
        f"{section}.{each.name}"
        for section, cls in recipe._SECTIONS.items()
        if section not in ("evaluation", "export")
        for each in dataclasses.fields(cls)
    }
    assert every - by_rows - by_model - others - set(arguments.SAME) - named == set()
    assert "[evaluation], [export]" in named


def test_the_questions_of_a_step_are_those_of_its_contexts(place: Path) -> None:
    of = job.resolve(recipe.load("tiny.toml"))
    found = arguments.counted(of)
    rows = of.train.rows.read_text(encoding="utf-8").count("\n")
    assert (found.known, found.entries, found.per_context) == (True, rows, 8.0)
    assert found.first == 48  # of data.train_contexts = 6
    made, _ = arguments.arguments(of, found, False, Path("out"))
    assert made["max_samples"] == 48 and made["per_device_train_batch_size"] == 1
    assert made["gradient_accumulation_steps"] == 8 and made["dataset"] == "sample_train"
    assert (Path(made["dataset_dir"]) / "dataset_info.json").exists() and Path(made["model_name_or_path"]).is_dir()
    values, written = _back(place, made)
    assert values["data"]["train_contexts"] == 6 and values["training"]["batch_contexts"] == 1
    assert values["model"]["source"] == "tiny" and "counterpart" not in written


def test_conversations_are_opened_as_sharegpt(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = ("--set", "data.source=sample-tools", "--set", "data.train_contexts=0")
    assert step("fetch", *settings) == step("format", *settings) == 0
    capsys.readouterr()
    assert step("llamafactory", *settings) == 0
    made = yaml.safe_load(capsys.readouterr().out)
    assert made["dataset"] == "sample-tools_train_sharegpt" and made["output_dir"] == "runs/llama-factory/tiny"


@pytest.mark.parametrize(
    ("override", "gpu", "said"),
    [
        ("training.precision=auto", False, '"auto" is fp32 on a CPU'),
        ("training.precision=auto", True, '"auto" is fp16 on a GPU'),
        ("training.precision=fp32", True, 'it computes in the "dtype" of the model\'s config.json'),
        ("training.packing=shared", False, "a context is read for each question"),
        ("model.source=qwen", False, "reads the tokenizer's chat template"),
        ("training.heldout_contexts=4", False, "val_size takes random questions"),
    ],
)
def test_what_it_does_in_another_way_is_named(override: str, gpu: bool, said: str) -> None:
    made, notes = _made("quickstart", override, gpu=gpu)
    assert said in notes
    assert made.get("template") == (None if override == "model.source=qwen" else "smollm2")


MINIMAL = {"model_name_or_path": "models/tiny", "stage": "sft", "finetuning_type": "lora", "dataset": "alpaca_en_demo"}


def _of(given: dict[str, Any]) -> tuple[dict[str, Any], str]:
    values, said = recipes.model_and_data(given, "train.yaml")
    own, more = recipes.training(given, NOT_FORMATTED, "train.yaml")
    merged = {**values, **own, "data": {**values["data"], **own["data"]}}
    return recipe.as_values(recipe.resolve("x", merged)), "\n".join(f"{n.key}: {n.why}" for n in (*said, *more))


def test_an_argument_that_is_not_given_has_llama_factorys_default_not_ours() -> None:
    values, said = _of(MINIMAL)
    wanted = {"r": 8, "alpha": 16, "dropout": 0.0, "targets": ("all-linear",)}
    assert values["lora"] == {**dataclasses.asdict(recipe.Lora()), **wanted}
    training = values["training"]
    assert (training["learning_rate"], training["scheduler"], training["warmup_steps"]) == (5e-5, "linear", 0)
    assert training["gradient_checkpointing"] is True and training["precision"] == "fp32"
    assert training["checkpoint_steps"] == 500
    assert "alpaca_en_demo of data: set data.source to the path of its file" in said
    assert "save_total_limit: not set" in said and "8 questions a step" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("quantization_bit", 4),
        ("pissa_init", True),
        ("neftune_noise_alpha", 5),
        ("packing", True),
        ("trust_remote_code", True),
        ("max_steps", 10),
        ("optim", "adamw_8bit"),
        ("template", "qwen3"),
        ("lr_scheduler_type", "polynomial"),
        ("warmup_steps", 0.1),
        ("warmup_ratio", 0.1),
        ("pure_bf16", True),
        ("greater_is_better", True),
        ("deepspeed", "ds_z3_config.json"),
        ("eval_dataset", "other"),
        ("mask_history", True),
    ],
)
def test_an_argument_without_counterpart_is_named(key: str, value: Any) -> None:
    _, said = _of({**MINIMAL, key: value})
    assert any(line.startswith(f"{key}:") for line in said.splitlines()), said
    _, without = _of({**MINIMAL, key: None})
    assert not any(line.startswith(f"{key}:") for line in without.splitlines())


def test_llama_boards_own_arguments_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """training_args.yaml as LLaMA Board writes it (webui/runner.py, _parse_train_args), numbers as texts included."""
    monkeypatch.chdir(tmp_path)
    given = {
        **MINIMAL, "model_name_or_path": "../../models/smollm2-135m-instruct", "do_train": True, "bf16": True,
        "cutoff_len": 512, "dataset": "sample_train", "dataset_dir": "../../data/sample/en-headings-equation-3c70b2",
        "learning_rate": "1e-3", "num_train_epochs": "2.0", "max_samples": 100000, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 12, "lora_rank": 8, "lora_alpha": 16, "lora_target": "all", "packing": False,
        "enable_thinking": True, "report_to": "none", "ddp_timeout": 180000000, "plot_loss": True,
        "template": "smollm2",
        "include_num_input_tokens_seen": True, "trust_remote_code": True, "optim": "adamw_torch", "save_steps": 100,
    }  # fmt: skip
    values, written = _back(tmp_path, given)
    assert values["model"]["source"] == "smollm2-135m-instruct" and values["data"]["source"] == "sample"
    assert (values["data"]["language"], values["data"]["table"]) == ("en", "headings")
    assert values["training"]["learning_rate"] == 1e-3 and values["training"]["precision"] == "bf16"
    assert (values["training"]["batch_contexts"], values["training"]["accumulation"]) == (2, 2)
    assert "trust_remote_code: True: no counterpart" in written


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("a: [1", "found: ParserError"),
        ("- 1", "found: [1]"),
        ("1: 2", "arguments by name"),
        ("stage: dpo\nmodel_name_or_path: models/tiny", "wanted: stage: sft"),
        ("finetuning_type: full\nmodel_name_or_path: models/tiny", "wanted: finetuning_type: lora"),
        ("stage: sft", "wanted: model_name_or_path"),
        ("model_name_or_path: models/tiny\nlora_rank: many", "lora_rank: a number"),
        ("model_name_or_path: models/tiny\nlora_rank: 1.5", "lora_rank: a number"),
        ("model_name_or_path: models/tiny\nlearning_rate: -1", "training.learning_rate"),
        ("model_name_or_path: models/tiny\ncutoff_len: 4", "training.max_length"),
    ],
)
def test_what_is_no_such_file_is_refused(content: str | None, said: str, tmp_path: Path) -> None:
    file = tmp_path / "train.yaml"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(Stop) as refused:
        convert.to_recipe(file)
    assert said in str(refused.value) and str(file) in str(refused.value)


def test_notes_are_comments_however_long() -> None:
    written = text.as_yaml("x", {"a": 1}, [Note("key", "word " * 60)])
    assert yaml.safe_load(written) == {"a": 1} and max(map(len, written.splitlines())) <= 120
