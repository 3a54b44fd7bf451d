"""The matrix, and errors in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from images import matrix
from images.errors import Stop

TEXT = matrix.FILE.read_text(encoding="utf-8")
DIGEST = re.findall(r"@sha256:[0-9a-f]+", TEXT)[0]


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "matrix.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("old", "new", "wanted", "where"),
    [
        (DIGEST, "", "a base pinned by digest", "[base] image"),
        ('python = "3.11"', "python = 3.11", "a string", "base.python"),
        ('extends = "train"', 'extends = "trian"', "an image defined above", "[images.dev]"),
        ('flavors = ["cpu", "cu130"]', 'flavors = ["cpu", "cu131"]', "flavors defined above", "[images.serve]"),
        ('cubins = ["7.0", ', "cubins = [7.0, ", "a list of strings", "flavors.cu128.cubins"),
        ('driver = "525.60.13"', "", "a string", "flavors.cu128.driver"),
        ('driver = "525.60.13"', 'driver = "525.x"', "a version such as", "flavors.cu128.driver"),
        ('cubins = ["7.0", ', 'cubins = ["sm_70", ', "a version such as", "flavors.cu128.cubins"),
        ('extends = "train"', 'extends = ["train"]', "an image defined above", "[images.dev]"),
        ('requirements = ["torch==2.13.0+cpu"]', "requirements = [1]", "a list of strings", "flavors.cpu.requirements"),
        (
            'extends = "train"\nrequirements',
            'extends = "x"\nrequirements',
            "an image defined above",
            "[images.serve.cpu]",
        ),
        ("[base]", "[base", "TOML", "matrix.toml"),
    ],
)
def test_a_broken_matrix_is_refused_where_it_is_broken(
    tmp_path: Path, old: str, new: str, wanted: str, where: str
) -> None:
    assert old in TEXT
    with pytest.raises(Stop) as stopped:
        matrix.load(_file(tmp_path, TEXT.replace(old, new, 1)))
    assert wanted in stopped.value.wanted
    assert where in stopped.value.where


def test_an_unknown_flavor_or_image_lists_the_known_ones() -> None:
    with pytest.raises(Stop, match="cpu, cu128, cu130"):
        matrix.load().flavor("cu99")
    with pytest.raises(Stop, match="train, dev, webui, serve"):
        matrix.load().image("trian", "cpu")
    with pytest.raises(Stop, match="a flavor of the image serve: cpu, cu130"):
        matrix.load().image("serve", "cu128")


def test_an_image_may_have_other_contents_in_one_flavor() -> None:
    known = matrix.load()
    assert (known.image("serve", "cpu").extends, known.image("serve", "cu130").extends) == ("train", "")
    assert set(known.requirements("train", "cpu")) < set(known.requirements("serve", "cpu"))
    assert [each for each in known.requirements("serve", "cpu") if each.startswith("vllm")] == []
    assert [each for each in known.requirements("serve", "cu130") if each.startswith("transformers")] == []
