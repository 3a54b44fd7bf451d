"""Image archives in the format of `docker buildx build --output type=docker`: an OCI image layout in a tar.

https://github.com/opencontainers/image-spec/blob/v1.1.0/image-layout.md
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from images.errors import Stop, line


def digest(archive: Path) -> str:
    """Digest of the image's manifest, by which a registry knows the image.

    Raises:
        Stop: not an image archive, or not one of a single image.
    """
    with _opened(archive) as tar:
        return str(_descriptor(tar, archive)["digest"])


def compressed_size(archive: Path) -> int:
    """Bytes of all compressed layers."""
    with _opened(archive) as tar:
        return sum(int(layer["size"]) for layer in _manifest(tar, archive)["layers"])


def layers(archive: Path) -> Iterator[IO[bytes]]:
    """Every layer, compressed."""
    with _opened(archive) as tar:
        for layer in _manifest(tar, archive)["layers"]:
            yield _blob(tar, layer["digest"])


def differences(one: Path, other: Path) -> list[str]:
    """The differences between two archives, a line each: the layer, its command, the file, and how it differs.

    Raises:
        Stop: as `digest`.
    """
    found: list[str] = []
    with _opened(one) as first, _opened(other) as second:
        manifests = _manifest(first, one), _manifest(second, other)
        configs = _json(first, manifests[0]["config"]["digest"]), _json(second, manifests[1]["config"]["digest"])
        for key in sorted(configs[0].keys() | configs[1].keys()):
            if key != "rootfs" and configs[0].get(key) != configs[1].get(key):
                found.append(
                    f"image configuration: {key}: {_shown(configs[0].get(key))} and {_shown(configs[1].get(key))}"
                )
        layers = [manifest["layers"] for manifest in manifests]
        if len(layers[0]) != len(layers[1]):
            found.append(f"layers: {len(layers[0])} and {len(layers[1])}")
        made_by = [
            entry.get("created_by", "") for entry in configs[0].get("history", []) if not entry.get("empty_layer")
        ]
        for number, (mine, theirs) in enumerate(zip(*layers, strict=False)):
            if mine["digest"] != theirs["digest"]:
                command = " ".join(made_by[number].split())[:80] if number < len(made_by) else "?"
                contents = _contents(_blob(first, mine["digest"])), _contents(_blob(second, theirs["digest"]))
                lines = list(_between(*contents)) or ["the same files, in another order or compressed differently"]
                found += [f"layer {number + 1} ({command}): {each}" for each in lines]
    return found


def _between(mine: dict[str, dict[str, Any]], theirs: dict[str, dict[str, Any]]) -> Iterator[str]:
    for name in sorted(mine.keys() | theirs.keys()):
        if name not in mine or name not in theirs:
            yield f"{name}: only in the {'first' if name in mine else 'second'}"
        elif differing := [key for key in mine[name] if mine[name][key] != theirs[name][key]]:
            yield f"{name}: {', '.join(f'{key} {mine[name][key]} and {theirs[name][key]}' for key in differing)}"


def _contents(layer: IO[bytes]) -> dict[str, dict[str, Any]]:
    """The files of a layer."""
    files: dict[str, dict[str, Any]] = {}
    with tarfile.open(fileobj=layer, mode="r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isreg() else None
            files[member.name] = {
                "content": _sha256(file)[:12] if file else member.linkname,
                "mode": oct(member.mode),
                "owner": f"{member.uid}:{member.gid}",
                "time": member.mtime,
                "type": member.type.decode(),
            }
    return files


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while part := file.read(1 << 20):
        digest.update(part)
    return digest.hexdigest()


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive)
    except (OSError, tarfile.TarError) as error:
        raise Stop("an image archive", line(error), str(archive), "invoke build --release") from None


def _descriptor(tar: tarfile.TarFile, archive: Path) -> dict[str, Any]:
    try:
        index = json.loads(_read(tar, "index.json"))
        (found,) = index["manifests"]
    except (KeyError, ValueError) as error:
        raise Stop(
            "an archive of one image, in OCI layout", line(error), str(archive), "invoke build --release"
        ) from None
    return dict(found)


def _manifest(tar: tarfile.TarFile, archive: Path) -> dict[str, Any]:
    return _json(tar, _descriptor(tar, archive)["digest"])


def _json(tar: tarfile.TarFile, digest: str) -> dict[str, Any]:
    return dict(json.loads(_blob(tar, digest).read()))


def _blob(tar: tarfile.TarFile, digest: str) -> IO[bytes]:
    kind, _, name = digest.partition(":")
    file = tar.extractfile(f"blobs/{kind}/{name}")
    assert file is not None  # a blob is a regular file
    return file


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    return file.read() if file else b""


def _shown(value: Any) -> str:
    return json.dumps(value, sort_keys=True)[:200]
