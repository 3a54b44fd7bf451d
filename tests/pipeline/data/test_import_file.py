"""Importing a user's file: checked, split, and atomic: an invalid file keeps the previous import."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pipeline.data import check, fetch, formatted_rows
from pipeline.data import format as formatting
from pipeline.errors import Stop
from pipeline.tatqa import sample
from tests.steps import fetched_job, format_job, tiny_job


def test_a_users_rows_are_split_and_formatted(workplace: Path) -> None:
    lines = [{"instruction": "Say it back", "input": f"word {i}", "output": f"word {i}"} for i in range(20)] + [
        {"instruction": "Say it back", "input": "word 3", "output": "word 3", "system": "Be brief."}
    ]
    (workplace / "mine.jsonl").write_text("\ufeff" + "\n".join(json.dumps(line) for line in lines) + "\n\n")
    fetched = fetched_job("data.source=mine.jsonl")
    splits, _ = format_job(fetched)
    assert (splits["train"]["questions"], splits["heldout"]["questions"]) == (19, 2)
    assert splits["train"]["same_questions"]["count"] == 1
    rows = formatted_rows.read_rows(fetched.train.rows)
    assert rows[0]["output"] == "word 0" and rows[-1]["system"] == "Be brief."
    # the same rows as a JSON list
    (workplace / "listed.json").write_text(json.dumps(lines))
    fetched = fetched_job("data.source=listed.json")
    assert format_job(fetched)[0]["train"]["questions"] == 19


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("mine.jsonl", b'{"instruction": "a", "output": "b"}\n{"instruction": "a"}', "line 2, field 'output'"),
        ("mine.jsonl", b'{"instruction": "a", "output": " "}', "line 1, field 'output'"),
        ("mine.jsonl", b'{"instruction": 3, "output": "b"}', "line 1, field 'instruction'"),
        ("mine.jsonl", b'{"instruction": "a", "output": "\\ud800"}', "half a surrogate pair"),
        ("mine.jsonl", b"[1]", "line 1"),
        ("mine.jsonl", b'{"a": ', "line 1"),
        ("mine.jsonl", b"\xff", "line 1"),
        ("mine.jsonl", b'{"instruction": "a", "output": "b"}\n' * 50 + b"\xff", "line 51"),
        ("mine.jsonl", b'{"instruction": "a", "output": "b", "output": "c"}', "twice in one object"),
        ("mine.jsonl", b"[" * 100_000, "line 1"),
        ("mine.jsonl", b"", "at least two"),
        ("mine.jsonl", b'{"instruction": "a", "output": "b"}', "at least two"),
        ("mine.json", b"[]", "at least two"),
        ("mine.json", b"{}", "an object with keys"),
        ("mine.json", b'[{"table": {}}]', "row 0 (line 1), field 'table'"),
        ("mine.json", b'[{"output": "x"}, {"instruction": "a", "output": "x"}]', "row 0 (line 1), field 'instruction'"),
        ("mine.json", b'[{"answer": 1, "answer": 2}]', "'answer' twice in one object"),
        ("mine.json", b'[{"extra": 1e999}]', "more than a float can hold"),
        ("tatqa.json", b"[]", "another name"),
        ("mine.csv", b"", "an empty file"),
    ],
    ids=lambda value: repr(value)[:36],
)
def test_an_invalid_file_is_refused_and_the_previous_import_is_kept(
    workplace: Path, name: str, body: bytes, message: str
) -> None:
    good = [{"instruction": "a", "input": str(i), "output": "b"} for i in range(3)]
    (workplace / "mine.jsonl").write_text("\n".join(map(json.dumps, good)))
    fetched_job("data.source=mine.jsonl")
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    (workplace / name).write_bytes(body)
    with pytest.raises(Stop) as stopped:
        fetched_job(f"data.source={name}")
    assert message in str(stopped.value)
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before


def test_a_changed_file_is_imported_again_and_a_deleted_one_is_not_needed(workplace: Path) -> None:
    file = workplace / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"instruction": "a", "input": str(i), "output": "b"}) for i in range(3)))
    fetched = fetched_job("data.source=mine.jsonl")
    assert check.missing(fetched) == []
    with file.open("a") as appended:
        appended.write('\n{"instruction": "a", "output": "c"}')
    assert check.missing(fetched) == ["mine.jsonl as it is now"]
    fetch.fetch(fetched, print)
    assert check.missing(fetched) == []
    file.unlink()
    assert check.missing(fetched) == []
    fetch.fetch(fetched, print)
    shutil.rmtree("data/mine")
    with pytest.raises(Stop, match="no such file"):
        fetch.fetch(fetched, print)


def test_a_file_inside_its_own_raw_folder_is_refused_and_kept(workplace: Path) -> None:
    file = workplace / "data" / "own" / "raw" / "own.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(sample.contexts("heldout")))
    with pytest.raises(Stop, match="move it elsewhere"):
        fetched_job("data.source=data/own/raw/own.json")
    assert file.exists()
    with pytest.raises(Stop, match="move it elsewhere"):
        fetched_job("data.source=./data")  # which has the raw folder in it


def test_another_file_of_the_same_name_replaces_the_first(workplace: Path) -> None:
    for folder in ("a", "b"):
        (workplace / folder).mkdir()
        (workplace / folder / "mine.jsonl").write_text(
            "\n".join(json.dumps({"instruction": folder, "input": str(i), "output": str(i)}) for i in range(3))
        )
    first = fetched_job("data.source=a/mine.jsonl")
    second = tiny_job("data.source=b/mine.jsonl")
    assert check.missing(second) == ["b/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="which has its name"):
        formatting.format_splits(second, print)
    fetch.fetch(second, print)
    assert check.missing(first) == ["a/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="no such file"):
        fetched_job("data.source=elsewhere/mine.jsonl")
    assert '"content": "b\\n0"' in second.train.raw.read_text()


def test_a_duplicate_uid_is_reported_with_its_place_in_the_users_file(workplace: Path) -> None:
    contexts = sample.contexts("heldout")
    (workplace / "mine.json").write_text(json.dumps([*contexts, contexts[0]]))
    with pytest.raises(Stop, match=r"mine\.json, contexts 0 and 40"):
        fetched_job("data.source=mine.json")
    assert not Path("data/mine/raw").exists()


@pytest.mark.parametrize("uids", [True, False])
def test_a_context_in_both_splits_of_a_folder_is_shown_as_leakage(workplace: Path, uids: bool) -> None:
    contexts = sample.contexts("heldout")[:3]
    if not uids:
        for context in contexts:
            for each in (context["table"], *context["questions"]):
                del each["uid"]
    (workplace / "mine").mkdir()
    for split, chosen in (("train", contexts), ("dev", contexts[:1])):
        (workplace / "mine" / f"{split}.json").write_text(json.dumps(chosen))
    report, printed = format_job(fetched_job("data.source=./mine"))
    assert (report["train"]["contexts"], report["heldout"]["contexts"]) == (3, 1)
    assert report["heldout"]["leaks"]["count"] == 1 and "leak" in printed


def test_the_same_row_twice_without_uids_is_one_question(workplace: Path) -> None:
    rows = [
        {"table": [["", "2019"], [f"Row {i}", str(i)]], "question": "How much?", "answer": [str(i)]} for i in range(4)
    ]
    (workplace / "mine.json").write_text(json.dumps([*rows, rows[0], rows[0]]))
    lines: list[str] = []
    fetch.fetch(resolved := tiny_job("data.source=mine.json"), lines.append)
    assert any("2 questions without a uid that are copies of others, left out" in line for line in lines)
    report, _ = format_job(resolved)
    assert report["train"]["questions"] + report["heldout"]["questions"] == 4
    assert report["train"]["same_questions"]["count"] == 0


def test_what_each_split_is_and_what_is_not_read_is_said(workplace: Path) -> None:
    (workplace / "mine").mkdir()
    rows = "instruction,output\n营业收入是多少,一千二百万元\n较上年下降多少,百分之十二\n"
    (workplace / "mine" / "train.csv").write_bytes(rows.encode("gb18030"))
    for name in ("dev.jsonl", "dev.jsonl.bak", "test.jsonl"):
        (workplace / "mine" / name).write_text(json.dumps({"instruction": "a", "output": "b"}))
    lines: list[str] = []
    fetch.fetch(tiny_job("data.source=./mine"), lines.append)
    printed = "\n".join(lines)
    assert "CSV, GB18030 (it reads '营业收入是多少,一千二百万元'), JSON lines, alpaca" in printed
    assert "dev.jsonl.bak" in printed and "1 splits that are not used: test" in printed


def test_columns_that_a_split_lacks_are_named_with_the_split(workplace: Path) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "train.csv").write_text("frage,antwort\na,b\nc,d\n")
    (workplace / "mine" / "dev.csv").write_text("q,a\na,b\n")
    with pytest.raises(Stop, match="antwort, frage") as stopped:
        fetched_job("data.source=./mine", 'data.columns={instruction="frage", output="antwort"}')
    assert stopped.value.where.endswith("mine, split dev") and stopped.value.found == "the columns a, q"


@pytest.mark.parametrize("source", ["dqa/questions.json", "./dqa"])
def test_a_changed_document_is_imported_again(workplace: Path, source: str) -> None:
    (workplace / "dqa" / "docs").mkdir(parents=True)
    rows = []
    for number in range(3):
        question = {"question": "Sales?", "answer": [f"1{number}"]}
        rows.append({"doc": {"uid": f"d{number}"}, "questions": [question]})
        pages = {"pages": [{"blocks": [{"text": f"Sales were 1{number}"}]}]}
        (workplace / "dqa" / "docs" / f"d{number}.json").write_text(json.dumps(pages))
    name = "train.json" if source == "./dqa" else "questions.json"
    (workplace / "dqa" / name).write_text(json.dumps(rows))
    fetched = fetched_job(f"data.source={source}")
    assert check.missing(fetched) == []
    document = workplace / "dqa" / "docs" / "d1.json"
    document.write_text(document.read_text().replace("Sales", "Turnover"))
    assert check.missing(fetched) == [f"{source.removeprefix('./')} as it is now"]
    fetch.fetch(fetched, print)
    assert check.missing(fetched) == [] and "Turnover were 11" in fetched.train.raw.read_text()
    document.unlink()
    with pytest.raises(Stop, match=r"d1\.json"):
        fetch.fetch(fetched, print)


def test_faults_of_rows_are_listed_beside_a_file_that_breaks_off(workplace: Path) -> None:
    (workplace / "mine.csv").write_text('instruction,output\na,b\nc,\nd,e,f\ng,"h\ni,j\n')
    with pytest.raises(Stop) as stopped:
        fetched_job("data.source=mine.csv")
    assert stopped.value.wanted.startswith("alpaca") and stopped.value.found.startswith("3 rows")
    for line in (3, 4, 5):
        assert f"mine.csv, line {line}" in stopped.value.found
    (workplace / "mine.csv").write_text('instruction,output\n"h\ni,j\n')  # no row of any form
    with pytest.raises(Stop) as stopped:
        fetched_job("data.source=mine.csv")
    assert (stopped.value.wanted, stopped.value.found) == ("CSV", "quotes that are opened and not closed")
