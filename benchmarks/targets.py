"""The targets `answer` and `equation` on TAT-QA: SmolLM2 on a few dozen contexts, on a CPU.

    PINTUNE_MIRROR=… python -m benchmarks.targets           trains and scores both
    python -m benchmarks.targets --table                    the table in docs/benchmarks.md, from the stored result

Trains on contexts of dev and scores on contexts of test_gold, one run per target, with recipes that differ only in
data.target. Runs this checkout's pipeline in a temporary folder, in the calling environment. Writes
benchmarks/results/targets.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, facts

FILE = RESULTS / "targets.json"
SETTINGS = {
    "data.source": "tatqa",
    "data.train": "dev",
    "data.evaluation": "test_gold",
    "data.train_contexts": 36,
    "data.evaluation_contexts": 14,
    "training.max_length": 640,
    "training.epochs": 2,
    "training.batch_contexts": 1,
    "training.accumulation": 2,
    "training.learning_rate": 1e-3,
    "evaluation.max_new_tokens": 96,
}


def main() -> None:
    """Run both, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if not parser.parse_args().table:
        with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch:
            found = {target: _run(Path(scratch), target) for target in ("answer", "equation")}
        FILE.write_text(
            json.dumps(
                {**facts("targets.py", "torch", "transformers", "peft"), "settings": SETTINGS, "targets": found},
                indent=2,
            )
            + "\n"
        )
    print(_table(json.loads(FILE.read_text())["targets"]))


def _run(folder: Path, target: str) -> dict[str, Any]:
    flags = [word for key, value in {**SETTINGS, "data.target": target}.items() for word in ("--set", f"{key}={value}")]
    for step in ("fetch", "format", "train", "evaluate"):
        subprocess.run(
            [sys.executable, "-m", "pipeline", step, *flags],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
    run = folder / "runs" / "quickstart" / "latest"
    manifest, evaluation = (json.loads((run / name).read_text()) for name in ("manifest.json", "evaluation.json"))
    training = {
        key: manifest["training"][key]
        for key in ("contexts", "questions", "questions_left_out", "steps", "tokens", "seconds", "last_loss")
    }
    return {"training": training, "evaluation": evaluation}


def _table(targets: dict[str, Any]) -> str:
    """EM, F1 and scale score of the tuned models by answer type, in percent."""
    kinds = [name for name in targets["answer"]["evaluation"]["tuned"] if name != "by_source"]
    lines = [
        "| test_gold | questions | EM answer | equation | F1 answer | equation | scale answer | equation |",
        "|---|" + "---:|" * 7,
    ]
    for kind in kinds:
        scores = [targets[target]["evaluation"]["tuned"].get(kind) for target in ("answer", "equation")]
        cells = [f"{100 * each[key]:.1f}" if each else "" for key in ("em", "f1", "scale") for each in scores]
        lines.append(f"| {kind} | {scores[0]['questions']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
