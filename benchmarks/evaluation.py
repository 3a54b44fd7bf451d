"""Greedy answers with each context read once for all its questions, against Transformers' `generate` per question.

    PINTUNE_MIRROR=… python -m benchmarks.evaluation        a few minutes on two cores
    python -m benchmarks.evaluation --table                 the line in docs/benchmarks.md, from the stored result

SmolLM2 on contexts of TAT-QA's dev, in fp32 on a CPU. Both variants alternate in one process. Counts the answers that
are equal. Writes benchmarks/results/evaluation.json.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

from benchmarks.machine import RESULTS, facts, tatqa

FILE = RESULTS / "evaluation.json"
CONTEXTS, ROUNDS, NEW_TOKENS = 8, 2, 32


def main() -> None:
    """Measure, write the result, print the line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the line")
    if not parser.parse_args().table:
        result = _measured()
        FILE.write_text(json.dumps({**facts("evaluation.py", "torch", "transformers"), **result}, indent=2) + "\n")
    print(_line(json.loads(FILE.read_text())))


def _measured() -> dict[str, Any]:
    with tatqa() as job:
        import torch

        from pipeline.data.formatted_rows import read_rows
        from pipeline.generation import generate
        from pipeline.models import chat_template, load

        asked = read_rows(job.train.rows, CONTEXTS)
        folder, batch = job.base_model, job.recipe.evaluation.batch_questions
        template = chat_template.load(folder)
        base = load.load_base(folder, torch.float32)

        def one_at_a_time() -> list[str]:
            texts = []
            for ids in template.prompts(asked):
                written = base.generate(
                    torch.tensor([ids]),
                    attention_mask=torch.ones(1, len(ids), dtype=torch.long),
                    do_sample=False,
                    max_new_tokens=NEW_TOKENS,
                    eos_token_id=list(template.ends),
                )[0, len(ids) :]
                texts.append(template.tokenizer.decode(written, skip_special_tokens=True).strip())
            return texts

        def shared() -> list[str | None]:
            return generate.answers(base, template, asked, NEW_TOKENS, batch)

        seconds: dict[str, list[float]] = {"shared": [], "one at a time": []}
        answers: dict[str, Any] = {}
        for _ in range(ROUNDS):
            for name, answer in (("shared", shared), ("one at a time", one_at_a_time)):
                started = time.monotonic()
                answers[name] = answer()
                seconds[name].append(round(time.monotonic() - started, 2))
                print(name, seconds[name][-1])
    same = sum(a == b for a, b in zip(answers["shared"], answers["one at a time"], strict=True))
    return {
        "contexts": CONTEXTS,
        "questions": len(asked),
        "max_new_tokens": NEW_TOKENS,
        "batch_questions": batch,
        "seconds": seconds,
        "same_answers": same,
        "ratio": round(min(seconds["one at a time"]) / min(seconds["shared"]), 2),
    }


def _line(result: dict[str, Any]) -> str:
    shared, separate = (min(result["seconds"][name]) for name in ("shared", "one at a time"))
    return (
        f"{result['questions']} questions on {result['contexts']} contexts: {shared:.0f} s, "
        f"one question at a time {separate:.0f} s: {result['ratio']:.1f} times as fast, "
        f"{result['same_answers']} of {result['questions']} answers the same"
    )


if __name__ == "__main__":
    main()
