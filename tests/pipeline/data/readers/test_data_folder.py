"""A folder as a source: what datasets saves, and files named after splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.data.readers import data_folder
from pipeline.errors import Stop

ROWS = [{"instruction": str(i), "output": "2019-12-01"} for i in range(3)]


def _splits(folder: Path) -> dict[str, list[object]]:
    found = data_folder.splits(folder, lambda stop: pytest.fail(str(stop)))
    return {name: [row for _, row in rows] for name, (_, rows) in found.items()}


def test_a_saved_data_set(tmp_path: Path) -> None:
    import datasets

    whole = datasets.Dataset.from_list([{**row, "extra": None} for row in ROWS])
    datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(str(tmp_path / "both"))
    whole.save_to_disk(str(tmp_path / "one"))
    assert _splits(tmp_path / "both") == {"train": ROWS, "test": ROWS[:1]}
    assert _splits(tmp_path / "one") == {"train": ROWS}


def test_files_of_a_repository(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "README.md").write_text("how to train")
    for name, row in (("train-00000-of-00002", 0), ("train-00001-of-00002", 1), ("validation-00000-of-00001", 2)):
        (tmp_path / "data" / f"{name}.jsonl").write_text(json.dumps(ROWS[row]))
    assert _splits(tmp_path) == {"train": ROWS[:2], "validation": ROWS[2:]}
    (tmp_path / "data" / "test.csv").write_text("instruction,output\n3,4\n")
    assert list(_splits(tmp_path)) == ["train", "validation"]  # one is held out


def test_a_folder_without_a_split_to_train_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.json").write_text("[]")
    with pytest.raises(Stop, match=r"letters\.json"):
        _splits(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(Stop, match="a data set that datasets can load"):
        _splits(tmp_path)
