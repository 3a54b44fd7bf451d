"""What Pintune relies on in private parts of Transformers and accelerate: an upgrade that changes one fails here."""

from __future__ import annotations

import inspect
from typing import Any

from accelerate import Accelerator
from transformers import Trainer

from pipeline.models.attention import attend_by_context
from pipeline.training.trainer import AnswerTrainer
from pipeline.training.trainer_private import HookedTrainer
from tests.models import random_model

OVERRIDDEN = {
    "_wrap_model": ["self", "model", "training", "dataloader"],
    "_load_from_checkpoint": ["self", "resume_from_checkpoint", "model"],
    "_save_optimizer_and_scheduler": ["self", "output_dir"],
}
"""Private methods of Trainer, and their parameters."""


def _private(cls: Any) -> set[str]:
    """The names of a class's own private attributes that Trainer has too."""
    return {name for name in vars(cls) if name.startswith("_") and not name.startswith("__") and hasattr(Trainer, name)}


def test_the_overridden_methods_have_the_known_parameters() -> None:
    for name, parameters in OVERRIDDEN.items():
        assert list(inspect.signature(getattr(Trainer, name)).parameters) == parameters, name


def test_no_other_private_method_is_overridden() -> None:
    own = AnswerTrainer.__mro__[: AnswerTrainer.__mro__.index(Trainer)]
    assert {cls: _private(cls) for cls in own} == {AnswerTrainer: set(), HookedTrainer: set(OVERRIDDEN)}


def test_trainer_still_calls_the_overridden_methods() -> None:
    source = inspect.getsource(Trainer)
    for name in OVERRIDDEN:
        assert f"self.{name}(" in source, name


def test_accelerate_can_leave_a_model_unwrapped() -> None:
    parameters = inspect.signature(Accelerator.prepare_model).parameters
    assert parameters["evaluation_mode"].default is False


def test_a_config_says_which_attention_is_set() -> None:
    model = random_model("llama")
    assert model.config._attn_implementation == "sdpa"
    attend_by_context(model)
    assert model.config._attn_implementation == "by_context"
