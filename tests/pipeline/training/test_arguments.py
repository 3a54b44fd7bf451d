"""TrainingArguments of a recipe."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe import load
from pipeline.training.arguments import training_arguments


def test_several_gpus_in_one_process_do_not_become_a_dataparallel(place: Path) -> None:
    arguments = training_arguments(load("tiny.toml").training, "fp32", place)
    arguments._n_gpu = 4
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)


def test_arguments_have_the_values_of_the_recipe(tmp_path: Path) -> None:
    settings = load(
        "quickstart", ["training.learning_rate=3e-4", "training.accumulation=2", "training.seed=7"]
    ).training
    arguments = training_arguments(settings, "fp32", tmp_path)
    assert arguments.output_dir == str(tmp_path)
    assert (arguments.learning_rate, arguments.gradient_accumulation_steps) == (3e-4, 2)
    assert (arguments.seed, arguments.data_seed) == (7, 7)
    assert (arguments.fp16, arguments.bf16) == (False, False)
    assert training_arguments(settings, "bf16", tmp_path).bf16
    assert arguments.save_steps == settings.checkpoint_steps
    assert arguments.device.type in ("cpu", "cuda") and not arguments.place_model_on_device
