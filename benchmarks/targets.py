"""The targets `answer` and `equation` on TAT-QA: SmolLM2 trained on a part of dev, asked a part of test_gold.

    PINTUNE_MIRROR=… python -m benchmarks.targets           trains and scores both
    PINTUNE_MIRROR=… python -m benchmarks.targets answer    one of them; the other stays as stored, with its revision
    python -m benchmarks.targets --table                    the table in docs/benchmarks.md, from the stored result

One run per target, with recipes that differ only in data.target, by this checkout's pipeline in the calling
environment; the first took three quarters of an hour on two cores, beside other work. What is done lies under
.pintune/benchmarks/targets, and a second call of the same revision and settings goes on from there. Writes
benchmarks/results/targets.json after each.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, facts

FILE = RESULTS / "targets.json"
FOLDER = ROOT / ".pintune" / "benchmarks" / "targets"
TARGETS = ("equation", "answer")
SETTINGS = {
    "data.source": "tatqa",
    "data.train": "dev",
    "data.evaluation": "test_gold",
    "data.train_contexts": 70,
    "data.evaluation_contexts": 70,
    "data.table": "headings",
    "lora.r": 32,
    "lora.alpha": 64,
    "training.max_length": 2048,
    "training.epochs": 1,
    "training.batch_contexts": 1,
    "training.accumulation": 2,
    "training.learning_rate": 1e-3,
    "training.warmup_steps": 6,
    "training.checkpoint_steps": 10,
    "evaluation.max_new_tokens": 96,
    "evaluation.batch_questions": 32,
}


def main() -> None:
    """Run both, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="equation or answer; default: both")
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    if not args.table:
        known = json.loads(FILE.read_text()) if FILE.exists() else {}
        found: dict[str, Any] = known["targets"] if known.get("settings") == SETTINGS else {}
        now = facts("targets.py", "torch", "transformers", "peft")
        same = hashlib.sha256(json.dumps([now["revision"], SETTINGS]).encode()).hexdigest()[:8]
        for target in args.targets or TARGETS:
            found[target] = {**now, **_run(FOLDER / same / target, target)}
            FILE.write_text(json.dumps({"settings": SETTINGS, "targets": found}, indent=2) + "\n")
    print(_table(json.loads(FILE.read_text())["targets"]))


def _run(folder: Path, target: str) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    flags = [word for key, value in {**SETTINGS, "data.target": target}.items() for word in ("--set", f"{key}={value}")]
    run = folder / "runs" / "quickstart" / "latest"
    outputs = {"train": run / "adapter", "evaluate": run / "evaluation.json"}
    for step in ("fetch", "format", "train", "evaluate"):
        if step in outputs and outputs[step].exists():
            continue
        resume = ["--resume"] if step == "train" and any(folder.glob("runs/quickstart/*/checkpoints")) else []
        subprocess.run(
            [sys.executable, "-m", "pipeline", step, *flags, *resume],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
        )
    manifest, evaluation = (json.loads((run / name).read_text()) for name in ("manifest.json", "evaluation.json"))
    training = {
        key: manifest["training"][key]
        for key in ("contexts", "questions", "questions_left_out", "steps", "tokens", "seconds", "last_loss")
    }
    return {"training": training, "evaluation": evaluation}


def _table(targets: dict[str, Any]) -> str:
    """EM with its interval, F1 and scale score of base and tuned models by answer type, in percent."""
    lines = ["| target, model | answer type | questions | EM | F1 | scale |", "|---|---|---:|---:|---:|---:|"]
    for target, run in targets.items():
        for model in ("base", "tuned"):
            low, high = run["evaluation"]["certainty"]["em"][model]
            for kind, each in run["evaluation"][model].items():
                if kind == "by_source" or not each:
                    continue
                scores = " | ".join(f"{100 * each[key]:.1f}" for key in ("em", "f1", "scale"))
                lines.append(f"| {target}, {model} | {kind} | {each['questions']} | {scores} |")
            lines.append(f"| {target}, {model} | EM, 95 % interval | | {100 * low:.1f} to {100 * high:.1f} | | |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
