"""A folder as a source: what datasets saves, and files named after splits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.data.readers import data_folder
from pipeline.data.readers.reading import Reading
from pipeline.errors import Stop

ROWS = [{"instruction": str(i), "output": "2019-12-01"} for i in range(3)]


def _splits(folder: Path, reading: Reading | None = None) -> dict[str, list[object]]:
    reading = reading or Reading()
    found = data_folder.splits(folder, reading)
    made = {name: [row for _, row in rows] for name, (_, rows) in found.items()}
    assert not reading.faults
    return made


def _write(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(json.dumps(ROWS[0]))
    return folder


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
    (tmp_path / "data" / "test.csv").write_bytes(b"\xff")  # not opened
    reading = Reading()
    assert list(_splits(tmp_path, reading)) == ["train", "validation"]  # one is held out
    said = "\n".join(reading.lines())
    assert "1 splits that are not used: test" in said and "README.md" in said
    (tmp_path / "data" / "train-00001-of-00002.jsonl").unlink()
    with pytest.raises(Stop, match="2 files, as train-00000-of-00002"):
        _splits(tmp_path)


def test_only_visible_files_of_one_split_are_read_and_the_others_are_named(tmp_path: Path) -> None:
    ignored = (".train.jsonl", "._train.jsonl", "train.jsonl.bak", "train_dev.jsonl", "train.jsonl~", "training.jsonl")
    folder = _write(tmp_path, "my-train.jsonl", "tatqa_dataset_test_gold.json", *ignored)
    (folder / "._train.jsonl").write_bytes(b"\0\5\x16\7")  # as macOS writes
    reading = Reading()
    assert _splits(folder, reading) == {"train": ROWS[:1], "test": ROWS[:1]}
    (line,) = reading.lines()
    assert line.startswith("6 files") and all(name in line for name in ignored)


@pytest.mark.parametrize("other", ["train copy.jsonl", "train_turn.jsonl", "train.csv", "old-train.jsonl"])
def test_files_that_are_no_parts_of_one_split_are_refused(tmp_path: Path, other: str) -> None:
    with pytest.raises(Stop, match="one file of the split train") as stopped:
        _splits(_write(tmp_path, "train.jsonl", other))
    assert other in stopped.value.found


def test_numbered_files_are_parts_of_one_split(tmp_path: Path) -> None:
    assert _splits(_write(tmp_path, "train-1.jsonl", "train-2.jsonl", "dev_1.json")) == {
        "train": [ROWS[0]] * 2,
        "dev": ROWS[:1],
    }


def test_hidden_files_do_not_count_as_a_change(tmp_path: Path) -> None:
    folder = _write(tmp_path, "train.jsonl", ".train.jsonl")
    _write(tmp_path / ".git", "index")
    assert data_folder.fingerprint(folder) == [folder / "train.jsonl"]


def test_a_folder_without_a_split_to_train_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.json").write_text("[]")
    with pytest.raises(Stop, match=r"letters\.json"):
        _splits(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(Stop, match="a data set that datasets can load"):
        _splits(tmp_path)


def test_labels_have_their_names(tmp_path: Path) -> None:
    import datasets

    label = datasets.ClassLabel(names=["negative", "positive"])
    features = datasets.Features({"instruction": datasets.Value("string"), "output": label, "all": [label]})
    rows = [{"instruction": str(i), "output": number, "all": [1, 0]} for i, number in enumerate((0, 1, -1))]
    saved = datasets.Dataset.from_list(rows, features=features)
    saved.save_to_disk(str(tmp_path / "set"))
    wanted = [
        {"instruction": "0", "output": "negative", "all": ["positive", "negative"]},
        {"instruction": "1", "output": "positive", "all": ["positive", "negative"]},
        {"instruction": "2", "all": ["positive", "negative"]},
    ]
    assert _splits(tmp_path / "set") == {"train": wanted}
    (tmp_path / "hub").mkdir()
    saved.to_parquet(str(tmp_path / "hub" / "train.parquet"))  # as the hub has them
    assert _splits(tmp_path / "hub") == {"train": wanted}
