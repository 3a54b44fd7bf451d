"""`invoke clean` on a real engine, with a label and a mark of the test's own: other images and cache must stay."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest

from images import engine, matrix
from images.building import build
from images.errors import Stop
from images.verbs import clean

pytestmark = pytest.mark.docker


@pytest.fixture
def mark(engine_there: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The label of an image that was built for the test, which is also in the commands that its cache is of."""
    mark = f"clean-{uuid.uuid4().hex}"
    base = build.base_image(matrix.load())
    lines = (f"FROM {base}", f"RUN echo {mark} >/one", f"RUN echo {mark} >/two", f"LABEL {mark}=1")
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    words = ["docker", "buildx", "build", "--quiet", "--provenance=false", "--load", "--tag", f"pintune/{mark}", "."]
    subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
    return mark


def test_images_and_cache_go_by_label_and_mark(mark: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pipeline").mkdir()
    before = len(engine.client().images.list())
    assert len(engine.build_cache([mark])) == 2
    clean.clean(tmp_path, runs=False, yes=True, dry=True, label=mark, cached=[mark])
    assert engine.image_id(f"pintune/{mark}")
    clean.clean(tmp_path, runs=False, yes=True, dry=False, label=mark, cached=[mark])
    assert "removed 2 of the above" in capsys.readouterr().out
    assert engine.image_id(f"pintune/{mark}") is None
    assert engine.build_cache([mark]) == []
    assert len(engine.client().images.list()) == before - 1


def test_an_image_that_a_container_uses_stays_and_is_reported(mark: str, tmp_path: Path) -> None:
    (tmp_path / "pipeline").mkdir()
    used = engine.client().containers.create(f"pintune/{mark}", "true")
    try:
        with pytest.raises(Stop, match="docker ps --all"):
            clean.clean(tmp_path, runs=False, yes=True, dry=False, label=mark, cached=[mark])
        assert engine.image_id(f"pintune/{mark}")
    finally:
        used.remove()
        clean.clean(tmp_path, runs=False, yes=True, dry=False, label=mark, cached=[mark])


def test_the_marks_of_our_cache_are_in_our_builds(image: str) -> None:
    described = [record.name for record in engine.build_cache(clean.CACHED)]
    assert any("sh /layers/wheels.sh" in name for name in described)
    assert image in [name for each in engine.images(clean.LABEL) for name in each.name.split(", ")]
