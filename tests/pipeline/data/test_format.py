"""Formatting whole splits of the sample, the official TAT-QA and a user's files: rows, report and staleness."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.tatqa import sample
from tests.steps import fetched_job, format_job, step

TRAIN = sample.CONTEXTS["train"]


def test_the_report_counts_what_was_written(workplace: Path) -> None:
    fetched = fetched_job()
    splits, output = format_job(fetched)
    written = [json.loads(line) for line in fetched.train.rows.read_text().splitlines()]
    train = splits["train"]
    assert (train["contexts"], train["questions"]) == (TRAIN, 8 * TRAIN) == (TRAIN, len(written))
    assert (
        sum(train["answer_types"].values())
        == sum(train["scales"].values())
        == sum(train["answer_sources"].values())
        == 8 * TRAIN
    )
    lengths = sorted(length for length, count in train["prompt_tokens_histogram"].items() for _ in range(count))
    assert len(lengths) == 8 * TRAIN
    assert train["plain_answers"]["count"] == 0
    assert train["leaks"]["count"] == train["too_long"]["count"] == 0
    assert "tokens, prompt" in output and "report.json" in output
    # the lengths equal those of training
    from pipeline.data import packing
    from pipeline.models import chat_template

    template = chat_template.load(Path("models/tiny"))
    contexts, left_out = packing.encode(template, written, 4096)
    whole = sum(len(each.prefix) + len(ids) for each in contexts for ids, _ in each.questions)
    answers = sum(label != packing.IGNORED for each in contexts for _, labels in each.questions for label in labels)
    assert left_out == 0
    assert whole - answers == train["prompt_tokens"]["all"]
    assert answers == train["answer_tokens"]["all"]


def test_a_context_that_is_too_long_is_truncated_and_counted(workplace: Path) -> None:
    whole, _ = format_job(fetched_job())
    longest = whole["train"]["prompt_tokens"]["100"]
    splits, output = format_job(fetched := fetched_job(f"training.max_length={longest - 20}"))
    truncated = splits["train"]["cut"]
    assert truncated["contexts"] and truncated["notes"] + truncated["rows"] >= truncated["contexts"]
    assert f"{truncated['contexts']} ({truncated['notes']} notes, {truncated['rows']} rows)" in output
    over = sum(
        count for length, count in splits["train"]["prompt_tokens_histogram"].items() if int(length) > longest - 20
    )
    assert over <= splits["train"]["too_long"]["count"] < 5 * TRAIN  # contexts whose answers need most notes and rows
    written = [json.loads(line) for line in fetched.train.rows.read_text().splitlines()]
    for row in written:
        if row["answer_type"] in ("span", "multi-span"):
            for item in json.loads(row["answer"]):
                assert " ".join(item.split()) in " ".join(row["input"].split())
    short, output = format_job(fetched_job("training.max_length=120"))
    assert short["train"]["too_long"]["count"] == 8 * TRAIN
    assert "questions too long" in output


def test_duplicates_and_leakage_are_found(workplace: Path) -> None:
    contexts = sample.contexts("train")[:4]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    fetched = fetched_job("data.source=mine.json")
    train, heldout = (json.loads(split.raw.read_text()) for split in fetched.splits)
    assert (len(train), len(heldout)) == (3, 1)
    heldout[0]["table"]["table"] = train[0]["table"]["table"]
    train[1]["questions"][1]["question"] = " " + train[1]["questions"][0]["question"].upper()
    fetched.train.raw.write_text(json.dumps(train))
    fetched.evaluation.raw.write_text(json.dumps(heldout))
    splits, output = format_job(fetched)
    assert splits["train"]["same_questions"]["count"] == 1
    assert splits["train"]["same_questions"]["listed"][0]["question"] == train[1]["questions"][1]["uid"]
    assert splits["heldout"]["leaks"]["listed"] == [
        {"context": heldout[0]["table"]["uid"], "also_in": f"train {train[0]['table']['uid']}"}
    ]
    assert "leakage from the other split" in output


def test_copied_small_tables_and_shared_uids_count_as_leakage(workplace: Path) -> None:
    contexts = sample.contexts("heldout")[:3]
    for number, context in enumerate(contexts):
        context["table"]["table"] = [["", "2019"], ["Sales", str(number)]]
    contexts[2]["table"]["table"], contexts[2]["paragraphs"] = contexts[0]["table"]["table"], contexts[0]["paragraphs"]
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, _ = format_job(fetched := fetched_job("data.source=mine.json"))
    assert splits["train"]["same_tables"]["listed"] == [{"context": contexts[2]["table"]["uid"], "also_in": "train"}]
    fetched.train.raw.write_text(json.dumps(contexts[:2]))
    fetched.evaluation.raw.write_text(json.dumps(contexts[2:]))
    splits, _ = format_job(fetched)
    assert splits["heldout"]["leaks"]["listed"] == [{"context": contexts[2]["table"]["uid"], "also_in": "train"}]
    contexts[2]["paragraphs"] = []
    contexts[2]["questions"][0]["uid"] = contexts[0]["questions"][0]["uid"]
    fetched.evaluation.raw.write_text(json.dumps(contexts[2:]))
    assert format_job(fetched)[0]["heldout"]["leaks"]["count"] == 1


def test_targets_that_do_not_read_back_as_gold_are_listed(workplace: Path) -> None:
    contexts = sample.contexts("heldout")[:2]
    question = next(each for each in contexts[0]["questions"] if each["answer_type"] == "span")
    question.update(answer=["3 million"], scale="", answer_from="text")
    (workplace / "mine.json").write_text(json.dumps(contexts))
    splits, output = format_job(fetched_job("data.source=mine.json", "data.target=answer"))
    assert [each["question"] for each in splits["train"]["lost"]["listed"]] == [question["uid"]]
    assert "targets not read as gold" in output


def test_the_official_files_are_formatted_completely(
    workplace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", str(mirror))
    splits, output = format_job(
        fetched_job("data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "training.max_length=16384")
    )
    assert [(each["contexts"], each["questions"]) for each in splits.values()] == [(278, 1668), (277, 1663)]
    assert splits["dev"]["scales"] == {"none": 794, "thousand": 345, "million": 254, "percent": 268, "billion": 7}
    assert splits["test_gold"]["answer_types"] == {"arithmetic": 699, "span": 714, "multi-span": 210, "count": 40}
    assert splits["dev"]["characters"]["minus sign"] >= 11
    assert splits["dev"]["same_questions"]["count"] == 2
    assert splits["test_gold"]["leaks"]["count"] == 2
    assert "minus signs normalized" in output


def test_an_invalid_context_keeps_the_previous_rows(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (rows,) = Path().glob("data/sample/en-*/train.jsonl")
    before = rows.read_bytes()
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][0]["scale"] = "dozen"
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "context 1, question 0, field 'scale'" in capsys.readouterr().err
    assert rows.read_bytes() == before


def test_nan_in_the_data_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = Path("data/sample/raw/train.json")
    contexts = json.loads(raw.read_text())
    contexts[1]["questions"][2]["answer"] = float("nan")
    raw.write_text(json.dumps(contexts))
    assert step("format") == 1
    assert "NaN" in capsys.readouterr().err
