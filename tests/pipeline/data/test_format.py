"""Formatting whole splits: what is written, counted and found again, of the sample, the real TAT-QA and files of a caller's own."""

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

pytestmark = pytest.mark.filterwarnings("ignore")


def _job(*overrides: str) -> Job:
    return job.resolve(load("quickstart", ["model.source=tiny", "training.max_length=2048", *overrides]))


def _ready(*overrides: str) -> Job:
    ready = _job(*overrides)
    fetch.fetch(ready, lambda line: None)
    return ready


def _formatted(ready: Job) -> tuple[dict[str, Any], str]:
    said: list[str] = []
    formatting.format_splits(ready, said.append)
    return formatted.read_report(ready.formatted)["splits"], "\n".join(said)


def test_formatting_follows_raw_files_tokenizer_and_settings(workplace: Path) -> None:
    ready = _ready()
    assert formatted.stale(ready) == ["train", "heldout"]
    _formatted(ready)
    assert formatted.stale(ready) == []
    read = formatted.read_rows(ready.train.rows, contexts=2)
    assert len(read) == 12
    assert json.loads(read[0]["answer"])
    for setting in ("data.language=zh", "data.table=html", "data.target=equation", "training.max_length=1000"):
        other = _job(setting)
        assert other.formatted != ready.formatted
        assert formatted.stale(other) == ["train", "heldout"]
    for file in (
        ready.train.raw,
        Path("models/tiny/tokenizer.json"),
        ready.evaluation.rows,
    ):
        before = file.read_bytes()
        file.write_bytes(before + b"\n")
        assert formatted.stale(ready)
        file.write_bytes(before)
        assert formatted.stale(ready) == []


def test_the_report_counts_what_is_there(workplace: Path) -> None:
    ready = _ready("data.target=equation")
    splits, said = _formatted(ready)
    written = [json.loads(line) for line in ready.train.rows.read_text().splitlines()]
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
    assert "tokens, prompt" in said and "report.json" in said
    # the lengths are those that training will see
    from pipeline.data import packing
    from pipeline.models import chat_template

    template = chat_template.load(Path("models/tiny"))
    contexts, left_out = packing.encode(template, written, 4096)
    whole = sum(len(each.prefix) + len(rest) for each in contexts for rest, _ in each.questions)
    assert left_out == 0
    assert whole == train["prompt_tokens"]["all"]
    assert sum(len(answer) for each in contexts for _, answer in each.questions) == train["answer_tokens"]["all"]


def test_a_context_that_does_not_fit_is_cut_and_counted(workplace: Path) -> None:
    whole, _ = _formatted(_ready())
    longest = whole["train"]["prompt_tokens"]["100"]
    splits, said = _formatted(ready := _ready(f"training.max_length={longest - 60}"))
    cut = splits["train"]["cut"]
    assert cut["contexts"] and cut["notes"] + cut["rows"] >= cut["contexts"]
    assert f"{cut['contexts']} ({cut['notes']} notes, {cut['rows']} rows)" in said
    over = sum(
        count for length, count in splits["train"]["prompt_tokens_histogram"].items() if int(length) > longest - 60
    )
    assert over <= splits["train"]["too_long"]["count"] < 100  # where most notes and rows are needed
    written = [json.loads(line) for line in ready.train.rows.read_text().splitlines()]
    for row in written:
        if row["answer_type"] in ("span", "multi-span"):
            for item in json.loads(row["answer"]):
                assert " ".join(item.split()) in " ".join(row["input"].split())
    short, said = _formatted(_ready("training.max_length=200"))
    assert short["train"]["too_long"]["count"] == 384
    assert "questions too long" in said


def test_twice_is_found_within_and_between_splits(workplace: Path) -> None:
    made = sample.contexts("train")[:4]
    (workplace / "mine.json").write_text(json.dumps(made))
    ready = _ready("data.source=mine.json")
    train, heldout = (json.loads(split.raw.read_text()) for split in ready.splits)
    assert (len(train), len(heldout)) == (3, 1)
    heldout[0]["table"]["table"] = train[0]["table"]["table"]
    train[1]["questions"][1]["question"] = " " + train[1]["questions"][0]["question"].upper()
    ready.train.raw.write_text(json.dumps(train))
    ready.evaluation.raw.write_text(json.dumps(heldout))
    splits, said = _formatted(ready)
    assert splits["train"]["same_questions"]["count"] == 1
    assert splits["train"]["same_questions"]["listed"][0]["question"] == train[1]["questions"][1]["uid"]
    assert splits["heldout"]["leaks"]["listed"] == [
        {"context": heldout[0]["table"]["uid"], "also_in": f"train {train[0]['table']['uid']}"}
    ]
    assert "leakage from the other split" in said


def test_a_list_of_findings_stops_growing_while_its_count_goes_on(workplace: Path) -> None:
    made = sample.contexts("train")[:5]
    for context in made:
        context["questions"] = [{**context["questions"][0], "uid": f"{context['table']['uid']}-{i}"} for i in range(60)]
    (workplace / "mine.json").write_text(json.dumps(made))
    splits, _ = _formatted(_ready("data.source=mine.json"))
    found = splits["train"]["same_questions"]
    assert (found["count"], len(found["listed"])) == (4 * 59, 100)


def test_rows_of_a_callers_own(workplace: Path) -> None:
    lines = [{"instruction": "Say it back", "input": f"word {i}", "output": f"word {i}"} for i in range(20)] + [
        {"instruction": "Say it back", "input": "word 3", "output": "word 3", "system": "Be brief."}
    ]
    (workplace / "mine.jsonl").write_text("\ufeff" + "\n".join(json.dumps(line) for line in lines) + "\n\n")
    ready = _ready("data.source=mine.jsonl")
    splits, _ = _formatted(ready)
    assert (splits["train"]["questions"], splits["heldout"]["questions"]) == (19, 2)
    assert splits["train"]["same_questions"]["count"] == 1
    read = formatted.read_rows(ready.train.rows)
    assert read[0]["output"] == "word 0" and read[-1]["system"] == "Be brief."
    # the same as a JSON list
    (workplace / "listed.json").write_text(json.dumps(lines))
    ready = _ready("data.source=listed.json")
    assert _formatted(ready)[0]["train"]["questions"] == 19


@pytest.mark.parametrize(
    ("name", "body", "said"),
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
def test_a_file_that_is_no_data_is_refused_and_what_was_there_stays(
    workplace: Path, name: str, body: bytes, said: str
) -> None:
    good = [{"instruction": "a", "input": str(i), "output": "b"} for i in range(3)]
    (workplace / "mine.jsonl").write_text("\n".join(map(json.dumps, good)))
    _ready("data.source=mine.jsonl")
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    (workplace / name).write_bytes(body)
    with pytest.raises(Stop) as stopped:
        _ready(f"data.source={name}")
    assert said in str(stopped.value)
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before


def test_a_changed_file_is_taken_over_again_and_a_lost_one_is_not_needed(workplace: Path) -> None:
    file = workplace / "mine.jsonl"
    file.write_text("\n".join(json.dumps({"instruction": "a", "input": str(i), "output": "b"}) for i in range(3)))
    ready = _ready("data.source=mine.jsonl")
    assert check.missing(ready) == []
    with file.open("a") as more:
        more.write('\n{"instruction": "a", "output": "c"}')
    assert check.missing(ready) == ["mine.jsonl as it is now"]
    fetch.fetch(ready, print)
    assert check.missing(ready) == []
    file.unlink()
    assert check.missing(ready) == []
    fetch.fetch(ready, print)
    shutil.rmtree("data/mine")
    with pytest.raises(Stop, match="no such file"):
        fetch.fetch(ready, print)


def test_a_file_where_its_own_data_is_written_to_is_refused_and_kept(workplace: Path) -> None:
    file = workplace / "data" / "own" / "raw" / "own.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(sample.contexts("heldout")))
    with pytest.raises(Stop, match="move it elsewhere"):
        _ready("data.source=data/own/raw/own.json")
    assert file.exists()
    with pytest.raises(Stop, match="a folder"):
        _ready(f"data.source={_folder(workplace)}")


def _folder(workplace: Path) -> str:
    (workplace / "folder.json").mkdir()
    return "folder.json"


def test_another_file_of_the_same_name_takes_the_place_of_the_first_and_only_a_known_one_may_be_gone(
    workplace: Path,
) -> None:
    for folder in ("a", "b"):
        (workplace / folder).mkdir()
        (workplace / folder / "mine.jsonl").write_text(
            "\n".join(json.dumps({"instruction": folder, "input": str(i), "output": str(i)}) for i in range(3))
        )
    first = _ready("data.source=a/mine.jsonl")
    second = _job("data.source=b/mine.jsonl")
    assert check.missing(second) == ["b/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="which has its name"):
        formatting.format_splits(second, print)
    fetch.fetch(second, print)
    assert check.missing(first) == ["a/mine.jsonl as it is now"]
    with pytest.raises(Stop, match="no such file"):
        _ready("data.source=elsewhere/mine.jsonl")
    assert '"instruction": "b"' in second.train.raw.read_text()


def test_a_uid_twice_is_named_where_it_stands_in_the_callers_file(workplace: Path) -> None:
    made = sample.contexts("heldout")
    (workplace / "mine.json").write_text(json.dumps([*made, made[0]]))
    with pytest.raises(Stop, match=r"mine\.json, contexts 0 and 12"):
        _ready("data.source=mine.json")
    assert not Path("data/mine/raw").exists()


def test_copies_of_small_tables_and_shared_uids_are_leaks(workplace: Path) -> None:
    made = sample.contexts("heldout")[:3]
    for number, context in enumerate(made):
        context["table"]["table"] = [["", "2019"], ["Sales", str(number)]]
    made[2]["table"]["table"], made[2]["paragraphs"] = made[0]["table"]["table"], made[0]["paragraphs"]
    (workplace / "mine.json").write_text(json.dumps(made))
    splits, _ = _formatted(ready := _ready("data.source=mine.json"))
    assert splits["train"]["same_tables"]["listed"] == [{"context": made[2]["table"]["uid"], "also_in": "train"}]
    ready.evaluation.raw.write_text(json.dumps(made[2:]))
    ready.train.raw.write_text(json.dumps(made[:2]))
    splits, _ = _formatted(ready)
    assert splits["heldout"]["leaks"]["listed"] == [{"context": made[2]["table"]["uid"], "also_in": "train"}]
    made[2]["paragraphs"] = []
    made[2]["questions"][0]["uid"] = made[0]["questions"][0]["uid"]
    ready.evaluation.raw.write_text(json.dumps(made[2:]))
    assert _formatted(ready)[0]["heldout"]["leaks"]["count"] == 1


def test_targets_that_are_not_read_as_gold_are_listed(workplace: Path) -> None:
    made = sample.contexts("heldout")[:2]
    question = next(each for each in made[0]["questions"] if each["answer_type"] == "span")
    question.update(answer=["3 million"], scale="", answer_from="text")
    (workplace / "mine.json").write_text(json.dumps(made))
    splits, said = _formatted(_ready("data.source=mine.json"))
    assert [each["question"] for each in splits["train"]["lost"]["listed"]] == [question["uid"]]
    assert "targets not read as gold" in said


def test_no_questions_in_a_split_is_said(workplace: Path) -> None:
    (workplace / "mine.json").write_text(
        json.dumps([{**each, "questions": []} for each in sample.contexts("heldout")[:2]])
    )
    ready = _ready("data.source=mine.json")
    _formatted(ready)
    with pytest.raises(Stop, match="none in this split"):
        formatted.read_rows(ready.evaluation.rows)


def test_llama_factory_is_told_of_every_file(workplace: Path) -> None:
    ready = _ready()
    _formatted(ready)
    folder = ready.formatted
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


def test_the_real_files_are_formatted_whole(workplace: Path, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINTUNE_MIRROR", str(mirror))
    splits, said = _formatted(
        _ready("data.source=tatqa", "data.train=dev", "data.evaluation=test_gold", "training.max_length=16384")
    )
    assert [(each["contexts"], each["questions"]) for each in splits.values()] == [(278, 1668), (277, 1663)]
    assert splits["dev"]["scales"] == {"none": 794, "thousand": 345, "million": 254, "percent": 268, "billion": 7}
    assert splits["test_gold"]["answer_types"] == {"arithmetic": 699, "span": 714, "multi-span": 210, "count": 40}
    assert splits["dev"]["characters"]["minus sign"] >= 11
    assert splits["dev"]["same_questions"]["count"] == 2
    assert splits["test_gold"]["leaks"]["count"] == 2
    assert "minus signs normalized" in said
