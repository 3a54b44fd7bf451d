"""Formatting whole splits of the sample, the official TAT-QA and a user's files: rows, report and staleness."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline import job
from pipeline.data import check, fetch, formatted
from pipeline.data import format as formatting
from pipeline.errors import Stop
from pipeline.job import Job
from pipeline.recipe import load
from pipeline.tatqa import sample


def _job(*overrides: str) -> Job:
    return job.resolve(load("quickstart", ["model.source=tiny", "training.max_length=2048", *overrides]))


def _fetched_job(*overrides: str) -> Job:
    fetched = _job(*overrides)
    fetch.fetch(fetched, lambda line: None)
    return fetched


def _format(fetched: Job) -> tuple[dict[str, Any], str]:
    output: list[str] = []
    formatting.format_splits(fetched, output.append)
    return formatted.read_report(fetched.formatted)["splits"], "\n".join(output)


def test_rows_are_stale_after_a_change_of_raw_file_tokenizer_or_settings(workplace: Path) -> None:
    fetched = _fetched_job()
    assert formatted.stale(fetched) == ["train", "heldout"]
    _format(fetched)
    assert formatted.stale(fetched) == []
    rows = formatted.read_rows(fetched.train.rows, contexts=2)
    assert len(rows) == 12
    assert json.loads(rows[0]["answer"])
    for setting in ("data.language=zh", "data.table=html", "data.target=equation", "training.max_length=1000"):
        other = _job(setting)
        assert other.formatted != fetched.formatted
        assert formatted.stale(other) == ["train", "heldout"]
    for file in (fetched.train.raw, Path("models/tiny/tokenizer.json"), fetched.evaluation.rows):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert formatted.stale(fetched)
        file.write_bytes(before)
        assert formatted.stale(fetched) == []


def test_the_report_counts_what_was_written(workplace: Path) -> None:
    fetched = _fetched_job("data.target=equation")
    splits, output = _format(fetched)
    written = [json.loads(line) for line in fetched.train.rows.read_text().splitlines()]
    train = splits["train"]
    assert (train["contexts"], train["questions"]) == (64, 384) == (64, len(written))
    assert (
        sum(train["answer_types"].values())
        == sum(train["scales"].values())
        == sum(train["answer_sources"].values())
        == 384
    )
    lengths = sorted(length for length, count in train["prompt_tokens_histogram"].items() for _ in range(count))
    assert len(lengths) == 384
    assert train["plain_answers"]["count"] == 0
    assert train["leaks"]["count"] == train["too_long"]["count"] == 0
    assert "tokens, prompt" in output and "report.json" in output
    # the lengths equal those of training
    from pipeline.data import packing
    from pipeline.models import chat_template

    template = chat_template.load(Path("models/tiny"))
    contexts, left_out = packing.encode(template, written, 4096)
    whole = sum(len(each.prefix) + len(rest) for each in contexts for rest, _ in each.questions)
    assert left_out == 0
    assert whole == train["prompt_tokens"]["all"]
    assert sum(len(answer) for each in contexts for _, answer in each.questions) == train["answer_tokens"]["all"]


def test_a_context_that_is_too_long_is_truncated_and_counted(workplace: Path) -> None:
    whole, _ = _format(_fetched_job())
    longest = whole["train"]["prompt_tokens"]["100"]
    splits, output = _format(fetched := _fetched_job(f"training.max_length={longest - 60}"))
    truncated = splits["train"]["cut"]
    assert truncated["contexts"] and truncated["notes"] + truncated["rows"] >= truncated["contexts"]
    assert f"{truncated['contexts']} ({truncated['notes']} notes, {truncated['rows']} rows)" in output
    over = sum(
        count for length, count in splits["train"]["prompt_tokens_histogram"].items() if int(length) > longest - 60
    )
    assert over <= splits["train"]["too_long"]["count"] < 100  # contexts whose answers need most notes and rows
    written = [json.loads(line) for line in fetched.train.rows.read_text().splitlines()]
    for row in written:
        if row["answer_type"] in ("span", "multi-span"):
            for item in json.loads(row["answer"]):
                assert " ".join(item.split()) in " ".join(row["input"].split())
    short, output = _format(_fetched_job("training.max_length=200"))
    assert short["train"]["too_long"]["count"] == 384
    assert "questions too long" in output


def test_duplicates_and_leakage_are_found(workplace: Path) -> None:
    contexts = sample.contexts("train")[:4]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    fetched = _fetched_job("data.source=mine.json")
    train, heldout = (json.loads(split.raw.read_text()) for split in fetched.splits)
    assert (len(train), len(heldout)) == (3, 1)
    heldout[0]["table"]["table"] = train[0]["table"]["table"]
    train[1]["questions"][1]["question"] = " " + train[1]["questions"][0]["question"].upper()
    fetched.train.raw.write_text(json.dumps(train))
    fetched.evaluation.raw.write_text(json.dumps(heldout))
    splits, output = _format(fetched)
    assert splits["train"]["same_questions"]["count"] == 1
    assert splits["train"]["same_questions"]["listed"][0]["question"] == train[1]["questions"][1]["uid"]
    assert splits["heldout"]["leaks"]["listed"] == [
        {"context": heldout[0]["table"]["uid"], "also_in": f"train {train[0]['table']['uid']}"}
    ]
    assert "leakage from the other split" in output


def test_the_list_of_findings_is_bounded_and_the_count_is_not(workplace: Path) -> None:
    contexts = sample.contexts("train")[:5]
    for context in contexts:
        context["questions"] = [{**context["questions"][0], "uid": f"{context['table']['uid']}-{i}"} for i in range(60)]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, _ = _format(_fetched_job("data.source=mine.json"))
    found = splits["train"]["same_questions"]
    assert (found["count"], len(found["listed"])) == (4 * 59, 100)


def test_a_users_rows_are_split_and_formatted(workplace: Path) -> None:
    lines = [{"instruction": "Say it back", "input": f"word {i}", "output": f"word {i}"} for i in range(20)] + [
        {"instruction": "Say it back", "input": "word 3", "output": "word 3", "system": "Be brief."}
    ]
    (workplace / "mine.jsonl").write_text("\ufeff" + "\n".join(json.dumps(line) for line in lines) + "\n\n")
    fetched = _fetched_job("data.source=mine.jsonl")
    splits, _ = _format(fetched)
    assert (splits["train"]["questions"], splits["heldout"]["questions"]) == (19, 2)
    assert splits["train"]["same_questions"]["count"] == 1
    rows = formatted.read_rows(fetched.train.rows)
    assert rows[0]["output"] == "word 0" and rows[-1]["system"] == "Be brief."
    # the same rows as a JSON list
    (workplace / "listed.json").write_text(json.dumps(lines))
    fetched = _fetched_job("data.source=listed.json")
    assert _format(fetched)[0]["train"]["questions"] == 19


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
        ("mine.json", b"{}", "a JSON list"),
        ("mine.json", b'[{"table": {}}]', "context 0, field 'table'"),
        ("mine.json", b'[{"output": "x"}, {"instruction": "a"}]', "row 0, field 'instruction'"),
        ("mine.json", b'[{"answer": 1, "answer": 2}]', "'answer' twice in one object"),
        ("mine.json", b'[{"extra": 1e999}]', "more than a float can hold"),
        ("tatqa.json", b"[]", "another name"),
        ("mine.csv", b"", "a path ending in .json or .jsonl"),
    ],
    ids=lambda value: repr(value)[:36],
)
def test_an_invalid_file_is_refused_and_the_previous_import_is_kept(
    workplace: Path, name: str, body: bytes, message: str
) -> None:
    good = [{"instruction": "a", "input": str(i), "output": "b"} for i in range(3)]
    (workplace / "mine.jsonl").write_text("\n".join(map(json.dumps, good)))
    _fetched_job("data.source=mine.jsonl")
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    (workplace / name).write_bytes(body)
    with pytest.raises(Stop) as stopped:
        _fetched_job(f"data.source={name}")
    assert message in str(stopped.value)
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before


def test_a_changed_file_is_imported_again_and_a_deleted_one_is_not_needed(workplace: Path) -> None:
    file = workplace / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"instruction": "a", "input": str(i), "output": "b"}) for i in range(3)))
    fetched = _fetched_job("data.source=mine.jsonl")
    assert check.missing(fetched) == []
    with file.open("a") as more:
        more.write('\n{"instruction": "a", "output": "c"}')
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
        _fetched_job("data.source=data/own/raw/own.json")
    assert file.exists()
    with pytest.raises(Stop, match="a folder"):
        _fetched_job(f"data.source={_folder(workplace)}")


def _folder(workplace: Path) -> str:
    (workplace / "folder.json").mkdir()
    return "folder.json"


def test_another_file_of_the_same_name_replaces_the_first(
    workplace: Path,
) -> None:
    for folder in ("a", "b"):
        (workplace / folder).mkdir()
        (workplace / folder / "mine.jsonl").write_text(
            "\n".join(json.dumps({"instruction": folder, "output": str(i)}) for i in range(3))
        )
    first = _fetched_job("data.source=a/mine.jsonl")
    second = _job("data.source=b/mine.jsonl")
    assert check.missing(second) == ["b/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="which has its name"):
        formatting.format_splits(second, print)
    fetch.fetch(second, print)
    assert check.missing(first) == ["a/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="no such file"):
        _fetched_job("data.source=elsewhere/mine.jsonl")
    assert '"instruction": "b"' in second.train.raw.read_text()


def test_a_duplicate_uid_is_reported_with_its_place_in_the_users_file(workplace: Path) -> None:
    contexts = sample.contexts("heldout")
    (workplace / "mine.json").write_text(json.dumps([*contexts, contexts[0]]))
    with pytest.raises(Stop, match=r"mine\.json, contexts 0 and 12"):
        _fetched_job("data.source=mine.json")
    assert not Path("data/mine/raw").exists()


def test_copied_small_tables_and_shared_uids_count_as_leakage(workplace: Path) -> None:
    contexts = sample.contexts("heldout")[:3]
    for number, context in enumerate(contexts):
        context["table"]["table"] = [["", "2019"], ["Sales", str(number)]]
    contexts[2]["table"]["table"], contexts[2]["paragraphs"] = contexts[0]["table"]["table"], contexts[0]["paragraphs"]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, _ = _format(fetched := _fetched_job("data.source=mine.json"))
    assert splits["heldout"]["leaks"]["listed"] == [{"context": contexts[2]["table"]["uid"], "also_in": "train"}]
    contexts[2]["paragraphs"] = []
    contexts[2]["questions"][0]["uid"] = contexts[0]["questions"][0]["uid"]
    fetched.evaluation.raw.write_text(json.dumps(contexts[2:]))
    assert _format(fetched)[0]["heldout"]["leaks"]["count"] == 1


def test_targets_that_do_not_read_back_as_gold_are_listed(workplace: Path) -> None:
    contexts = sample.contexts("heldout")[:2]
    question = next(each for each in contexts[0]["questions"] if each["answer_type"] == "span")
    question.update(answer=["3 million"], scale="", answer_from="text")
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, output = _format(_fetched_job("data.source=mine.json"))
    assert [each["question"] for each in splits["train"]["lost"]["listed"]] == [question["uid"]]
    assert "targets not read as gold" in output


def test_a_split_without_questions_is_refused(workplace: Path) -> None:
    (workplace / "mine.json").write_text(
        json.dumps([{**each, "questions": []} for each in sample.contexts("heldout")[:2]])
    )
    fetched = _fetched_job("data.source=mine.json")
    _format(fetched)
    with pytest.raises(Stop, match="none in this split"):
        formatted.read_rows(fetched.evaluation.rows)


def test_dataset_info_lists_every_file(workplace: Path) -> None:
    fetched = _fetched_job()
    _format(fetched)
    folder = fetched.formatted
    info = json.loads((folder / "dataset_info.json").read_text())
    assert info.keys() == {f"sample_{split}{form}" for split in ("train", "heldout") for form in ("", "_sharegpt")}
    for entry in info.values():
        lines = [json.loads(line) for line in (folder / entry["file_name"]).read_text().splitlines()]
        assert all(column in lines[0] for column in entry["columns"].values())
    alpaca, chat = (
        json.loads((folder / name).read_text().splitlines()[0]) for name in ("train.jsonl", "train-sharegpt.jsonl")
    )
    assert chat["conversations"] == [
        {"from": "human", "value": f"{alpaca['instruction']}\n{alpaca['input']}"},
        {"from": "gpt", "value": alpaca["output"]},
    ]


def test_the_official_files_are_formatted_completely(
    workplace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", str(mirror))
    splits, output = _format(
        _fetched_job("data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "training.max_length=16384")
    )
    assert [(each["contexts"], each["questions"]) for each in splits.values()] == [(278, 1668), (277, 1663)]
    assert splits["dev"]["scales"] == {"none": 794, "thousand": 345, "million": 254, "percent": 268, "billion": 7}
    assert splits["test_gold"]["answer_types"] == {"arithmetic": 699, "span": 714, "multi-span": 210, "count": 40}
    assert splits["dev"]["characters"]["minus sign"] >= 11
    assert splits["dev"]["same_questions"]["count"] == 2
    assert splits["test_gold"]["leaks"]["count"] == 2
    assert "minus signs normalized" in output
