"""Run folders: unfinished, finished, latest, named; incomplete ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import Stop
from pipeline.runs import store
from tests.conftest import ROOT
from tests.steps import latest, step

MANIFEST: dict[str, Any] = {name: {} for name in ("recipe", "inputs", "outputs", "training", "environment")}
ADAPTER = ("adapter/adapter_model.safetensors", "adapter/adapter_config.json")


@pytest.mark.parametrize("missing", ["manifest.json", "adapter/adapter_model.safetensors"])
def test_an_incomplete_run_is_refused(place: Path, capsys: pytest.CaptureFixture[str], missing: str) -> None:
    assert step("train") == 0
    (latest() / missing).unlink()
    before = sorted(path.name for path in latest().rglob("*"))
    for name in ("evaluate", "export"):
        assert step(name) == 1
        assert f"{missing} missing" in capsys.readouterr().err
    assert sorted(path.name for path in latest().rglob("*")) == before


def test_a_truncated_manifest_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert step("train") == 0
    file = latest() / "manifest.json"
    file.write_text(file.read_text()[:100])
    assert step("evaluate") == 1
    assert "a manifest with recipe, inputs, outputs, training, environment" in capsys.readouterr().err


def test_no_run_folder_exists_without_unfinished_json(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(path: Path, value: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "write_json", die)
    with pytest.raises(KeyboardInterrupt):
        store.create(Path("runs/tiny"), {}, {"inputs": {}})
    assert list(Path("runs/tiny").glob("*")) == []


def _finished(runs: Path, run_id: str, recipe: dict[str, Any], newest: bool = True) -> Path:
    """A finished run with only the required files."""
    run = runs / run_id
    (run / "adapter").mkdir(parents=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (run / "adapter" / name).touch()
    (run / "unfinished.json").write_text("{}")
    store.finish(run, {**MANIFEST, "recipe": recipe}, newest)
    return run


def test_latest_names_the_newest_finished_run(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "tiny"
    with pytest.raises(Stop, match="found: no run"):
        store.latest(runs)
    started = store.create(runs, {"r": 1}, {"inputs": {}})
    with pytest.raises(Stop, match=f"only an unfinished run: {started.name}"):
        store.latest(runs)
    first = _finished(runs, "20260101-000000-a", {"r": 1})
    _finished(runs, "20260102-000000-b", {"r": 2}, newest=False)
    assert store.latest(runs) == (first, {**MANIFEST, "recipe": {"r": 1}})
    assert not (first / store.UNFINISHED).exists()
    assert not list(runs.glob(".latest*"))


def test_a_run_is_named_by_recipe_and_id(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = _finished(runs / "tiny", "20260101-000000-a", {"r": 1})
    for name in ("tiny/20260101-000000-a", "runs/tiny/20260101-000000-a/", "tiny/latest"):
        assert store.named(runs, name)[0] == run
    for name in ("tiny", "20260101-000000-a", "tiny/other", "../runs/tiny/20260101-000000-a"):
        with pytest.raises(Stop, match="there are tiny/20260101-000000-a"):
            store.named(runs, name)


def test_the_id_of_a_run_depends_on_its_recipe(tmp_path: Path) -> None:
    first, second = (store.create(tmp_path, {"r": r}, {"inputs": {}}) for r in (1, 2))
    assert first.name.rpartition("-")[2] != second.name.rpartition("-")[2]
    assert json.loads((first / store.UNFINISHED).read_text()) == {"recipe": {"r": 1}, "inputs": {}}


def test_runs_of_one_second_have_folders_of_their_own(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from pipeline.runs import store\n"
        "for _ in range(20): print(store.create(pathlib.Path(sys.argv[1]), {'r': 1}, {'inputs': {}}).name)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    at_once = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    made = [name for process in at_once for name in process.communicate()[0].split()]
    assert len(set(made)) == 60
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made)
    assert all(json.loads((tmp_path / name / store.UNFINISHED).read_text())["recipe"] == {"r": 1} for name in made)


def test_the_unfinished_run_with_the_same_recipe_is_preferred(tmp_path: Path) -> None:
    for run_id, r in (("20260101-000000-a", 1), ("20260102-000000-b", 2), ("20260103-000000-c", 3)):
        (tmp_path / run_id).mkdir()
        (tmp_path / run_id / store.UNFINISHED).write_text(json.dumps({"recipe": {"r": r}, "inputs": {}}))
    (tmp_path / "20260103-000000-c" / store.MANIFEST).write_text("{}")  # finished, but for unfinished.json
    assert store.unfinished(tmp_path, {"r": 1})[0].name == "20260101-000000-a"
    assert store.unfinished(tmp_path, {"r": 9})[0].name == "20260102-000000-b"


def test_a_run_is_locked_for_other_processes(tmp_path: Path) -> None:
    run = store.create(tmp_path, {"r": 1}, {"inputs": {}})
    script = "import sys, pathlib; from pipeline.runs import store; store.lock(pathlib.Path(sys.argv[1])).close()"
    command = [sys.executable, "-c", script, str(run)]
    with store.lock(run):
        locked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert "one that another process is training" in locked.stderr
    assert subprocess.run(command, cwd=ROOT).returncode == 0


def test_the_newest_merged_model_is_found(tmp_path: Path) -> None:
    with pytest.raises(Stop, match="next: invoke export"):
        store.merged_model(tmp_path)
    for name in ("20260101-000000-a", "20260102-000000-b"):
        for file in ("merged/model-00001-of-00002.safetensors", *ADAPTER):
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).touch()
        (tmp_path / name / "manifest.json").write_text(json.dumps({**MANIFEST, "export": {"dtype": name}}))
    (tmp_path / "20260103-000000-c").mkdir()
    merged, manifest = store.merged_model(tmp_path)
    assert merged == tmp_path / "20260102-000000-b" / "merged"
    assert manifest["export"] == {"dtype": "20260102-000000-b"}
    (merged.parent / "manifest.json").write_text(json.dumps(MANIFEST))
    with pytest.raises(Stop, match="a merged model of an export that ended"):
        store.merged_model(tmp_path)
