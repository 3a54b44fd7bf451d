"""Times the quickstart, verb by verb, and a second run with the environment in place.

    python benchmarks/quickstart.py --runner docker --cold
    python benchmarks/quickstart.py --runner venv --cold
    python benchmarks/quickstart.py --table         the table in docs/benchmarks.md, from the stored results of both

Works in a fresh clone of this checkout's HEAD in a temporary folder. With --cold the environment is built from
nothing: for docker the image is removed and the engine's build cache pruned; for venv uv's cache is a new folder.
Writes benchmarks/results/quickstart-RUNNER.json.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
VERBS = ("build", "fetch", "data", "train", "evaluate", "export", "ask")


def main() -> None:
    """Run, write the results, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=("docker", "venv"))
    parser.add_argument("--table", action="store_true", help="only print the table, from the stored results")
    parser.add_argument(
        "--cold", action="store_true", help="build the environment from nothing (prunes the engine's build cache)"
    )
    given = parser.parse_args()
    if given.table or not given.runner:
        print(_table([json.loads(file.read_text()) for file in sorted(RESULTS.glob("quickstart-*.json"))]))
        return
    if given.cold and given.runner == "docker":
        subprocess.run(["docker", "image", "rm", "-f", "pintune/train:cpu"], capture_output=True)
        subprocess.run(["docker", "builder", "prune", "-af"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch:
        clone = Path(scratch) / "pintune"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        environment = dict(os.environ)
        if given.cold and given.runner == "venv":
            environment["UV_CACHE_DIR"] = str(Path(scratch) / "uv")
        set_up = _timed(["python3", "-m", "venv", ".venv"], clone, environment)
        set_up += _timed([".venv/bin/pip", "install", "--quiet", "-e", "."], clone, environment)
        first = {"set up": set_up, **_verbs(clone, given.runner, environment)}
        second = _verbs(clone, given.runner, environment)
        run = clone / "runs" / "quickstart" / "latest"
        manifest, evaluation = (json.loads((run / name).read_text()) for name in ("manifest.json", "evaluation.json"))
        hashes = [
            json.loads(file.read_text())["training"]["adapter_sha256"]
            for file in clone.glob("runs/quickstart/*/manifest.json")
        ]
    results = {
        "script": "benchmarks/quickstart.py",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "runner": given.runner,
        "cold": given.cold,
        "machine": {
            "processor": manifest["environment"]["processor"],
            "cores": os.cpu_count(),
            "system": platform.freedesktop_os_release()["PRETTY_NAME"],
        },
        "revision": manifest["environment"]["revision"],
        "versions": {
            name: manifest["environment"]["packages"][name]
            for name in ("torch", "transformers", "peft", "accelerate", "datasets")
        },
        "seconds": {"first run": first, "second run": second},
        "adapter_sha256": sorted(set(hashes)),
        "tokens_per_second": manifest["training"]["tokens_per_second"],
        "peak_memory_bytes": manifest["training"]["peak_memory_bytes"],
        "em": {who: round(100 * evaluation[who]["all"]["em"], 1) for who in ("base", "tuned")},
    }
    target = RESULTS / f"quickstart-{given.runner}.json"
    RESULTS.mkdir(exist_ok=True)
    target.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(_table([results]))


def _verbs(clone: Path, runner: str, environment: dict[str, str]) -> dict[str, float]:
    return {verb: _timed([".venv/bin/invoke", verb, "--runner", runner], clone, environment) for verb in VERBS}


def _timed(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    print("$", " ".join(command), file=sys.stderr, flush=True)
    started = time.monotonic()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=sys.stderr)
    return round(time.monotonic() - started, 1)


def _table(all_results: list[dict[str, Any]]) -> str:
    """Seconds per verb, with a column per runner and run."""
    columns = {
        f"{results['runner']}, {run}": seconds for results in all_results for run, seconds in results["seconds"].items()
    }
    steps = ["set up", *VERBS]
    lines = ["| seconds | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    lines += [
        f"| {step} | "
        + " | ".join(f"{column[step]:.0f}" if step in column else "" for column in columns.values())
        + " |"
        for step in steps
    ]
    return "\n".join(
        [*lines, "| **all** | " + " | ".join(f"**{sum(column.values()):.0f}**" for column in columns.values()) + " |"]
    )


if __name__ == "__main__":
    main()
