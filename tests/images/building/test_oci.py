"""Image archives, and the differences between two of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from images.building import oci
from images.errors import Stop


def _layer(files: dict[str, tuple[bytes, int, int]]) -> bytes:
    """A layer of files: contents, mode and time."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, (contents, mode, time) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(contents), mode, time
            tar.addfile(entry, io.BytesIO(contents))
    return gzip.compress(raw.getvalue(), mtime=0)


def _archive(path: Path, layers: list[bytes], env: str = "A=1") -> Path:
    """An image archive in OCI layout."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes) -> dict[str, Any]:
        name = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{name}"] = data
        return {"digest": f"sha256:{name}", "size": len(data)}

    history = [
        {"created_by": "ENV A", "empty_layer": True},
        *({"created_by": f"RUN  step {n}"} for n in range(len(layers))),
    ]
    config = {"config": {"Env": [env]}, "history": history, "rootfs": {"diff_ids": []}}
    manifest = {"config": blob(json.dumps(config).encode()), "layers": [blob(layer) for layer in layers]}
    index = {"manifests": [blob(json.dumps(manifest).encode())]}
    with tarfile.open(path, "w") as tar:
        for name, data in {**blobs, "index.json": json.dumps(index).encode()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


SAME = _layer({"etc/base": (b"1", 0o644, 0)})


def test_differences_are_listed_by_layer_and_file(tmp_path: Path) -> None:
    one = _archive(
        tmp_path / "1.tar", [SAME, _layer({"a": (b"x", 0o644, 5), "b": (b"y", 0o644, 5), "only": (b"", 0o644, 5)})]
    )
    two = _archive(tmp_path / "2.tar", [SAME, _layer({"a": (b"z", 0o644, 5), "b": (b"y", 0o600, 6)})], env="A=2")
    assert oci.digest(one) != oci.digest(two)
    found = oci.differences(one, two)
    assert found[0].startswith('image configuration: config: {"Env": ["A=1"]} and {"Env": ["A=2"]}')
    assert [line.partition(": ")[2].partition(":")[0] for line in found[1:]] == ["a", "b", "only"]
    assert all(line.startswith("layer 2 (RUN step 1): ") for line in found[1:])
    assert "content 2d711642b726 and 594e519ae499" in found[1]
    assert "mode 0o644 and 0o600, time 5 and 6" in found[2]
    assert found[3].endswith("only in the first")


def test_the_same_files_in_another_order_are_reported(tmp_path: Path) -> None:
    files = {"a": (b"x", 0o644, 5), "b": (b"y", 0o644, 5)}
    one = _archive(tmp_path / "1.tar", [_layer(files)])
    two = _archive(tmp_path / "2.tar", [_layer(dict(reversed(files.items())))])
    assert oci.differences(one, two) == [
        "layer 1 (RUN step 0): the same files, in another order or compressed differently"
    ]
    assert oci.differences(one, one) == []


@pytest.mark.parametrize("broken", ["none", "text", "empty"])
def test_another_file_is_refused(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "a.tar"
    if broken == "text":
        path.write_text("no tar")
    elif broken == "empty":
        tarfile.open(path, "w").close()
    with pytest.raises(Stop, match="invoke build --release"):
        oci.digest(path)
