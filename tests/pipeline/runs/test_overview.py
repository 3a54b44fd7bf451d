"""All runs at a glance, broken ones too."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.runs import overview


def _run(runs: Path, name: str, **files: str) -> Path:
    folder = runs / name
    folder.mkdir(parents=True)
    for stem, text in files.items():
        (folder / f"{stem}.json").write_text(text, encoding="utf-8")
    return folder


def test_rows_say_what_each_run_has_the_newest_first(tmp_path: Path) -> None:
    training = json.dumps({"training": {"steps": 60, "last_loss": float("nan")}})
    scores = {who: {"all": {"em": em, "f1": 0.5}} for who, em in (("base", 0.0), ("tuned", 0.8625))}
    done = _run(tmp_path, "one/20260103-000000-a", manifest=training, evaluation=json.dumps(scores))
    (done / "report.html").write_text("<p>")
    (done.parent / "latest").symlink_to(done.name)
    _run(tmp_path, "two/20260102-000000-b", unfinished="{}")
    _run(tmp_path, "one/20260101-000000-c")
    found = overview.rows(tmp_path)
    assert [(row["name"], row["state"], row["report"]) for row in found] == [
        ("one/20260103-000000-a", "evaluated", True),
        ("two/20260102-000000-b", "unfinished", False),
        ("one/20260101-000000-c", "no manifest.json", False),
    ]
    first = json.loads(overview.as_json(tmp_path))[0]
    assert (first["steps"], first["loss"], first["em_base"], first["em"], first["f1"]) == (60, None, 0.0, 86.2, 50.0)


def test_a_broken_run_is_named_and_the_others_are_shown(tmp_path: Path) -> None:
    _run(tmp_path, "one/20260104-000000-a", manifest='{"training": ')
    _run(tmp_path, "one/20260103-000000-b", manifest="[]")
    _run(tmp_path, "one/20260102-000000-c", manifest='{"training": 1}', evaluation='{"base": 1, "tuned": {"all": []}}')
    (_run(tmp_path, "one/20260101-000000-d") / "manifest.json").mkdir()
    states = [row["state"] for row in overview.rows(tmp_path)]
    assert states[0].startswith("broken: manifest.json: Expecting value")
    assert states[1:3] == ["broken: manifest.json: no JSON object", "evaluated"]
    assert states[3].startswith("broken: manifest.json: [Errno 21]")
    assert overview.rows(tmp_path / "none") == []
