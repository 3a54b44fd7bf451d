"""Push and pull by digest; test_release_real.py does both with a real registry."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build, registry, release
from images.errors import Stop
from tests.marks import RELEASE


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a recorded release of train:cpu."""
    monkeypatch.setattr(registry, "RECORD", tmp_path / "released.json")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.delenv("PINTUNE_REGISTRY", raising=False)
    monkeypatch.setattr("images.git.version", lambda: "0.1.0")
    monkeypatch.setattr(build, "source_hash", lambda image, flavor: RELEASE["source"])
    release.folder().mkdir(parents=True)
    release.archive("train", "cpu").with_suffix(".json").write_text(json.dumps(RELEASE))
    registry.RECORD.write_text(json.dumps({"train:cpu-0.1.0": {**RELEASE, "registry": "r.example/p"}}))
    return registry.RECORD


DIGEST = str(RELEASE["digest"])
GOOD = {
    build.LOCK_LABEL: str(RELEASE["lock_sha256"]),
    build.SOURCE_LABEL: str(RELEASE["source"]),
    "org.opencontainers.image.revision": str(RELEASE["revision"]),
}


def test_a_pull_takes_the_recorded_digest_and_names_it(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[str, str]] = []
    monkeypatch.setattr(engine, "pull", lambda source: engine.Pulled((DIGEST,), GOOD))
    monkeypatch.setattr(engine, "name", lambda *names: named.append(names))
    assert registry.pull("train", "cpu", "", dry=False).endswith(str(RELEASE["digest"]))
    assert named == [(f"r.example/p/train@{RELEASE['digest']}", "pintune/train:cpu")]
    assert "docker pull r.example/p/train@sha256:bbb" in registry.pull("train", "cpu", "", dry=True)


@pytest.mark.parametrize(
    ("pulled", "message"),
    [
        (engine.Pulled(("sha256:" + "0" * 64,), GOOD), "nothing was tagged"),
        (engine.Pulled((), {}), "none"),
        (engine.Pulled((DIGEST,), {**GOOD, build.LOCK_LABEL: "0"}), "the label dev.pintune.lock"),
        (engine.Pulled((DIGEST,), {}), "the label dev.pintune.lock"),
    ],
)
def test_a_pull_of_another_image_is_refused_and_not_named(
    record: Path, monkeypatch: pytest.MonkeyPatch, pulled: engine.Pulled, message: str
) -> None:
    monkeypatch.setattr(engine, "pull", lambda source: pulled)
    monkeypatch.setattr(engine, "name", lambda *names: pytest.fail("named"))
    with pytest.raises(Stop, match=message):
        registry.pull("train", "cpu", "", dry=False)


def test_a_push_of_another_digest_than_recorded_is_refused(record: Path) -> None:
    record.write_text(json.dumps({"train:cpu-0.1.0": {**RELEASE, "digest": "sha256:" + "1" * 64}}))
    with pytest.raises(Stop, match="raise the version"):
        registry.push("train", "cpu", "r.example/p", dry=False)


def test_a_push_that_changes_the_digest_is_refused_and_not_recorded(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.unlink()
    monkeypatch.setattr(engine, "load", lambda archive: None)
    monkeypatch.setattr(engine, "registry_digest", lambda where: "")
    monkeypatch.setattr(engine, "image_id", lambda name: RELEASE["digest"])
    monkeypatch.setattr(engine, "push", lambda name, to, tag: "sha256:" + "2" * 64)
    with pytest.raises(Stop, match="containerd image store"):
        registry.push("train", "cpu", "r.example/p", dry=False)
    assert not record.exists()


def test_another_image_of_that_tag_in_the_registry_is_kept(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.unlink()
    monkeypatch.setattr(engine, "registry_digest", lambda where: "sha256:" + "3" * 64)
    monkeypatch.setattr(engine, "push", lambda *words: pytest.fail("pushed"))
    with pytest.raises(Stop, match="nothing was pushed"):
        registry.push("train", "cpu", "r.example/p", dry=False)


def test_an_engine_that_changes_the_digest_pushes_nothing(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "load", lambda archive: None)
    monkeypatch.setattr(engine, "registry_digest", lambda where: "")
    monkeypatch.setattr(engine, "image_id", lambda name: "sha256:" + "4" * 64)
    monkeypatch.setattr(engine, "push", lambda *words: pytest.fail("pushed"))
    with pytest.raises(Stop, match="containerd image store"):
        registry.push("train", "cpu", "r.example/p", dry=False)


def test_an_invalid_record_is_reported(record: Path) -> None:
    record.write_text("{")
    with pytest.raises(Stop, match="git checkout"):
        registry.pull("train", "cpu", "", dry=False)
