"""Recipes: defaults, files, overrides, bounds, and error messages."""

from __future__ import annotations

import ast
import dataclasses
import itertools
import typing
from pathlib import Path

import pytest

from pipeline import recipe
from pipeline.errors import Stop
from pipeline.tatqa.language import LANGUAGES
from pipeline.tatqa.table import RENDERINGS
from pipeline.tatqa.target import TARGETS


@pytest.mark.parametrize("name", sorted(file.stem for file in recipe.SHIPPED.glob("*.toml")))
def test_every_shipped_recipe_round_trips_through_a_manifest(name: str) -> None:
    loaded = recipe.load(name)
    assert recipe.resolve(name, recipe.as_values(loaded)) == loaded


def test_override_beats_file_beats_default() -> None:
    loaded = recipe.load(
        "quickstart", ["lora.r=32", "data.source=tatqa", "lora.targets=['q_proj']", "training.epochs=2"]
    )
    assert (loaded.lora.r, loaded.data.source, loaded.lora.targets, loaded.training.epochs) == (
        32,
        "tatqa",
        ("q_proj",),
        2.0,
    )
    assert loaded.data.language == "en"
    assert loaded.lora.alpha == 64
    assert loaded.lora.dropout == recipe.Lora().dropout


@pytest.mark.parametrize(
    ("body", "wanted", "found", "todo"),
    [
        ("[lora]\nrank = 8", "a known key", "lora.rank", ""),
        (
            "[training]\nlearning_rat = 1e-3",
            "a known key",
            "training.learning_rat",
            "did you mean training.learning_rate?",
        ),
        ("[lorra]\nr = 8", "a known section", "[lorra]", "did you mean lora?"),
        ("[lora]\nr = '8'", "lora.r as a whole number", "'8'", ""),
        ("[lora]\nr = true", "lora.r as a whole number", "True", ""),
        ("[lora]\nr = 0", "at least 1", "0", ""),
        ("[lora]\ntargets = [1]", "a list of strings", "[1]", ""),
        ("[training]\nepochs = nan", "a number above 0", "nan", ""),
        ("[training]\nlearning_rate = inf", "a number above 0", "inf", ""),
        ("[training]\nprecision = 'int4'", "one of auto, fp32, fp16", "'int4'", ""),
        ("lora = 3", "a section [lora]", "3", ""),
        ("[lora\nr = 3", "TOML", "line 1", ""),
    ],
)
def test_an_invalid_recipe_is_refused_in_one_message(
    tmp_path: Path, body: str, wanted: str, found: str, todo: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(body, encoding="utf-8")
    with pytest.raises(Stop) as stopped:
        recipe.load(str(file))
    assert wanted in stopped.value.wanted
    assert found in stopped.value.found
    assert str(file) in stopped.value.where
    assert todo in stopped.value.todo


def test_a_missing_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(Stop, match="quickstart"):
        recipe.load("quikstart")


@pytest.mark.parametrize("override", ["lora.r", "lora.q=1", "r=1"])
def test_an_invalid_override_names_the_command_line(override: str) -> None:
    with pytest.raises(Stop, match="command line"):
        recipe.load("quickstart", [override])


def _literal(field: str) -> set[str]:
    return set(typing.get_args(typing.get_type_hints(recipe.Data)[field]))


def test_the_choices_of_data_are_those_of_the_task() -> None:
    assert _literal("language") == set(LANGUAGES)
    assert _literal("table") == set(RENDERINGS)
    assert _literal("target") == set(TARGETS)


def test_every_field_of_every_section_has_a_docstring() -> None:
    tree = ast.parse(Path(recipe.__file__).read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    sections = [field.default_factory for field in dataclasses.fields(recipe.Recipe) if field.name != "name"]
    assert len(sections) == 6
    for section in sections:
        assert isinstance(section, type)
        body = classes[section.__name__].body
        documented = {
            node.target.id
            for node, after in itertools.pairwise(body)
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and str(after.value.value).strip()
        }
        assert documented == {field.name for field in dataclasses.fields(section)}, section.__name__


def test_a_recipe_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[lora]\nr = 3\n", encoding="utf-8-sig")
    assert recipe.load(str(tmp_path / "mine.toml")).lora.r == 3
