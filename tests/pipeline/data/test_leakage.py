"""Deduplication and leakage: duplicates are found at real sizes, and tables that only look alike are not."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.data import leakage
from pipeline.data.leakage import LeakageIndex
from pipeline.errors import Stop
from pipeline.tatqa import schema
from pipeline.tatqa.schema import Context, Question


def _table(uid: str, figures: list[str]) -> Context:
    rows = tuple((f"Item {chr(65 + i)}", figure) for i, figure in enumerate(figures))
    return Context(uid, (("", "2019"), *rows), (), (Question(f"{uid}-q", "?", ["x"], "span", "table", "", "", ()),))


@pytest.fixture
def index(tmp_path: Path) -> Iterator[LeakageIndex]:
    with LeakageIndex(tmp_path) as opened:
        yield opened
    assert not list(tmp_path.iterdir())


def test_a_table_with_a_few_changed_figures_is_a_near_duplicate(index: LeakageIndex) -> None:
    draw = random.Random(1)
    figures = [f"{draw.randrange(10**6):,}" for _ in range(40)]
    assert index.add_table("train", _table("a", figures)) is None
    changed = [figure if i % 8 else f"9{figure}" for i, figure in enumerate(figures)]
    assert index.add_table("heldout", _table("b", changed)) == ("train", "a")
    other = [figure if i % 8 == 0 else f"9{figure}" for i, figure in enumerate(figures)]
    assert index.add_table("heldout", _table("c", other)) is None
    assert index.add_table("train", _table("d", ["1", "2", "3"])) is None
    assert index.add_table("train", _table("e", ["1", "2", "3"])) is None  # too small to compare


def test_a_duplicate_uid_is_refused_within_a_split_only(index: LeakageIndex) -> None:
    one = _table("a", ["1"])
    index.add_uids("train", 0, one, "raw.json")
    index.add_uids("heldout", 0, one, "raw.json")
    for split in ("train", "heldout"):
        with pytest.raises(Stop, match="contexts 0 and 5"):
            index.add_uids(split, 5, one, "raw.json")
    assert index.add_uids("hard", 0, one, "raw.json") in ("train", "heldout")


def test_a_duplicate_text_is_found_with_its_split(index: LeakageIndex) -> None:
    assert index.add_text("train", "x") is None
    assert index.add_text("heldout", "y") is None
    assert index.add_text("heldout", "x") == "train"


def test_the_tables_that_dev_and_test_gold_share_are_found(mirror: Path, index: LeakageIndex) -> None:
    """Equals a comparison of every pair: no near-duplicate is missed, and none is invented."""
    duplicates, figures = set(), {}
    for split in ("dev", "test_gold"):
        for context in schema.read(mirror / f"tatqa_dataset_{split}.json"):
            if before := index.add_table(split, context):
                duplicates.add((before[1], context.uid))
            figures[context.uid] = {
                "".join(cell.split()) for row in context.rows for cell in row if any(char.isdigit() for char in cell)
            }
    large = {uid: each for uid, each in figures.items() if len(each) >= leakage.LEAST}
    alike = {
        (a, b)
        for a, b in itertools.combinations(large, 2)
        if len(large[a] & large[b]) >= leakage.ALIKE * len(large[a] | large[b])
    }
    assert duplicates == alike
    assert len(duplicates) == 2
