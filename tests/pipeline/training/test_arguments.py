"""TrainingArguments of a recipe."""

from __future__ import annotations

from pathlib import Path

from pipeline.recipe import load


def test_several_gpus_in_one_process_do_not_become_a_dataparallel(place: Path) -> None:
    from pipeline.training.arguments import training_arguments

    arguments = training_arguments(load("tiny.toml").training, "fp32", place)
    arguments._n_gpu = 4
    assert (arguments.n_gpu, arguments.train_batch_size) == (1, 1)
