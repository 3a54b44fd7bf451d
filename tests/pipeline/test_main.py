"""The command line: the steps in order on a tiny random model, what they write, and which calls they refuse."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pipeline.__main__ as entry
from pipeline import command_line
from pipeline.__main__ import main
from pipeline.step_functions import FUNCTIONS
from pipeline.steps import EXIT_STATUS, STEPS
from tests.conftest import ROOT
from tests.steps import latest, manifest, step


def test_train_evaluate_export_and_ask_run_in_order(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == step("evaluate") == step("export") == step("ask", "--context", "1") == 0
    run = latest()
    recorded = manifest()
    assert recorded["training"]["steps"] == 12
    assert recorded["environment"]["flavor"] == "cpu"
    assert recorded["environment"]["packages"]["torch"]
    assert {
        "adapter/adapter_model.safetensors",
        "merged/model.safetensors",
        "merged/chat_template.jinja",
        "merged/generation_config.json",
        "predictions.json",
        "predictions-base.json",
        "answers.jsonl",
        "evaluation.json",
        "metrics.jsonl",
    } <= recorded["outputs"].keys()
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 12
    predictions = json.loads((run / "predictions.json").read_text())
    assert len(predictions) == 12
    assert all(len(pair) == 2 and isinstance(pair[1], str) for pair in predictions.values())
    assert not list(run.glob(".*"))
    printed = capsys.readouterr().out
    assert "EM base  tuned" in printed
    assert "Answer: " in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "--set", "lora.targets=['nothing']"), "down_proj"),
        (("train", "--set", "training.precision=fp16"), "training.precision=auto"),
        (("train", "--set", "training.max_length=20"), "invoke data"),
        (("train", "--set", "model.source=other"), "invoke fetch"),
        (("ask", "--context", "99"), "a context from 0 to 39"),
        (("export",), "invoke train"),
        (("evaluate", "--set", "lora.rank=3"), "a known key"),
        (("train", "--set", "training.seed=99999999999"), "below 4294967296"),
        (("train", "--set", "data.evaluation=train"), "another split to evaluate on"),
        (("fetch", "--set", "model.source=../x"), "the name of a folder under models/"),
    ],
)
def test_an_impossible_call_ends_in_one_message_and_writes_no_run(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    if words[0] == "ask":
        assert step("train") == step("export") == 0
    before = sorted(Path("runs").rglob("*"))
    assert step(*words) == 1
    assert [path for path in sorted(Path("runs").rglob("*")) if path.name != "tiny"] == [
        path for path in before if path.name != "tiny"
    ]
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert all(f"\n{part}: " in printed for part in ("wanted", " found", " where", "  next"))


def _truncate(pattern: str) -> None:
    (file,) = Path().glob(pattern)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("truncated", "name", "message"),
    [
        ("models/tiny/model.safetensors", "train", "weights that can be read"),
        ("models/tiny/model.safetensors", "evaluate", "the model and data that the run was trained with"),
        ("models/tiny/tokenizer_config.json", "fetch", ""),
        ("runs/tiny/latest/adapter/adapter_model.safetensors", "evaluate", "the adapter that was trained"),
        ("data/sample/en-*/heldout.jsonl", "evaluate", "not as format left it"),
        ("data/sample/raw/train.json", "format", "JSON in UTF-8"),
        ("runs/tiny/latest/merged/model.safetensors", "ask", "next: invoke export"),
    ],
)
def test_a_truncated_file_is_reported_and_nothing_is_written(
    place: Path, capsys: pytest.CaptureFixture[str], truncated: str, name: str, message: str
) -> None:
    assert step("train") == step("export") == 0
    _truncate(truncated)
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()}
    assert step(name) == (1 if message else 0)
    printed = capsys.readouterr().err
    assert message in printed
    assert "PINTUNE_DEBUG" not in printed
    if message:
        assert {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file()} == before


def test_a_changed_file_is_never_taken_for_what_was_trained_or_exported(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--set", "data.train_contexts=2", "--set", "training.epochs=1")
    assert step("train", *small) == step("export") == 0
    merged, adapter = (Path("runs/tiny/latest").resolve() / name for name in ("merged", "adapter"))
    (merged / "README.md").write_text("a card of one's own")
    (merged / ".DS_Store").touch()
    assert step("ask") == 0
    whole = (merged / "model.safetensors").read_bytes()
    (merged / "model.safetensors").write_bytes(Path("models/tiny/model.safetensors").read_bytes())
    assert step("evaluate", "--set", "data.evaluation_contexts=1") == 0  # does not take up the changed file's hash
    capsys.readouterr()
    assert step("ask") == 1
    message = capsys.readouterr().err
    assert "the merged model that export wrote" in message and "others: model.safetensors" in message
    (merged / "model.safetensors").write_bytes(whole)
    assert step("ask") == 0
    config = (adapter / "adapter_config.json").read_text()
    (adapter / "adapter_config.json").write_text(config.replace('"lora_alpha": 32', '"lora_alpha": 1'))
    for name in ("evaluate", "export", "ask"):
        assert step(name) == 1
        message = capsys.readouterr().err
        assert "the adapter that was trained" in message and "adapter_config.json" in message


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--context", "3"),
        ("train", "--run", "tiny/1"),
        ("score", "--recipe", "x", "--predictions", "a", "--gold", "b"),
        ("score",),
        ("evaluate", "--resume"),
        ("ask", "--conte", "3"),
        ("trian",),
        (),
    ],
)
def test_a_step_takes_only_its_own_flags(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(list(words))
    assert left.value.code == EXIT_STATUS["usage"] == 2
    assert "usage: python -m pipeline" in capsys.readouterr().err


def _subparsers() -> Any:
    made = command_line.parser("", entry.HELPS)
    (found,) = (each for each in made._actions if isinstance(each, argparse._SubParsersAction))
    return found


def test_every_step_has_a_function_and_a_subparser() -> None:
    assert FUNCTIONS.keys() == STEPS.keys()
    (subparsers,) = (
        each for each in command_line.parser("", entry.HELPS)._actions if isinstance(each, argparse._SubParsersAction)
    )
    assert subparsers.choices.keys() == STEPS.keys()
    for name, step_ in STEPS.items():
        flags = {flag for action in subparsers.choices[name]._actions for flag in action.option_strings}
        assert ("--recipe" in flags, "--run" in flags, "--nodes" in flags) == (step_.recipe, step_.run, step_.parallel)


def test_every_flag_has_a_help_text() -> None:
    (subparsers,) = (
        each for each in command_line.parser("", entry.HELPS)._actions if isinstance(each, argparse._SubParsersAction)
    )
    for name, parser in subparsers.choices.items():
        assert parser.description, name
        assert all(action.help for action in parser._actions), name


def test_score_needs_only_the_standard_library(tmp_path: Path, raw_context: dict[str, Any]) -> None:
    """With -S Python finds no installed package."""
    gold, said = tmp_path / "gold.json", tmp_path / "said.json"
    gold.write_text(json.dumps([raw_context]))
    said.write_text(json.dumps({raw_context["questions"][0]["uid"]: ["0", ""]}))
    words = ("score", "--predictions", str(said), "--gold", str(gold))
    done = subprocess.run(
        [sys.executable, "-S", "-m", "pipeline", *words], cwd=ROOT, capture_output=True, text=True, env={}
    )
    assert (done.returncode, "all " in done.stdout) == (0, True), done.stderr


def test_data_that_is_fetched_is_formatted_without_torch(place: Path) -> None:
    """torch is None in sys.modules: its import fails, as where it is not installed."""
    code = "import sys; sys.modules['torch'] = None; from pipeline.__main__ import main; sys.exit(main())"
    for name in ("missing", "format"):
        words = [sys.executable, "-c", code, name, "--recipe", "tiny.toml"]
        done = subprocess.run(words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr


PRODUCT = """
from pipeline import __main__
__main__.use_the_same_kernels()
import hashlib, torch
made = torch.Generator().manual_seed(0)
rows, weights = torch.randn(57, 576, generator=made), torch.randn(16, 576, generator=made)
print(torch.get_num_threads(), hashlib.sha256((rows @ weights.T).numpy().tobytes()).hexdigest())
"""


def test_a_product_with_a_small_matrix_does_not_depend_on_the_number_of_threads() -> None:
    kernels = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_CBWR")
    bare = {name: value for name, value in os.environ.items() if name not in kernels}
    results = set()
    for threads in ("1", "2"):
        environment = {**bare, "OMP_NUM_THREADS": threads, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", PRODUCT], env=environment, capture_output=True, text=True, check=True
        )
        used, result = done.stdout.split()
        assert used == threads
        results.add(result)
    assert len(results) == 1
