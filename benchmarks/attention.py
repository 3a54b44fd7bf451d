"""Rows of several contexts: attention by context against PyTorch's SDPA with one mask over the whole row.

    PINTUNE_MIRROR=… python -m benchmarks.attention         about ten minutes on two cores
    python -m benchmarks.attention --table                  the line in docs/benchmarks.md, from the stored result

Forward and backward pass of SmolLM2 with LoRA r=16 on all linear layers, over a row of up to 4,096 tokens of TAT-QA's
dev, in fp32 on a CPU or fp16 on a GPU. Both variants alternate in one process. Writes
benchmarks/results/attention-DEVICE.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import RESULTS, encoded, facts, tatqa

ROW_TOKENS, ROUNDS = 4096, 3


def main() -> None:
    """Measure, write the result, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the line")
    if not parser.parse_args().table:
        result = _measured()
        file(result["device"]).write_text(
            json.dumps({**facts("attention.py", "torch", "transformers", "peft"), **result}, indent=2) + "\n"
        )
    for stored in sorted(RESULTS.glob("attention-*.json")):
        print(_line(json.loads(stored.read_text())))


def file(device: str) -> Path:
    """The result file of a device."""
    return RESULTS / f"attention-{device}.json"


def _measured() -> dict[str, Any]:
    with tatqa("lora.r=16") as job:
        import torch

        from pipeline.data import packing
        from pipeline.models import load
        from pipeline.models.attention import attend_by_context
        from pipeline.training.loop import prepared

        template, contexts = encoded(job)
        row = packing.pack(contexts[:8], ROW_TOKENS)[0]
        batch = packing.collate_rows([row], template.tokenizer.pad_token_id)
        kind, _ = load.precision(job.recipe.training.precision)
        adapted, _ = prepared(job.recipe, job.base_model, kind, contexts)
        base = adapted.get_base_model()
        device = load.device()
        batch = {name: each.to(device) for name, each in batch.items()}

        def once() -> tuple[float, float, float]:
            """Seconds, loss, and the gradient's norm."""
            adapted.zero_grad()
            started = time.monotonic()
            with torch.autocast(device, load.DTYPES[kind], enabled=kind != "fp32"):
                loss, answers = adapted(**batch)
            (loss / answers).backward()
            norm = float(
                torch.nn.utils.get_total_norm(
                    [weight.grad for weight in adapted.parameters() if weight.grad is not None]
                )
            )
            return round(time.monotonic() - started, 3), float(loss.detach()), norm

        variants: dict[str, Callable[[], None]] = {
            "whole": lambda: base.set_attn_implementation("sdpa"),
            "by context": lambda: attend_by_context(base),
        }
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        figures: dict[str, list[float]] = {}
        for number in range(ROUNDS + 1):
            for name, select in variants.items():
                select()
                took, *figures[name] = once()
                if number:  # the first warms up
                    seconds[name].append(took)
                print(name, took, figures[name], flush=True)
        return {
            "device": device,
            "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
            "precision": kind,
            "row_tokens": ROW_TOKENS,
            "contexts": [len(row)],
            "tokens": [sum(each.packed_length for each in row)],
            "rounds": ROUNDS,
            "seconds": seconds,
            "loss_and_gradient_norm": figures,
            "ratio": round(min(seconds["whole"]) / min(seconds["by context"]), 2),
        }


def _line(result: dict[str, Any]) -> str:
    difference = max(abs(a - b) / b for a, b in zip(*result["loss_and_gradient_norm"].values(), strict=True))
    return (
        f"a row of {result['contexts'][0]} contexts, {result['tokens'][0]:,} tokens "
        f"({result['gpu'] or result['device']}, {result['precision']}): "
        f"{result['ratio']:.1f} times as fast as one mask over the row, "
        f"loss and gradient norm within {difference:.0e}"
    )


if __name__ == "__main__":
    main()
