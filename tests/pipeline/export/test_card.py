"""The model card: huggingface_hub reads it, and it says what the run's files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.recipe import Recipe, load

CERTAIN = {"base": [0.1, 0.3], "tuned": [0.35, 0.55], "difference": [0.1, 0.4], "p": 0.0123}
SCORES = {
    "split": "tatqa/dev",
    "questions": 84,
    "contexts": 14,
    "leakage": 0,
    "base": {"all": {"em": 0.2, "f1": 0.3}},
    "tuned": {"all": {"em": 0.45, "f1": 0.5}},
    "certainty": {"em": CERTAIN, "f1": CERTAIN},
}


def _card(place: Path, recipe: Recipe, scores: dict[str, Any] | None = None) -> Any:
    from huggingface_hub import ModelCard

    from pipeline.export import card

    data = {"source": recipe.data.source, "train": {"split": "train"}, "evaluation": {"split": "dev"}}
    made = {"run": "20260101-000000-abcdef", "recipe_name": recipe.name, "inputs": {"data": data}}
    if scores:
        (place / "evaluation.json").write_text(json.dumps(scores))
    file = place / "README.md"
    training = {"adapter_sha256": "b" * 64}
    card.write(file, recipe, {**made, "training": training}, "a" * 64, place / "evaluation.json")
    return ModelCard.load(file)


def test_a_card_has_data_recipe_scores_licenses_and_hashes(tmp_path: Path) -> None:
    recipe = load("phi-4-mini-reasoning", ["data.source=tatqa", "lora.r=9"])
    card = _card(tmp_path, recipe, SCORES)
    assert card.data.base_model == "microsoft/Phi-4-mini-reasoning"
    assert (card.data.license, card.data.library_name) == ("mit", "transformers")
    (em, f1) = card.data.eval_results
    assert (em.metric_type, em.metric_value, em.dataset_name) == ("exact_match", 45.0, "tatqa/dev")
    assert (f1.metric_type, f1.metric_value) == ("f1", 50.0)
    for text in (
        "| EM | 20.0 | 45.0 | 35.0 to 55.0 | 0.0123 |",
        "84 questions on 14 contexts of tatqa/dev",
        "split train | cc-by-4.0 |",
        "r = 9",
        f"`{'a' * 64}`",
        f"`{'b' * 64}`",
    ):
        assert text in card.text
    assert "unknown" not in card.text and "too high" not in card.text


def test_the_recipe_in_a_card_makes_the_same_recipe(tmp_path: Path) -> None:
    columns = 'data.columns={instruction = "a \\"question\\"", output = "b"}'
    recipe = load("quickstart", ["training.learning_rate=1e-5", "lora.targets=['q_proj', 'v_proj']", columns])
    text = _card(tmp_path, recipe).text
    (tmp_path / "quickstart.toml").write_text(text.partition("```toml\n")[2].partition("```")[0])
    assert load(str(tmp_path / "quickstart.toml")) == recipe


@pytest.mark.parametrize("source", ["/home/someone/secret/mine.jsonl", "mine.jsonl"])
def test_a_users_own_model_and_data_have_no_license_and_no_path(tmp_path: Path, source: str) -> None:
    card = _card(tmp_path, load("quickstart", [f"data.source={source}", "model.source=my-model"]))
    assert (card.data.license, card.data.base_model, card.data.eval_results) == ("other", None, None)
    assert card.text.count("| unknown |") == 2 and "look it up" in card.text
    assert "mine.jsonl" in card.text and "someone" not in card.text
    assert "Not evaluated before the export" in card.text


def test_leakage_is_beside_the_scores(tmp_path: Path) -> None:
    assert "has 3 of these contexts" in _card(tmp_path, load("quickstart"), {**SCORES, "leakage": 3}).text
