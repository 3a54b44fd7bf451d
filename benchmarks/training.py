"""Training with each context read once, against Transformers' stock Trainer with PEFT and its padding collator.

    PINTUNE_MIRROR=… python -m benchmarks.training          about ten minutes on two cores, 16 GB
    python -m benchmarks.training --table                   the table in docs/benchmarks.md, from the stored result

SmolLM2 with LoRA r=16 on all linear layers, in fp32 on a CPU, on contexts of TAT-QA's dev with six questions each.
Both take the same questions in the same steps and alternate in one process; the time is from the start of the first
step to the end of the last. The stock Trainer gets one sequence per question from DataCollatorForSeq2Seq, which pads
a batch to its longest sequence, and uses the model's own loss. Writes benchmarks/results/training.json.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from benchmarks.machine import RESULTS, encoded, facts, moments, tatqa
from benchmarks.machine import losses as losses_of

FILE = RESULTS / "training.json"
CONTEXTS, BATCH_CONTEXTS, QUESTIONS, ROUNDS = 3, 1, 6, 2


def main() -> None:
    """Measure, write the result, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    if not parser.parse_args().table:
        found = _measured()
        FILE.write_text(
            json.dumps({**facts("training.py", "torch", "transformers", "peft", "accelerate"), **found}, indent=2)
            + "\n"
        )
    print(_table(json.loads(FILE.read_text())))


def _measured() -> dict[str, Any]:
    with tatqa(f"training.batch_contexts={BATCH_CONTEXTS}", "lora.r=16", "training.learning_rate=1e-3") as chosen:
        template, contexts = encoded(chosen)
        contexts = [context for context in contexts if len(context.questions) == QUESTIONS][:CONTEXTS]
        seconds: dict[str, list[float]] = {"Pintune": [], "Trainer": []}
        losses: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for name, trainer_of in (("Pintune", _ours), ("Trainer", _stock)):
                trainer = trainer_of(chosen, contexts, template)
                seen = moments(trainer, "on_step_begin", "on_step_end")
                losses[name] = losses_of(trainer)
                seconds[name].append(round(seen[-1] - seen[0], 2))
                print(name, seconds[name][-1], losses[name], flush=True)
    questions = CONTEXTS * QUESTIONS
    difference = max(abs(a - b) / b for a, b in zip(losses["Pintune"], losses["Trainer"], strict=True))
    return {
        "contexts": CONTEXTS,
        "questions": questions,
        "batch_contexts": BATCH_CONTEXTS,
        "rounds": ROUNDS,
        "seconds": seconds,
        "losses": losses,
        "tokens": {
            "Pintune": sum(each.packed_length for each in contexts),
            "Trainer": sum(each.separate_length for each in contexts),
        },
        "largest_relative_loss_difference": difference,
        "ratio": round(min(seconds["Trainer"]) / min(seconds["Pintune"]), 2),
    }


def _arguments(batch: int, learning_rate: float) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(
        output_dir="out",
        seed=42,
        use_cpu=True,
        num_train_epochs=1,
        per_device_train_batch_size=batch,
        learning_rate=learning_rate,
        lr_scheduler_type="constant",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )


def _in_order(kind: Any) -> Any:
    """The Trainer class without shuffling."""
    from torch.utils.data import SequentialSampler

    class InOrder(kind):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(self.train_dataset)

    return InOrder


def _ours(job: Any, contexts: list[Any], template: Any) -> Any:
    from pathlib import Path

    from pipeline.training.callbacks.metrics import MetricsCallback
    from pipeline.training.collator import Collator
    from pipeline.training.loop import prepared
    from pipeline.training.trainer import AnswerTrainer

    return _in_order(AnswerTrainer)(
        model=prepared(job.recipe, job.base_model, "fp32", contexts)[0],
        args=_arguments(BATCH_CONTEXTS, job.recipe.training.learning_rate),
        train_dataset=contexts,
        data_collator=Collator("shared", template.tokenizer.pad_token_id, 0),
        metrics=MetricsCallback(Path("runs/none"), resumed=False),
        settings=job.recipe.training,
    )


def _stock(job: Any, contexts: list[Any], template: Any) -> Any:
    import torch
    from transformers import DataCollatorForSeq2Seq, Trainer

    from pipeline.models import load, lora

    rows = []
    for context in contexts:
        for rest, answer in context.questions:
            prompt = context.prefix + rest
            rows.append(
                {
                    "input_ids": prompt + answer,
                    "attention_mask": [1] * len(prompt + answer),
                    "labels": [-100] * len(prompt) + answer,
                }
            )
    base = load.load_base(job.base_model, torch.float32)
    adapted = lora.new_adapter(base, job.recipe.lora, job.recipe.training.seed, job.base_model)
    return _in_order(Trainer)(
        model=adapted,
        args=_arguments(BATCH_CONTEXTS * QUESTIONS, job.recipe.training.learning_rate),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(template.tokenizer, padding=True),
    )


def _table(found: dict[str, Any]) -> str:
    lines = ["| | seconds | questions/s | tokens read |", "|---|---:|---:|---:|"]
    for name in ("Trainer", "Pintune"):
        best = min(found["seconds"][name])
        lines.append(f"| {name} | {best:.0f} | {found['questions'] / best:.2f} | {found['tokens'][name]:,} |")
    difference = f"{found['largest_relative_loss_difference']:.0e}"
    return "\n".join([*lines, "", f"{found['ratio']:.1f} times as fast; losses within {difference} of each other"])


if __name__ == "__main__":
    main()
