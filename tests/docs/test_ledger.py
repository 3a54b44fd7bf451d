"""The ledger of docs/ledger: a model that has learned one answer, asked, computed and posted, once."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from tests.conftest import ROOT
from tests.live_server import server

FOLDER = ROOT / "docs" / "ledger"
FLAGS = ("--set", "training.max_length=1500", "--set", "evaluation.max_new_tokens=160")
LEARNED = "type: arithmetic\nevidence: Other 2019: 44.1 ; Other 2018: 56.7\nequation: 44.1 - 56.7\nscale: million"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("ledger_run", FOLDER / "run.py")
        assert spec is not None and spec.loader is not None
        made = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(made)
        yield made
    finally:
        sys.path.remove(str(FOLDER))


def _learn(folder: Path, statement: dict[str, Any]) -> None:
    """Train the model of a folder, for seconds, to write one answer."""
    import torch
    from transformers import AutoModelForCausalLM

    from pipeline import recipe
    from pipeline.models import chat_template
    from pipeline.serving import answer

    template = chat_template.load(folder)
    made = answer.Tool(recipe.load("quickstart", ["training.max_length=1500"]), template, 160)
    prompt = made.prompted(answer.checked(statement)).ids
    wanted = [*template.ids([LEARNED])[0], template.ends[0]]
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([prompt + wanted])
    labels = torch.tensor([[-100] * len(prompt) + wanted])
    steps = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(600):
        loss = model(input_ids=ids, labels=labels).loss
        steps.zero_grad()
        loss.backward()
        steps.step()
        if loss.item() < 0.02:
            break
    assert loss.item() < 0.05
    model.config.max_position_embeddings = 4096
    model.save_pretrained(folder)


@pytest.fixture(scope="module")
def served(tiny_model: Path, script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("ledger")
    shutil.copytree(tiny_model, folder / "models" / "tiny")
    _learn(folder / "models" / "tiny", script.STATEMENT)
    with server(folder, *FLAGS, PINTUNE_SERVE_SLOTS="2") as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_the_script_posts_the_change_once(served: str, tmp_path: Path) -> None:
    def run() -> str:
        words = [sys.executable, str(FOLDER / "run.py"), "--server", served, "--file", "ledger.sqlite"]
        done = subprocess.run(words, cwd=tmp_path, env={**os.environ}, capture_output=True, text=True, timeout=200)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "44.1 - 56.7 = -12.6 million" in (first := run())
    assert "posted; Change in net sales, Other, 2019: -12,600,000\n" in first
    assert "it was posted before; Change in net sales, Other, 2019: -12,600,000\n" in run()
    with sqlite3.connect(tmp_path / "ledger.sqlite") as database:
        rows = database.execute("SELECT amount, evidence FROM entries").fetchall()
    database.close()
    ((posted, evidence),) = rows
    assert Decimal(posted) == -12_600_000
    assert json.loads(evidence)["answer"]["evidence"] == ["44.1", "56.7"]


def test_a_retry_after_a_lost_answer_posts_once(
    served: str, script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tried = script.httpx.post, []

    def post(url: str, **options: Any) -> httpx.Response:
        got: httpx.Response = real(url, **options)
        if url.endswith("/entries"):
            tried.append(got.status_code)
            if len(tried) == 1:
                raise httpx.ReadTimeout("the answer is lost")
        return got

    monkeypatch.setattr(script.httpx, "post", post)
    with script.own_ledger(tmp_path / "ledger.sqlite") as ledger:
        assert script.run(served, ledger, "none") == Decimal(-12_600_000)
        assert tried == [201, 200]
        assert len(httpx.get(f"{ledger}/entries").json()) == 1


def test_a_ledger_that_cannot_write_is_an_error(served: str, script: ModuleType, tmp_path: Path) -> None:
    with (
        script.own_ledger(tmp_path) as ledger,  # a folder is no database
        pytest.raises(script.Failed, match=r"status 503: .*the ledger cannot write: .*; run this again"),
    ):
        script.run(served, ledger, "none")
    with pytest.raises(script.Failed, match=r"did not take the entry: ConnectError: .*; run this again"):
        script.run(served, "http://127.0.0.1:1", "none")


def test_the_ledger_refuses_another_entry_of_the_same_key(script: ModuleType, tmp_path: Path) -> None:
    client = TestClient(script.service.app(tmp_path / "ledger.sqlite"))
    entry = {"account": "a", "amount": "0.1", "evidence": {}}

    def post(key: str, **changed: Any) -> int:
        return client.post("/entries", json={**entry, **changed}, headers={"Idempotency-Key": key}).status_code

    assert [post("key-00001"), post("key-00001"), post("key-00002", amount="0.2")] == [201, 200, 201]
    assert post("key-00001", amount="0.3") == 409
    assert [post("key-00003", amount=each) for each in ("NaN", "x", "1e40")] == [422] * 3
    assert client.post("/entries", json=entry).status_code == 422
    assert client.get("/balance/a").json() == {"balance": "0.3"}


@pytest.mark.parametrize(
    "answer",
    [
        {"answer": "44.1", "scale": "million", "answer_type": "span"},
        {"answer": "-22.22", "scale": "percent", "answer_type": "arithmetic"},
        {"answer": ["a", "b"], "scale": "", "answer_type": "multi-span"},
    ],
)
def test_what_is_no_computed_amount_is_not_posted(script: ModuleType, answer: dict[str, Any]) -> None:
    with pytest.raises(script.Failed, match="nothing was posted"):
        script.amount(answer)


def test_amounts_are_exact(script: ModuleType) -> None:
    found = script.amount({"answer": "-0.1", "scale": "billion", "answer_type": "arithmetic"})
    assert str(found) == "-100000000"
    found = script.amount({"answer": "12345678901234567890.12", "scale": "billion", "answer_type": "arithmetic"})
    assert str(found) == "12345678901234567890120000000"


def test_a_model_without_an_answer_posts_nothing(
    served: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {**script.STATEMENT, "table": [["", "2019", "2018"], ["Other", "1.1", "2.2"]]}
    monkeypatch.setattr(script, "STATEMENT", other)
    with pytest.raises(script.Failed, match="there is no answer: .*; nothing was posted"):
        script.run(served, "http://127.0.0.1:1", "none")
