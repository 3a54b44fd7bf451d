"""Sizes and build times of the images.

    python -m benchmarks.image_sizes --rebuild train:cpu     build these images and measure them
    python -m benchmarks.image_sizes --table                 the table in docs/benchmarks.md, from the stored results

Times a release build. With --rebuild it also times an everyday build with no cached layer but the downloaded wheels
(this prunes the engine's layers), and one after an edit in pipeline/. Sizes are those of the release archive:
compressed as it is pushed, uncompressed as its layers unpack, and the installed and compiled wheels in it. Writes
benchmarks/results/image-sizes.json.
"""

from __future__ import annotations

import argparse
import datetime
import gzip
import json
import os
import platform
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from images import engine
from images.building import oci

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "image-sizes.json"
WHEELS = """
import os
print(sum(os.lstat(os.path.join(d, f)).st_size for d, _, files in os.walk("/opt/venv/lib") for f in files))
"""


def main() -> None:
    """Build, measure, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="*", help="IMAGE:FLAVOR")
    parser.add_argument("--rebuild", action="store_true", help="time everyday builds too (prunes the engine's layers)")
    parser.add_argument("--table", action="store_true", help="only print the table")
    given = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if given.table else given.images:
        image, _, flavor = name.partition(":")
        results[name] = _measured(image, flavor, given.rebuild)
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(_table(results))


def _measured(image: str, flavor: str, rebuild: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch:
        clone = Path(scratch) / "pintune"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        words = ["--image", image, "--flavor", flavor]
        release = _timed(["build", "--release", *words], clone)
        archive = clone / ".pintune" / "release" / f"{image}-{flavor}.tar"
        record = json.loads(archive.with_suffix(".json").read_text())
        ran = subprocess.run(
            ["docker", "run", "--rm", "--entrypoint", "python", f"pintune/{image}:{flavor}", "-c", WHEELS],
            capture_output=True,
            text=True,
            check=True,
        )
        sizes = {
            "compressed": oci.compressed_size(archive),
            "uncompressed": _uncompressed(archive),
            "wheels": int(ran.stdout),
        }
        archive.unlink()
        seconds = {"release": release}
        if rebuild:
            subprocess.run(
                ["docker", "builder", "prune", "-af", "--filter", "type=regular"], check=True, capture_output=True
            )
            seconds["cold"] = _timed(["build", *words, "--runner", "docker"], clone)
            edited = clone / "pipeline" / "progress.py"
            edited.write_text(edited.read_text() + "\n# edited\n")
            seconds["after an edit"] = _timed(["build", *words, "--runner", "docker"], clone)
    return {
        "script": "benchmarks/image_sizes.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {
            "cores": os.cpu_count(),
            "system": platform.freedesktop_os_release()["PRETTY_NAME"],
            "engine": engine.version(),
            "buildx": engine.buildx_version(),
        },
        "revision": record["revision"],
        "base": record["base"],
        "digest": record["digest"],
        "bytes": sizes,
        "seconds": seconds,
    }


def _uncompressed(archive: Path) -> int:
    """Bytes of the tar files of all layers."""
    size = 0
    for layer in oci.layers(archive):
        with gzip.open(layer) as file:
            while part := file.read(1 << 22):
                size += len(part)
    return size


def _timed(words: list[str], clone: Path) -> float:
    print("$ invoke", *words, flush=True)
    started = time.monotonic()
    subprocess.run(
        [ROOT / ".venv" / "bin" / "invoke", *words],
        cwd=clone,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return round(time.monotonic() - started, 1)


def _table(results: dict[str, Any]) -> str:
    lines = [
        "| image | compressed | uncompressed | of that wheels | release build | cold build | after an edit |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in sorted(results.items()):
        sizes = " | ".join(f"{each['bytes'][key] / 1e6:,.0f} MB" for key in ("compressed", "uncompressed", "wheels"))
        times = " | ".join(
            f"{each['seconds'][key]:.0f} s" if key in each["seconds"] else ""
            for key in ("release", "cold", "after an edit")
        )
        lines.append(f"| {name} | {sizes} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
