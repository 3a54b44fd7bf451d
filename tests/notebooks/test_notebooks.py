"""The notebooks of notebooks/: they run from top to bottom, and no output is committed."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tests.conftest import ROOT
from tests.steps import overrides

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
ARTEFACTS = ROOT / ".pintune" / "test-artefacts"
SMALL = ("model.source=tiny", "training.max_length=2000", "data.train_contexts=4", "data.evaluation_contexts=3")


@pytest.fixture
def prepared(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the quickstart's data, formatted for the tiny model."""
    from pipeline.__main__ import main

    for name in ("pipeline", "notebooks"):
        (workplace / name).symlink_to(ROOT / name)
    monkeypatch.setenv("PINTUNE_FLAVOR", "cpu")
    monkeypatch.setenv("PINTUNE_NOTEBOOK_SET", " ".join([*SMALL, "evaluation.max_new_tokens=20"]))
    for step in ("fetch", "format"):
        assert main([step, *overrides(*SMALL)]) == 0
    return workplace


def _run(name: str, folder: Path) -> list[dict[str, Any]]:
    """The outputs of a notebook's cells, run in a kernel of its own; its pictures are kept as artefacts."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", 4)
    # not resolved: the kernel starts in the workplace, whose notebooks/ is a link
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    outputs: list[dict[str, Any]] = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    for number, picture in enumerate(_pictures(outputs)):
        (ARTEFACTS / f"notebook-{name}-{number}.png").write_bytes(picture)
    return outputs


def _pictures(outputs: list[dict[str, Any]]) -> list[bytes]:
    found = [output["data"]["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    return [base64.b64decode(each) for each in found]


def _text(outputs: list[dict[str, Any]]) -> str:
    return "".join(output["text"] for output in outputs if output["output_type"] == "stream")


def _need_drawn(pictures: list[bytes], count: int) -> None:
    """Each is a picture of some size: an empty plot has a few kilobytes."""
    assert len(pictures) == count
    for picture in pictures:
        width, height = struct.unpack(">II", picture[16:24])
        assert picture.startswith(b"\x89PNG") and width > 600 and height > 150 and len(picture) > 5000


def test_look_at_the_data(prepared: Path) -> None:
    outputs = _run("look_at_the_data", prepared)
    _need_drawn(_pictures(outputs), 3)
    text = _text(outputs)
    assert "contexts                             60                     40" in text
    assert "type: span" in text and "evaluation: " in text and "0 of 60 contexts were cut" in text


def test_what_lora_does(prepared: Path) -> None:
    outputs = _run("what_lora_does", prepared)
    _need_drawn(_pictures(outputs), 3)
    text = _text(outputs)
    assert "train  4 contexts" in text and "largest: " in text
    (run,) = (prepared / "runs" / "notebook").glob("[0-9]*")
    made = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert made["training"]["contexts"] == 4
    assert not (prepared / "runs" / "quickstart").exists() and not (run.parent / "latest").exists()
    (table,) = (output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {}))
    assert table.count("<tr>") == 7


def test_read_a_run(prepared: Path) -> None:
    from pipeline.__main__ import main
    from pipeline.evaluation import evaluate

    with pytest.raises(CellExecutionError, match="invoke train"):  # names the command that is missing
        _run("read_a_run", prepared)
    settings = overrides(*SMALL, "evaluation.max_new_tokens=20")
    assert main(["train", *settings]) == 0
    with pytest.raises(CellExecutionError, match="invoke evaluate"):
        _run("read_a_run", prepared)
    assert main(["evaluate", *settings]) == 0
    outputs = _run("read_a_run", prepared)
    _need_drawn(_pictures(outputs), 3)
    text = _text(outputs)
    results = json.loads((prepared / "runs/quickstart/latest/evaluation.json").read_text(encoding="utf-8"))
    assert evaluate.table(results) in text and f"of {results['questions']} answers are wrong" in text


def test_a_missing_step_is_named(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pipeline", "notebooks"):
        (workplace / name).symlink_to(ROOT / name)
    with pytest.raises(CellExecutionError, match="next: invoke"):
        _run("look_at_the_data", workplace)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_committed(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert [cell for cell in notebook["cells"] if cell.get("outputs") or cell.get("execution_count")] == []
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }, "a kernel wrote its version: jupyter nbconvert --clear-output --inplace"
    assert path.read_bytes().endswith(b"}\n")


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["look_at_the_data", "read_a_run", "what_lora_does"]
