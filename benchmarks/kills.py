"""One quickstart run, killed fifty times: its adapter against that of an uninterrupted run.

    python -m benchmarks.kills              tens of minutes on two cores
    python -m benchmarks.kills --table      the line in docs/benchmarks.md, from the stored result

Trains the quickstart, then trains it again with a checkpoint after every step, sends SIGKILL at random moments, and
resumes each time, until it has been killed fifty times; then lets it finish. Writes benchmarks/results/kills.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, facts

FILE = RESULTS / "kills.json"
KILLS, SEED = 50, 1


def main() -> None:
    """Measure, write the result, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the line")
    if not parser.parse_args().table:
        with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch, contextlib.chdir(scratch):
            found = _measured()
        FILE.write_text(
            json.dumps({**facts("kills.py", "torch", "transformers", "peft", "accelerate"), **found}, indent=2) + "\n"
        )
    print(_line(json.loads(FILE.read_text())))


def _start(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pipeline", *words]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=sys.stderr, stderr=sys.stderr)


def _run(*words: str) -> None:
    if status := _start(*words).wait():
        raise SystemExit(f"{' '.join(words)} ended with status {status}")


def _adapter() -> str:
    return str(json.loads(Path("runs/quickstart/latest/manifest.json").read_text())["training"]["adapter_sha256"])


def _step() -> int:
    """The newest saved step of the unfinished run."""
    return max(
        (int(path.name.rpartition("-")[2]) for path in Path("runs/quickstart").glob("2*/checkpoints/checkpoint-*")),
        default=0,
    )


def _measured() -> dict[str, Any]:
    for words in (("fetch",), ("format",), ("train",)):
        _run(*words)
    alone = _adapter()
    Path("runs").rename("runs-alone")
    chance = random.Random(SEED)
    moments: list[float] = []
    steps: list[int] = []
    every_step = ("--set", "training.checkpoint_steps=1")
    process, started = _start("train", *every_step), time.monotonic()
    while len(moments) < KILLS:
        # on average at most one step is saved between two kills, so that 72 steps last for fifty of them: most come
        # while a checkpoint is read or written or a step is taken, some while Python still imports
        known, moment = _step(), chance.random()
        if moment < 0.35:
            time.sleep(chance.uniform(0, 12))
        else:
            while _step() == known and process.poll() is None:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.4))
        if process.poll() is not None:
            raise SystemExit(f"the run ended after {len(moments)} kills, with status {process.returncode}")
        process.send_signal(signal.SIGKILL)
        process.wait()
        moments.append(round(time.monotonic() - started, 2))
        steps.append(_step())
        resumable = bool(list(Path("runs/quickstart").glob("2*/unfinished.json")))
        process, started = _start("train", *every_step, *(["--resume"] if resumable else [])), time.monotonic()
    if process.wait():
        raise SystemExit(f"the run ended with status {process.returncode}")
    runs = len(list(Path("runs/quickstart").glob("2*")))
    return {
        "kills": KILLS,
        "seed": SEED,
        "seconds_to_the_kill": moments,
        "steps_saved_at_the_kill": steps,
        "runs": runs,
        "adapter_alone": alone,
        "adapter_killed": _adapter(),
        "same": alone == _adapter(),
    }


def _line(found: dict[str, Any]) -> str:
    same = "the same" if found["same"] else "ANOTHER"
    seconds = found["seconds_to_the_kill"]
    return (
        f"{found['kills']} kills in one run, {min(seconds)} to {max(seconds)} s after a start: "
        f"{same} adapter as an uninterrupted run ({found['adapter_killed'][:12]})"
    )


if __name__ == "__main__":
    main()
