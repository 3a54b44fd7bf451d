"""What a release writes down and compares, without an engine; tests/images/test_release_real.py builds one."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from images import engine, matrix
from images.building import build, lock, oci, registry, release, sbom, wheelhouse
from images.errors import Stop

RECORD = {
    "image": "train",
    "flavor": "cpu",
    "version": "0.1.0",
    "revision": "a" * 40,
    "digest": "sha256:" + "b" * 64,
    "base": "debian@sha256:0",
    "snapshot": "",
    "lock_sha256": "c" * 64,
    "source": "d" * 64,
    "source_date_epoch": 1700000000,
}


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


def test_what_differs_is_named_by_layer_and_file(tmp_path: Path) -> None:
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


def test_the_same_files_in_another_order_are_said_so(tmp_path: Path) -> None:
    files = {"a": (b"x", 0o644, 5), "b": (b"y", 0o644, 5)}
    one = _archive(tmp_path / "1.tar", [_layer(files)])
    two = _archive(tmp_path / "2.tar", [_layer(dict(reversed(files.items())))])
    assert oci.differences(one, two) == [
        "layer 1 (RUN step 0): the same files, in another order or compressed otherwise"
    ]
    assert oci.differences(one, one) == []


@pytest.mark.parametrize("broken", ["none", "text", "empty"])
def test_what_is_no_archive_is_refused(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "a.tar"
    if broken == "text":
        path.write_text("no tar")
    elif broken == "empty":
        tarfile.open(path, "w").close()
    with pytest.raises(Stop, match="invoke build --release"):
        oci.digest(path)


STATUS = """Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u13
Description: GNU C Library
 Status: not a field

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: login
Status: install ok installed
Architecture: amd64
Version: 1:4.13+dfsg1-1
"""


def test_the_bill_of_materials_is_valid_and_whole() -> None:
    text = matrix.lock_file("train", "cpu").read_text(encoding="utf-8")
    made = sbom.bill(RECORD, text, STATUS)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    names = {part["name"]: part for part in made["components"]}
    assert {pin.name for pin in lock.parse(text)} | {"libc6", "login"} == set(names)
    assert names["torch"]["purl"] == "pkg:pypi/torch@2.13.0%2Bcpu"
    assert names["login"]["purl"] == "pkg:deb/debian/login@1%3A4.13%2Bdfsg1-1?arch=amd64"
    assert made["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": "b" * 64}]
    assert made == sbom.bill(RECORD, text, STATUS)


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout in which train:cpu has been released, and recorded."""
    monkeypatch.setattr(registry, "RECORD", tmp_path / "released.json")
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    monkeypatch.delenv("PINTUNE_REGISTRY", raising=False)
    monkeypatch.setattr("images.git.version", lambda: "0.1.0")
    monkeypatch.setattr(build, "source_hash", lambda image, flavor: RECORD["source"])
    release.folder().mkdir(parents=True)
    release.archive("train", "cpu").with_suffix(".json").write_text(json.dumps(RECORD))
    registry.RECORD.write_text(json.dumps({"train:cpu-0.1.0": {**RECORD, "registry": "r.example/p"}}))
    return registry.RECORD


GOOD = {
    build.LOCK_LABEL: RECORD["lock_sha256"],
    build.SOURCE_LABEL: RECORD["source"],
    "org.opencontainers.image.revision": RECORD["revision"],
}


def test_a_pull_takes_the_recorded_digest_and_names_it(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[tuple[str, str]] = []
    monkeypatch.setattr(engine, "pull", lambda source: engine.Pulled((RECORD["digest"],), GOOD))  # type: ignore[arg-type]
    monkeypatch.setattr(engine, "name", lambda *names: named.append(names))
    assert registry.pull("train", "cpu", "", dry=False).endswith(str(RECORD["digest"]))
    assert named == [(f"r.example/p/train@{RECORD['digest']}", "pintune/train:cpu")]
    assert "docker pull r.example/p/train@sha256:bbb" in registry.pull("train", "cpu", "", dry=True)


@pytest.mark.parametrize(
    ("pulled", "said"),
    [
        (engine.Pulled(("sha256:" + "0" * 64,), GOOD), "nothing was tagged"),  # type: ignore[arg-type]
        (engine.Pulled((), {}), "none"),
        (engine.Pulled((str(RECORD["digest"]),), {**GOOD, build.LOCK_LABEL: "0"}), "the label dev.pintune.lock"),  # type: ignore[dict-item]
        (engine.Pulled((str(RECORD["digest"]),), {}), "the label dev.pintune.lock"),
    ],
)
def test_a_pull_of_anything_else_is_refused_and_not_named(
    record: Path, monkeypatch: pytest.MonkeyPatch, pulled: engine.Pulled, said: str
) -> None:
    monkeypatch.setattr(engine, "pull", lambda source: pulled)
    monkeypatch.setattr(engine, "name", lambda *names: pytest.fail("named"))
    with pytest.raises(Stop, match=said):
        registry.pull("train", "cpu", "", dry=False)


def test_a_push_of_another_digest_than_recorded_is_refused(record: Path) -> None:
    record.write_text(json.dumps({"train:cpu-0.1.0": {**RECORD, "digest": "sha256:" + "1" * 64}}))
    with pytest.raises(Stop, match="raise the version"):
        registry.push("train", "cpu", "r.example/p", dry=False)


def test_a_push_that_the_registry_holds_otherwise_is_refused_and_not_recorded(
    record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.unlink()
    monkeypatch.setattr(engine, "load", lambda archive: None)
    monkeypatch.setattr(engine, "registry_digest", lambda where: "")
    monkeypatch.setattr(engine, "image_id", lambda name: RECORD["digest"])
    monkeypatch.setattr(engine, "push", lambda name, to, tag: "sha256:" + "2" * 64)
    with pytest.raises(Stop, match="containerd image store"):
        registry.push("train", "cpu", "r.example/p", dry=False)
    assert not record.exists()


def test_a_tag_that_the_registry_has_for_another_image_is_kept(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record.unlink()
    monkeypatch.setattr(engine, "registry_digest", lambda where: "sha256:" + "3" * 64)
    monkeypatch.setattr(engine, "push", lambda *words: pytest.fail("pushed"))
    with pytest.raises(Stop, match="nothing was pushed"):
        registry.push("train", "cpu", "r.example/p", dry=False)


def test_an_engine_that_repacks_pushes_nothing(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "load", lambda archive: None)
    monkeypatch.setattr(engine, "registry_digest", lambda where: "")
    monkeypatch.setattr(engine, "image_id", lambda name: "sha256:" + "4" * 64)
    monkeypatch.setattr(engine, "push", lambda *words: pytest.fail("pushed"))
    with pytest.raises(Stop, match="containerd image store"):
        registry.push("train", "cpu", "r.example/p", dry=False)


@pytest.mark.parametrize(("base", "epoch"), [(5, 10), (20, 20)])
def test_times_are_never_older_than_the_base(monkeypatch: pytest.MonkeyPatch, base: int, epoch: int) -> None:
    monkeypatch.setattr("images.git.commit_time", lambda: 10)
    monkeypatch.setattr(engine, "created", lambda name: base)
    assert release.source_date_epoch("debian") == epoch


def test_a_record_that_is_no_json_is_said(record: Path) -> None:
    record.write_text("{")
    with pytest.raises(Stop, match="git checkout"):
        registry.pull("train", "cpu", "", dry=False)


def test_a_wheelhouse_that_lacks_a_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "six-1.17.0-py2.py3-none-any.whl").write_bytes(b"wheel")
    good = lock.Pin("six", "1.17.0", frozenset({hashlib.sha256(b"wheel").hexdigest()}))
    wheelhouse.need([good], tmp_path)
    with pytest.raises(Stop, match=r"six==1\.18\.0"):
        wheelhouse.need([good, lock.Pin("six", "1.18.0", frozenset({"0" * 64}))], tmp_path)
