"""Arguments as YAML and recipes as TOML, with what has no counterpart named in comments; and reading the YAML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import Stop, one_line
from pipeline.llama_factory.arguments import VERSION, Note
from pipeline.recipe import Recipe, as_values

_WIDTH = 118


def as_yaml(name: str, arguments: dict[str, Any], said: Sequence[Note]) -> str:
    """A file for `llamafactory-cli train`."""
    head = [
        f"# {name}, for `llamafactory-cli train` of LLaMA Factory {VERSION}; written by `invoke llamafactory`.",
        "# Paths are relative to the checkout; in a container, to /pintune.",
    ]
    body = yaml.safe_dump(arguments, sort_keys=False, allow_unicode=True, width=_WIDTH)
    return "\n".join([*head, *_comments(said), body])


def as_toml(recipe: Recipe, origin: str, said: Sequence[Note]) -> str:
    """A recipe file with the keys that differ from their defaults."""
    head = [f"# Made of {origin} (LLaMA Factory {VERSION}) by `invoke llamafactory --from`."]
    defaults = as_values(Recipe(recipe.name))
    sections = []
    for section, values in as_values(recipe).items():
        changed = {key: value for key, value in values.items() if value != defaults[section][key]}
        if changed:
            lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in changed.items()]
            sections.append("\n".join(["", f"[{section}]", *lines]))
    return "\n".join([*head, *_comments(said), *sections]) + "\n"


def _comments(said: Sequence[Note]) -> list[str]:
    """Notes as comment lines, under a heading."""
    if not said:
        return []
    lines = [
        textwrap.fill(f"{note.key}: {note.why}", _WIDTH, initial_indent="#   ", subsequent_indent="#     ")
        for note in said
    ]
    return ["# Without a counterpart, or with one that differs:", *lines]


def read_yaml(path: Path) -> dict[str, Any]:
    """The arguments in a YAML file.

    Raises:
        Stop: no such file, not YAML, or no arguments by name.
    """
    todo = "name a YAML file of `llamafactory-cli train`"
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Stop("arguments in YAML", one_line(error), str(path), todo) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise Stop("arguments by name, such as lora_rank: 8", repr(found)[:80], str(path), todo)
    return found
