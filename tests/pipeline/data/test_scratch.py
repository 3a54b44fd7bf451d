"""A scratch database: new at its start, and gone at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.data.scratch import ScratchDatabase


def test_it_is_gone_after_the_block_also_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("left by a killed process")
    with pytest.raises(KeyError), ScratchDatabase(path, "CREATE TABLE a (b);") as base:
        base._base.execute("INSERT INTO a VALUES (1)")
        assert path.exists()
        raise KeyError
    assert not path.exists()
