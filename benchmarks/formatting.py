"""Time and memory of formatting dev and test_gold, and 10 and 100 copies of both.

    PINTUNE_MIRROR=… python -m benchmarks.formatting        a few minutes on two cores, 4 GB of disk
    python -m benchmarks.formatting --table                 the table in docs/benchmarks.md, from the stored result

Each number of copies is formatted in a process of its own, with SmolLM2's tokenizer and the target `equation`. Time
is measured after imports; memory is the growth of the largest resident set. Writes
benchmarks/results/formatting.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, ROOT, facts

FILE = RESULTS / "formatting.json"
COPIES = (1, 10, 100)
ROUNDS = 3  # of a single copy; the fastest counts


def main() -> None:
    """Measure each, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # run in the measured process
    given = parser.parse_args()
    if given.one:
        _one()
        return
    if not given.table:
        with tempfile.TemporaryDirectory(prefix="pintune-benchmark-") as scratch:
            found = {str(copies): _measured(Path(scratch), copies) for copies in COPIES}
        FILE.write_text(
            json.dumps(
                {**facts("formatting.py", "tokenizers", "transformers"), "rounds_of_1": ROUNDS, "copies": found},
                indent=2,
            )
            + "\n"
        )
    print(_table(json.loads(FILE.read_text())["copies"]))


def _measured(folder: Path, copies: int) -> dict[str, Any]:
    """Write the copies as raw splits with unique uids into `folder`, and measure their formatting."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    raw = folder / "data" / "copies" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for split, name in (("train", "dev"), ("heldout", "test_gold")):
        contexts = json.loads(
            (Path(os.environ["PINTUNE_MIRROR"]) / f"tatqa_dataset_{name}.json").read_text(encoding="utf-8")
        )
        with (raw / f"{split}.json").open("w", encoding="utf-8") as file:
            file.write("[")
            for copy in range(copies):
                for number, context in enumerate(contexts):
                    context["table"]["uid"] = f"{copy}-{number}"
                    for place, question in enumerate(context["questions"]):
                        question["uid"] = f"{copy}-{number}-{place}"
                    file.write((",\n" if copy or number else "") + json.dumps(context, ensure_ascii=False))
            file.write("]\n")
    if not (folder / "models").exists():
        subprocess.run(
            [sys.executable, "-m", "pipeline", "fetch"], cwd=folder, env=environment, check=True, stdout=sys.stderr
        )
    found = []
    for _ in range(ROUNDS if copies == 1 else 1):
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.formatting", "--one"],
            cwd=folder,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
        )
        found.append(json.loads(done.stdout))
        print(copies, found[-1], file=sys.stderr, flush=True)
    best: dict[str, Any] = min(found, key=lambda each: float(each["seconds"]))
    return best


def _one() -> None:
    """Format the copies in the working folder; prints seconds, bytes and counts."""
    os.environ.update(TOKENIZERS_PARALLELISM="true", HF_HUB_OFFLINE="1", TQDM_DISABLE="1")
    from pipeline import job
    from pipeline.data import format as formatting
    from pipeline.data import formatted_rows
    from pipeline.models import chat_template
    from pipeline.recipe import load

    settings = ["data.source=copies.json", "data.target=equation", "training.max_length=2048"]
    chosen = job.resolve(load("quickstart", settings))
    chat_template.load_tokenizer(chosen.base_model)  # imports what loading needs
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    started = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        formatting.format_splits(chosen, lambda line: None)
    seconds = time.monotonic() - started
    growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    counted = formatted_rows.read_report(chosen.formatted)["splits"].values()
    print(
        json.dumps(
            {
                "seconds": round(seconds, 2),
                "memory_bytes": growth,
                "before_bytes": before,
                **{key: sum(each[key] for each in counted) for key in ("contexts", "questions")},
            }
        )
    )


def _table(copies: dict[str, Any]) -> str:
    lines = [
        "| copies of dev + test_gold | questions | seconds | to one copy's | memory over imports |",
        "|---:|" + "---:|" * 4,
    ]
    for number, each in copies.items():
        ratio = each["seconds"] / copies["1"]["seconds"]
        memory = f"{each['memory_bytes'] / 1e6:.0f} MB"
        lines.append(f"| {number} | {each['questions']:,} | {each['seconds']:.1f} | {ratio:.1f} | {memory} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
