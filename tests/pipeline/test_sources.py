"""Sources: the known ones, a user's file, and their splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import Stop
from pipeline.recipe import Data


@pytest.mark.parametrize(
    ("data", "splits"),
    [
        (Data(), ("train", "heldout")),
        (Data(source="tatqa"), ("train", "dev")),
        (Data(source="tatqa", train="dev", evaluation="test_gold"), ("dev", "test_gold")),
        (Data(source="mine.jsonl"), ("train", "heldout")),
        (Data(source="mine.json", train="heldout", evaluation="train"), ("heldout", "train")),
    ],
)
def test_splits_are_the_chosen_ones_or_those_of_the_source(data: Data, splits: tuple[str, str]) -> None:
    assert sources.splits(data) == splits


def test_a_file_is_a_source_of_its_own_name() -> None:
    source = sources.source(Data(source="some/folder/mine.jsonl"))
    assert (source.name, source.file) == ("mine", Path("some/folder/mine.jsonl"))
    assert sources.source(Data(source="tatqa")).file is None
    names = {
        "a/mine.jsonl.gz": "mine",
        "mine.csv": "mine",
        "./mine": "mine",
        "my.set/": "my.set",
        "v1.2.parquet": "v1.2",
    }
    assert {path: sources.source(Data(source=path)).name for path in names} == names


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (Data(source="tatqb"), "one of sample, sample-tools, tatqa, or the path of a file or a folder"),
        (Data(source=".json"), "one of sample, sample-tools, tatqa, or the path of a file or a folder"),
        (Data(source="./.json"), "the path of a file or a folder"),
        (Data(source="folder/tatqa.json"), "a file of another name than sample, sample-tools, tatqa"),
        (Data(train="dev"), "data.train: one of train, heldout"),
        (Data(source="tatqa", evaluation="heldout"), "data.evaluation: one of train, dev, test_gold"),
        (Data(evaluation="train"), "another split to evaluate on than to train on"),
    ],
)
def test_an_unknown_source_or_split_is_refused(data: Data, wanted: str) -> None:
    with pytest.raises(Stop) as stopped:
        sources.splits(data)
    assert wanted in stopped.value.wanted
    assert "[data]" in stopped.value.where
