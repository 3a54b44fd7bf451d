"""One recipe trained by Pintune and by LLaMA Factory: the loss of each step, side by side.

    python -m benchmarks.llama_factory --runner venv      trains both in a fresh clone of HEAD
    python -m benchmarks.llama_factory --table            the table in docs/benchmarks.md, from the stored result

The recipe is quickstart on its first CONTEXTS contexts, one to a step. Both train on the same rows with the same
schedule. LLaMA Factory draws single questions in random order where Pintune takes a context with all its questions, so
the losses of a step are of other questions. Builds the images or environments train and webui. Writes
benchmarks/results/llama-factory.json and docs/assets/llama-factory-loss.svg.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tomllib

from benchmarks.machine import RESULTS, ROOT, facts

FILE, PICTURE = RESULTS / "llama-factory.json", ROOT / "docs" / "assets" / "llama-factory-loss.svg"
CONTEXTS = 12
SETTINGS = ("--set", f"data.train_contexts={CONTEXTS}")
# Okabe and Ito's palette, which colour-blind readers can tell apart; the lines differ in form too
LINES = {"Pintune": ("#0072B2", "-"), "LLaMA Factory": ("#D55E00", "--")}


def main() -> None:
    """Train both, write the result and the picture, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runner", choices=("docker", "venv"), default="venv")
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    if not args.table:
        made = {**facts("llama_factory.py"), "contexts": CONTEXTS, "runner": args.runner, **_trained(args.runner)}
        FILE.write_text(json.dumps(made, indent=2) + "\n")
        _draw(made)
    print(_table(json.loads(FILE.read_text())))


def _trained(runner: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch:
        clone = Path(scratch) / "pintune"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)

        def invoke(*words: str) -> tuple[float, str]:
            command = [sys.executable, "-m", "invoke", *words, "--runner", runner, "--flavor", "cpu"]
            begun = time.monotonic()
            done = subprocess.run(command, cwd=clone, text=True, stdout=subprocess.PIPE)
            if done.returncode:
                raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
            return round(time.monotonic() - begun, 1), done.stdout

        invoke("build")
        invoke("build", "--image", "webui")
        invoke("data", *SETTINGS)
        ours, _ = invoke("train", *SETTINGS)
        theirs, printed = invoke("llamafactory", "--run", *SETTINGS)
        (folder,) = set(re.findall(r"^llamafactory  (\S+): the adapter", printed, re.MULTILINE))
        run = clone / "runs" / "quickstart" / "latest"
        metrics = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        log = map(json.loads, (clone / folder / "trainer_log.jsonl").read_text().splitlines())
        losses = {
            "Pintune": {line["step"]: line["loss"] for line in metrics if "loss" in line},
            "LLaMA Factory": {line["current_steps"]: line["loss"] for line in log if "loss" in line},
        }
        versions = json.loads((run / "manifest.json").read_text())["environment"]["packages"]
    kept = {name: versions[name] for name in ("torch", "transformers", "peft")}
    pinned = tomllib.loads((ROOT / "images" / "matrix.toml").read_text())["images"]["webui"]["requirements"][0]
    seconds = {"Pintune": ours, "LLaMA Factory": theirs}
    return {"versions": {**kept, "llamafactory": pinned.partition("==")[2]}, "seconds": seconds, "losses": losses}


def _draw(made: dict[str, Any]) -> None:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "pintune", "svg.fonttype": "path", "font.size": 11})
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.6), layout="constrained")
    for name, (colour, form) in LINES.items():
        points = made["losses"][name]
        axes.plot([int(step) for step in points], list(points.values()), form, color=colour, label=name, linewidth=2)
    axes.set(xlabel="optimizer step", ylabel="loss, nats per answer token", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PICTURE, metadata={"Date": None})


def _table(made: dict[str, Any]) -> str:
    names = list(LINES)
    lines = [f"| step | {' | '.join(names)} |", "|---|---:|---:|"]
    for step in made["losses"][names[0]]:
        cells = [f"{float(made['losses'][name][step]):.3f}" if step in made["losses"][name] else "" for name in names]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    seconds = " | ".join(f"{made['seconds'][name]:.0f} s" for name in names)
    return "\n".join([*lines, f"| the verb, from start to end | {seconds} |"])


if __name__ == "__main__":
    main()
