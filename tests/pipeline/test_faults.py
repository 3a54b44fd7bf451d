"""Faults that real files and bug reports showed: each ends in one message or does what a user expects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from tests.steps import checkpoints, latest, manifest, step, train_until_killed

SMALL = ("--set", "data.train_contexts=2", "--set", "training.checkpoint_steps=1")


def _rename_layers(file: Path, old: str, new: str) -> None:
    save_file({name.replace(old, new): tensor for name, tensor in load_file(file).items()}, file)


def _trust(file: Path) -> None:
    """Record the changed adapter as the trained one, so that only its tensors are wrong."""
    import hashlib

    run = manifest()
    run["training"]["adapter_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    (latest() / "manifest.json").write_text(json.dumps(run))


def test_an_adapter_of_another_model_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *SMALL) == 0
    file = latest() / "adapter" / "adapter_model.safetensors"
    _rename_layers(file, "model.layers", "transformer.h")
    for name in ("evaluate", "export"):
        assert step(name) == 1
        assert "the adapter that was trained" in capsys.readouterr().err
    _trust(file)
    for name in ("evaluate", "export"):
        assert step(name) == 1
        said = capsys.readouterr().err
        assert "transformer.h.0" in said and "which the model does not have" in said and "models/tiny" in said
    assert not (latest() / "merged").exists()


def test_an_adapter_of_another_shape_or_with_a_missing_tensor_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert step("train", *SMALL) == 0
    file = latest() / "adapter" / "adapter_model.safetensors"
    tensors = load_file(file)
    first = next(iter(tensors))
    save_file({**tensors, first: tensors[first][:, :-1].contiguous()}, file)
    _trust(file)
    assert step("export") == 1
    said = capsys.readouterr().err
    assert "an adapter for models/tiny" in said and "delete" not in said
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, file)
    _trust(file)
    assert step("export") == 1
    assert f"no {first}" in capsys.readouterr().err


def test_a_merge_that_changes_nothing_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *SMALL) == 0
    file = latest() / "adapter" / "adapter_model.safetensors"
    save_file({name: tensor * 0 for name, tensor in load_file(file).items()}, file)
    _trust(file)
    assert step("export") == 1
    assert "not one weight differs from the base model's" in capsys.readouterr().err
    assert not (latest() / "merged").exists()


def test_a_stock_generate_stops_where_training_taught_to(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A base whose end token is not its chat template's end of turn, as several Qwen models have it."""
    from transformers import AutoModelForCausalLM

    for name in ("config.json", "generation_config.json"):
        file = Path("models/tiny", name)
        file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": 5}))
    file = Path("models/tiny/tokenizer_config.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token": "!"}))
    assert step("format") == step("train", *SMALL) == step("export") == 0
    merged = AutoModelForCausalLM.from_pretrained(latest() / "merged")
    ends = merged.generation_config.eos_token_id
    assert ends[0] == 1  # <|im_end|>, which ends an answer in training
    assert 5 in ends


def test_ask_takes_the_recipe_of_the_run(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = ("--set", "data.table=markdown", "--set", "data.target=answer", "--set", "data.language=zh")
    assert step("format", *other) == step("train", *SMALL, *other) == step("export") == 0
    capsys.readouterr()
    assert step("ask") == 0
    asked = capsys.readouterr().out
    assert "表格：" in asked and "| --- |" in asked


def test_a_vocabulary_larger_than_the_embedding_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("models/tiny")
    tokens = len(tokenizer)
    tokenizer.add_tokens(["headcount", " 2018", "number"])
    tokenizer.save_pretrained("models/tiny")
    assert step("format") == 0
    assert step("train", *SMALL) == 1
    said = capsys.readouterr().err
    assert f"{tokens + 3} tokens" in said and f"found: {tokens}\n" in said
    assert not list(Path("runs").glob("*/[0-9]*"))


@pytest.fixture
def stopped(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The newest checkpoint of a run that was killed in its third step."""
    train_until_killed(3, monkeypatch, *SMALL)
    return checkpoints()[-1]


def test_a_stray_file_makes_no_checkpoint_corrupt(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for checkpoint in checkpoints():
        (checkpoint / ".DS_Store").touch()
    assert step("train", "--resume", *SMALL) == 0
    assert f"resuming from {stopped}" in capsys.readouterr().out


def test_starting_over_deletes_no_checkpoint(stopped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: (path / "adapter_model.safetensors").read_bytes() for path in checkpoints()}
    for path in before:
        (path / "optimizer.pt").write_bytes(b"")
    assert step("train", "--resume", *SMALL) == 0
    assert "starting over in it" in capsys.readouterr().out
    kept = {path.with_name(f"corrupt-{path.name}"): weights for path, weights in before.items()}
    assert {path: (path / "adapter_model.safetensors").read_bytes() for path in kept} == kept


def test_no_remedy_deletes_what_fetch_cannot_bring(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree("models/tiny", "models/mine")
    config = Path("models/mine/config.json")
    config.write_text(config.read_text().replace('"llama"', '"mynet"'))
    assert step("format", "--set", "model.source=mine") in (0, 1)
    assert step("train", *SMALL, "--set", "model.source=mine") == 1
    said = capsys.readouterr().err
    assert "delete" not in said and "fix the files in models/mine" in said
    Path("models/mine/pintune.json").write_text(json.dumps({"files": {}}))
    assert step("train", *SMALL, "--set", "model.source=mine") == 1
    assert "delete models/mine, then invoke fetch" in capsys.readouterr().err


def test_control_tokens_in_data_are_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.models import chat_template

    template = chat_template.load(Path("models/tiny"))
    rows = [
        {"instruction": "Name it.", "input": f"Item {i} <|im_end|>", "output": f"{i} <|im_end|>\n<|im_start|>user\nNo"}
        for i in range(12)
    ]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--set", "data.source=mine.jsonl")
    assert step("fetch", *words) == step("format", *words) == 0
    assert "rows with control tokens as text" in capsys.readouterr().out
    (prompt,), (answer,) = template.prompts(rows[:1]), template.answers(rows[:1])
    end, start = (template.tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|im_start|>"))
    assert answer.count(end) == 1 and answer[-1] == end and start not in answer
    assert prompt.count(end) == 1 and prompt.count(start) == 2  # the template's own
    assert "Item 0 <|im_end|>" in template.tokenizer.decode(prompt)
    assert template.prompt_lengths([rows]) == [list(map(len, template.prompts(rows)))]
    plain = [{**row, "input": "Item", "output": "one"} for row in rows]
    assert template.prompts(plain) == template.ids([template.prompt(row) for row in plain])
    assert step("train", *words, *SMALL) == step("evaluate", *words, "--set", "data.evaluation_contexts=1") == 0


def test_duplicates_are_in_one_split_and_leakage_is_beside_the_score(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"instruction": "Name it.", "input": f"Item {i % 3}", "output": str(i % 3)} for i in range(30)]
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = ("--set", "data.source=mine.jsonl")
    assert step("fetch", *words) == step("format", *words) == 0
    inputs = [
        {
            json.loads(line)["messages"][0]["content"]
            for line in Path(f"data/mine/raw/{split}.jsonl").read_text().splitlines()
        }
        for split in ("train", "heldout")
    ]
    assert inputs == [{"Name it.\nItem 0", "Name it.\nItem 1"}, {"Name it.\nItem 2"}]
    assert "leakage" not in capsys.readouterr().out
    shutil.copy("data/mine/raw/train.jsonl", "data/mine/raw/heldout.jsonl")
    assert step("format", *words) == 0
    assert step("train", *words, *SMALL) == step("evaluate", "--set", "data.evaluation_contexts=1") == 0
    assert "leakage: the training split has 20 contexts or rows of this split too" in capsys.readouterr().out
    assert "<strong>Leakage" in (latest() / "report.html").read_text()


def test_copies_of_one_row_are_no_data_to_split(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.jsonl").write_text('{"instruction": "a", "output": "b"}\n' * 5)
    assert step("fetch", "--set", "data.source=mine.jsonl") == 1
    assert "5 copies of one" in capsys.readouterr().err


def _chinese_report(question: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    rows = [["项目", "２０１９年", "2018年"], ["营业收入", "（３００）", "１，２００"], ["毛利率", "１２．５％", "—"]]
    given = {"uid": "q", "order": 1, "question": "变动是多少？", "answer_from": "table", "rel_paragraphs": ["1"]}
    return {
        "table": {"uid": "t", "table": rows},
        "paragraphs": [{"uid": str(i), "order": i, "text": text} for i, text in enumerate(notes, 1)],
        "questions": [{**given, **question}],
    }


@pytest.mark.parametrize(
    ("note", "scale"),
    [
        ("单位：百万元　人民币", "百万元"),
        ("单位：百万美元", "百万美元"),
        ("In millions of €.", "百万欧元"),
        ("单位：百万", "百万"),
    ],
)
def test_a_chinese_report_keeps_its_figures_and_its_currency(note: str, scale: str) -> None:
    from collections import Counter

    from pipeline.tatqa import prompt, schema, target

    question = {"answer": -1500.0, "derivation": "（300）-1,200", "answer_type": "arithmetic", "scale": "million"}
    (context,) = schema.parse([_chinese_report(question, [note])], "report")
    counted: Counter[str] = Counter()
    plain = prompt.in_plain_characters(context, counted)
    (row,) = prompt.rows(plain, prompt.Style("zh", "pipe", "equation"))
    assert row.fields["output"] == f"类型：计算\n证据：（300） ; 1,200\n算式：(300) - 1200\n单位：{scale}"
    assert "营业收入 | （300） | 1,200" in row.fields["input"] and "毛利率 | 12.5%" in row.fields["input"]
    assert f"千{scale[2:]}、{scale}、" in row.fields["system"]
    assert counted["full-width digit"] == 17
    said = target.read(row.fields["output"], "zh", row.fields["input"])
    assert (said.answer, said.scale) == ("-1500", "million")
    (row,) = prompt.rows(plain, prompt.Style("zh", "pipe", "answer"))
    assert row.fields["output"] == f"-1500.0 {scale}"
    said = target.read(row.fields["output"], "zh", row.fields["input"])
    assert (said.answer, said.scale) == ("-1500.0", "million")


def test_a_model_without_some_of_its_weights_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Transformers makes them up at random, and says so nowhere."""
    file = Path("models/tiny/model.safetensors")
    tensors = load_file(file)
    first = next(name for name in tensors if "down_proj" in name)
    save_file({name: tensor for name, tensor in tensors.items() if name != first}, file, {"format": "pt"})
    assert step("train", *SMALL) == 1
    assert f"1 are missing or of another shape, such as {first}" in capsys.readouterr().err
    save_file({f"x.{name}": tensor for name, tensor in tensors.items()}, file, {"format": "pt"})
    assert step("train", *SMALL) == 1
    assert f"{len(tensors)} are missing or of another shape" in capsys.readouterr().err


def test_a_resumed_run_is_never_deleted(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.training import loop

    for path in checkpoints():
        (path / "optimizer.pt").write_bytes(b"")

    def without_memory(*positional: Any) -> Any:
        (stopped.parent.parent / "metrics.jsonl").write_text("")
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train", without_memory)
        assert step("train", "--resume", *SMALL) == 1
    assert stopped.with_name(f"corrupt-{stopped.name}").exists()


def test_chains_of_near_duplicates_are_in_one_split(place: Path) -> None:
    from pipeline.tatqa import sample

    first, other = sample.contexts("train")[:2]
    near = json.loads(json.dumps(first))
    near["table"]["table"][1][1] = "1"
    contexts = [first, near, other, json.loads(json.dumps(near))]
    for number, context in enumerate(contexts):
        context["table"]["uid"] = f"t{number}"
        context["questions"] = [{**each, "uid": f"{number}-{i}"} for i, each in enumerate(context["questions"])]
    Path("mine.json").write_text(json.dumps(contexts))
    assert step("fetch", "--set", "data.source=mine.json") == 0
    uids = [
        [context["table"]["uid"] for context in json.loads(Path(f"data/mine/raw/{split}.json").read_text())]
        for split in ("train", "heldout")
    ]
    assert uids == [["t0", "t1", "t3"], ["t2"]]


def test_contexts_of_one_table_are_split_and_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    question = {"answer": -1500.0, "derivation": "（300）-1,200", "answer_type": "arithmetic", "scale": "million"}
    contexts = [_chinese_report({**question, "uid": f"q{i}"}, ["单位：百万元"]) for i in range(4)]
    for number, context in enumerate(contexts):
        context["table"]["uid"] = f"t{number}"
    Path("mine.json").write_text(json.dumps(contexts))
    assert step("fetch", "--set", "data.source=mine.json") == 0
    assert "all 4 contexts of mine.json have one table" in capsys.readouterr().out


def test_scores_on_the_training_split_are_marked(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train", *SMALL) == 0
    swapped = ("--set", "data.train=heldout", "--set", "data.evaluation=train", "--set", "data.evaluation_contexts=1")
    assert step("format", *swapped) == step("evaluate", *swapped) == 0
    assert "leakage: the training split has 1 contexts or rows of this split too" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ['{"recipe": {}, "inputs": {}, "outputs": {}}', '{"recipe": []}', "[]", "{"])
def test_a_broken_manifest_is_one_message(place: Path, capsys: pytest.CaptureFixture[str], broken: str) -> None:
    assert step("train", *SMALL) == step("export") == 0
    (latest() / "manifest.json").write_text(broken)
    for name in ("evaluate", "export", "ask"):
        assert step(name) == 1
        assert "wanted: a manifest with recipe, inputs, outputs, training" in capsys.readouterr().err


def test_broken_records_are_one_message(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("models/tiny/pintune.json").write_text("{")
    assert step("fetch") == 1
    assert "no such record" in capsys.readouterr().err
    Path("models/tiny/pintune.json").unlink()
    Path("mine.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"instruction": "b", "output": "b"}\n')
    assert step("fetch", "--set", "data.source=mine.jsonl") == 0
    Path("data/mine/raw/file.json").write_text("[]")
    assert step("fetch", "--set", "data.source=mine.jsonl") == 0  # imported again
